from __future__ import annotations

import json
from typing import get_args

import pytest

from zkstore.testing.plans import faults as fx
from zkstore.testing.plans import plan as planning
from zkstore.testing.plans.plan import Case


def test_a_seed_makes_one_case() -> None:
    assert planning.make(7) == planning.make(7)
    assert planning.make(7) != planning.make(8)


def test_a_case_survives_json() -> None:
    for seed in range(30):
        case = planning.make(seed)
        assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_plans_hold_every_kind_of_fault_in_the_order_of_time() -> None:
    cases = [planning.make(seed) for seed in range(200)]
    planned = {type(fault) for case in cases for fault in case.faults}
    assert planned == set(get_args(fx.Fault))
    for case in cases:
        times = [fault.at_ms for fault in case.faults]
        assert times == sorted(times)
        assert case.clients


def test_some_voters_weigh_more_than_others_and_some_ensembles_have_an_operator() -> None:
    cases = [planning.make(seed) for seed in range(100)]
    assert {weight for case in cases for _, weight in case.weights} == {0, 2, 5}
    assert all(case.is_grouped for case in cases if case.weights)
    assert 10 < sum(case.has_operator for case in cases) < 50
    (weighed, *_) = (case for case in cases if case.weights)
    voter, weight = weighed.weights[0]
    assert f"in groups that weigh server {voter} {weight}" in weighed.describe()[0]


def test_a_bare_case_has_no_clients() -> None:
    case = planning.make(5, is_bare=True)
    assert case.asks and not case.clients
    assert not any(isinstance(fault, fx.ClientsCut | fx.ClientsBlocked) for fault in case.faults)


def test_the_number_of_voters_can_be_asked_for() -> None:
    for count in (3, 5, 7):
        assert planning.make(1, count).voters == tuple(range(1, count + 1))


def test_plans_are_printed_in_full() -> None:
    case = planning.make(3)
    lines = case.describe()
    assert len(lines) == len(case.faults) + 1
    for line, fault in zip(lines[1:], case.faults, strict=True):
        assert type(fault).__name__ in line


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (fx.Crash(1500, fx.LEADER, 20, 500, True), "1.500 s  Crash(server=the leader, down=20 ms"),
        (fx.Partition(20, 30, (1, -2)), "0.020 s  Partition(for=30 ms, servers={s1, other #2})"),
    ],
)
def test_faults_are_shown_as_people_read_them(fault: fx.Fault, shown: str) -> None:
    assert fx.describe(fault).strip().startswith(shown)


@pytest.mark.parametrize("fields", [{}, {"fault": "Fire", "at_ms": 1}, {"fault": "HandOver"}])
def test_what_is_no_fault_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is no fault; the kinds are Crash"):
        fx.from_json(fields)


def test_what_is_no_case_is_refused() -> None:
    with pytest.raises(ValueError, match="this is no case"):
        Case.from_json({"format": 99})


def test_a_case_of_another_shape_is_refused() -> None:
    fields = planning.make(1).to_json()
    with pytest.raises(ValueError, match="other fields than this version"):
        Case.from_json({**fields, "weather": "bad"})
