from __future__ import annotations

from dataclasses import replace

from zkstore.testing.plans import faults as fx
from zkstore.testing.plans import plan as planning
from zkstore.testing.plans.plan import Case
from zkstore.testing.plans.shrink import shrunk, thinned


def test_thinning_keeps_just_what_is_needed() -> None:
    assert thinned(range(100), lambda parts: {13, 14, 77} <= set(parts)) == [13, 14, 77]


def test_thinning_can_keep_nothing_or_all() -> None:
    assert thinned(range(9), lambda parts: True) == []
    assert thinned(range(9), lambda parts: False) == list(range(9))


def test_a_case_shrinks_in_all_its_parts() -> None:
    case = planning.make(4)
    case = replace(case, clients=6, faults=(*case.faults, fx.HandOver(case.calm_ms - 1)))

    def fails(smaller: Case) -> bool:
        return any(isinstance(fault, fx.HandOver) for fault in smaller.faults) and smaller.clients >= 2

    small = shrunk(case, fails, runs_max=300)
    assert [type(fault) for fault in small.faults] == [fx.HandOver]
    assert small.clients == 2
    assert len(small.voters) == 2 and not small.observers and not small.spares
    assert len(small.drifts_ppm) == len(small.servers)
    assert small.calm_ms < 200


def test_no_more_runs_than_allowed_are_made() -> None:
    runs = 0

    def fails(smaller: Case) -> bool:
        nonlocal runs
        runs += 1
        return True

    shrunk(planning.make(4), fails, runs_max=5)
    assert runs == 5
