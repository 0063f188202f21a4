"""The nemesis' command line: exit codes, reports, and data that is kept when something was wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import nemesis
from zkstore.testing.checkers.verdict import Verdict
from zkstore.testing.nemesis import keeping
from zkstore.testing.nemesis.case import Case, Outcome
from zkstore.testing.nemesis.run import Look


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[Case]]:
    """Replace the run itself; the cases that were run."""

    def replace(is_sound: bool) -> list[Case]:
        cases: list[Case] = []

        def run(
            case: Case,
            root: Path,
            tell: Callable[[str], None],
            keep: Callable[[], object],
            look: Look | None,
        ) -> Outcome:
            cases.append(case)
            (root / "1.log").write_text("said")
            outcome = Outcome(case, ("kill",), verdict=Verdict(), struck={"Kill": 2}, calls=10, answers=9)
            if not is_sound:
                outcome.findings.append("server 1 ended by itself")
                keep()
            return outcome

        monkeypatch.setattr(keeping, "run", run)
        return cases

    return replace


def test_a_sound_run_ends_with_0_and_keeps_nothing(
    play: Callable[[bool], list[Case]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = play(True)
    assert nemesis.main(["--seed", "4", "--servers", "5", "--seconds", "2", "--output", str(tmp_path)]) == 0
    assert cases == [Case(4, 5, 2_000)]
    assert "seed 4: nothing was wrong; 2 faults" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_what_was_wrong_is_told_and_the_data_kept(
    play: Callable[[bool], list[Case]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(False)
    assert nemesis.main(["--seed", "4", "--output", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "WRONG server 1 ended by itself" in told
    assert str(tmp_path / "nemesis-4") in told
    assert (tmp_path / "nemesis-4" / "1.log").read_text() == "said"


def test_the_case_of_a_failed_run_is_run_again_with_the_same_faults(
    play: Callable[[bool], list[Case]], tmp_path: Path
) -> None:
    cases = play(False)
    nemesis.main(["--seed", "4", "--kinds", "kill", "--output", str(tmp_path)])
    nemesis.main(["--replay", str(tmp_path / "nemesis-4.json"), "--output", str(tmp_path)])
    assert cases[1].plan == cases[0].faults(("kill",))


def test_a_report_for_programs_has_nothing_else_in_it(
    play: Callable[[bool], list[Case]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(False)
    assert nemesis.main(["--seed", "4", "--json", "--output", str(tmp_path)]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["seed"], report["answers"], report["problems"]) == (4, 9, ["server 1 ended by itself"])
    assert report["kept"] == str(tmp_path / "nemesis-4")


def test_at_least_one_seed_is_run_however_short_the_time(play: Callable[[bool], list[Case]]) -> None:
    cases = play(True)
    nemesis.main(["--minutes", "0", "--first-seed", "9", "--kinds", "kill, pause"])
    assert [(case.seed, case.kinds) for case in cases] == [(9, ("kill", "pause"))]


def test_a_kind_that_nobody_knows_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert nemesis.main(["--kinds", "plague"]) == 2
    assert "there is no kind 'plague'" in capsys.readouterr().err


def test_some_seeds_have_local_sessions_and_most_do_not(play: Callable[[bool], list[Case]]) -> None:
    cases = play(True)
    for seed in range(60):
        nemesis.main(["--seed", str(seed)])
    local = [case for case in cases if case.local_sessions]
    assert 0 < len(local) < len(cases) / 2
    assert 0 < sum(case.upgrades_sessions for case in local) < len(local)
