"""Whole trees on their way out: snapshots, read row by row while the server goes on.

LMDB allows a file to be open once in a process, so those who send the same snapshot share it. What is open stays
readable to its end, also when purging history removes its name meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

from zkstore import failpoints
from zkstore.model.tree import SessionRecord
from zkstore.storage import image, snapshots
from zkstore.storage.directory import translating
from zkstore.storage.env import Environment
from zkstore.storage.image import Mark
from zkstore.storage.snapshots import Snapshot


class Outgoing:
    """One sending of a snapshot; made by `OutgoingTrees.open`.

    Attributes:
        mark: what it is of.
        sessions: those that were alive then.
    """

    def __init__(self, shared: _Shared, mark: Mark) -> None:
        self._shared = shared
        self.mark = mark
        self.sessions: dict[int, SessionRecord] = image.sessions(shared.env)
        shared.users += 1

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """All znodes as (path, record). Raises DamageError."""
        yield from image.znodes(self._shared.env)

    def close(self) -> None:
        """Let go of it, when no `rows` are read any more."""
        self._shared.users -= 1
        if not self._shared.users:
            self._shared.env.close()


class OutgoingTrees:
    """The snapshots that are being sent. For one thread; rows may be read in others."""

    def __init__(self) -> None:
        self._open: dict[int, _Shared] = {}

    def open(self, snapshot: Snapshot) -> Outgoing:
        """Begin to send a snapshot. Raises DamageError if its checksum does not fit, or it holds no tree."""
        with translating(snapshot.path):
            failpoints.hit("sync.tree.open")
        shared = self._open.get(snapshot.zxid)
        if shared is None or not shared.users:
            snapshots.check(snapshot)
            shared = self._open[snapshot.zxid] = _Shared(snapshots.open_image(snapshot.path))
        mark = image.read_mark(shared.env)
        if mark is None or mark.zxid != snapshot.zxid:
            shared.env.close()
            raise image.damage(snapshot.path, snapshot.zxid, "the content is not what the name says")
        self._open = {zxid: other for zxid, other in self._open.items() if other.users or other is shared}
        return Outgoing(shared, mark)


class _Shared:
    """An open snapshot, and how many read it."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.users = 0
