"""Disks whose power goes, and disks that are slow: on the real system, where this user may have them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.nemesis.test_judging import leader
from zkstore.storage.store import Store
from zkstore.testing.nemesis.disk import PoweredDisk, SlowSyncs, damage, refuse_tracing

SYNCS = """
import os, sys, time
file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
for _ in sys.stdin:
    os.write(file, b"x")
    began = time.monotonic()
    os.fdatasync(file)
    print(time.monotonic() - began, flush=True)
"""


@pytest.fixture
def powered(tmp_path: Path) -> Iterator[PoweredDisk]:
    try:
        disk = PoweredDisk(tmp_path / "disk")
    except OSError as error:
        pytest.skip(f"no disk of one's own is to be had here: {error}")
    yield disk
    disk.close()


def test_what_was_synced_survives_a_power_cut_and_the_rest_is_gone(powered: PoweredDisk) -> None:
    path = powered.path / "file"
    for _ in range(2):
        with path.open("ab", buffering=0) as file:
            file.write(b"synced")
            os.fsync(file.fileno())
            file.write(b" and not synced")
        powered.cut()
    assert path.read_bytes() == b"syncedsynced"


def test_a_disk_is_slow_for_a_while(tmp_path: Path) -> None:
    try:
        refuse_tracing()
    except OSError as error:
        pytest.skip(f"no process may be traced here: {error}")
    command = [sys.executable, "-c", SYNCS, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def sync_s() -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        sync_s()
        slow = SlowSyncs(process.pid, 300)
        assert any(sync_s() >= 0.3 for _ in range(100_000))  # It takes a moment to begin.
        slow.close()
        assert any(sync_s() < 0.3 for _ in range(100))
        process.stdin.close()


def test_damage_is_done_to_one_page_and_never_to_the_first_two(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.append(leader().segments)
    store.close()
    path = tmp_path / "log" / "data.mdb"
    sound = path.read_bytes()
    for place_permille in (0, 500, 999):
        path.write_bytes(sound)
        damage(tmp_path, True, place_permille)
        changed = {
            at // 4096 for at, (one, other) in enumerate(zip(sound, path.read_bytes(), strict=True)) if one != other
        }
        assert len(changed) == 1
        assert min(changed) >= 2


def test_where_there_is_nothing_yet_nothing_is_damaged(tmp_path: Path) -> None:
    damage(tmp_path / "nothing", True, 500)
    assert not (tmp_path / "nothing").exists()
