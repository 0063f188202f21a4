"""The inspector as a program of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.inspection.directories import make

PROGRAM = Path(__file__).parents[2] / "tools" / "inspector.py"


def test_it_is_the_same_as_the_subcommand(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    found = subprocess.run(
        [sys.executable, str(PROGRAM), str(made.root), "get", "/app-b"], capture_output=True, text=True, check=True
    )
    assert found.stdout == "beside\n"
