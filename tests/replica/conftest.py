"""A world without sockets, disk or clock: clients over conversations, and a disk that finishes when a test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import pytest

from zkstore.model.acl import OPEN_ACL
from zkstore.model.apply import apply_segment
from zkstore.model.stat import Stat
from zkstore.model.tree import Tree
from zkstore.replica.conversation import Conversation, State
from zkstore.replica.replica import Replica, ReplicaSettings
from zkstore.wire import jute, segment
from zkstore.wire.jute import AclList, Reader
from zkstore.wire.multi import MultiRequest, MultiResponse, Op, Result
from zkstore.wire.opcodes import XID_AUTH, XID_NOTIFICATION, Opcode
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
    RemoveWatchesRequest,
    ReplyHeader,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
)
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
from zkstore.wire.segment import Segment

T = TypeVar("T")

START_MS = 1_700_000_000_000
SESSION_TIMEOUT_MS = 30_000


class Answer(NamedTuple):
    """One answer, its body still encoded."""

    xid: int
    zxid: int
    code: int
    body: bytes

    @property
    def path(self) -> bytes | None:
        return PathResponse.decode(Reader(self.body)).path

    @property
    def stat(self) -> Stat:
        """The Stat that every body with one ends with."""
        return StatResponse.decode(Reader(self.body[-68:])).stat

    @property
    def data(self) -> bytes | None:
        return DataResponse.decode(Reader(self.body)).data

    @property
    def acl(self) -> AclList:
        return AclResponse.decode(Reader(self.body)).acl

    @property
    def children(self) -> list[bytes]:
        """Sorted; of getChildren, getChildren2 and getEphemerals."""
        return sorted(ChildrenResponse.decode(Reader(self.body)).children)

    @property
    def number(self) -> int:
        return NumberResponse.decode(Reader(self.body)).number

    @property
    def results(self) -> tuple[Result, ...]:
        return MultiResponse.decode(Reader(self.body)).results

    @property
    def codes(self) -> list[int]:
        """Of a multi's results."""
        return [result.code for result in self.results]

    @property
    def identities(self) -> set[tuple[str | None, str | None]]:
        return set(WhoAmIResponse.decode(Reader(self.body)).identities)


class Told(NamedTuple):
    """One watch event."""

    type: int
    path: bytes | None
    zxid: int


