"""Plans of faults: what a seed fixes, and what may be in them."""

from __future__ import annotations

import json

import pytest

from zkstore.testing.nemesis.faults import (
    KINDS,
    LEADER,
    OF_SEVERAL,
    Full,
    Isolate,
    Kill,
    KillAll,
    Leave,
    Pace,
    Pause,
    Split,
    Visit,
    from_json,
    plan,
    to_json,
)


def test_a_seed_is_a_plan() -> None:
    everything = tuple(KINDS)
    assert plan(7, 3, 60_000, everything) == plan(7, 3, 60_000, everything)
    assert plan(7, 3, 60_000, everything) != plan(8, 3, 60_000, everything)


def test_faults_come_in_order_and_within_the_time() -> None:
    times_ms = [fault.at_ms for fault in plan(1, 5, 30_000, tuple(KINDS))]
    assert len(times_ms) > 5
    assert times_ms == sorted(times_ms)
    assert times_ms[-1] < 30_000


def test_a_pace_says_how_fast_they_come() -> None:
    slow, fast = (plan(1, 3, 60_000, ("kill",), Pace(gap_ms=(gap_ms, gap_ms + 1))) for gap_ms in (1_000, 100))
    assert len(fast) > 9 * len(slow)


def test_only_what_was_asked_for_comes() -> None:
    assert {type(fault) for fault in plan(3, 3, 120_000, ("kill", "pause"))} == {Kill, KillAll, Pause}


def test_the_leader_and_every_server_are_hit_sooner_or_later() -> None:
    hit = {fault.server for fault in plan(4, 3, 300_000, ("kill", "partition")) if isinstance(fault, Kill | Isolate)}
    assert hit == {LEADER, 1, 2, 3}


def test_a_server_alone_is_hit_by_its_number() -> None:
    faults = plan(4, 1, 120_000, tuple(kind for kind in KINDS if kind not in OF_SEVERAL))
    assert {fault.server for fault in faults if isinstance(fault, Kill | Pause)} == {1}
    assert not any(isinstance(fault, KillAll) for fault in faults)


def test_two_different_servers_are_split() -> None:
    splits = [fault for fault in plan(5, 3, 300_000, ("partition",)) if isinstance(fault, Split)]
    assert splits
    assert all(fault.one != fault.other for fault in splits)


def test_servers_leave_and_others_visit() -> None:
    assert {type(fault) for fault in plan(5, 3, 300_000, ("members",))} == {Leave, Visit}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_printed_and_written_to_a_file(kind: str) -> None:
    faults = plan(6, 3, 60_000, (kind,))
    assert "at_ms=1500" in str(faults[0])
    assert [from_json(json.loads(json.dumps(to_json(fault)))) for fault in faults] == faults
    assert all(fault.for_ms > 0 for fault in faults if isinstance(fault, Full | Pause))


@pytest.mark.parametrize("fields", [{}, {"fault": "Plague", "at_ms": 1}, {"fault": "Kill", "at_ms": 1}])
def test_what_is_no_fault_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is no fault; the kinds are Kill, "):
        from_json(fields)
