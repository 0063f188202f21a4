"""The records that clients send, and the handshake: field by field as in the protocol, and nothing checked beyond that.

Each has `decode(reader)` and `encode()`, which are each other's inverse. Paths are raw bytes and may be null, since
whether a path makes sense is for the request's processor to say; so are data and ACL lists. Bytes that follow the last
field are left unread. Source of the layouts: zookeeper.jute.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from zkstore.errors import MarshallingError
from zkstore.wire import jute
from zkstore.wire.jute import AclList, Reader

_REQUEST_HEADER: Final = struct.Struct(">ii")
_REPLY_HEADER: Final = struct.Struct(">iqi")


# --- the handshake and the headers ----------------------------------------------------------------


class ConnectRequest(NamedTuple):
    """The first frame of a connection.

    `session_id` 0 asks for a new session. `read_only` None is an old client's record, which ends before that byte;
    its answer must not have the byte either.
    """

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    password: bytes | None
    read_only: bool | None

    @classmethod
    def decode(cls, reader: Reader) -> ConnectRequest:
        return cls(
            reader.int32(),
            reader.int64(),
            reader.int32(),
            reader.int64(),
            reader.buffer(),
            reader.boolean() if reader.remaining else None,
        )

    def encode(self) -> bytes:
        fixed = struct.pack(">iqiq", self.protocol_version, self.last_zxid_seen, self.timeout_ms, self.session_id)
        last = b"" if self.read_only is None else jute.boolean(self.read_only)
        return fixed + jute.buffer(self.password) + last


class ConnectResponse(NamedTuple):
    """The answer to a ConnectRequest; it has no ReplyHeader.

    A refused (expired) session has `timeout_ms` 0, `session_id` 0 and a password of zeros. `read_only` None leaves the
    byte out.
    """

    protocol_version: int
    timeout_ms: int
    session_id: int
    password: bytes | None
    read_only: bool | None

    @classmethod
    def decode(cls, reader: Reader) -> ConnectResponse:
        return cls(
            reader.int32(),
            reader.int32(),
            reader.int64(),
            reader.buffer(),
            reader.boolean() if reader.remaining else None,
        )

    def encode(self) -> bytes:
        fixed = struct.pack(">iiq", self.protocol_version, self.timeout_ms, self.session_id)
        last = b"" if self.read_only is None else jute.boolean(self.read_only)
        return fixed + jute.buffer(self.password) + last


class RequestHeader(NamedTuple):
    """In front of every request; `xid` comes back in the answer, `opcode` may be a number that nobody knows."""

    xid: int
    opcode: int

    @classmethod
    def decode(cls, reader: Reader) -> RequestHeader:
        return cls(*_REQUEST_HEADER.unpack(reader.fixed(8)))

    def encode(self) -> bytes:
        return _REQUEST_HEADER.pack(*self)


class ReplyHeader(NamedTuple):
    """In front of every answer and watch event; a body follows only when `code` is 0."""

    xid: int
    zxid: int
    code: int

    @classmethod
    def decode(cls, reader: Reader) -> ReplyHeader:
        return cls(*_REPLY_HEADER.unpack(reader.fixed(16)))

    def encode(self) -> bytes:
        return _REPLY_HEADER.pack(*self)


# --- writes ---------------------------------------------------------------------------------------


class CreateRequest(NamedTuple):
    """create, create2, createContainer. `flags` should be a `CreateMode`."""

    path: bytes | None
    data: bytes | None
    acl: AclList
    flags: int

    @classmethod
    def decode(cls, reader: Reader) -> CreateRequest:
        return cls(reader.buffer(), reader.buffer(), reader.acl(), reader.int32())

    def encode(self) -> bytes:
        return jute.buffer(self.path) + jute.buffer(self.data) + jute.acl(self.acl) + jute.int32(self.flags)


class CreateTtlRequest(NamedTuple):
    """createTTL: as a create, and how long the znode may stay without change and children."""

    path: bytes | None
    data: bytes | None
    acl: AclList
    flags: int
    ttl_ms: int

    @classmethod
    def decode(cls, reader: Reader) -> CreateTtlRequest:
        return cls(reader.buffer(), reader.buffer(), reader.acl(), reader.int32(), reader.int64())

    def encode(self) -> bytes:
        return CreateRequest(*self[:4]).encode() + jute.int64(self.ttl_ms)


class DeleteRequest(NamedTuple):
    """delete; `version` -1 takes any."""

    path: bytes | None
    version: int

    @classmethod
    def decode(cls, reader: Reader) -> DeleteRequest:
        return cls(reader.buffer(), reader.int32())

    def encode(self) -> bytes:
        return jute.buffer(self.path) + jute.int32(self.version)


class CheckVersionRequest(NamedTuple):
    """check, inside a multi: fails the whole of it unless the znode is there with that `version` (-1: with any)."""

    path: bytes | None
    version: int

    @classmethod
    def decode(cls, reader: Reader) -> CheckVersionRequest:
        return cls(reader.buffer(), reader.int32())

    def encode(self) -> bytes:
        return jute.buffer(self.path) + jute.int32(self.version)


class SetDataRequest(NamedTuple):
    """setData; `version` -1 takes any."""

    path: bytes | None
    data: bytes | None
    version: int

    @classmethod
    def decode(cls, reader: Reader) -> SetDataRequest:
        return cls(reader.buffer(), reader.buffer(), reader.int32())

    def encode(self) -> bytes:
        return jute.buffer(self.path) + jute.buffer(self.data) + jute.int32(self.version)


class SetAclRequest(NamedTuple):
    """setACL; `version` means the znode's aversion, -1 takes any."""

    path: bytes | None
    acl: AclList
    version: int

    @classmethod
    def decode(cls, reader: Reader) -> SetAclRequest:
        return cls(reader.buffer(), reader.acl(), reader.int32())

    def encode(self) -> bytes:
        return jute.buffer(self.path) + jute.acl(self.acl) + jute.int32(self.version)


