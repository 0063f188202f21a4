"""The sweep's command line, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import failpoint_sweep
from zkstore.testing.sweeping.play import Outcome


def fake(name: str, action: str, load: str, problems: list[str]) -> Outcome:
    return Outcome(name, action, load, has_struck=not problems, answered=10, problems=problems)


@pytest.fixture
def _faked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Play:
        def __init__(self, name: str, action: str, load: object, root: Path) -> None:
            (root / "kept").write_text("a log")
            problems = ["it is lost"] if (name, action) == ("log.cut.after_sync", "crash") else []
            self._outcome = fake(name, action, getattr(load, "__name__", ""), problems)

        def run(self) -> Outcome:
            return self._outcome

    monkeypatch.setattr(failpoint_sweep, "Play", Play)


@pytest.mark.usefixtures("_faked")
def test_what_goes_wrong_is_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failpoint_sweep.main(["log.cut", "--output", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "failpoints 3, of which 3 were reached" in captured.out
    assert "FAILED     log.cut.after_sync=crash in tail: it is lost" in captured.out
    assert "WRONG log.cut.after_sync=crash in tail" in captured.err
    assert (tmp_path / "log.cut.after_sync-crash-tail" / "kept").read_text() == "a log"


@pytest.mark.usefixtures("_faked")
def test_the_report_for_programs_has_every_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failpoint_sweep.main(["log.cut", "--action", "delay", "--json", "--output", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in report] == ["log.cut.before_write", "log.cut.before_sync", "log.cut.after_sync"]
    assert list(tmp_path.iterdir()) == []


def test_what_matches_nothing_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert failpoint_sweep.main(["no.such.place"]) == 2
    assert "nothing has that name" in capsys.readouterr().err
