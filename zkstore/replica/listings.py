"""Listings: the answers to getChildren of large parents, kept encoded until their children change.

Ten thousand names take over a millisecond to put into a vector, and many clients that watch the children of one znode
ask for them one after the other. A listing is good as long as its parent's record says what it said when the listing
was made: every child that comes or goes counts up the parent's cversion and sets its pzxid. So nothing has to be told
when the tree changes, from wherever that comes.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from zkstore import limits
from zkstore.model import paths
from zkstore.model.record import image_end
from zkstore.model.stat import STAT_BYTES
from zkstore.model.tree import Tree

_LENGTH: Final = Struct(">i")
_CHILDREN_FIELDS: Final = Struct(">i20xq")  # of a Stat, from its cversion on: that, and pzxid
_CVERSION_FROM_END: Final = STAT_BYTES - 36
_KEPT_FROM: Final = 50  # fewer names are encoded in a few microseconds

State = tuple[int, int]
"""A parent's cversion and pzxid."""


class Listings:
    """The encoded children of one tree's znodes. The oldest are given up where all together exceed `bytes_max`.

    Attributes:
        kept_bytes: the lengths of all that are kept.
    """

    __slots__ = ("_bytes_max", "_kept", "_tree", "kept_bytes")

    def __init__(self, tree: Tree, bytes_max: int = limits.LISTINGS_BYTES_MAX) -> None:
        self._tree = tree
        self._bytes_max = bytes_max
        self._kept: dict[bytes, tuple[State, bytes]] = {}
        self.kept_bytes = 0

    def of(self, parent: bytes) -> bytes:
        """The vector of the names of a znode's children, in order of their creation. The znode must exist."""
        children = self._tree.children.get(parent, {})
        if len(children) < _KEPT_FROM:
            return _encode(parent, children)
        record = self._tree.records[parent]
        state: State = _CHILDREN_FIELDS.unpack_from(record, image_end(record) - _CVERSION_FROM_END)
        kept = self._kept.get(parent)
        if kept is not None:
            if kept[0] == state:
                return kept[1]
            self._give_up(parent)
        listing = _encode(parent, children)
        if len(listing) > self._bytes_max:
            return listing
        self._kept[parent] = (state, listing)
        self.kept_bytes += len(listing)
        while self.kept_bytes > self._bytes_max:
            self._give_up(next(iter(self._kept)))
        return listing

    def _give_up(self, parent: bytes) -> None:
        _, listing = self._kept.pop(parent)
        self.kept_bytes -= len(listing)


def _encode(parent: bytes, children: dict[bytes, None]) -> bytes:
    name_at = len(parent) + 1 if parent != paths.ROOT else 1
    pack = _LENGTH.pack
    parts = [pack(len(children))]
    for path in children:
        name = path[name_at:]
        parts.append(pack(len(name)))
        parts.append(name)
    return b"".join(parts)
