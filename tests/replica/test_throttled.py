"""Requests that wait for their turn where the server limits how many are under way."""

from __future__ import annotations

import pytest

from tests.replica.clients import Answer, Client
from tests.replica.world import World
from zkstore import limits
from zkstore.replica.throttle import RequestLimits, Turns
from zkstore.wire import jute
from zkstore.wire.opcodes import XID_PING, Opcode

THROTTLED = -127


@pytest.fixture
def world() -> World:
    """A server that takes on two writes at once."""
    return World(requests=RequestLimits(2))


def codes(client: Client) -> list[tuple[int, int]]:
    return [(answer.xid, answer.code) for answer in client.answers()]


def test_turns_come_in_the_order_in_which_was_asked() -> None:
    turns: Turns[str] = Turns(RequestLimits(1))
    assert turns.is_open(0)
    assert not turns.is_open(1)
    turns.wait("a", 10)
    turns.wait("b", 20)
    assert not turns.is_open(0), "whoever comes now would pass those that wait"
    assert turns.next(1, 30) is None
    assert [turns.next(0, 30), turns.next(0, 31), turns.next(0, 32)] == [("a", 20), ("b", 11), None]


def test_no_more_writes_are_under_way_than_may_be(world: World) -> None:
    client = world.client()
    xids = [client.send.create(b"/n%d" % number) for number in range(5)]
    assert world.replica.role.outstanding_count == 2
    world.seal()
    world.finish()
    assert world.replica.role.outstanding_count == 2
    assert codes(client) == [(xid, 0) for xid in xids[:2]]
    world.run_disk()
    assert codes(client) == [(xid, 0) for xid in xids[2:]]
    assert world.replica.figures.requests_held == 3


def test_clients_are_let_in_in_the_order_in_which_they_asked(world: World) -> None:
    first, second = world.client(), world.client()
    created = [client.send.create(b"/n-", flags=2) for client in (first, second, first, second, second, first)]
    world.run_disk()
    paths = {1: first.answers(), 2: second.answers()}
    assert [answer.path for answer in paths[1]] == [b"/n-%010d" % number for number in (0, 2, 5)]
    assert [answer.path for answer in paths[2]] == [b"/n-%010d" % number for number in (1, 3, 4)]
    assert len(created) == 6


def test_reads_wait_too_and_see_the_tree_as_it_is_when_their_turn_comes(world: World) -> None:
    client, other = world.client(), world.client()
    for number in range(3):
        client.send.create(b"/n%d" % number)
    other.send.exists(b"/n1")
    other.send.exists(b"/n3")
    client.send.create(b"/n3")
    assert not other.frames()
    world.run_disk()
    assert [code for _, code in codes(other)] == [0, -101]


def test_where_nothing_is_under_way_nobody_waits(world: World) -> None:
    client = world.client()
    assert client.create(b"/a").code == 0
    client.send.get_data(b"/a")
    assert [answer.code for answer in client.answers()] == [0]
    assert world.replica.figures.requests_held == 0


def test_pings_do_not_wait(world: World) -> None:
    client = world.client()
    for number in range(4):
        client.send.create(b"/n%d" % number)
    client.request(Opcode.PING, b"", xid=XID_PING)
    assert codes(client) == [(XID_PING, 0)]


def test_a_request_in_pieces_takes_its_turn_when_it_is_whole(world: World) -> None:
    client, slow = world.client(), world.client()
    frame = jute.buffer(jute.int32(9) + jute.int32(Opcode.EXISTS) + jute.buffer(b"/n1") + b"\0")
    slow.receive(frame[:10])
    for number in range(3):
        client.send.create(b"/n%d" % number)
    slow.receive(frame[10:])
    assert not slow.frames()
    world.run_disk()
    assert codes(slow) == [(9, 0)]