class ReconfigRequest(NamedTuple):
    """reconfig; strings that play no part are null. `config_version` -1 takes any."""

    joining: str | None
    leaving: str | None
    new_members: str | None
    config_version: int

    @classmethod
    def decode(cls, reader: Reader) -> ReconfigRequest:
        return cls(reader.string(), reader.string(), reader.string(), reader.int64())

    def encode(self) -> bytes:
        strings = b"".join(map(jute.string, (self.joining, self.leaving, self.new_members)))
        return strings + jute.int64(self.config_version)


# --- reads ----------------------------------------------------------------------------------------


class PathRequest(NamedTuple):
    """getACL, sync, getAllChildrenNumber; for getEphemerals `path` is a prefix."""

    path: bytes | None

    @classmethod
    def decode(cls, reader: Reader) -> PathRequest:
        return cls(reader.buffer())

    def encode(self) -> bytes:
        return jute.buffer(self.path)


class PathWatchRequest(NamedTuple):
    """exists, getData, getChildren, getChildren2."""

    path: bytes | None
    watch: bool

    @classmethod
    def decode(cls, reader: Reader) -> PathWatchRequest:
        return cls(reader.buffer(), reader.boolean())

    def encode(self) -> bytes:
        return jute.buffer(self.path) + jute.boolean(self.watch)


# --- identities -----------------------------------------------------------------------------------


class AuthPacket(NamedTuple):
    """auth: an identity for this connection. Nobody looks at `type`."""

    type: int
    scheme: str | None
    credential: bytes | None

    @classmethod
    def decode(cls, reader: Reader) -> AuthPacket:
        return cls(reader.int32(), reader.string(), reader.buffer())

    def encode(self) -> bytes:
        return jute.int32(self.type) + jute.string(self.scheme) + jute.buffer(self.credential)


class SaslPacket(NamedTuple):
    """sasl, request and answer alike: one token of the mechanism's exchange."""

    token: bytes | None

    @classmethod
    def decode(cls, reader: Reader) -> SaslPacket:
        return cls(reader.buffer())

    def encode(self) -> bytes:
        return jute.buffer(self.token)


# --- watches --------------------------------------------------------------------------------------


def _watch_paths(reader: Reader) -> tuple[bytes, ...]:
    """A list of paths where neither the list nor a path may be null (`MarshallingError`)."""
    paths = reader.vector(Reader.buffer)
    if paths is None:
        raise MarshallingError
    present = tuple([path for path in paths if path is not None])
    if len(present) < len(paths):
        raise MarshallingError
    return present


class SetWatches(NamedTuple):
    """setWatches: what a reconnected client still watches, and the last zxid that it has seen."""

    relative_zxid: int
    data: tuple[bytes, ...]
    exist: tuple[bytes, ...]
    child: tuple[bytes, ...]

    @classmethod
    def decode(cls, reader: Reader) -> SetWatches:
        return cls(reader.int64(), _watch_paths(reader), _watch_paths(reader), _watch_paths(reader))

    def encode(self) -> bytes:
        return jute.int64(self.relative_zxid) + b"".join(map(jute.buffers, self[1:]))


class SetWatches2(NamedTuple):
    """setWatches2: as setWatches, and the persistent ones."""

    relative_zxid: int
    data: tuple[bytes, ...]
    exist: tuple[bytes, ...]
    child: tuple[bytes, ...]
    persistent: tuple[bytes, ...]
    persistent_recursive: tuple[bytes, ...]

    @classmethod
    def decode(cls, reader: Reader) -> SetWatches2:
        return cls(*SetWatches.decode(reader), _watch_paths(reader), _watch_paths(reader))

    def encode(self) -> bytes:
        return jute.int64(self.relative_zxid) + b"".join(map(jute.buffers, self[1:]))


class AddWatchRequest(NamedTuple):
    """addWatch; `mode` should be an `AddWatchMode`."""

    path: bytes | None
    mode: int

    @classmethod
    def decode(cls, reader: Reader) -> AddWatchRequest:
        return cls(reader.buffer(), reader.int32())

    def encode(self) -> bytes:
        return jute.buffer(self.path) + jute.int32(self.mode)


class RemoveWatchesRequest(NamedTuple):
    """checkWatches and removeWatches; `type` should be a `WatchKind`."""

    path: bytes | None
    type: int

    @classmethod
    def decode(cls, reader: Reader) -> RemoveWatchesRequest:
        return cls(reader.buffer(), reader.int32())

    def encode(self) -> bytes:
        return jute.buffer(self.path) + jute.int32(self.type)
