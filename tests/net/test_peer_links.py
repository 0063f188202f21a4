"""Links between servers over real sockets: messages, their order, their pace, and how links end."""

from __future__ import annotations

import os
import select

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.net.peers import Ensemble, Server, commit, ensemble_of, join, warnings_in
from zkstore import limits
from zkstore.wire.messages import (
    FORWARD,
    PING,
    PONG,
    PROPOSE,
    REFUSAL,
    Forward,
    Ping,
    Pong,
    Propose,
    Refusal,
)

pytestmark = pytest.mark.trio


# --- links ----------------------------------------------------------------------------------------


async def test_a_link_carries_messages_both_ways_in_order(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    sent = [commit(zxid) for zxid in range(1, 200)]
    three.say(2, -1, *sent)
    three.say(1, accepted, *reversed(sent))
    await three.settle()
    assert three[1].received_from == [(accepted, message) for message in sent]
    assert three[2].received_from == [(-1, message) for message in reversed(sent)]


async def test_messages_of_all_sizes_arrive_whole(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    sizes = [0, 1, limits.PEER_PART_BYTES_MAX - 20, limits.PEER_PART_BYTES_MAX, 3_000_000, limits.SEGMENT_BYTES_MAX]
    sent = [Propose(PROPOSE, os.urandom(size), 7, ()) for size in sizes]
    three.say(1, accepted, *sent)
    await three.settle()
    assert three[2].messages == sent


async def test_a_link_to_a_port_where_nobody_listens_breaks(three: Ensemble, caplog: pytest.LogCaptureFixture) -> None:
    three[1].port.set_members({3: [("127.0.0.1", 1)]})
    await three.settle()
    caplog.clear()
    three[1].port.dial(-1, 3)
    await three.settle()
    assert three[1].links == [("broke", -1, 0)]


async def test_nobody_but_members_is_dialled(three: Ensemble, caplog: pytest.LogCaptureFixture) -> None:
    three[1].port.dial(-1, 8)
    await three.settle()
    assert three[1].links == [("broke", -1, 0)]
    assert warnings_in(caplog) == ["no link to server 8: it is not a member of the ensemble"]


async def test_a_link_breaks_at_once_when_the_other_server_dies(three: Ensemble) -> None:
    await three.link(2, 1)
    await three.kill(1)
    assert three[2].links[-1] == ("broke", -1, 1)


async def test_last_words_arrive_before_the_link_breaks(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    three.say(2, -1, commit(1))  # Not read by 1: closing at once would reset the connection.
    words = [Propose(PROPOSE, bytes(5_000_000), 0, ()), Refusal(REFUSAL, "I do not lead")]
    for message in words:
        three[1].port.send(accepted, message)
    three[1].port.hang_up(accepted, "it was refused")
    await three.settle()
    assert three[2].messages == words
    assert three[2].links[-1] == ("broke", -1, 1)
    assert three[1].links[-1] == ("accepted", accepted, 2), "of a link that one hangs up oneself, nothing is reported"


async def test_nothing_is_reported_of_a_link_that_is_hung_up_in_the_midst_of_its_messages(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    three[1].answer = lambda link, message: three[1].port.hang_up(link, "enough")
    three.say(2, -1, commit(1), commit(2), commit(3))
    await three.settle()
    assert three[1].received_from == [(accepted, commit(1))]


async def test_a_dial_that_is_given_up_is_not_reported(three: Ensemble) -> None:
    three[2].port.dial(-1, 1)
    three[2].port.hang_up(-1, "another leader was found")
    await three.settle()
    assert three[2].links == []


async def test_a_link_may_be_given_up_before_the_other_side_has_answered(three: Ensemble) -> None:
    three[2].port.dial(-1, 1)
    await trio.testing.wait_all_tasks_blocked()
    three[2].port.turn()
    three[2].port.hang_up(-1, "another leader was found")
    await three.settle()
    assert three[2].links == []


async def test_a_dial_that_ends_when_all_is_over_leaves_nothing_open(three: Ensemble) -> None:
    three[2].port.dial(-1, 1)
    await trio.testing.wait_all_tasks_blocked()
    await three.kill(2)
    assert [link for link in three[1].links if link[0] == "dialled"] == []


async def test_what_is_sent_on_a_link_that_is_gone_is_dropped(three: Ensemble) -> None:
    await three.link(2, 1)
    three[2].port.hang_up(-1, "no reason")
    three.say(2, -1, commit(1))
    await three.settle()
    assert three[1].messages == []


async def test_a_new_link_takes_the_place_of_an_older_one_of_the_same_server(three: Ensemble) -> None:
    first = await three.link(2, 1)
    three[2].port.dial(-2, 1)
    await three.settle()
    assert three[1].links[-2:] == [("broke", first, 2), ("accepted", first + 1, 2)]
    assert three[2].links[-2:] in ([("broke", -1, 1), ("dialled", -2, 1)], [("dialled", -2, 1), ("broke", -1, 1)])


async def test_a_server_that_stops_lets_its_last_words_out(mock_clock: MockClock) -> None:
    async with ensemble_of(Server(1), Server(2)) as ensemble:
        accepted = await ensemble.link(2, 1)
        ensemble[1].port.send(accepted, commit(5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ensemble[1].port.finish)
            await ensemble.settle()
            assert ensemble[2].messages == [commit(5)]
            assert ensemble[2].links[-1] == ("broke", -1, 1)
            mock_clock.jump(0.02)
            await ensemble.settle()
        assert mock_clock.current_time() < 1, "it does not wait when all is said"


# --- the pace -------------------------------------------------------------------------------------


async def test_heartbeats_overtake_what_waits_and_nothing_else_does(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    bulk = [Propose(PROPOSE, bytes([number]) * 3_000_000, number, ()) for number in range(8)]
    three.say(1, accepted, *bulk)
    three.say(1, accepted, Ping(PING, 4, 9), Propose(PROPOSE, b"last", 10, ()), Ping(PING, 5, 0))
    await three.settle()
    pings = [message for message in three[2].messages if isinstance(message, Ping)]
    others = [message for message in three[2].messages if not isinstance(message, Ping)]
    assert pings == [Ping(PING, 4, 0), Ping(PING, 5, 0)], "what they overtook is not there to be committed"
    assert others == [*bulk, commit(9), Propose(PROPOSE, b"last", 10, ())], "how far to commit is said in its place"
    assert three[2].messages.index(pings[1]) < 5


async def test_a_heartbeat_that_has_nothing_to_overtake_stays_as_it_is(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    three.say(1, accepted, Propose(PROPOSE, bytes(1_000), 5, ()), Ping(PING, 5, 9))
    await three.settle()
    assert three[2].messages == [Propose(PROPOSE, bytes(1_000), 5, ()), Ping(PING, 5, 9)]


async def test_answers_to_heartbeats_overtake_too(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    forwards = [Forward(FORWARD, number, 1, 1, 1, bytes(900_000), ()) for number in range(10)]
    three.say(2, -1, *forwards)
    three.say(2, -1, Pong(PONG, 4, 3, (17,)))
    await three.settle()
    assert three[1].messages.index(Pong(PONG, 4, 3, (17,))) < 10
    assert accepted


async def test_a_link_whose_other_end_never_reads_is_closed(
    three: Ensemble, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PEER_UNSENT_BYTES_MAX", 20_000_000)
    accepted = await three.link(2, 1)
    three[2].port.pause(-1, True)
    for _ in range(5):
        three.say(1, accepted, Propose(PROPOSE, bytes(8_000_000), 0, ()))
        await three.settle()
    assert three[1].links[-1] == ("broke", accepted, 2)
    assert "bytes wait to be sent, and the other side does not read" in warnings_in(caplog)[0]


async def test_a_paused_link_is_not_read_and_then_goes_on(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    three[2].port.pause(-1, True)
    three.say(1, accepted, commit(1))
    await three.settle()
    assert three[2].messages == []
    three[2].port.pause(-1, False)
    await three.settle()
    assert three[2].messages == [commit(1)]


async def test_room_is_waited_for(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    port = three[1].port
    assert port.room(accepted) == limits.PEER_BULK_BYTES
    three[2].port.pause(-1, True)
    while port.room(accepted):
        three.say(1, accepted, Propose(PROPOSE, bytes(500_000), 0, ()))
    found: list[bool] = []

    async def wait() -> None:
        found.append(await port.wait_for_room(accepted))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await three.settle()
        assert found == []
        three[2].port.pause(-1, False)
        await three.settle()
        assert found == [True]


async def test_who_waits_for_room_learns_that_the_link_broke(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    three[2].port.pause(-1, True)
    while three[1].port.room(accepted):
        three.say(1, accepted, Propose(PROPOSE, bytes(500_000), 0, ()))
    found: list[bool] = []

    async def wait() -> None:
        found.append(await three[1].port.wait_for_room(accepted))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await three.settle()
        three[2].port.hang_up(-1, "no reason")
        three[2].port.flush()
        await three.settle()
    assert found == [False]
    assert three[1].port.room(accepted) == 0


# --- the loop -------------------------------------------------------------------------------------


async def test_the_descriptor_says_when_there_is_something_to_do(three: Ensemble) -> None:
    await three.link(2, 1)
    with select.epoll() as outer:  # As in the client port's loop.
        outer.register(three[1].port.descriptor, select.EPOLLIN)
        assert outer.poll(0) == []
        three.say(2, -1, commit(1))
        assert outer.poll(1) == [(three[1].port.descriptor, select.EPOLLIN)]
        assert three[1].port.turn()
        assert three[1].messages == [commit(1)]
        assert outer.poll(0) == []
        assert not three[1].port.turn()


async def test_it_runs_by_itself_where_nobody_turns_it() -> None:
    one, two = Server(1), Server(2)
    has_come = trio.Event()
    two.answer = lambda link, message: has_come.set()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for server in (one, two):
                server.port.set_members({1: [one.address], 2: [two.address]})
                nursery.start_soon(server.port.run)
            await trio.testing.wait_all_tasks_blocked()
            one.port.dial(-1, 2)
            while not one.links:
                await trio.sleep(0.001)
            one.port.send(-1, join(1))
            one.port.flush()
            await has_come.wait()
            nursery.cancel_scope.cancel()
    assert two.messages == [join(1)]
    for server in (one, two):
        server.port.close()
