"""What a client watches, as it remembers it, so that it can register it again at another server."""

from __future__ import annotations

from zkstore.model.watches import EventType, WatchKind
from zkstore.testing.checkers.history import Call
from zkstore.wire.opcodes import AddWatchMode, Opcode
from zkstore.wire.records import AddWatchRequest, PathWatchRequest, RemoveWatchesRequest, SetWatches2

_NO_NODE = -101


class Remembered:
    """One client's watches, by kind, each in the order in which they were left."""

    __slots__ = ("_child", "_data", "_exist", "_persistent", "_recursive")

    def __init__(self) -> None:
        self._data: dict[bytes, None] = {}
        self._exist: dict[bytes, None] = {}
        self._child: dict[bytes, None] = {}
        self._persistent: dict[bytes, None] = {}
        self._recursive: dict[bytes, None] = {}

    def __bool__(self) -> bool:
        return bool(self._data or self._exist or self._child or self._persistent or self._recursive)

    def restoring(self, relative_zxid: int) -> SetWatches2:
        """The request that registers all of them, at a server from which the client has seen nothing yet."""
        return SetWatches2(
            relative_zxid,
            tuple(self._data),
            tuple(self._exist),
            tuple(self._child),
            tuple(self._persistent),
            tuple(self._recursive),
        )

    def note(self, call: Call) -> None:
        """A request has been answered; it may have left or removed a watch."""
        request = call.request
        if isinstance(request, PathWatchRequest):
            if request.watch and request.path is not None:
                self._note_read(call, request.path)
        elif call.code:
            return
        elif isinstance(request, AddWatchRequest):
            recursive = request.mode == AddWatchMode.PERSISTENT_RECURSIVE
            (self._recursive if recursive else self._persistent)[request.path or b"/"] = None
        elif isinstance(request, RemoveWatchesRequest) and call.opcode == Opcode.REMOVE_WATCHES:
            self._remove(request.path or b"/", request.type)

    def _note_read(self, call: Call, path: bytes) -> None:
        if call.code == 0:
            of_children = call.opcode in (Opcode.GET_CHILDREN, Opcode.GET_CHILDREN2)
            (self._child if of_children else self._data)[path] = None
        elif call.opcode == Opcode.EXISTS and call.code == _NO_NODE:
            self._exist[path] = None

    def _remove(self, path: bytes, kind: int) -> None:
        if kind in (WatchKind.DATA, WatchKind.ANY):
            self._data.pop(path, None)
            self._exist.pop(path, None)
        if kind in (WatchKind.CHILDREN, WatchKind.ANY):
            self._child.pop(path, None)
        if kind in (WatchKind.PERSISTENT, WatchKind.ANY):
            self._persistent.pop(path, None)
        if kind in (WatchKind.PERSISTENT_RECURSIVE, WatchKind.ANY):
            self._recursive.pop(path, None)

    def fired(self, event_type: int, path: bytes) -> None:
        """An event has come: what fires once is forgotten."""
        if event_type == EventType.CHILDREN_CHANGED:
            self._child.pop(path, None)
            return
        self._data.pop(path, None)
        self._exist.pop(path, None)
        if event_type == EventType.DELETED:
            self._child.pop(path, None)
