"""A tree in memory, to be exported."""

from __future__ import annotations

from collections.abc import Iterator

from zkstore.model.tree import SessionRecord, Tree


class Held:
    """The content of a tree."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    @property
    def zxid(self) -> int:
        return self.tree.zxid

    @property
    def digest(self) -> int:
        return self.tree.digest

    @property
    def sessions(self) -> dict[int, SessionRecord]:
        return self.tree.sessions

    def znodes(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self.tree.records.items()))


def loaded(records: dict[bytes, bytes], sessions: dict[int, SessionRecord], zxid: int) -> Tree:
    """A tree of these, whatever its digest is."""
    tree = Tree()
    for path, record in records.items():
        tree.put(path, record)
        tree._index(path, record)
    for number, session in sessions.items():
        tree.open_session(number, session)
    tree.zxid = zxid
    tree.seal()
    return tree
