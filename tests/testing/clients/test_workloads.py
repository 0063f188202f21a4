"""A whole run against one real server, without an ensemble: nothing is wrong, and everything is looked at."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.testing.mini_world import ALLOWANCES, MiniWorld, play
from zkstore.model.stat import STAT_BYTES
from zkstore.model.watches import EventType
from zkstore.testing.checkers.check import check
from zkstore.testing.checkers.history import Call, Told
from zkstore.testing.checkers.verdict import Verdict
from zkstore.wire.opcodes import Opcode

SEEDS = range(4)


@pytest.fixture(scope="module")
def runs() -> list[tuple[MiniWorld, Verdict]]:
    worlds = [play(seed, for_s=20, clients=8, faults=12, think_us=40_000) for seed in SEEDS]
    return [(world, check(world.history, ALLOWANCES)) for world in worlds]


def test_a_server_alone_breaks_no_rule(runs: list[tuple[MiniWorld, Verdict]]) -> None:
    assert [str(violation) for _, verdict in runs for violation in verdict.violations] == []


def test_clients_are_there_at_the_end(runs: list[tuple[MiniWorld, Verdict]]) -> None:
    assert min(world.attending for world, _ in runs) > 0


def test_every_rule_is_looked_at(runs: list[tuple[MiniWorld, Verdict]]) -> None:
    counts: Counter[str] = Counter()
    for _, verdict in runs:
        counts.update(verdict.counts)
    assert [rule for rule, count in counts.items() if not count] == []


def test_the_clients_meet_all_that_there_is_to_meet(runs: list[tuple[MiniWorld, Verdict]]) -> None:
    seen = Counter[str]()
    for _, verdict in runs:
        seen += verdict.seen
    must = {f"event {int(event_type)}" for event_type in EventType}
    must |= {f"{opcode.name} 0" for opcode in Opcode if opcode.name not in UNUSED}
    must |= {"CREATE -101", "CREATE -102", "CREATE -108", "CREATE -110", "DELETE -111", "SET_DATA -103"}
    must |= {"REMOVE_WATCHES -121", "multi that failed", "multi that succeeded", "events that setWatches made up"}
    assert must - set(seen) == set()


UNUSED = {
    "NOTIFICATION",
    "CHECK",
    "RECONFIG",
    "DELETE_CONTAINER",
    "AUTH",
    "SET_WATCHES",
    "SASL",
    "WHO_AM_I",
    "ERROR",
    "CREATE_SESSION",
}


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (play(7, for_s=5, clients=4, faults=3).history for _ in range(2))
    assert first.txns == second.txns
    assert [repr(channel.received) for channel in first.channels] == [
        repr(channel.received) for channel in second.channels
    ]


def test_another_seed_gives_another_run() -> None:
    first, second = (play(seed, for_s=5, clients=4, faults=3).history for seed in (1, 2))
    assert first.txns != second.txns


def _broken(world: MiniWorld) -> set[str]:
    return {violation.rule for violation in check(world.history, ALLOWANCES).violations}


def test_one_event_less_is_noticed() -> None:
    world = play(1, for_s=10, clients=6, faults=0, think_us=40_000)
    channel = max(world.history.channels, key=lambda one: sum(isinstance(item, Told) for item in one.received))
    index = next(index for index, item in enumerate(channel.received) if isinstance(item, Told))
    del channel.received[index]
    assert "watch events" in _broken(world)


def test_one_flipped_bit_in_a_read_is_noticed() -> None:
    world = play(1, for_s=5, clients=6, faults=0)
    reads = [
        item
        for channel in world.history.channels
        for item in channel.received
        if isinstance(item, Call) and item.opcode == Opcode.GET_DATA and not item.code
    ]
    call = reads[len(reads) // 2]
    at = len(call.body) - STAT_BYTES
    call.body = call.body[:at] + bytes([call.body[at] ^ 1]) + call.body[at + 1 :]
    assert "reads" in _broken(world)


def test_an_answer_at_another_zxid_is_noticed() -> None:
    world = play(1, for_s=5, clients=6, faults=0)
    writes = [
        item
        for channel in world.history.channels
        for item in channel.received
        if isinstance(item, Call) and item.opcode == Opcode.SET_DATA and not item.code
    ]
    writes[len(writes) // 2].zxid -= 1
    assert "survival" in _broken(world)
