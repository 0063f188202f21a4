"""Clients without sockets: all requests by name, and answers taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from zkstore.model.acl import OPEN_ACL
from zkstore.model.stat import Stat
from zkstore.replica.conversation import Conversation
from zkstore.replica.waiting import State
from zkstore.wire import jute
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

if TYPE_CHECKING:
    from tests.replica.world import World

T = TypeVar("T")

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
