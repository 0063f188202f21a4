"""The sweep over failpoints: every one has its trials, and some of them are made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from zkstore.failpoints import FAILPOINTS
from zkstore.testing.sweeping import play
from zkstore.testing.sweeping.loads import LOADS, Load, ensemble, later_life, life, power_cut, servers_of
from zkstore.testing.sweeping.play import Play, trials

pytestmark = pytest.mark.interop

_SOME: tuple[tuple[str, str, Load], ...] = (
    ("log.append.before_sync", "crash", later_life),
    ("log.append.before_sync", "fail(EIO)@1-3", life),
    ("log.salvage.put", "crash", power_cut),
    ("discovery.promise.after", "crash", ensemble),
)


def run(trial: tuple[str, str, Load], root: Path) -> play.Outcome:
    outcome = Play(*trial, root).run()
    assert outcome.problems == []
    assert outcome.has_struck
    assert outcome.answered > 0
    return outcome


@pytest.mark.thorough
@pytest.mark.parametrize("trial", _SOME, ids=lambda trial: f"{trial[0]}={trial[1]}-{trial[2].__name__}")
def test_nothing_is_lost_at_these_places(trial: tuple[str, str, Load], tmp_path: Path) -> None:
    outcome = run(trial, tmp_path)
    assert outcome.refused == (trial[1] == "fail(EIO)@1-3")


@pytest.mark.long
@pytest.mark.parametrize("name", FAILPOINTS)
def test_nothing_is_lost_at_any_place(name: str, tmp_path: Path) -> None:
    for number, trial in enumerate(trials(name)):
        root = tmp_path / str(number)
        root.mkdir()
        run(trial, root)


def test_every_place_is_tried_with_a_crash_a_delay_and_its_errors() -> None:
    for name, failpoint in FAILPOINTS.items():
        actions = [action for _, action, _ in trials(name)]
        assert {"crash", "delay(250)@1-4"} <= set(actions)
        assert any(action.startswith("fail") for action in actions) == bool(failpoint.errors)


def test_every_load_is_of_some_failpoint() -> None:
    used = {load for name in FAILPOINTS for _, _, load in trials(name)}
    assert used == {load for loads in LOADS.values() for load in loads}
    assert {servers_of(load) for load in used} == {1, 3}


@pytest.mark.thorough
def test_a_failpoint_that_is_never_reached_is_a_problem(tmp_path: Path) -> None:
    outcome = Play("election.lead", "crash", life, tmp_path).run()
    assert outcome.problems == ["the load never comes there"]
