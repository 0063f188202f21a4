"""The bodies of answers, and the watch event: what follows a ReplyHeader with code 0.

Each has `decode(reader)` and `encode()`, which are each other's inverse. A server that keeps a znode's image sends that
instead of encoding a `DataResponse`: the two are the same bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from zkstore.errors import ProtocolError
from zkstore.model.stat import STAT, Stat
from zkstore.wire import jute
from zkstore.wire.jute import AclList, Reader
from zkstore.wire.opcodes import STATE_SYNC_CONNECTED, XID_NOTIFICATION

_EVENT: Final = Struct(">iiqiiii")


def _stat(reader: Reader) -> Stat:
    return Stat._make(STAT.unpack(reader.fixed(STAT.size)))


def _paths(reader: Reader) -> tuple[bytes, ...]:
    """A list of names or paths; servers never send a null in it."""
    paths = reader.vector(Reader.buffer) or ()
    present = tuple([path for path in paths if path is not None])
    if len(present) < len(paths):
        raise ProtocolError("a null name in an answer")
    return present


class PathResponse(NamedTuple):
    """create: the path as it came to be; sync: the path as it was asked for."""

    path: bytes | None

    @classmethod
    def decode(cls, reader: Reader) -> PathResponse:
        return cls(reader.buffer())

    def encode(self) -> bytes:
        return jute.buffer(self.path)


class CreatedResponse(NamedTuple):
    """create2, createContainer, createTTL."""

    path: bytes | None
    stat: Stat

    @classmethod
    def decode(cls, reader: Reader) -> CreatedResponse:
        return cls(reader.buffer(), _stat(reader))

    def encode(self) -> bytes:
        return jute.buffer(self.path) + STAT.pack(*self.stat)


class StatResponse(NamedTuple):
    """exists, setData, setACL."""

    stat: Stat

    @classmethod
    def decode(cls, reader: Reader) -> StatResponse:
        return cls(_stat(reader))

    def encode(self) -> bytes:
        return STAT.pack(*self.stat)


class DataResponse(NamedTuple):
    """getData, reconfig."""

    data: bytes | None
    stat: Stat

    @classmethod
    def decode(cls, reader: Reader) -> DataResponse:
        return cls(reader.buffer(), _stat(reader))

    def encode(self) -> bytes:
        return jute.buffer(self.data) + STAT.pack(*self.stat)


class AclResponse(NamedTuple):
    """getACL."""

    acl: AclList
    stat: Stat

    @classmethod
    def decode(cls, reader: Reader) -> AclResponse:
        return cls(reader.acl(), _stat(reader))

    def encode(self) -> bytes:
        return jute.acl(self.acl) + STAT.pack(*self.stat)


class ChildrenResponse(NamedTuple):
    """getChildren: names without their parent; getEphemerals: whole paths. In no order."""

    children: tuple[bytes, ...]

    @classmethod
    def decode(cls, reader: Reader) -> ChildrenResponse:
        return cls(_paths(reader))

    def encode(self) -> bytes:
        return jute.buffers(self.children)


class Children2Response(NamedTuple):
    """getChildren2."""

    children: tuple[bytes, ...]
    stat: Stat

    @classmethod
    def decode(cls, reader: Reader) -> Children2Response:
        return cls(_paths(reader), _stat(reader))

    def encode(self) -> bytes:
        return jute.buffers(self.children) + STAT.pack(*self.stat)


class NumberResponse(NamedTuple):
    """getAllChildrenNumber: how many descendants; addWatch: always 0."""

    number: int

    @classmethod
    def decode(cls, reader: Reader) -> NumberResponse:
        return cls(reader.int32())

    def encode(self) -> bytes:
        return jute.int32(self.number)


class ClientInfo(NamedTuple):
    """One identity of a connection."""

    scheme: str | None
    user: str | None


class WhoAmIResponse(NamedTuple):
    """whoAmI."""

    identities: tuple[ClientInfo, ...]

    @classmethod
    def decode(cls, reader: Reader) -> WhoAmIResponse:
        return cls(reader.vector(lambda reader: ClientInfo(reader.string(), reader.string())) or ())

    def encode(self) -> bytes:
        return jute.vector([jute.string(scheme) + jute.string(user) for scheme, user in self.identities])


class WatcherEvent(NamedTuple):
    """The body of a frame with xid -1. `type` is the model's `EventType`, `state` is `STATE_SYNC_CONNECTED`."""

    type: int
    state: int
    path: bytes | None

    @classmethod
    def decode(cls, reader: Reader) -> WatcherEvent:
        return cls(reader.int32(), reader.int32(), reader.buffer())

    def encode(self) -> bytes:
        return jute.int32(self.type) + jute.int32(self.state) + jute.buffer(self.path)


def event_frame(event_type: int, path: bytes, zxid: int) -> bytes:
    """A WatcherEvent with all that goes before it, as it is sent to each who watches."""
    return _EVENT.pack(28 + len(path), XID_NOTIFICATION, zxid, 0, event_type, STATE_SYNC_CONNECTED, len(path)) + path
