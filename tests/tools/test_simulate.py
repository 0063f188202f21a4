"""The command that runs the simulator: what it reports, and how a failure can be looked at again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import simulate
from zkstore.zab.broadcast import Broadcast


def test_a_sound_run_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--seeds", "2", "--first-seed", "5"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("seeds      2, of which 0 failed: []")
    for word in ("times real time", "recovery", "plans", "happened", "checks     ", "I5 ", "monotonic reads "):
        assert word in said


def test_a_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--seeds", "2", "--json", "--bare", "--servers", "3"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["seeds"] == 2 and report["failures"] == []
    assert report["simulated_s"] > 5 and report["speed"] > 0 and report["operations"] > 100
    assert report["checks"]["I1"] > 0


def test_minutes_end_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--minutes", "0", "--bare"]) == 0
    assert capsys.readouterr().out.startswith("seeds      0,")


def test_one_seed_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--seed", "5", "--bare", "--trace"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("seed 5, plan ")
    assert "s1  starts, life 1" in said
    assert "Lead(epoch=" in said
    assert "ALL IS WELL AGAIN" in said
    assert "hash " in said


def test_a_failure_is_made_smaller_and_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_soon(broadcast: Broadcast) -> int:
        return max(broadcast.acked.values(), default=0)

    with monkeypatch.context() as broken:
        broken.setattr(Broadcast, "agreed_zxid", too_soon)
        options = ["--bare", "--output", str(tmp_path), "--shrink-runs", "40"]
        assert simulate.main(["--seeds", "5", *options]) == 1
        said = capsys.readouterr().out
        assert "VIOLATED I18" in said
        (path,) = tmp_path.iterdir()
        assert f"replay with --replay {path}" in said
        assert simulate.main(["--replay", str(path)]) == 1
        replayed = capsys.readouterr().out
        assert "VIOLATED I18" in replayed
        assert replayed.count("\n") < 250
    assert simulate.main(["--replay", str(path)]) == 0


def test_failures_are_listed_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Broadcast, "agreed_zxid", lambda broadcast: max(broadcast.acked.values(), default=0))
    options = ["--bare", "--output", str(tmp_path), "--shrink-runs", "0", "--json", "--failures", "2"]
    assert simulate.main(["--seeds", "5", *options]) == 1
    report = json.loads(capsys.readouterr().out)
    assert len(report["failures"]) == 2 == report["seeds"]
    assert all("I18" in failure["violations"][0] for failure in report["failures"])


@pytest.mark.parametrize("content", [None, "no json", '{"format": 7}'])
def test_what_is_no_case_is_not_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path = tmp_path / "case.json"
    if content is not None:
        path.write_text(content)
    assert simulate.main(["--replay", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"{path} cannot be replayed: " in said
    assert "give a file that --output has written" in said
