"""Cases that can be written to a file, and what is refused when one is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zkstore.errors import ConfigError
from zkstore.testing.nemesis import keeping
from zkstore.testing.nemesis.case import Case, Outcome
from zkstore.testing.nemesis.faults import Kill, Pace

CASE = Case(7, 3, 5_000, kinds=("kill", "pause"), timeouts_ms=(700,), pace=Pace((1, 2), (3, 4), (5, 6)))


def test_a_case_goes_into_a_file_and_comes_back() -> None:
    planned = CASE.with_plan(("kill",))
    for case in (CASE, planned):
        assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_a_case_with_a_plan_does_what_the_seed_would_have_done() -> None:
    planned = CASE.with_plan(("kill",))
    assert planned.plan == CASE.faults(("kill",)) == planned.faults(("pause",))
    assert len(CASE.faults(("kill",))) > 3


def test_where_no_kind_can_be_had_nothing_happens() -> None:
    assert CASE.faults(()) == ()


def test_the_case_of_a_failed_run_can_be_run_again(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    keeping.write(path, Outcome(Case(3, 1, plan=(Kill(10, 1, 0),)), ("kill",), findings=["it was wrong"]))
    assert keeping.read(path) == Case(3, 1, kinds=("kill",), plan=(Kill(10, 1, 0),))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"case": 5}',
        '{"case": {}}',
        '{"case": {"seed": 1, "colour": "blue"}}',
        '{"case": {"seed": 1, "plan": [{"fault": "Plague"}]}}',
        '{"case": {"seed": 1, "pace": {"gap": 3}}}',
    ],
)
def test_a_file_that_holds_no_case_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="case"):
        keeping.read(path)
