"""The C client, as Debian's libzookeeper_mt has it, through ctypes: what the tests need of zookeeper.h."""

from __future__ import annotations

import ctypes
import queue
from typing import Any, Final, NamedTuple

from tests.interop.processes import WAIT_S

NAME: Final = "libzookeeper_mt.so.2"
CONNECTED: Final = 3
SESSION_EVENT: Final = -1
EPHEMERAL, SEQUENTIAL = 1, 2

_ERRORS_ONLY: Final = 1
_BUFFER_BYTES: Final = 1 << 16
_WATCHER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Stat(ctypes.Structure):
    """struct Stat."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("czxid", "mzxid", "ctime", "mtime")),
        *((name, ctypes.c_int32) for name in ("version", "cversion", "aversion")),
        ("ephemeralOwner", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("dataLength", "numChildren")),
        ("pzxid", ctypes.c_int64),
    )


class _Strings(ctypes.Structure):
    """struct String_vector."""

    _fields_ = (("count", ctypes.c_int32), ("data", ctypes.POINTER(ctypes.c_char_p)))


class _Acls(ctypes.Structure):
    """struct ACL_vector."""

    _fields_ = (("count", ctypes.c_int32), ("data", ctypes.c_void_p))


class _Operation(ctypes.Structure):
    """struct zoo_op: a type, and room for the largest of its union."""

    _fields_ = (("type", ctypes.c_int), ("content", ctypes.c_int64 * 8))


class _Result(ctypes.Structure):
    """struct zoo_op_result."""

    _fields_ = (
        ("err", ctypes.c_int),
        ("value", ctypes.c_char_p),
        ("valuelen", ctypes.c_int),
        ("stat", ctypes.POINTER(Stat)),
    )


class Event(NamedTuple):
    """What a watcher was called with."""

    type: int
    state: int
    path: bytes


class CClient:
    """One handle. Every method's `code` is the library's own: 0 or an error of ZooKeeper's.

    Raises OSError where the library is not installed.
    """

    def __init__(self, hosts: str, timeout_ms: int = 4_000) -> None:
        self._library = ctypes.CDLL(NAME)
        self._library.zookeeper_init.restype = ctypes.c_void_p
        self._library.zoo_client_id.restype = ctypes.POINTER(ctypes.c_int64)
        self._library.zoo_set_debug_level(_ERRORS_ONLY)
        self._open_acl = _Acls.in_dll(self._library, "ZOO_OPEN_ACL_UNSAFE")
        self._events: queue.Queue[Event] = queue.Queue()
        self._sessions: queue.Queue[Event] = queue.Queue()
        self._on_event = _WATCHER(self._called)  # the library calls it as long as the handle lives
        self._handle = ctypes.c_void_p(
            self._library.zookeeper_init(hosts.encode(), self._on_event, timeout_ms, None, None, 0)
        )
        assert self._handle, "zookeeper_init gave no handle"

    def _called(self, handle: int, kind: int, state: int, path: bytes, context: int) -> None:
        """In a thread of the library's."""
        events = self._sessions if kind == SESSION_EVENT else self._events
        events.put(Event(kind, state, path))

    def wait_until_connected(self) -> None:
        while self._sessions.get(timeout=WAIT_S).state != CONNECTED:
            pass

    def next_event(self) -> Event:
        """The next that is not about the session."""
        return self._events.get(timeout=WAIT_S)

    @property
    def session_id(self) -> int:
        return int(self._library.zoo_client_id(self._handle)[0])

    def create(self, path: bytes, value: bytes | None, flags: int = 0) -> tuple[int, bytes]:
        """The code and the path as it came to be."""
        made = ctypes.create_string_buffer(256)
        length = -1 if value is None else len(value)
        code = self._library.zoo_create(
            self._handle, path, value, length, ctypes.byref(self._open_acl), flags, made, len(made)
        )
        return int(code), made.value

    def get(self, path: bytes, *, watch: bool = False) -> tuple[int, bytes | None, Stat]:
        """The code, the data, and the Stat."""
        buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
        length, stat = ctypes.c_int(_BUFFER_BYTES), Stat()
        watcher = self._on_event if watch else None
        code = self._library.zoo_wget(
            self._handle, path, watcher, None, buffer, ctypes.byref(length), ctypes.byref(stat)
        )
        return int(code), None if length.value < 0 else buffer.raw[: length.value], stat

    def exists(self, path: bytes, *, watch: bool = False) -> int:
        stat = Stat()
        watcher = self._on_event if watch else None
        return int(self._library.zoo_wexists(self._handle, path, watcher, None, ctypes.byref(stat)))

    def children(self, path: bytes, *, watch: bool = False) -> tuple[int, set[bytes]]:
        """The code and the names."""
        strings = _Strings()
        watcher = self._on_event if watch else None
        code = int(self._library.zoo_wget_children(self._handle, path, watcher, None, ctypes.byref(strings)))
        names = {bytes(strings.data[number]) for number in range(strings.count)} if not code else set()
        self._library.deallocate_String_vector(ctypes.byref(strings))
        return code, names

    def set(self, path: bytes, value: bytes, version: int = -1) -> int:
        return int(self._library.zoo_set(self._handle, path, value, len(value), version))

    def delete(self, path: bytes, version: int = -1) -> int:
        return int(self._library.zoo_delete(self._handle, path, version))

    def add_auth(self, scheme: bytes, credential: bytes) -> None:
        """Without waiting for what comes of it."""
        code = self._library.zoo_add_auth(self._handle, scheme, credential, len(credential), None, None)
        assert code == 0, f"zoo_add_auth gave {code}"

    def multi(self, *operations: tuple[Any, ...]) -> tuple[int, list[int]]:
        """All or nothing: ("create", path, value), ("set", path, value, version), ("delete" or "check", path, version).

        The code of the whole, and each operation's own.
        """
        array = (_Operation * len(operations))()
        results = (_Result * len(operations))()
        kept: list[ctypes.Array[ctypes.c_char]] = []
        for slot, (kind, path, *rest) in zip(array, operations, strict=True):
            at = ctypes.byref(slot)
            if kind == "create":
                kept.append(ctypes.create_string_buffer(256))
                acl = ctypes.byref(self._open_acl)
                self._library.zoo_create_op_init(at, path, rest[0], len(rest[0]), acl, 0, kept[-1], 256)
            elif kind == "set":
                self._library.zoo_set_op_init(at, path, rest[0], len(rest[0]), rest[1], None)
            else:
                initialise = {"delete": self._library.zoo_delete_op_init, "check": self._library.zoo_check_op_init}
                initialise[kind](at, path, rest[0])
        code = int(self._library.zoo_multi(self._handle, len(operations), array, results))
        return code, [result.err for result in results]

    def close(self) -> None:
        """End the session."""
        self._library.zookeeper_close(self._handle)

    def __enter__(self) -> CClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
