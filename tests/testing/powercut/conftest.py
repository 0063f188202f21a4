"""Images are laid out in memory where that can be: nearly all of the time would be waiting for syncs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory of the test's own, in memory if there is a place for it."""
    with tempfile.TemporaryDirectory(prefix="zkstore-power-", dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path)
