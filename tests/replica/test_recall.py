"""Requests for history among others of a connection: their turn, and what waits behind them."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore.errors import UnimplementedError
from zkstore.replica.recall import Recall
from zkstore.replica.throttle import RequestLimits
from zkstore.wire.history import HISTORY, HistoryRequest, Kind
from zkstore.wire.opcodes import XID_PING

ASKED = HistoryRequest(Kind.FACTS).encode()


@pytest.fixture
def begun(world: World) -> list[Recall]:
    """Whatever has begun on a server that offers history."""
    recalls: list[Recall] = []
    world.replica.remember = recalls.append
    return recalls


def ask(client: Client) -> int:
    return client.request(HISTORY, ASKED)


def outcome(client: Client) -> list[tuple[int, int]]:
    return [(answer.xid, answer.code) for answer in client.answers()]


def test_a_server_that_offers_none_answers_as_to_any_unknown_opcode(world: World) -> None:
    client = world.client()
    xid = ask(client)
    assert outcome(client) == [(xid, UnimplementedError.code)]


def test_what_is_asked_behind_waits_until_it_is_answered(world: World, begun: list[Recall]) -> None:
    client = world.client()
    first, second = ask(client), client.send.create(b"/a")
    world.run_disk()
    assert client.conversation.is_blocked
    assert outcome(client) == []
    assert b"/a" not in world.tree.records
    begun[0].answer(0, b"found")
    client.receive(b"")
    world.run_disk()
    assert outcome(client) == [(first, 0), (second, 0)]


def test_it_begins_when_the_writes_before_it_are_applied(world: World, begun: list[Recall]) -> None:
    client = world.client()
    write, read, asked = client.send.create(b"/a"), client.send.exists(b"/a"), ask(client)
    assert begun == []
    world.run_disk()
    assert len(begun) == 1
    assert b"/a" in world.tree.records
    begun[0].answer(0, b"")
    assert outcome(client) == [(write, 0), (read, 0), (asked, 0)]


def test_it_begins_behind_a_sync(world: World, begun: list[Recall]) -> None:
    client = world.client()
    write, sync, asked = client.send.create(b"/a"), client.send.sync(), ask(client)
    world.run_disk()
    begun[0].answer(0, b"")
    assert outcome(client) == [(write, 0), (sync, 0), (asked, 0)]


def test_who_waits_long_hears_pings_and_keeps_the_session(world: World, begun: list[Recall]) -> None:
    client = world.client()
    asked = ask(client)
    begun[0].reassure()
    begun[0].answer(0, b"")
    begun[0].reassure()
    assert outcome(client) == [(XID_PING, 0), (asked, 0)]


def test_an_answer_for_who_has_gone_goes_nowhere(world: World, begun: list[Recall]) -> None:
    client = world.client()
    ask(client)
    client.vanish()
    assert not begun[0].is_wanted
    begun[0].answer(0, b"")
    begun[0].reassure()
    assert client.output() == b""


def test_requests_that_are_let_in_behind_it_keep_their_order() -> None:
    world = World(requests=RequestLimits(1))
    begun: list[Recall] = []
    world.replica.remember = begun.append
    client = world.client()
    sent = [client.send.create(b"/a"), ask(client), client.send.create(b"/b"), client.send.create(b"/c")]
    world.run_disk()
    assert len(begun) == 1
    assert b"/b" not in world.tree.records
    begun[0].answer(0, b"")
    client.receive(b"")
    world.run_disk()
    assert outcome(client) == [(xid, 0) for xid in sent]
    assert world.tree.stat(b"/b").czxid < world.tree.stat(b"/c").czxid
