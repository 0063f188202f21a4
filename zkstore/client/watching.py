"""Watches on the client's side: what the user holds, and the table that finds whom an event concerns.

The server forgets everything with the connection, so the table is also what `setWatches` is made of after a reconnect.
Paths in the table are the server's, in bytes; those in events are the user's, below the chroot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from enum import Enum, IntEnum
from types import TracebackType
from typing import NamedTuple

import trio

from zkstore.errors import ClientError, WatchOverflowError
from zkstore.limits import SET_WATCHES_BYTES_MAX, WATCH_EVENTS_MAX
from zkstore.model.paths import ancestors
from zkstore.model.watches import WatchKind
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import SetWatches, SetWatches2
from zkstore.wire.responses import WatcherEvent


class EventType(IntEnum):
    """What happened. The first four come from the server, the others tell that a watch was removed."""

    NODE_CREATED = 1
    NODE_DELETED = 2
    NODE_DATA_CHANGED = 3
    NODE_CHILDREN_CHANGED = 4
    DATA_WATCH_REMOVED = 5
    CHILD_WATCH_REMOVED = 6
    PERSISTENT_WATCH_REMOVED = 7


class WatchEvent(NamedTuple):
    """One event. `zxid` is the change that fired it, or -1 where the server does not say."""

    type: EventType
    path: str
    zxid: int


class Watch:
    """Events to come, in the order of the changes: `async for event in watch`, or `await watch.receive()`.

    One Watch may be given to any number of reads. It ends with SessionLostError when the session is lost, with
    WatchOverflowError when `WATCH_EVENTS_MAX` events lay untaken, and quietly after `close()`.
    """

    def __init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[WatchEvent](WATCH_EVENTS_MAX)
        self._end: ClientError | None = None
        self.closed = False

    async def receive(self) -> WatchEvent:
        """The next event. Raises the error that ended the watch, or trio.EndOfChannel after `close()`."""
        try:
            return await self._receiver.receive()
        except trio.EndOfChannel:
            if self._end is not None:
                raise self._end from None
            raise

    def receive_nowait(self) -> WatchEvent:
        """The next event if it has arrived; trio.WouldBlock if not. Ends as `receive` does."""
        try:
            return self._receiver.receive_nowait()
        except trio.EndOfChannel:
            if self._end is not None:
                raise self._end from None
            raise

    def close(self) -> None:
        """Take no more events. A persistent watch stays on the server until it is removed or the client closes."""
        self.closed = True
        self._sender.close()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> WatchEvent:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def put(self, event: WatchEvent) -> None:
        """For the client: one more event."""
        if self.closed:
            return
        try:
            self._sender.send_nowait(event)
        except trio.WouldBlock:
            self.fail(WatchOverflowError(f"{WATCH_EVENTS_MAX} events waited; the one at {event.path} was dropped"))

    def fail(self, error: ClientError) -> None:
        """For the client: no more events, because of `error`."""
        if not self.closed:
            self._end = error
            self.close()


class Kind(Enum):
    """How a path is watched."""

    DATA = "data"
    EXIST = "exist"
    CHILD = "child"
    PERSISTENT = "persistent"
    PERSISTENT_RECURSIVE = "persistent_recursive"


_FIRED: dict[int, tuple[Kind, ...]] = {
    EventType.NODE_CREATED: (Kind.DATA, Kind.EXIST),
    EventType.NODE_DELETED: (Kind.DATA, Kind.EXIST, Kind.CHILD),
    EventType.NODE_DATA_CHANGED: (Kind.DATA, Kind.EXIST),
    EventType.NODE_CHILDREN_CHANGED: (Kind.CHILD,),
}

_REMOVED: dict[int, tuple[Kind, ...]] = {
    WatchKind.CHILDREN: (Kind.CHILD,),
    WatchKind.DATA: (Kind.DATA, Kind.EXIST),
    WatchKind.ANY: tuple(Kind),
    WatchKind.PERSISTENT: (Kind.PERSISTENT,),
    WatchKind.PERSISTENT_RECURSIVE: (Kind.PERSISTENT_RECURSIVE,),
}

_REMOVAL_EVENT = {
    Kind.DATA: EventType.DATA_WATCH_REMOVED,
    Kind.EXIST: EventType.DATA_WATCH_REMOVED,
    Kind.CHILD: EventType.CHILD_WATCH_REMOVED,
    Kind.PERSISTENT: EventType.PERSISTENT_WATCH_REMOVED,
    Kind.PERSISTENT_RECURSIVE: EventType.PERSISTENT_WATCH_REMOVED,
}


class WatchTable:
    """Every watch of one session. `to_user` turns a server's path into the user's."""

    def __init__(self, to_user: Callable[[bytes], str]) -> None:
        self._to_user = to_user
        self._watches: dict[Kind, defaultdict[bytes, set[Watch]]] = {kind: defaultdict(set) for kind in Kind}

    def add(self, kind: Kind, path: bytes, watch: Watch) -> None:
        """Note that the server now watches `path` for `watch`."""
        self._watches[kind][path].add(watch)

    def fire(self, event: WatcherEvent, zxid: int) -> None:
        """Give an event to each Watch that it concerns, once, and forget the one-shot ones among them."""
        if event.path is None or event.type not in _FIRED:
            return
        concerned: set[Watch] = set()
        for kind in _FIRED[event.type]:
            concerned |= self._watches[kind].pop(event.path, set())
        concerned |= self._watches[Kind.PERSISTENT].get(event.path, set())
        if event.type != EventType.NODE_CHILDREN_CHANGED:
            recursive = self._watches[Kind.PERSISTENT_RECURSIVE]
            if recursive:
                for path in (event.path, *ancestors(event.path)):
                    concerned |= recursive.get(path, set())
        told = WatchEvent(EventType(event.type), self._to_user(event.path), zxid)
        for watch in concerned:
            watch.put(told)

    def remove(self, what: WatchKind, path: bytes) -> bool:
        """Forget the watches of `path` that `what` means, and tell each; False if there were none."""
        told: set[tuple[Watch, EventType]] = set()
        for kind in _REMOVED[what]:
            told |= {(watch, _REMOVAL_EVENT[kind]) for watch in self._watches[kind].pop(path, set())}
        for watch, event_type in sorted(told, key=lambda pair: pair[1]):
            watch.put(WatchEvent(event_type, self._to_user(path), -1))
        return bool(told)

    def fail(self, error: ClientError) -> None:
        """End every Watch, because the session is gone."""
        for table in self._watches.values():
            for watches in table.values():
                for watch in watches:
                    watch.fail(error)
            table.clear()

    def set_watches(self, relative_zxid: int) -> Iterator[tuple[Opcode, bytes]]:
        """The requests (opcode, body) that bring a new connection to watch all of this, in bounded pieces."""
        for piece in self._pieces():
            persistent = (piece[Kind.PERSISTENT], piece[Kind.PERSISTENT_RECURSIVE])
            standard = (tuple(piece[Kind.DATA]), tuple(piece[Kind.EXIST]), tuple(piece[Kind.CHILD]))
            if any(persistent):
                request = SetWatches2(relative_zxid, *standard, tuple(persistent[0]), tuple(persistent[1]))
                yield Opcode.SET_WATCHES2, request.encode()
            else:
                yield Opcode.SET_WATCHES, SetWatches(relative_zxid, *standard).encode()

    def _pieces(self) -> Iterator[defaultdict[Kind, list[bytes]]]:
        piece: defaultdict[Kind, list[bytes]] = defaultdict(list)
        size = 0
        for kind, table in self._watches.items():
            for path in [path for path, watches in table.items() if all(watch.closed for watch in watches)]:
                del table[path]  # nobody listens any more
            for path in table:
                if size + len(path) > SET_WATCHES_BYTES_MAX and piece:
                    yield piece
                    piece, size = defaultdict(list), 0
                piece[kind].append(path)
                size += len(path) + 4
        if piece:
            yield piece
