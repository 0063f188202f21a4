"""What the fuzzer attacks: bytes in, and everything that must hold afterwards. Pure: no clock, no chance, no files.

An input's first byte chooses the target:

    RECORD      one more byte chooses a record of the protocol; the rest is decoded as that
    STREAM      one byte of settings; the rest is what a stranger sends on a new connection
    REQUESTS    one byte of settings; then steps of two clients: a kind, a size, and so many bytes of body

A broken promise is an AssertionError; whatever else is raised is one, too. The seeds at the end are good inputs of
every kind, for a fuzzer to start from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from tools.fuzz_world import SETTINGS, World
from zkstore.errors import DamageError, ProtocolError, RequestError
from zkstore.model import distinguished_name
from zkstore.model.acl import OPEN_ACL
from zkstore.model.stat import Stat
from zkstore.model.txns import CREATE, MULTI, SET_DATA, CreateTxn, MultiTxn, SetDataTxn
from zkstore.wire import jute, segment
from zkstore.wire.jute import Reader, WireAcl
from zkstore.wire.multi import MultiRequest, MultiResponse, Op, Result
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    AuthPacket,
    CheckVersionRequest,
    ConnectRequest,
    ConnectResponse,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathRequest,
    PathWatchRequest,
    ReconfigRequest,
    RemoveWatchesRequest,
    ReplyHeader,
    RequestHeader,
    SaslPacket,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
)
from zkstore.wire.responses import (
    AclResponse,
    Children2Response,
    ChildrenResponse,
    ClientInfo,
    CreatedResponse,
    DataResponse,
    NumberResponse,
    PathResponse,
    StatResponse,
    WatcherEvent,
    WhoAmIResponse,
)


class Record(Protocol):
    """A record of the protocol."""

    @classmethod
    def decode(cls, reader: Reader) -> Record: ...

    def encode(self) -> bytes: ...


RECORD, STREAM, REQUESTS = range(3)

CONNECT: Final = ConnectRequest(0, 0, 30_000, 0, bytes(16), False)
_STAT: Final = Stat(1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 9)
_MULTI: Final = MultiRequest(
    (
        Op(Opcode.CREATE, CreateRequest(b"/m", b"", OPEN_ACL, CreateMode.EPHEMERAL)),
        Op(Opcode.SET_DATA, SetDataRequest(b"/m", b"x", 0)),
        Op(Opcode.CHECK, CheckVersionRequest(b"/a", 0)),
        Op(Opcode.DELETE, DeleteRequest(b"/m", -1)),
    )
)

REQUESTS_BY_OPCODE: Final[dict[Opcode, Record | None]] = {
    Opcode.CREATE: CreateRequest(b"/a", b"1", OPEN_ACL, 0),
    Opcode.CREATE2: CreateRequest(b"/a/s", None, (WireAcl(31, "auth", None),), CreateMode.EPHEMERAL_SEQUENTIAL),
    Opcode.CREATE_CONTAINER: CreateRequest(b"/c", b"", OPEN_ACL, CreateMode.CONTAINER),
    Opcode.CREATE_TTL: CreateTtlRequest(b"/t", b"", OPEN_ACL, CreateMode.TTL, 1_000),
    Opcode.SET_DATA: SetDataRequest(b"/a", b"22", -1),
    Opcode.DELETE: DeleteRequest(b"/a", 0),
    Opcode.SET_ACL: SetAclRequest(b"/a", (WireAcl(1, "ip", "127.0.0.1/8"),), -1),
    Opcode.MULTI: _MULTI,
    Opcode.MULTI_READ: MultiRequest(
        (
            Op(Opcode.GET_DATA, PathWatchRequest(b"/a", False)),
            Op(Opcode.GET_CHILDREN, PathWatchRequest(b"/", False)),
        )
    ),
    Opcode.GET_DATA: PathWatchRequest(b"/a", True),
    Opcode.EXISTS: PathWatchRequest(b"/b", True),
    Opcode.GET_CHILDREN: PathWatchRequest(b"/", True),
    Opcode.GET_CHILDREN2: PathWatchRequest(b"/", False),
    Opcode.GET_ACL: PathRequest(b"/a"),
    Opcode.GET_ALL_CHILDREN_NUMBER: PathRequest(b"/"),
    Opcode.GET_EPHEMERALS: PathRequest(b"/"),
    Opcode.SYNC: PathRequest(b"/"),
    Opcode.ADD_WATCH: AddWatchRequest(b"/a", 1),
    Opcode.CHECK_WATCHES: RemoveWatchesRequest(b"/a", 3),
    Opcode.REMOVE_WATCHES: RemoveWatchesRequest(b"/a", 2),
    Opcode.SET_WATCHES: SetWatches(0, (b"/a",), (b"/b",), (b"/",)),
    Opcode.SET_WATCHES2: SetWatches2(0, (b"/a",), (b"/b",), (b"/",), (b"/a",), (b"/",)),
    Opcode.AUTH: AuthPacket(0, "digest", b"user:password"),
    Opcode.SASL: SaslPacket(b""),
    Opcode.RECONFIG: ReconfigRequest(None, None, "server.1=a:1:2", -1),
    Opcode.WHO_AM_I: None,
    Opcode.PING: None,
    Opcode.CLOSE_SESSION: None,
    Opcode.CHECK: CheckVersionRequest(b"/a", 0),  # alone it is an opcode that nobody knows
}
_ANSWERS: Final[tuple[Record, ...]] = (
    CONNECT,
    ConnectResponse(0, 30_000, 7, bytes(16), False),
    RequestHeader(1, Opcode.PING),
    ReplyHeader(1, 2, 0),
    MultiResponse((Result(Opcode.CREATE, 0, PathResponse(b"/m")), Result(Opcode.ERROR, -101, None))),
    PathResponse(b"/a"),
    CreatedResponse(b"/a", _STAT),
    StatResponse(_STAT),
    DataResponse(b"x", _STAT),
    AclResponse(OPEN_ACL, _STAT),
    ChildrenResponse((b"a", b"b")),
    Children2Response((b"a", b"b"), _STAT),
    NumberResponse(7),
    WhoAmIResponse((ClientInfo("ip", "127.0.0.1"),)),
    WatcherEvent(1, 3, b"/a"),
)
EXAMPLES: Final = (*(record for record in REQUESTS_BY_OPCODE.values() if record is not None), *_ANSWERS)

_MULTI_READ_AT: Final = EXAMPLES.index(REQUESTS_BY_OPCODE[Opcode.MULTI_READ] or CONNECT)
_SEGMENT: Final = segment.encode(
    [
        CreateTxn(CREATE, 1, 2, 3, b"/a", b"1", None, 0),
        MultiTxn(MULTI, 1, 3, 3, (SetDataTxn(SET_DATA, 1, 3, 3, b"/a", b"2", 1),)),
    ],
    prev_zxid=4,
    first_zxid=5,
    digest_zxid=4,
    digest=6,
    prev_crc=7,
)


def attack(data: bytes) -> None:
    """One input. Raises where a promise is broken, and returns nothing else."""
    if len(data) < 2:
        return
    if data[0] % 3 == RECORD:
        _decode(data[1], data[2:])
    elif data[0] % 3 == STREAM:
        _play_stream(data[1], data[2:])
    else:
        _play_requests(data[1], data[2:])


# --- records --------------------------------------------------------------------------------------


def _decode(chosen: int, data: bytes) -> None:
    """Decoding gives a record or a clean error; a record's own bytes decode to the same record."""
    number = chosen % (len(EXAMPLES) + 3)
    if number < len(EXAMPLES):
        _decode_record(number, data)
    elif number == len(EXAMPLES):
        _expect_damage_only(data)
    elif number == len(EXAMPLES) + 1:
        _expect_damage_only(_SEGMENT.data, data)
    else:
        try:
            distinguished_name.subject_of(data)
        except ProtocolError:
            return


