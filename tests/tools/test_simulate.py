"""The command that runs the simulator: what it reports, and how a failure can be looked at again."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tools import simulate
from zkstore.testing import workers
from zkstore.testing.workers import Died
from zkstore.zab.broadcast import Broadcast

ROOT = Path(__file__).resolve().parents[2]


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


def test_several_processes_report_what_one_does(capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for jobs in ("1", "2"):
        assert simulate.main(["--seeds", "4", "--json", "--bare", "--servers", "3", "--jobs", jobs]) == 0
        reports.append(json.loads(capsys.readouterr().out))
        assert reports[-1].pop("cpu_s") > 0
        for name in ("took_s", "speed"):
            del reports[-1][name]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("jobs", ["0", "257", "-1", "two"])
def test_an_impossible_number_of_processes_is_refused(capsys: pytest.CaptureFixture[str], jobs: str) -> None:
    with pytest.raises(SystemExit):
        simulate.main(["--seeds", "1", f"--jobs={jobs}"])
    assert f"give a number of processes from 1 to 256, not '{jobs}'" in capsys.readouterr().err


def test_a_worker_that_died_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    died = Died(4, 2, 4711, "SIGKILL")
    monkeypatch.setattr(workers, "outcomes", lambda seeds, run, jobs: (one for one in [died]))
    assert simulate.main(["--seeds", "5", "--jobs", "2"]) == 1
    said = capsys.readouterr().out
    assert "worker 2 (process 4711) died with SIGKILL while it ran seed 4; look at it with --seed 4" in said
    assert "of which 1 failed: [4]" in said


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_all_workers_and_reports_what_was_done(jobs: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "tools/simulate.py", "--minutes", "5", "--bare", "--servers", "3", "--jobs", jobs]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True, start_new_session=True)
    os.close(theirs)
    try:
        shown = b""
        while b" seeds, " not in shown:
            shown += os.read(ours, 4096)
        assert b"\n" not in shown
        os.killpg(run.pid, signal.SIGINT)
        said, _ = run.communicate(timeout=30)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 130
    assert said.startswith("stopped by hand; what was done until then:\nseeds      ")
    assert int(said.partition("seeds ")[2].split(",")[0]) > 0
    rest = b"".join(_left_to_read(ours))
    os.close(ours)
    assert rest.endswith(b"\r\x1b[K") and b"Traceback" not in rest
    assert _is_gone(run.pid)


def _is_gone(group: int) -> bool:
    """Within a moment: what Python keeps beside its workers sees them end first."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def _left_to_read(terminal: int) -> Iterator[bytes]:
    """Until nobody has its other end open, which Linux reports as an error."""
    with suppress(OSError):
        while data := os.read(terminal, 4096):
            yield data


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