class Verbs(Generic[T]):
    """All requests by name. What comes of one, `T`, is for the subclass to say."""

    def _do(self, opcode: int, body: bytes) -> T:
        raise AssertionError("a subclass sends it")

    def create(self, path: bytes, data: bytes | None = b"", flags: int = 0, acl: AclList = OPEN_ACL) -> T:
        return self._do(Opcode.CREATE, CreateRequest(path, data, acl, flags).encode())

    def create2(self, path: bytes, data: bytes | None = b"", flags: int = 0, acl: AclList = OPEN_ACL) -> T:
        return self._do(Opcode.CREATE2, CreateRequest(path, data, acl, flags).encode())

    def create_container(self, path: bytes, flags: int = 4, acl: AclList = OPEN_ACL) -> T:
        return self._do(Opcode.CREATE_CONTAINER, CreateRequest(path, b"", acl, flags).encode())

    def create_ttl(self, path: bytes, ttl_ms: int, flags: int = 5) -> T:
        return self._do(Opcode.CREATE_TTL, CreateTtlRequest(path, b"", OPEN_ACL, flags, ttl_ms).encode())

    def delete(self, path: bytes, version: int = -1) -> T:
        return self._do(Opcode.DELETE, DeleteRequest(path, version).encode())

    def set_data(self, path: bytes, data: bytes | None = b"", version: int = -1) -> T:
        return self._do(Opcode.SET_DATA, SetDataRequest(path, data, version).encode())

    def set_acl(self, path: bytes, acl: AclList, version: int = -1) -> T:
        return self._do(Opcode.SET_ACL, SetAclRequest(path, acl, version).encode())

    def multi(self, *ops: Op) -> T:
        return self._do(Opcode.MULTI, MultiRequest(ops).encode())

    def multi_read(self, *ops: Op) -> T:
        return self._do(Opcode.MULTI_READ, MultiRequest(ops).encode())

    def exists(self, path: bytes, watch: bool = False) -> T:
        return self._do(Opcode.EXISTS, PathWatchRequest(path, watch).encode())

    def get_data(self, path: bytes, watch: bool = False) -> T:
        return self._do(Opcode.GET_DATA, PathWatchRequest(path, watch).encode())

    def get_children(self, path: bytes, watch: bool = False) -> T:
        return self._do(Opcode.GET_CHILDREN, PathWatchRequest(path, watch).encode())

    def get_children2(self, path: bytes, watch: bool = False) -> T:
        return self._do(Opcode.GET_CHILDREN2, PathWatchRequest(path, watch).encode())

    def get_acl(self, path: bytes) -> T:
        return self._do(Opcode.GET_ACL, PathRequest(path).encode())

    def sync(self, path: bytes | None = b"/") -> T:
        return self._do(Opcode.SYNC, PathRequest(path).encode())

    def get_ephemerals(self, prefix: bytes | None = None) -> T:
        return self._do(Opcode.GET_EPHEMERALS, PathRequest(prefix).encode())

    def get_all_children_number(self, path: bytes) -> T:
        return self._do(Opcode.GET_ALL_CHILDREN_NUMBER, PathRequest(path).encode())

    def who_am_i(self) -> T:
        return self._do(Opcode.WHO_AM_I, b"")

    def add_watch(self, path: bytes, mode: int) -> T:
        return self._do(Opcode.ADD_WATCH, AddWatchRequest(path, mode).encode())

    def check_watches(self, path: bytes, kind: int) -> T:
        return self._do(Opcode.CHECK_WATCHES, RemoveWatchesRequest(path, kind).encode())

    def remove_watches(self, path: bytes, kind: int) -> T:
        return self._do(Opcode.REMOVE_WATCHES, RemoveWatchesRequest(path, kind).encode())

    def set_watches(self, request: SetWatches | SetWatches2) -> T:
        opcode = Opcode.SET_WATCHES if isinstance(request, SetWatches) else Opcode.SET_WATCHES2
        return self._do(opcode, request.encode())

    def close(self) -> T:
        return self._do(Opcode.CLOSE_SESSION, b"")


class Ops:
    """Operations for `multi` and `multi_read`."""

    @staticmethod
    def create(path: bytes, data: bytes | None = b"", flags: int = 0, opcode: int = Opcode.CREATE) -> Op:
        return Op(opcode, CreateRequest(path, data, OPEN_ACL, flags))

    @staticmethod
    def delete(path: bytes, version: int = -1) -> Op:
        return Op(Opcode.DELETE, DeleteRequest(path, version))

    @staticmethod
    def set_data(path: bytes, data: bytes | None = b"", version: int = -1) -> Op:
        return Op(Opcode.SET_DATA, SetDataRequest(path, data, version))

    @staticmethod
    def check(path: bytes, version: int = -1) -> Op:
        return Op(Opcode.CHECK, CheckVersionRequest(path, version))

    @staticmethod
    def get_data(path: bytes) -> Op:
        return Op(Opcode.GET_DATA, PathWatchRequest(path, False))

    @staticmethod
    def get_children(path: bytes) -> Op:
        return Op(Opcode.GET_CHILDREN, PathWatchRequest(path, False))


