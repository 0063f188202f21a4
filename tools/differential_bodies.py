"""The bodies of random requests: each method makes one, right or wrong, from the pools of `differential_values`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from tools import differential_values as values
from tools.differential_rules import GUARDED
from tools.differential_script import Body
from zkstore.wire.multi import MultiRequest, Op
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    AuthPacket,
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathRequest,
    PathWatchRequest,
    ReconfigRequest,
    RemoveWatchesRequest,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
)

_PLAIN_MODES = frozenset({0, 1, 2, 3, 4})
_WATCHING_READS = (Opcode.EXISTS, Opcode.GET_DATA, Opcode.GET_CHILDREN, Opcode.GET_CHILDREN2)


class Bodies:
    """Makes bodies by a generator of random numbers."""

    def __init__(self, numbers: random.Random) -> None:
        self._random = numbers
        self._choose = numbers.choice
        self._writes: dict[int, Callable[[], Any]] = {
            Opcode.CREATE: lambda: self._create(values.CREATE_FLAGS),
            Opcode.CREATE2: lambda: self._create(values.CREATE_FLAGS),
            Opcode.CREATE_CONTAINER: lambda: self._create(values.CONTAINER_FLAGS),
            Opcode.CREATE_TTL: self._create_ttl,
            Opcode.DELETE: lambda: DeleteRequest(self.path(), self._version()),
            Opcode.SET_DATA: lambda: SetDataRequest(self.path(), self._data(), self._version()),
            Opcode.CHECK: lambda: CheckVersionRequest(self.path(), self._version()),
        }

    def path(self) -> bytes | None:
        """A path, mostly one where other requests go, too."""
        number = self._random.random()
        pool = values.COMMON_PATHS if number < 0.9 else values.RARE_PATHS if number < 0.97 else values.BAD_PATHS
        return self._choose(pool)

    # --- writes -----------------------------------------------------------------------------------

    def write(self, opcode: int) -> Body:
        """A create of any kind, delete, setData or check."""
        return self._writes[opcode]()

    def set_acl(self) -> SetAclRequest:
        """setACL, never of what all scripts share: that must stay open to all."""
        path = self.path()
        if path is not None and path.startswith(b"/"):
            path = b"~"
        return SetAclRequest(path, self._acl(path), self._version())

    def multi(self) -> MultiRequest:
        """multi of any length, now and then with an operation that does not belong there."""
        kinds = (1, 1, 1, 2, 2, 5, 5, 5, 13, 13, 15, 19, 21)
        count = self._choose((0, 1, 2, 2, 3, 3, 4, 6))
        operations = [self._operation(self._choose(kinds)) for _ in range(count)]
        if self._random.random() < 0.03:
            operations.append(Op(Opcode.GET_DATA, PathWatchRequest(b"~", False)))
        return MultiRequest(tuple(operations))

    def quota(self) -> tuple[int, Body]:
        """Something about the quota of the run's znode, or of one below it: opcode and body."""
        below = b"/zookeeper/quota~" + self._choose((b"", b"", b"/a"))
        path = self._choose((below, below, below + b"/zookeeper_limits", below + b"/zookeeper_stats"))
        data = self._choose(values.LIMITS if path.endswith(b"limits") else values.USAGES)
        create = (Opcode.CREATE, CreateRequest(path, data, values.OPEN, 0))
        read = (Opcode.GET_DATA, PathWatchRequest(path, False))
        return self._choose(
            (
                *[create] * 3,
                *[read] * 2,
                (Opcode.SET_DATA, SetDataRequest(path, data, -1)),
                (Opcode.DELETE, DeleteRequest(path, -1)),
                (Opcode.GET_CHILDREN2, PathWatchRequest(path, False)),
            )
        )

    def reconfig(self) -> ReconfigRequest:
        """reconfig, of a server that does not take it."""
        return ReconfigRequest(self._choose((None, "", "server.2=x:1:2;3")), None, None, -1)

    def _operation(self, opcode: int) -> Op:
        """One of a multi, with the flags on whose meaning there all agree."""
        request = self.write(opcode)
        while request.path is None:
            request = self.write(opcode)
        if opcode == Opcode.CREATE_CONTAINER:
            request = request._replace(flags=CreateMode.CONTAINER)
        elif isinstance(request, CreateRequest) and request.flags not in _PLAIN_MODES:
            request = request._replace(flags=CreateMode.PERSISTENT)
        return Op(opcode, request)

    def _create(self, flags: Sequence[int]) -> CreateRequest:
        path = self.path()
        return CreateRequest(path, self._data(), self._create_acl(path), self._choose(flags))

    def _create_ttl(self) -> CreateTtlRequest:
        path = self.path()
        flag = self._choose((5, 5, 5, 5, 6, 6, 0))
        ttl_ms = self._choose((1 << 30, 1 << 30, 1 << 30, 0xFFFFFFFFFF, 0, -1, 0x10000000000))
        if flag == 0 and ttl_ms == -1:
            ttl_ms = 1
        return CreateTtlRequest(path, self._data(), self._create_acl(path), flag, ttl_ms)

    def _data(self) -> bytes | None:
        return self._choose((None, b"", b"x", b"data", bytes(range(40))))

    def _version(self) -> int:
        return self._choose(values.VERSIONS)

    def _acl(self, path: bytes | None) -> Any:
        number = self._random.random()
        if number < 0.1:
            return self._choose(values.BAD_ACLS)
        if path is not None and GUARDED in path and number < 0.6:
            return self._choose(values.GUARDED_ACLS)
        return self._choose(values.READABLE_ACLS)

    def _create_acl(self, path: bytes | None) -> Any:
        return values.OPEN if self._random.random() < 0.75 else self._acl(path)

    # --- everything else --------------------------------------------------------------------------

    def multi_read(self) -> MultiRequest:
        """multiRead; the watch flags mean nothing there."""
        count = self._choose((0, 1, 2, 3))
        operations = [
            Op(self._choose((4, 8)), PathWatchRequest(self.path(), self._random.random() < 0.3)) for _ in range(count)
        ]
        if self._random.random() < 0.03:
            operations.append(Op(Opcode.DELETE, DeleteRequest(b"~/a", -1)))
        return MultiRequest(tuple(operations))

    def auth(self) -> AuthPacket:
        """An auth packet that succeeds."""
        if self._random.random() < 0.2:
            return AuthPacket(1, "ip", b"whatever")
        return AuthPacket(0, "digest", self._choose(values.CREDENTIALS))

    def bad_auth(self) -> AuthPacket:
        """One that ends the connection."""
        return AuthPacket(0, *self._choose((("bogus", b"x"), ("digest", None), ("", b""), (None, b""))))

    def sample(self, opcode: int) -> Body:
        """Any request of that opcode that leaves no watch."""
        bodies: dict[int, Callable[[], Body]] = {
            **self._writes,
            Opcode.SET_ACL: lambda: SetAclRequest(b"~/a", values.OPEN, -1),
            Opcode.MULTI: lambda: MultiRequest((Op(Opcode.CREATE, CreateRequest(b"~/a", b"", values.OPEN, 0)),)),
            Opcode.MULTI_READ: lambda: MultiRequest((Op(Opcode.GET_DATA, PathWatchRequest(b"~", False)),)),
            Opcode.RECONFIG: self.reconfig,
            Opcode.SET_WATCHES: lambda: SetWatches(0, (), (), ()),
            Opcode.SET_WATCHES2: lambda: SetWatches2(0, (), (), (), (), ()),
            Opcode.ADD_WATCH: lambda: AddWatchRequest(b"~/nobody", 0),
            Opcode.CHECK_WATCHES: lambda: RemoveWatchesRequest(b"~", 3),
            Opcode.REMOVE_WATCHES: lambda: RemoveWatchesRequest(b"~", 3),
            Opcode.PING: lambda: b"",
            Opcode.WHO_AM_I: lambda: b"",
        }
        if opcode in bodies:
            return bodies[opcode]()
        path = self.path()
        return PathWatchRequest(path, False) if opcode in _WATCHING_READS else PathRequest(path)

    def noise(self) -> bytes:
        """Bytes that begin with a length that may be wrong."""
        length = self._choose((b"", b"\0\0\0\0", b"\xff" * 4, b"\xff\xff\xff\xfe", b"\x7f" + b"\xff" * 3))
        return length + self._choose((b"", b"\0", b"\0\0\0\1", b"\0\0\0\1x\0\0\0\0"))