def _decode_record(number: int, data: bytes) -> None:
    reader = Reader(data)
    try:
        if number == _MULTI_READ_AT:
            record: Record = MultiRequest.decode(reader, Opcode.MULTI_READ)
        else:
            record = EXAMPLES[number].decode(reader)
    except (ProtocolError, RequestError):
        return
    assert reader.offset <= len(data), f"{record} was read from bytes that are not there"
    again = Reader(record.encode())
    if number == _MULTI_READ_AT:
        same: Record = MultiRequest.decode(again, Opcode.MULTI_READ)
    else:
        same = EXAMPLES[number].decode(again)
    assert same == record, f"{record} came back as {same}"
    assert not again.remaining, f"{record} has bytes that nobody reads"


def _expect_damage_only(data: bytes, body: bytes | None = None) -> None:
    """A segment that is none says so. With `body`, the header is good and its body that."""
    try:
        read = segment.decode(data)
        if body is not None:
            header = data[: len(data) - _segment_body_bytes(data)]
            read = segment.Segment(
                read.prev_zxid, 5, 5, read.digest_zxid, read.digest, read.prev_crc, read.crc, header + body
            )
        segment.txns(read)
    except DamageError:
        return


def _segment_body_bytes(data: bytes) -> int:
    (body_bytes,) = jute.INT32.unpack_from(data, 48)
    return int(body_bytes)


