"""A simulated client against a server that a test plays by hand."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from zkstore.model.watches import EventType, WatchKind
from zkstore.testing.checkers.history import Call, History
from zkstore.testing.clients.client import Client, Ear, State
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import STATE_SYNC_CONNECTED, XID_AUTH, XID_NOTIFICATION, XID_PING, AddWatchMode, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    AuthPacket,
    ConnectRequest,
    ConnectResponse,
    PathRequest,
    PathWatchRequest,
    RemoveWatchesRequest,
    ReplyHeader,
    RequestHeader,
    SetWatches2,
)
from zkstore.wire.responses import WatcherEvent

TIMEOUT_MS = 6_000
PASSWORD = bytes(range(16))


class Server:
    """One connection's other end."""

    def __init__(self, server_id: int, ear: Ear) -> None:
        self.server_id = server_id
        self.ear = ear
        self.sent = b""
        self.is_closed = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.is_closed = True

    def frames(self) -> list[bytes]:
        reader, frames = Reader(self.sent), []
        while reader.remaining:
            frames.append(reader.buffer() or b"")
        self.sent = b""
        return frames

    def greeting(self) -> ConnectRequest:
        (frame,) = self.frames()
        return ConnectRequest.decode(Reader(frame))

    def requests(self) -> list[tuple[int, int, bytes]]:
        """xid, opcode, body."""
        return [(*RequestHeader.decode(Reader(frame)), frame[8:]) for frame in self.frames()]

    def welcome(self, timeout_ms: int = TIMEOUT_MS, session_id: int = 5) -> None:
        response = ConnectResponse(0, timeout_ms, session_id, PASSWORD, False)
        self.ear.received(jute.buffer(response.encode()))

    def answer(self, xid: int, zxid: int, code: int = 0, body: bytes = b"") -> None:
        self.ear.received(jute.buffer(ReplyHeader(xid, zxid, code).encode() + body))

    def tell(self, event_type: int, path: bytes, zxid: int) -> None:
        body = WatcherEvent(event_type, STATE_SYNC_CONNECTED, path).encode()
        self.ear.received(jute.buffer(ReplyHeader(XID_NOTIFICATION, zxid, 0).encode() + body))


class World:
    def __init__(self) -> None:
        self.now_us = 0
        self.servers: list[Server] = []
        self._heap: list[tuple[int, int, Callable[[], None]]] = []

    def connect(self, server_id: int, ear: Ear) -> Server:
        self.servers.append(Server(server_id, ear))
        return self.servers[-1]

    def call_at(self, time_us: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (time_us, len(self._heap), action))

    def pass_time(self, ms: int) -> None:
        end_us = self.now_us + ms * 1000
        while self._heap and self._heap[0][0] <= end_us:
            self.now_us, _, action = heapq.heappop(self._heap)
            action()
        self.now_us = end_us


class User:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def connected(self) -> None:
        self.heard.append("connected")

    def answered(self, call: Call) -> None:
        self.heard.append(call.xid)

    def told(self, event_type: int, path: bytes) -> None:
        self.heard.append((event_type, path))

    def lost(self) -> None:
        self.heard.append("lost")

    def expired(self) -> None:
        self.heard.append("expired")


class Stage:
    """A client, its user, and its server."""

    def __init__(self, credential: bytes | None = None) -> None:
        self.world, self.user = World(), User()
        self.history = History(report_us=0)
        self.client = Client(
            self.world,
            self.history,
            Random(1),
            (1, 2, 3),
            self.user,
            timeout_ms=TIMEOUT_MS,
            credential=credential,
        )
        self.client.start()

    @property
    def server(self) -> Server:
        return self.world.servers[-1]

    def welcome(self) -> Server:
        self.server.frames()
        self.server.welcome()
        return self.server

    def next_server(self) -> Server:
        """After the connection was lost."""
        count = len(self.world.servers)
        self.world.pass_time(500)
        assert len(self.world.servers) == count + 1
        return self.server

    def watch(self, opcode: int, path: bytes, code: int = 0) -> None:
        call = self.client.request(opcode, PathWatchRequest(path, True))
        self.server.answer(call.xid, 1, code)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_the_first_connection_asks_for_a_new_session(stage: Stage) -> None:
    assert stage.server.greeting() == ConnectRequest(0, 0, TIMEOUT_MS, 0, bytes(16), False)
    stage.server.welcome()
    assert stage.client.is_at_work
    assert stage.user.heard == ["connected"]
    assert stage.server.requests() == []


