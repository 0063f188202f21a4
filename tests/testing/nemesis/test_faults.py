"""Plans of faults: what a seed fixes, and what may be in them."""

from __future__ import annotations

import pytest

from zkstore.testing.nemesis.faults import KINDS, LEADER, Full, Isolate, Kill, KillAll, Pause, Split, plan


def test_a_seed_is_a_plan() -> None:
    everything = tuple(KINDS)
    assert plan(7, 3, 60_000, everything) == plan(7, 3, 60_000, everything)
    assert plan(7, 3, 60_000, everything) != plan(8, 3, 60_000, everything)


def test_faults_come_in_order_and_within_the_time() -> None:
    times_ms = [fault.at_ms for fault in plan(1, 5, 30_000, tuple(KINDS))]
    assert len(times_ms) > 5
    assert times_ms == sorted(times_ms)
    assert times_ms[-1] < 30_000


def test_only_what_was_asked_for_comes() -> None:
    assert {type(fault) for fault in plan(3, 3, 120_000, ("kill", "pause"))} == {Kill, KillAll, Pause}


def test_the_leader_and_every_server_are_hit_sooner_or_later() -> None:
    hit = {fault.server for fault in plan(4, 3, 300_000, ("kill", "partition")) if isinstance(fault, Kill | Isolate)}
    assert hit == {LEADER, 1, 2, 3}


def test_two_different_servers_are_split() -> None:
    splits = [fault for fault in plan(5, 3, 300_000, ("partition",)) if isinstance(fault, Split)]
    assert splits
    assert all(fault.one != fault.other for fault in splits)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_printed_and_lasts_for_a_while(kind: str) -> None:
    (first, *_) = plan(6, 3, 60_000, (kind,))
    assert "at_ms=1500" in str(first)
    if isinstance(first, Full | Pause):
        assert first.for_ms > 0
