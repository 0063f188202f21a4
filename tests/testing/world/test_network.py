"""What the simulated network does to messages and connections."""

from __future__ import annotations

from random import Random

import pytest

from zkstore.testing.world.clock import Agenda
from zkstore.testing.world.network import Network, Route, Wire

TIMEOUT_US = 3_000_000


class Server:
    """A station that writes down what it hears of."""

    def __init__(self, bench: Bench, server_id: int) -> None:
        self.server_id = server_id
        self.life = 1
        self.is_up = True
        self.has_power = True
        self.is_choked = False
        self.heard: list[object] = []
        self._bench = bench

    def gossip_came(self, life: int, data: bytes) -> None:
        self.heard.append(data)

    def link_accepted(self, life: int, wire: Wire) -> int:
        self.heard.append("accepted")
        return 7

    def link_dialled(self, life: int, link: int, server_id: int) -> None:
        self.heard.append(("dialled", link, server_id))

    def link_came(self, life: int, link: int, data: bytes) -> None:
        self.heard.append((link, data))

    def link_broke(self, life: int, link: int) -> None:
        self.heard.append(("broke", link))


class Bench:
    def __init__(self) -> None:
        self.agenda = Agenda()
        self.net = Network(self.agenda, Random(5), TIMEOUT_US)
        self.one, self.two = Server(self, 1), Server(self, 2)
        self.net.join(self.one, {}, {})
        self.net.join(self.two, {1: Route(1000, 5000)}, {1: Route(1000, 5000)})

    def run(self, us: int = 100_000) -> None:
        self.agenda.run(self.agenda.now_us + us, lambda: False)

    def connect(self) -> None:
        self.net.dial(self.one, -1, 2)
        self.run()
        assert self.one.heard == [("dialled", -1, 2)] and self.two.heard == ["accepted"]
        self.one.heard.clear()
        self.two.heard.clear()

    def say(self, *words: bytes) -> None:
        for word in words:
            self.net.send(1, 1, -1, word)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_connection_keeps_its_order_both_ways(bench: Bench) -> None:
    bench.connect()
    words = [b"%d" % number for number in range(50)]
    bench.say(*words)
    for word in words:
        bench.net.send(2, 1, 7, word)
    bench.run()
    assert bench.two.heard == [(7, word) for word in words]
    assert bench.one.heard == [(-1, word) for word in words]


def test_what_was_sent_before_a_hangup_arrives_and_nothing_after(bench: Bench) -> None:
    bench.connect()
    bench.say(b"last")
    bench.net.hang_up(1, 1, -1)
    bench.say(b"too late")
    bench.run()
    assert bench.two.heard == [(7, b"last"), ("broke", 7)]
    assert bench.one.heard == []


def test_a_reset_loses_what_is_on_its_way_and_both_ends_hear_of_it(bench: Bench) -> None:
    bench.connect()
    bench.say(b"lost")
    assert bench.net.reset(1, 2) == 1
    bench.run(1_000_000)
    assert bench.one.heard == [("broke", -1)]
    assert bench.two.heard == [("broke", 7)]
    assert bench.net.reset(1, 2) == 0