# --- conversations --------------------------------------------------------------------------------

_BYTEWISE_MAX: Final = 200  # beyond it, byte by byte costs more than it finds


def _play_stream(chosen: int, data: bytes) -> None:
    """Anything on a new connection, whole and byte by byte: the same comes of it."""
    outcomes = []
    splits = [[data], [data[at : at + 1] for at in range(len(data))]]
    for pieces in splits if len(data) <= _BYTEWISE_MAX else splits[:1]:
        world = World(chosen)
        stranger = world.stranger()
        for piece in pieces:
            stranger.receive(piece)
        world.settle()
        outcomes.append((stranger.output, stranger.conversation.state, world.replica.tree.records))
        world.check()
    assert outcomes[0] == outcomes[-1], "what arrives in pieces is answered otherwise than the whole"


_SPECIAL: Final = ("disk", "lose", "time", "raw", "reconnect", "hang up")
_KINDS: Final[tuple[Opcode | str, ...]] = (*REQUESTS_BY_OPCODE, *_SPECIAL)
_OTHER_CLIENT, _IN_TWO_PIECES = 0x40, 0x80
_STEPS_MAX: Final = 60


def _play_requests(chosen: int, data: bytes) -> None:
    """Framed requests of two clients, right and wrong, while the disk works, fills up, and time passes."""
    world = World(chosen)
    clients = [world.client(), world.client()]
    for kind, body in _steps(data):
        which = bool(kind & _OTHER_CLIENT)
        client = clients[which]
        what = _KINDS[(kind & 0x3F) % len(_KINDS)]
        if isinstance(what, Opcode):
            client.request(what, body, in_two_pieces=bool(kind & _IN_TWO_PIECES))
        elif what == "disk":
            world.run_disk(segments=1)
        elif what == "lose":
            world.lose()
        elif what == "time":
            world.pass_time(100 * (1 + len(body)))
        elif what == "raw":
            client.receive(body)
        elif what == "reconnect":
            clients[which] = world.reconnect(client)
        else:
            client.hang_up()
    world.settle()
    world.check()


def _steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for _ in range(_STEPS_MAX):
        if len(data) - at < 2:
            return
        kind, size = data[at], data[at + 1]
        yield kind, data[at + 2 : at + 2 + size]
        at += 2 + size


# --- good inputs ----------------------------------------------------------------------------------


def step(what: Opcode | str, body: bytes = b"", flags: int = 0) -> bytes:
    """One step of a REQUESTS input."""
    return bytes([_KINDS.index(what) | flags, len(body)]) + body


def seeds() -> list[bytes]:
    """Every record, every request, handshakes and a segment."""
    found = [bytes([RECORD, number]) + record.encode() for number, record in enumerate(EXAMPLES)]
    found.append(bytes([RECORD, len(EXAMPLES)]) + _SEGMENT.data)
    found.append(bytes([RECORD, len(EXAMPLES) + 1]) + _SEGMENT.data[-_segment_body_bytes(_SEGMENT.data) :])
    create = step(Opcode.CREATE, CreateRequest(b"/a", b"1", OPEN_ACL, 0).encode()) + step("disk")
    for opcode, record in REQUESTS_BY_OPCODE.items():
        body = b"" if record is None else record.encode()
        for settings in range(len(SETTINGS)):
            found.append(bytes([REQUESTS, settings]) + create + step(opcode, body) + step("disk"))
        watch = step(Opcode.GET_DATA, PathWatchRequest(b"/a", True).encode(), _OTHER_CLIENT)
        ways_on = (step("lose"), step("time", bytes(250)), step("reconnect"), step("hang up"), step("raw", b"\0\0\0"))
        found += [bytes([REQUESTS, 0]) + create + watch + step(opcode, body) + way for way in ways_on]
        framed = jute.buffer(jute.int32(1) + jute.int32(opcode) + body)
        found.append(bytes([STREAM, 0]) + jute.buffer(CONNECT.encode()) + framed)
    found += [bytes([STREAM, 0]) + text for text in (b"ruok\n", b"stmk\0\0\0\0\0\0\0\1", b"GET / HTTP/1.1\r\n")]
    return found
