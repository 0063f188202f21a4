"""What one connection must be told: a second, plain statement of the rules of watches.

The server keeps tables by path; this keeps four sets per connection and asks each of them at every change. A replay
tells it of every change and compares what it expects with what the client was told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from zkstore.model import acl as acls
from zkstore.model.acl import Acl, Identity
from zkstore.model.tree import Tree
from zkstore.model.watches import EventType, WatchKind
from zkstore.wire.records import SetWatches2


class Watcher:
    """One connection's watches, and the events that it must be told next: (zxid, type, path)."""

    __slots__ = ("_identities", "child", "data", "expected", "persistent", "recursive")

    def __init__(self, identities: tuple[Identity, ...]) -> None:
        self._identities = identities
        self.data: set[bytes] = set()
        self.child: set[bytes] = set()
        self.persistent: set[bytes] = set()
        self.recursive: set[bytes] = set()
        self.expected: deque[tuple[int, int, bytes]] = deque()

    @property
    def watches(self) -> bool:
        """Whether there is any watch."""
        return bool(self.data or self.child or self.persistent or self.recursive)

    # --- changes ----------------------------------------------------------------------------------

    def created(self, zxid: int, path: bytes, acl: tuple[Acl, ...], parent: bytes, parent_acl: tuple[Acl, ...]) -> None:
        """A znode has come."""
        if self._data_fires(path):
            self._expect(zxid, EventType.CREATED, path, acl)
        self._children_changed(zxid, parent, parent_acl)

    def changed(self, zxid: int, path: bytes, acl: tuple[Acl, ...]) -> None:
        """A znode has new data."""
        if self._data_fires(path):
            self._expect(zxid, EventType.DATA_CHANGED, path, acl)

    def deleted(self, zxid: int, path: bytes, acl: tuple[Acl, ...], parent: bytes, parent_acl: tuple[Acl, ...]) -> None:
        """A znode has gone; one event tells whoever watched its data, its children or both."""
        fires = self._data_fires(path)
        if path in self.child:
            self.child.remove(path)
            fires = True
        if fires:
            self._expect(zxid, EventType.DELETED, path, acl)
        self._children_changed(zxid, parent, parent_acl)

    def _data_fires(self, path: bytes) -> bool:
        fires = path in self.persistent
        if path in self.data:
            self.data.remove(path)
            fires = True
        if self.recursive and not fires:
            fires = not self.recursive.isdisjoint(_self_and_ancestors(path))
        return fires

    def _children_changed(self, zxid: int, parent: bytes, acl: tuple[Acl, ...]) -> None:
        fires = parent in self.persistent
        if parent in self.child:
            self.child.remove(parent)
            fires = True
        if fires:
            self._expect(zxid, EventType.CHILDREN_CHANGED, parent, acl)

    def _expect(self, zxid: int, event_type: int, path: bytes, acl: tuple[Acl, ...]) -> None:
        if acls.allows(acl, acls.READ, self._identities):
            self.expected.append((zxid, event_type, path))

    # --- what clients ask -------------------------------------------------------------------------

    def _sets(self, kind: int) -> list[set[bytes]]:
        return {
            WatchKind.CHILDREN: [self.child],
            WatchKind.DATA: [self.data],
            WatchKind.PERSISTENT: [self.persistent],
            WatchKind.PERSISTENT_RECURSIVE: [self.recursive],
            WatchKind.ANY: [self.data, self.child, self.persistent, self.recursive],
        }[WatchKind(kind)]

    def has(self, path: bytes, kind: int) -> bool:
        """Whether checkWatches finds one."""
        return any(path in watched for watched in self._sets(kind))

    def remove(self, path: bytes, kind: int) -> None:
        """removeWatches."""
        for watched in self._sets(kind):
            watched.discard(path)

    def restore(self, tree: Tree, request: SetWatches2) -> list[tuple[int, bytes]]:
        """setWatches2: what has to be told at once; everything else is watched."""
        missed: list[tuple[int, bytes]] = []
        self.persistent.update(request.persistent)
        self.recursive.update(request.persistent_recursive)
        for path in request.data:
            if path not in tree.records:
                missed.append((EventType.DELETED, path))
            elif tree.stat(path).mzxid > request.relative_zxid:
                missed.append((EventType.DATA_CHANGED, path))
            else:
                self.data.add(path)
        for path in request.exist:
            if path in tree.records:
                missed.append((EventType.CREATED, path))
            else:
                self.data.add(path)
        for path in request.child:
            if path not in tree.records:
                missed.append((EventType.DELETED, path))
            elif tree.stat(path).pzxid > request.relative_zxid:
                missed.append((EventType.CHILDREN_CHANGED, path))
            else:
                self.child.add(path)
        return missed


def _self_and_ancestors(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path[: path.rindex(b"/")]
    yield b"/"