def test_a_short_block_delays_a_long_one_breaks_the_senders_end_only(bench: Bench) -> None:
    bench.connect()
    bench.net.block(1, 2)
    bench.say(b"delayed")
    bench.run(TIMEOUT_US // 2)
    assert bench.two.heard == []
    bench.net.unblock(1, 2)
    bench.run(1_000_000)
    assert bench.two.heard == [(7, b"delayed")]
    bench.net.block(1, 2)
    bench.say(b"lost")
    bench.run(2 * TIMEOUT_US)
    assert bench.one.heard == [("broke", -1)]
    assert bench.two.heard == [(7, b"delayed")]
    bench.net.unblock(1, 2)
    bench.net.send(2, 1, 7, b"is anybody there")
    bench.run(1_000_000)
    assert bench.two.heard[-1] == ("broke", 7)


def test_a_killed_process_is_missed_at_once_a_machine_without_power_is_not(bench: Bench) -> None:
    bench.connect()
    bench.two.is_up, bench.two.life = False, 2
    bench.net.end_life(2, 1, is_power=False)
    bench.run()
    assert bench.one.heard == [("broke", -1)]


def test_a_machine_without_power_is_missed_when_it_does_not_answer(bench: Bench) -> None:
    bench.connect()
    bench.two.is_up, bench.two.has_power, bench.two.life = False, False, 2
    bench.net.end_life(2, 1, is_power=True)
    bench.run(1_000_000)
    assert bench.one.heard == []
    bench.say(b"hello")
    bench.run(2 * TIMEOUT_US)
    assert bench.one.heard == [("broke", -1)]


def test_a_new_life_knows_nothing_of_old_connections(bench: Bench) -> None:
    bench.connect()
    bench.two.life = 2
    bench.net.end_life(2, 1, is_power=True)
    bench.say(b"hello")
    bench.run()
    assert bench.two.heard == []
    assert bench.one.heard == [("broke", -1)]


def test_a_dial_fails_where_nobody_listens_or_nothing_passes(bench: Bench) -> None:
    bench.two.is_up = False
    bench.net.dial(bench.one, -1, 2)
    bench.run()
    assert bench.one.heard == [("broke", -1)]
    bench.two.is_up = True
    bench.net.block(2, 1)
    bench.net.dial(bench.one, -2, 2)
    bench.net.dial(bench.one, -3, 99)
    bench.run(TIMEOUT_US)
    assert sorted(bench.one.heard[1:]) == [("broke", -3), ("broke", -2)]
    assert bench.two.heard == []


def test_who_is_choked_reads_later(bench: Bench) -> None:
    bench.connect()
    bench.two.is_choked = True
    bench.say(b"a", b"b")
    bench.run()
    assert bench.two.heard == []
    assert bench.net.queued_bytes(1, 1, -1) == 2
    bench.two.is_choked = False
    bench.run()
    assert bench.two.heard == [(7, b"a"), (7, b"b")]
    assert bench.net.queued_bytes(1, 1, -1) == 0
    assert bench.net.queued_bytes(1, 1, -9) is None


def test_gossip_is_lost_doubled_and_overtaken_where_it_may_be(bench: Bench) -> None:
    words = [b"%03d" % number for number in range(200)]
    for word in words:
        bench.net.gossip(1, 2, word)
    bench.run(1_000_000)
    assert sorted(map(str, bench.two.heard)) == sorted(map(str, words))
    bench.two.heard.clear()
    for route in bench.net.routes.values():
        route.lossy = 0.3
    for word in words:
        bench.net.gossip(1, 2, word)
    bench.run(1_000_000)
    heard = bench.two.heard
    assert len(set(map(str, heard))) < 200 and len(heard) > len(set(map(str, heard)))
    assert heard != sorted(heard, key=str)


def test_gossip_is_counted_by_the_second(bench: Bench) -> None:
    assert [bench.net.gossip(1, 2, b"v") for _ in range(3)] == [1, 2, 3]
    bench.run(1_000_000)
    assert bench.net.gossip(1, 2, b"v") == 1


def test_healing_ends_everything(bench: Bench) -> None:
    bench.net.block(1, 2)
    bench.net.routes[1, 2].slow = 100
    bench.net.routes[2, 1].lossy = 1.0
    bench.net.heal()
    bench.connect()
    bench.net.gossip(2, 1, b"v")
    bench.run()
    assert bench.one.heard == [b"v"]


def test_slow_routes_take_longer(bench: Bench) -> None:
    bench.connect()
    bench.net.routes[1, 2].slow = 100
    bench.say(b"x" * 1000)
    bench.run(99_000)
    assert bench.two.heard == []
    bench.run(1_000_000)
    assert len(bench.two.heard) == 1