class Sending(Verbs[int]):
    """`client.send`: only sends; gives the xid."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _do(self, opcode: int, body: bytes) -> int:
        return self._client.request(opcode, body)


class Client(Verbs[Answer]):
    """One connection. A verb asks, lets the disk finish everything, and gives the answer; see `send` for less."""

    def __init__(self, world: World, host: str, port: int) -> None:
        self.world = world
        self.conversation: Conversation = world.replica.converse((host, port))
        self.send = Sending(self)
        self.session_id = 0
        self.password = bytes(16)
        self.timeout_ms = 0
        self._xid = 0
        self._events: list[Told] = []

    # --- bytes ------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """The server receives these bytes from this client."""
        self.conversation.receive(data)

    def output(self) -> bytes:
        """Everything that the server has for this client since the last time."""
        conversation = self.conversation
        data = b"".join(conversation.out)
        assert conversation.out_bytes == len(data), "out_bytes is the length of out"
        conversation.out.clear()
        conversation.out_bytes = 0
        return data

    def frames(self) -> list[bytes]:
        """The same, cut into frames."""
        reader = Reader(self.output())
        frames = []
        while reader.remaining:
            frame = reader.buffer()
            assert frame is not None
            frames.append(frame)
        return frames

    @property
    def is_ended(self) -> bool:
        return self.conversation.state == State.ENDED

    # --- the handshake ----------------------------------------------------------------------------

    def greet(self, **changes: Any) -> None:
        """Send a ConnectRequest: for a new session unless `changes` say otherwise."""
        request = ConnectRequest(0, 0, SESSION_TIMEOUT_MS, 0, bytes(16), False)._replace(**changes)
        self.receive(jute.buffer(request.encode()))

    def greeted(self) -> ConnectResponse:
        """The answer to it, which is all there is."""
        (frame,) = self.frames()
        response = ConnectResponse.decode(Reader(frame))
        assert response.password is not None
        self.session_id, self.timeout_ms, self.password = response.session_id, response.timeout_ms, response.password
        return response

    def connect(self, **changes: Any) -> Client:
        """A whole handshake."""
        self.greet(**changes)
        self.world.run_disk()
        self.greeted()
        return self

    def reconnect(self, **changes: Any) -> Client:
        """A new connection of the same session."""
        return self.world.stranger().connect(**{"session_id": self.session_id, "password": self.password, **changes})

    def vanish(self) -> None:
        """The connection breaks."""
        self.conversation.lost()

    # --- requests ---------------------------------------------------------------------------------

    def request(self, opcode: int, body: bytes, xid: int | None = None) -> int:
        if xid is None:
            self._xid += 1
            xid = self._xid
        self.receive(jute.buffer(jute.int32(xid) + jute.int32(opcode) + body))
        return xid

    def take(self) -> list[Answer | Told]:
        """Answers and events in the order in which they were sent, since the last time."""
        taken: list[Answer | Told] = []
        for frame in self.frames():
            reader = Reader(frame)
            xid, zxid, code = ReplyHeader.decode(reader)
            if xid == XID_NOTIFICATION:
                event = WatcherEvent.decode(reader)
                assert (code, event.state, reader.remaining) == (0, 3, 0)
                taken.append(Told(event.type, event.path, zxid))
            else:
                taken.append(Answer(xid, zxid, code, frame[16:]))
        return taken

    def answers(self) -> list[Answer]:
        """What `take` gives, without the events, which `events` still has."""
        taken = self.take()
        self._events += [item for item in taken if isinstance(item, Told)]
        return [item for item in taken if isinstance(item, Answer)]

    def events(self) -> list[tuple[int, bytes | None]]:
        """Type and path of all events since the last time, in order."""
        self._events += [item for item in self.take() if isinstance(item, Told)]
        events, self._events = self._events, []
        return [(event.type, event.path) for event in events]

    def _do(self, opcode: int, body: bytes) -> Answer:
        before = self.answers()
        assert not before, f"nobody took {before}"
        xid = self.request(opcode, body)
        self.world.run_disk()
        (answer,) = self.answers()
        assert answer.xid == xid
        return answer

    def add_auth(self, scheme: str, credential: bytes | None) -> int:
        """The code that an auth packet is answered with."""
        self.request(Opcode.AUTH, AuthPacket(0, scheme, credential).encode(), xid=XID_AUTH)
        (answer,) = self.answers()
        assert (answer.xid, answer.zxid, answer.body) == (XID_AUTH, 0, b"")
        return answer.code

    def stat(self, path: bytes) -> Stat:
        """Of a znode that exists."""
        return self.exists(path).stat

    def children2(self, path: bytes) -> Children2Response:
        return Children2Response.decode(Reader(self.get_children2(path).body))

    def created2(self, answer: Answer) -> CreatedResponse:
        return CreatedResponse.decode(Reader(answer.body))


class World:
    """One replica and all that it is told. `segments` are those that became durable, in order."""

    ops = Ops

    def __init__(self, tree: Tree | None = None, *, last_crc: int = 0, **settings: Any) -> None:
        self._passwords = iter(range(1, 1 << 32))
        self._ports = iter(range(4000, 65536))
        self.segments: list[Segment] = []
        self.sealed: deque[Segment] = deque()
        self.replica = Replica(
            tree or Tree.new(),
            ReplicaSettings(**settings),
            now_ms=1_000_000,
            time_ms=START_MS,
            last_crc=last_crc,
            make_password=lambda: next(self._passwords).to_bytes(16, "big"),
        )

    @property
    def tree(self) -> Tree:
        return self.replica.tree

    def stranger(self, host: str = "127.0.0.1") -> Client:
        """A client that is connected and has said nothing yet."""
        return Client(self, host, next(self._ports))

    def client(self, host: str = "127.0.0.1", **changes: Any) -> Client:
        """A client with a session of its own."""
        return self.stranger(host).connect(**changes)

    # --- the disk ---------------------------------------------------------------------------------

    def seal(self) -> Segment | None:
        """Hand one segment to the disk, which does not finish yet."""
        sealed = self.replica.next_segment()
        if sealed is not None:
            self.sealed.append(sealed)
        return sealed

    def finish(self, count: int = 1) -> None:
        """The disk has written that many segments more."""
        for _ in range(count):
            written = self.sealed.popleft()
            self.segments.append(written)
            self.replica.durable(written.last_zxid)

    def run_disk(self) -> None:
        """Seal and finish until nothing is under way."""
        while self.seal() or self.sealed:
            self.finish(len(self.sealed))
        assert not self.replica.has_outstanding

    def lose(self) -> None:
        """The disk is full."""
        self.sealed.clear()
        self.replica.lose_proposals()

    # --- time -------------------------------------------------------------------------------------

    def pass_time(self, by_ms: int, step_ms: int = 1_000) -> None:
        """Both clocks go on, with a tick now and then."""
        end_ms = self.replica.now_ms + by_ms
        while self.replica.now_ms < end_ms:
            step_ms = min(step_ms, end_ms - self.replica.now_ms)
            self.replica.now_ms += step_ms
            self.replica.time_ms += step_ms
            self.replica.tick()

    # --- what must hold at any time ---------------------------------------------------------------

    def check_chain(self, base: Tree | None = None) -> Tree:
        """The durable segments are a chain whose replay gives this tree; gives the replayed tree."""
        replayed = base or Tree.new()
        crc = self.segments[0].prev_crc if self.segments else 0
        for stored in self.segments:
            read = segment.decode(stored.data)
            assert read == stored
            assert (read.prev_zxid, read.prev_crc) == (replayed.zxid, crc)
            assert read.digest_zxid <= read.prev_zxid
            if read.digest_zxid == replayed.zxid:
                assert read.digest == replayed.digest
            apply_segment(replayed, read.first_zxid, segment.txns(read))
            crc = read.crc
        return replayed


@pytest.fixture
def world() -> World:
    """A fresh server."""
    return World()


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """Fresh servers by the number, or with settings of their own."""
    return World


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    """A client of `world`; at the end the log must be a chain that gives its tree."""
    yield world.client()
    world.run_disk()
    assert world.check_chain().records == world.tree.records