def test_the_next_one_asks_another_server_for_the_same_session(stage: Stage) -> None:
    first = stage.welcome()
    call = stage.client.request(Opcode.SYNC, PathRequest(b"/"))
    first.answer(call.xid, 77)
    first.ear.closed()
    assert stage.user.heard == ["connected", call.xid, "lost"]
    second = stage.next_server()
    assert second.server_id != first.server_id
    assert second.greeting() == ConnectRequest(0, 77, TIMEOUT_MS, 5, PASSWORD, False)


def test_pings_and_events_do_not_count_as_seen(stage: Stage) -> None:
    server = stage.welcome()
    stage.client.ping()
    server.answer(XID_PING, 99)
    server.tell(EventType.CREATED, b"/a", 98)
    server.ear.closed()
    assert stage.next_server().greeting().last_zxid_seen == 0


def test_an_identity_is_proved_before_anything_else() -> None:
    stage = Stage(credential=b"alice:a")
    server = stage.welcome()
    ((xid, opcode, body),) = server.requests()
    assert (xid, opcode) == (XID_AUTH, Opcode.AUTH)
    assert AuthPacket.decode(Reader(body)) == AuthPacket(0, "digest", b"alice:a")
    server.answer(XID_AUTH, 0)
    assert stage.client.is_at_work
    assert [identity.scheme for identity in stage.history.channels[0].identities] == ["digest"]


def test_a_refused_identity_is_a_complaint() -> None:
    stage = Stage(credential=b"alice:a")
    stage.welcome().answer(XID_AUTH, 0, -115)
    assert not stage.client.is_at_work
    assert [complaint.rule for complaint in stage.history.complaints] == ["answer order"]


