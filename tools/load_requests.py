"""The requests of a load, built ahead, and the sizes of their replies. Pure: no sockets, no clock.

Records and opcodes as in zookeeper.jute; a frame is a length prefix and a payload.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

MODES = ("get", "set", "create", "exists", "children", "mix90")

GET_DATA, SET_DATA, EXISTS, GET_CHILDREN2, CREATE, CLOSE_SESSION, SYNC = 4, 5, 3, 12, 1, -11, 9
SEQUENTIAL = 2

REPLY_HEADER_BYTES = 20
"""Length prefix, xid, zxid, error code."""

STAT_BYTES = 68
CREATE_PREFIX = b"/benchc/s-"
SEQUENCE_DIGITS = 10
LISTED_CHILDREN = 10
"""How many children the znode has that the `children` load lists, if nothing else is said."""

RING_REQUESTS = 4096

_HEADER = struct.Struct(">iii")
_INT = struct.Struct(">i")


def connect_request(timeout_ms: int = 30_000) -> bytes:
    """A framed ConnectRequest for a new session, with the readOnly byte."""
    return struct.pack(">iiqiqi16x?", 45, 0, 0, timeout_ms, 0, 16, False)


def request(xid: int, opcode: int, body: bytes = b"") -> bytes:
    """A framed request."""
    return _HEADER.pack(8 + len(body), xid, opcode) + body


def text(value: bytes) -> bytes:
    """A jute ustring or buffer."""
    return _INT.pack(len(value)) + value


def read_request(xid: int, opcode: int, path: bytes, *, watch: bool = False) -> bytes:
    """A framed getData, exists or getChildren2."""
    return request(xid, opcode, text(path) + (b"\1" if watch else b"\0"))


def sync_request(xid: int, path: bytes) -> bytes:
    """A framed sync: what is read behind it is not older than now."""
    return request(xid, SYNC, text(path))


def set_request(xid: int, path: bytes, data: bytes) -> bytes:
    """A framed setData for any version."""
    return request(xid, SET_DATA, text(path) + text(data) + b"\xff\xff\xff\xff")


def create_request(xid: int, path: bytes, data: bytes, flags: int = 0) -> bytes:
    """A framed create that lets everyone do everything."""
    acl = struct.pack(">ii", 1, 31) + text(b"world") + text(b"anyone")
    return request(xid, CREATE, text(path) + text(data) + acl + _INT.pack(flags))


@dataclass(frozen=True, slots=True)
class Nodes:
    """Where the znodes of a load lie: `/bench/nNNNNNN`, or spread over `parents` as `/bench1m/PPPP/nNNNNNN`.

    All paths have the same length, so all requests of a kind have the same size. The `children` load lists the
    `listed` children of a znode of its own.
    """

    count: int
    parents: int = 0
    listed: int = LISTED_CHILDREN

    @property
    def listing(self) -> bytes:
        """The path of the znode whose children are listed."""
        return b"/bench-listed-%d" % self.listed

    def listed_path(self, number: int) -> bytes:
        """The path of its child `number`, from 0 to listed - 1."""
        return b"%s/%s" % (self.listing, listed_child(number))

    def path(self, number: int) -> bytes:
        """The path of znode `number`, from 0 to count - 1."""
        if self.parents:
            return b"/bench1m/%04d/n%07d" % (number * self.parents // self.count, number)
        return b"/bench/n%06d" % number

    def ancestors(self) -> Iterator[bytes]:
        """The znodes above, parents first."""
        if not self.parents:
            yield b"/bench"
            return
        yield b"/bench1m"
        for parent in range(self.parents):
            yield b"/bench1m/%04d" % parent


def kinds_of(mode: str, count: int, rng: random.Random) -> list[str]:
    """What each of `count` requests of a load does: the mode, or for a mix nine reads to one write."""
    if mode == "mix90":
        return ["get" if rng.random() < 0.9 else "set" for _ in range(count)]
    return [mode] * count


def build(kind: str, xid: int, path: bytes, size: int) -> bytes:
    """One framed request of a load."""
    match kind:
        case "get":
            return read_request(xid, GET_DATA, path)
        case "exists":
            return read_request(xid, EXISTS, path)
        case "children":
            return read_request(xid, GET_CHILDREN2, path)
        case "set":
            return set_request(xid, path, b"y" * size)
        case _:
            return create_request(xid, CREATE_PREFIX, b"x" * size, SEQUENTIAL)


def reply_bytes(kind: str, size: int, listed: int = LISTED_CHILDREN) -> int:
    """The size of a successful reply, length prefix included."""
    body = {
        "get": 4 + size + STAT_BYTES,
        "set": STAT_BYTES,
        "exists": STAT_BYTES,
        "children": 4 + listed * (4 + len(listed_child(0))) + STAT_BYTES,
        "create": 4 + len(CREATE_PREFIX) + SEQUENCE_DIGITS,
    }[kind]
    return REPLY_HEADER_BYTES + body


def listed_child(number: int) -> bytes:
    """The name of a child of the znode that is listed."""
    return b"c%06d" % number


@dataclass(frozen=True, slots=True)
class Ring:
    """Requests built ahead, end to end, and where each one and its reply begin.

    Request `i` is `requests[request_offsets[i]:request_offsets[i + 1]]`, and `reply_offsets` is the same
    for the stream of replies. The first `2 * depth` requests stand at the end once more, so that neither a
    batch nor what is in flight ever wraps around; positions do, at `length`.
    """

    requests: memoryview
    request_offsets: list[int]
    reply_offsets: list[int]
    headers: list[tuple[int, int]]
    """What each reply's header must say: size without its prefix, error 0."""
    length: int


def build_ring(mode: str, nodes: Nodes, size: int, depth: int, rng: random.Random, length: int = RING_REQUESTS) -> Ring:
    """A ring of `length` requests to znodes picked at random; xids count from 1."""
    kinds = kinds_of(mode, length, rng)
    paths = [nodes.listing if kind == "children" else nodes.path(rng.randrange(nodes.count)) for kind in kinds]
    frames = [build(kind, xid, path, size) for xid, (kind, path) in enumerate(zip(kinds, paths, strict=True), 1)]
    sizes = {kind: reply_bytes(kind, size, nodes.listed) for kind in set(kinds)}
    order = [position % length for position in range(length + 2 * depth)]
    return Ring(
        memoryview(b"".join(frames[i] for i in order)),
        list(accumulate((len(frames[i]) for i in order), initial=0)),
        list(accumulate((sizes[kinds[i]] for i in order), initial=0)),
        [(sizes[kinds[i]] - 4, 0) for i in order],
        length,
    )
