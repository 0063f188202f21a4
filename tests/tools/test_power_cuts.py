"""The command that cuts the power: what it reports, and how a case can be looked at again."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tools import power_cuts
from zkstore.testing.powercut import run
from zkstore.testing.powercut.run import Batch, Outcome


def test_a_sound_run_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert power_cuts.main(["--images", "60", "--loads", "first start", "--servers", "1", "--json", str(report)]) == 0
    captured = capsys.readouterr()
    assert "different ones" in captured.out and "wrong       0\n" in captured.out
    assert "first start, seed 0" in captured.err and "nothing wrong" in captured.err
    found = json.loads(report.read_text())
    assert found["images"] >= 60 and found["servers"] == 1 and found["findings"] == []
    assert found["kinds"]["before"] > 0


def test_what_is_wrong_is_told_and_can_be_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcomes(work: Iterator[Batch], jobs: int) -> Generator[Outcome, None, None]:
        monkeypatch.setattr(run.Campaign, "run", lambda self, images: iter([run.Finding(run.Plan(9, "all", 0), "bad")]))
        yield run.run(next(work))

    monkeypatch.setattr(run, "outcomes", outcomes)
    assert power_cuts.main(["--loads", "first start", "--images", "1", "--output", str(tmp_path), "--servers=0"]) == 1
    said = capsys.readouterr().out
    assert "WRONG first start, seed 0: bad (replay with --replay" in said
    case = next(tmp_path.glob("power-cut-first-start-0-1"))
    assert power_cuts.main(["--replay", str(case)]) == 0
    assert capsys.readouterr().out.endswith("nothing is wrong\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--loads", "nonsense"], "no such load: nonsense; give some of first start, appends"),
        (["--replay", "/nonexistent"], "/nonexistent cannot be replayed"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert power_cuts.main(arguments) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--images", "0"], ["--images", "many"], ["--jobs", "0"], ["--jobs", "300"]])
def test_an_impossible_number_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        power_cuts.main(arguments)
    assert "give a number" in capsys.readouterr().err