def test_a_silent_client_pings_after_a_third_of_its_timeout(stage: Stage) -> None:
    server = stage.welcome()
    stage.world.pass_time(TIMEOUT_MS // 3)
    assert [request[:2] for request in server.requests()] == [(XID_PING, Opcode.PING)]


def test_a_server_that_is_silent_for_two_thirds_of_the_timeout_is_left(stage: Stage) -> None:
    server = stage.welcome()
    stage.world.pass_time(TIMEOUT_MS)
    assert server.is_closed
    assert stage.user.heard == ["connected", "lost"]


def test_a_server_that_does_not_greet_is_left(stage: Stage) -> None:
    stage.world.pass_time(3_000)
    assert stage.world.servers[0].is_closed
    assert len(stage.world.servers) == 2
    assert stage.user.heard == []


def test_a_refused_session_is_the_end_of_its_client(stage: Stage) -> None:
    stage.welcome().ear.closed()
    stage.next_server().welcome(timeout_ms=0, session_id=0)
    assert stage.client.state == State.GONE
    assert stage.user.heard == ["connected", "lost", "expired"]
    assert stage.history.lives[5].refused_us == stage.world.now_us
    stage.world.pass_time(TIMEOUT_MS)
    assert len(stage.world.servers) == 2


def test_the_answer_to_a_close_is_the_end_of_its_client(stage: Stage) -> None:
    server = stage.welcome()
    call = stage.client.request(Opcode.CLOSE_SESSION, None)
    server.answer(call.xid, 3)
    assert stage.user.heard == ["connected", "expired"]
    assert server.is_closed


def test_a_client_that_stops_says_nothing_more(stage: Stage) -> None:
    server = stage.welcome()
    stage.client.stop()
    stage.world.pass_time(TIMEOUT_MS)
    assert server.requests() == []
    assert stage.history.lives[5].silent_us == 0


@pytest.mark.parametrize("quietly", [False, True])
def test_a_client_that_hops_is_at_the_next_server_soon(stage: Stage, quietly: bool) -> None:
    first = stage.welcome()
    stage.client.hop(quietly)
    assert first.is_closed is not quietly
    assert stage.next_server().greeting().session_id == 5
    first.answer(1, 1)
    first.ear.closed()
    assert stage.client.state == State.GREETING


def test_answers_may_come_in_pieces(stage: Stage) -> None:
    server = stage.welcome()
    calls = [stage.client.request(Opcode.SYNC, PathRequest(b"/")) for _ in range(2)]
    answers = b"".join(jute.buffer(ReplyHeader(call.xid, 4, 0).encode() + b"body") for call in calls)
    for byte in answers:
        server.ear.received(bytes([byte]))
    assert [(call.zxid, call.body) for call in calls] == [(4, b"body")] * 2
    assert stage.client.pending_count == 0


@pytest.mark.parametrize("xid", [2, 7, XID_PING])
def test_an_answer_that_is_not_the_next_one_is_a_complaint(stage: Stage, xid: int) -> None:
    server = stage.welcome()
    for _ in range(2):
        stage.client.request(Opcode.SYNC, PathRequest(b"/"))
    server.answer(xid, 4)
    assert [complaint.rule for complaint in stage.history.complaints] == ["answer order"]
    assert server.is_closed


def test_bytes_that_make_no_sense_are_a_complaint(stage: Stage) -> None:
    server = stage.welcome()
    server.ear.received(jute.buffer(b"short"))
    assert [complaint.rule for complaint in stage.history.complaints] == ["answer order"]


def _restored(stage: Stage) -> SetWatches2 | None:
    """What a client watches, as it says to the next server."""
    stage.server.ear.closed()
    server = stage.next_server()
    server.frames()
    server.welcome()
    requests = server.requests()
    if not requests:
        return None
    ((_, opcode, body),) = requests
    assert opcode == Opcode.SET_WATCHES2
    return SetWatches2.decode(Reader(body))


def test_watches_are_registered_again_at_the_next_server(stage: Stage) -> None:
    stage.welcome()
    stage.watch(Opcode.GET_DATA, b"/data")
    stage.watch(Opcode.EXISTS, b"/there")
    stage.watch(Opcode.EXISTS, b"/absent", -101)
    stage.watch(Opcode.GET_DATA, b"/gone", -101)
    stage.watch(Opcode.GET_CHILDREN, b"/family")
    for mode in AddWatchMode:
        call = stage.client.request(Opcode.ADD_WATCH, AddWatchRequest(b"/%d" % mode, mode))
        stage.server.answer(call.xid, 9)
    assert _restored(stage) == SetWatches2(9, (b"/data", b"/there"), (b"/absent",), (b"/family",), (b"/0",), (b"/1",))


@pytest.mark.parametrize(
    ("opcode", "code", "event_type"),
    [
        (Opcode.GET_DATA, 0, EventType.DATA_CHANGED),
        (Opcode.GET_DATA, 0, EventType.DELETED),
        (Opcode.EXISTS, -101, EventType.CREATED),
        (Opcode.GET_CHILDREN2, 0, EventType.CHILDREN_CHANGED),
        (Opcode.GET_CHILDREN, 0, EventType.DELETED),
    ],
)
def test_a_watch_that_has_fired_is_not_registered_again(
    stage: Stage, opcode: int, code: int, event_type: EventType
) -> None:
    stage.welcome()
    stage.watch(opcode, b"/a", code)
    stage.server.tell(event_type, b"/a", 2)
    assert stage.user.heard[-1] == (event_type, b"/a")
    assert _restored(stage) is None


@pytest.mark.parametrize("kind", list(WatchKind))
def test_a_removed_watch_is_not_registered_again(stage: Stage, kind: WatchKind) -> None:
    stage.welcome()
    stage.watch(Opcode.GET_DATA, b"/a")
    stage.watch(Opcode.GET_CHILDREN, b"/a")
    for mode in AddWatchMode:
        call = stage.client.request(Opcode.ADD_WATCH, AddWatchRequest(b"/a", mode))
        stage.server.answer(call.xid, 9)
    call = stage.client.request(Opcode.REMOVE_WATCHES, RemoveWatchesRequest(b"/a", kind))
    stage.server.answer(call.xid, 9)
    restored = _restored(stage)
    left = (
        set()
        if restored is None
        else {
            kind
            for kind, paths in (
                (WatchKind.DATA, restored.data),
                (WatchKind.CHILDREN, restored.child),
                (WatchKind.PERSISTENT, restored.persistent),
                (WatchKind.PERSISTENT_RECURSIVE, restored.persistent_recursive),
            )
            if paths
        }
    )
    every = {WatchKind.DATA, WatchKind.CHILDREN, WatchKind.PERSISTENT, WatchKind.PERSISTENT_RECURSIVE}
    assert left == (set() if kind == WatchKind.ANY else every - {kind})
