"""Votes find their way, whoever can dial whom."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.net.peers import Ensemble, Server, ensemble_of, vote
from zkstore import limits

pytestmark = pytest.mark.trio


async def test_votes_reach_every_server(three: Ensemble) -> None:
    for to in (2, 3):
        three.tell(1, to, vote(1))
    three.tell(3, 1, vote(3))
    await three.settle()
    assert [server.votes for server in three.servers.values()] == [[vote(3)], [vote(1)], [vote(1)]]


async def test_the_newest_vote_takes_the_place_of_older_ones_that_were_not_sent(mock_clock: MockClock) -> None:
    async with ensemble_of(Server(1), Server(2), settles=False) as ensemble:
        for round in range(5):
            ensemble.tell(1, 2, vote(1, round))
        await ensemble.settle()
        assert ensemble[2].votes == [vote(1, 4)]


async def test_a_connection_for_gossip_that_breaks_is_dialled_again(three: Ensemble, mock_clock: MockClock) -> None:
    for connection in list(three[2].port._connections.values()):
        connection.fail("a cable was pulled")
    await three.settle()
    mock_clock.jump(0.1)
    await three.settle()
    three.tell(1, 2, vote(1))
    three.tell(2, 3, vote(2))
    await three.settle()
    assert three[2].votes == [vote(1)]
    assert three[3].votes == [vote(2)]


async def test_a_vote_goes_back_on_the_connection_that_the_other_side_has_dialled(mock_clock: MockClock) -> None:
    async def blocked(address: object) -> None:
        raise OSError("the firewall says no")

    async with ensemble_of(Server(1, connect=blocked), Server(2)) as ensemble:
        ensemble.tell(1, 2, vote(1))
        await ensemble.settle()
        assert ensemble[2].votes == [vote(1)]


async def test_a_server_that_was_away_is_told_as_soon_as_it_calls(mock_clock: MockClock) -> None:
    async with ensemble_of(Server(1), Server(2)) as ensemble:
        addresses = {1: [ensemble[1].address], 2: [ensemble[2].address]}
        ensemble[1].port.set_members({**addresses, 3: [("127.0.0.1", 1)]})
        ensemble.tell(1, 3, vote(1))
        await ensemble.settle()
        late = Server(3)
        late.port.set_members(addresses)
        await ensemble.start(late)
        await ensemble.settle()
        assert late.votes == [vote(1)]


async def test_one_server_that_never_answers_holds_up_nobody(mock_clock: MockClock) -> None:
    async with ensemble_of(Server(1), Server(2), Server(3)) as ensemble:
        black_hole = Server(9)  # Listens, and never takes a call.
        ensemble[1].port.set_members({9: [black_hole.address], 2: [ensemble[2].address]})
        ensemble[1].port.dial(-7, 9)
        ensemble.tell(1, 2, vote(1))
        await ensemble.settle()
        assert ensemble[2].votes == [vote(1)]
        await ensemble.link(1, 2)
        mock_clock.jump(limits.PEER_HANDSHAKE_TIMEOUT_MS / 1000)
        await ensemble.settle()
        assert ensemble[1].links[-1] == ("broke", -7, 0)
        black_hole.port.close()


async def test_a_guest_that_was_let_in_is_dialled_where_it_says(mock_clock: MockClock) -> None:
    leader, lagging = Server(1), Server(2)
    async with ensemble_of(leader, lagging, settles=False) as ensemble:
        lagging.port.set_members({2: [lagging.address]})
        lagging.port.greeting.admits = lambda server_id: True
        leader.port.greeting.addresses = (leader.address,)
        await ensemble.settle()
        mock_clock.jump(1)
        await ensemble.settle()
        lagging.port.dial(-1, 1)
        await ensemble.settle()
        assert ("dialled", -1, 1) in lagging.links


async def test_a_guest_that_is_not_let_in_or_does_not_say_where_it_is_is_not_dialled(mock_clock: MockClock) -> None:
    for admits, addresses in ((False, True), (True, False)):
        leader, lagging = Server(1), Server(2)
        async with ensemble_of(leader, lagging, settles=False) as ensemble:
            lagging.port.set_members({2: [lagging.address]})
            lagging.port.greeting.admits = lambda server_id, admits=admits: admits
            leader.port.greeting.addresses = (leader.address,) if addresses else ()
            await ensemble.settle()
            mock_clock.jump(1)
            await ensemble.settle()
            lagging.port.dial(-1, 1)
            await ensemble.settle()
            assert lagging.links == [("broke", -1, 0)]


async def test_a_member_is_dialled_where_the_configuration_says(mock_clock: MockClock) -> None:
    first, second = Server(1), Server(2)
    first.port.greeting.addresses = (("192.0.2.1", 1),)
    async with ensemble_of(first, second) as ensemble:
        second.port.dial(-1, 1)
        await ensemble.settle()
        assert ("dialled", -1, 1) in second.links


async def test_only_so_many_guests_are_remembered() -> None:
    server = Server(1)
    gossip = server.port._gossip
    for server_id in range(2, 102):
        gossip.welcome(server_id, [("127.0.0.1", 2888)])
    assert len(gossip._guests) == 64 and gossip.dialler(101) is not None and gossip.dialler(2) is None
    gossip.set_members({101: [("127.0.0.2", 2888)]})
    dialler = gossip.dialler(101)
    assert dialler is not None and dialler.addresses == (("127.0.0.2", 2888),)
    server.port.close()
