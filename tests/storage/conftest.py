"""Fixtures of the storage tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB: a tmpfs, where this user may mount one."""
    path = tmp_path / "small-disk"
    path.mkdir()
    try:
        mount = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "zkstore-test", str(path)], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mount.returncode != 0:
        pytest.skip("this user may not mount a small disk")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)
