"""A wall clock that jumps, in a process of its own, and nothing else that moves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from zkstore.testing.nemesis import clock

PROGRAM = """
import sys, time
from pathlib import Path
from zkstore.testing.nemesis import clock
clock.wear(Path(sys.argv[1]))
for _ in sys.stdin:
    print(time.time_ns() // 1_000_000, int(time.time() * 1000), time.monotonic_ns() // 1_000_000, flush=True)
"""
NEAR_MS = 30_000


def test_the_wall_clock_jumps_and_the_other_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    clock.write(path, 0)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset_ms in (0, -3_600_000, 86_400_000):
            clock.write(path, offset_ms)
            process.stdin.write("\n")
            process.stdin.flush()
            ns_ms, float_ms, monotonic_ms = map(int, process.stdout.readline().split())
            assert abs(ns_ms - offset_ms - time.time() * 1000) < NEAR_MS
            assert abs(float_ms - ns_ms) < NEAR_MS
            assert abs(monotonic_ms - time.monotonic() * 1000) < NEAR_MS
        process.stdin.close()


def test_a_command_runs_under_such_a_clock(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    clock.write(path, 5)
    command = [sys.executable, "-m", clock.__name__, str(path), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stdout.split()[0]) == (0, "zkstore")
