"""What a client sees of a server's answers, in a form in which the answers of two servers can be compared.

Absolute zxids become offsets from the run's beginning, session ids their labels, times only whether they are set;
names that come in no order are sorted. Everything else is kept to the byte: what does not decode is shown as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from zkstore.errors import ZkStoreError
from zkstore.model.stat import Stat
from zkstore.wire.jute import Reader
from zkstore.wire.multi import MultiResponse, Result
from zkstore.wire.opcodes import XID_NOTIFICATION, Opcode
from zkstore.wire.records import ConnectResponse, ReplyHeader, SaslPacket
from zkstore.wire.responses import (
    AclResponse,
    Children2Response,
    ChildrenResponse,
    CreatedResponse,
    DataResponse,
    NumberResponse,
    PathResponse,
    StatResponse,
    WatcherEvent,
    WhoAmIResponse,
)

RESPONSES: dict[int, Any] = {
    Opcode.CREATE: PathResponse,
    Opcode.EXISTS: StatResponse,
    Opcode.GET_DATA: DataResponse,
    Opcode.SET_DATA: StatResponse,
    Opcode.GET_ACL: AclResponse,
    Opcode.SET_ACL: StatResponse,
    Opcode.GET_CHILDREN: ChildrenResponse,
    Opcode.SYNC: PathResponse,
    Opcode.GET_CHILDREN2: Children2Response,
    Opcode.MULTI: MultiResponse,
    Opcode.CREATE2: CreatedResponse,
    Opcode.RECONFIG: DataResponse,
    Opcode.CREATE_CONTAINER: CreatedResponse,
    Opcode.CREATE_TTL: CreatedResponse,
    Opcode.MULTI_READ: MultiResponse,
    Opcode.SASL: SaslPacket,
    Opcode.GET_EPHEMERALS: ChildrenResponse,
    Opcode.GET_ALL_CHILDREN_NUMBER: NumberResponse,
    Opcode.ADD_WATCH: NumberResponse,
    Opcode.WHO_AM_I: WhoAmIResponse,
}
"""By opcode; whatever is missing has no body."""

_UNORDERED = (ChildrenResponse, Children2Response, WhoAmIResponse)


class Connected(NamedTuple):
    """The answer to a connect."""

    timeout_ms: int
    session: str
    password_bytes: int | None
    read_only: bool | None


class Reply(NamedTuple):
    """An answer; `zxid` is an offset (`+3`), or as it stands if it is 0 or -1. `opcode` is the request's."""

    opcode: int
    xid: int
    zxid: str
    code: int
    body: Any


class Event(NamedTuple):
    """A watch event."""

    type: int
    state: int
    path: bytes | None
    zxid: str


class Fence(NamedTuple):
    """The tester's own read was answered; this is the server's zxid by then."""

    zxid: str


class Bytes(NamedTuple):
    """A frame, or a part of one, that does not decode."""

    hex: str


class End(NamedTuple):
    """The server closed the connection, or said nothing for too long."""

    how: str


CLOSED = End("closed")
SILENT = End("silent")
NOT_OPEN = End("not open")

Seen: TypeAlias = Connected | Reply | Event | Fence | Bytes | End

FENCE_XID = 0x7FFF0001
"""The tester's own requests; scripts count from 1."""


class Scale(NamedTuple):
    """One server's own numbers: the zxid at which the run began there, and who a session id is."""

    base_zxid: int
    session_name: Callable[[int], str]

    def zxid(self, zxid: int) -> str:
        """An offset; 0 and -1 mean something of their own, and what was before the run is not its concern."""
        if zxid in (0, -1):
            return str(zxid)
        return f"{zxid - self.base_zxid:+d}" if zxid >= self.base_zxid else "before"


def see_connected(payload: bytes, scale: Scale) -> Seen:
    """The answer to a connect."""
    reader = Reader(payload)
    try:
        response = ConnectResponse.decode(reader)
    except ZkStoreError:
        return Bytes(payload.hex())
    if reader.remaining:
        return Bytes(payload.hex())
    session = scale.session_name(response.session_id)
    password_bytes = None if response.password is None else len(response.password)
    return Connected(response.timeout_ms, session, password_bytes, response.read_only)


def see(payload: bytes, opcodes: dict[int, int], scale: Scale) -> Seen:
    """An answer or an event; `opcodes` says by xid what was asked."""
    reader = Reader(payload)
    try:
        header = ReplyHeader.decode(reader)
        if header.xid == XID_NOTIFICATION:
            event = WatcherEvent.decode(reader)
            seen: Seen = Event(event.type, event.state, event.path, scale.zxid(header.zxid))
        elif header.xid == FENCE_XID:
            return Fence(scale.zxid(header.zxid))
        else:
            opcode = opcodes[header.xid]
            response = RESPONSES.get(opcode)
            body = None
            if response is not None and (header.code == 0 or reader.remaining):
                body = _masked(response.decode(reader), scale)
            seen = Reply(opcode, header.xid, scale.zxid(header.zxid), header.code, body)
    except (ZkStoreError, KeyError):
        return Bytes(payload.hex())
    return Bytes(payload.hex()) if reader.remaining else seen


def _masked(value: Any, scale: Scale) -> Any:
    if isinstance(value, Stat):
        return _masked_stat(value, scale)
    if isinstance(value, tuple):
        items = [_masked(item, scale) for item in value]
        if isinstance(value, _UNORDERED):
            items[0] = tuple(sorted(items[0]))
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def _masked_stat(stat: Stat, scale: Scale) -> tuple[str, ...]:
    values: dict[str, Any] = stat._asdict()
    for name in ("czxid", "mzxid", "pzxid"):
        values[name] = scale.zxid(values[name])
    values["mtime_ms"] = "later" if stat.mtime_ms >= stat.ctime_ms else "earlier than its creation"
    values["ctime_ms"] = "set" if stat.ctime_ms else 0
    values["ephemeral_owner"] = scale.session_name(stat.ephemeral_owner)
    return tuple(f"{name.removesuffix('_ms')}={value}" for name, value in values.items())


def results_of(reply: Reply) -> tuple[Result, ...]:
    """A multi's results; none if it has failed as a whole."""
    return reply.body.results if isinstance(reply.body, MultiResponse) else ()


def describe(seen: Seen) -> str:
    """One line for a person."""
    if isinstance(seen, Reply):
        head = f"answer to xid {seen.xid}, zxid {seen.zxid}, code {seen.code}"
        return head if seen.body is None else f"{head}: {_plain(seen.body)}"
    if isinstance(seen, Event):
        return f"event {seen.type} of {_plain(seen.path)}, state {seen.state}, zxid {seen.zxid}"
    if isinstance(seen, Connected):
        return "connected: " + " ".join(f"{name}={value}" for name, value in seen._asdict().items())
    if isinstance(seen, Fence):
        return f"then zxid {seen.zxid}"
    if isinstance(seen, Bytes):
        return f"bytes {seen.hex}"
    return seen.how


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value)[1:]
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_plain, value)) + ")"
    return str(value)