def test_who_asks_more_than_may_wait_is_not_read_until_it_is_less(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAITING_REQUESTS_MAX", 3)
    client = world.client()
    frames = [
        jute.buffer(jute.int32(xid) + jute.int32(Opcode.EXISTS) + jute.buffer(b"/n1") + b"\0") for xid in range(9, 16)
    ]
    other = world.client()
    for number in range(2):
        other.send.create(b"/n%d" % number)
    client.receive(b"".join(frames))
    assert client.conversation.is_blocked
    assert client.conversation.paused
    world.run_disk()
    answers = codes(client)
    while client.conversation.paused and not client.conversation.is_blocked:
        client.receive(b"")
        answers += codes(client)
    assert answers == [(xid, 0) for xid in range(9, 16)]


def test_a_request_that_has_waited_for_too_long_is_refused_in_its_place() -> None:
    world = World(requests=RequestLimits(1, wait_ms_max=100))
    client = world.client()
    xids = [client.send.create(b"/n%d" % number) for number in range(2)]
    world.replica.now_ms += 100
    xids.append(client.send.create(b"/n2"))
    world.replica.now_ms += 1
    world.run_disk()
    assert codes(client) == [(xids[0], 0), (xids[1], THROTTLED), (xids[2], 0)]
    assert world.tree.records.keys() >= {b"/n0", b"/n2"}
    assert b"/n1" not in world.tree.records
    assert world.replica.figures.requests_throttled == 1


def test_a_refusal_comes_behind_what_was_asked_before() -> None:
    world = World(requests=RequestLimits(2, wait_ms_max=100))
    client, other = world.client(), world.client()
    other.send.create(b"/n0")
    world.seal()
    first = client.send.create(b"/n1")
    late = client.send.create(b"/n2")
    world.replica.now_ms += 101
    world.finish()  # of the other's alone
    assert not client.frames(), "a refusal has passed the answer to what was asked before"
    world.run_disk()
    assert codes(client) == [(first, 0), (late, THROTTLED)]


def test_closing_a_session_is_never_refused() -> None:
    world = World(requests=RequestLimits(1, wait_ms_max=100, drops_stale=True))
    client = world.client()
    client.send.create(b"/n", flags=1)
    xid = client.send.close()
    world.replica.now_ms += 40_000
    world.run_disk()
    assert codes(client)[-1] == (xid, 0)
    assert client.is_ended
    assert b"/n" not in world.tree.records


def test_a_request_older_than_its_sessions_timeout_ends_the_connection_where_that_is_asked_for() -> None:
    for drops_stale in (True, False):
        world = World(requests=RequestLimits(1, drops_stale=drops_stale))
        client = world.client()
        client.send.create(b"/n0")
        client.send.create(b"/n1")
        client.send.create(b"/n2")
        world.replica.now_ms += client.timeout_ms + 1
        world.run_disk()
        assert client.is_ended == drops_stale
        assert (b"/n1" in world.tree.records, b"/n2" in world.tree.records) == (not drops_stale, not drops_stale)
        assert world.replica.figures.requests_dropped == drops_stale


def test_what_a_client_that_is_gone_has_asked_is_dropped(world: World) -> None:
    client, other = world.client(), world.client()
    for number in range(4):
        client.send.create(b"/n%d" % number)
    other.send.create(b"/o")
    client.vanish()
    world.run_disk()
    assert set(world.tree.records) & {b"/n2", b"/n3"} == set()
    assert [code for _, code in codes(other)] == [0]


def test_a_frame_that_is_none_ends_the_connection_behind_what_waits(world: World) -> None:
    client = world.client()
    client.send.create(b"/a")
    client.receive(jute.int32(1 << 30))
    assert client.is_ended
    world.run_disk()
    assert b"/a" in world.tree.records


def test_a_packet_that_cannot_be_read_ends_its_own_connection_and_nothing_else(world: World) -> None:
    client, other = world.client(), world.client()
    for number in range(3):
        other.send.create(b"/n%d" % number)
    client.request(Opcode.AUTH, b"\0\0")
    other.send.create(b"/n3")
    world.run_disk()
    assert client.is_ended
    assert [code for _, code in codes(other)] == [0] * 4


def test_when_the_disk_was_full_those_who_wait_go_on(world: World) -> None:
    client = world.client()
    xids = [client.send.create(b"/n%d" % number) for number in range(4)]
    world.seal()
    world.lose()
    assert codes(client) == [(xid, -1) for xid in xids[:2]]
    world.run_disk()
    assert codes(client) == [(xid, 0) for xid in xids[2:]]


def test_answers_are_those_of_a_server_without_limits() -> None:
    def play(world: World) -> list[list[Answer]]:
        clients = [world.client() for _ in range(3)]
        for number in range(30):
            client = clients[number % 3]
            client.send.create(b"/n%d" % (number % 7), b"%d" % number)
            client.send.get_data(b"/n%d" % (number % 5))
            client.send.set_data(b"/n%d" % (number % 4), b"x")
            client.send.sync()
        world.run_disk()
        return [client.answers() for client in clients]

    def without_zxids(answers: list[list[Answer]]) -> list[list[tuple[int, int, int]]]:
        return [[(answer.xid, answer.code, len(answer.body)) for answer in each] for each in answers]

    assert without_zxids(play(World(requests=RequestLimits(1)))) == without_zxids(play(World()))
