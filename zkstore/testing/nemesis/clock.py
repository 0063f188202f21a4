"""The wall clock of a server under test, which jumps when it is told to.

    python -m zkstore.testing.nemesis.clock FILE serve ...

runs zkstore's command line in a process whose wall clock is the system's plus what FILE says at the moment. Nothing
else of the process is moved: sessions' time is kept by a clock that does not jump, on a real machine, too.
"""

from __future__ import annotations

import mmap
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Final

_OFFSET: Final = Struct("<q")  # nanoseconds


def write(path: Path, offset_ms: int) -> None:
    """From now on the wall clock of whoever runs with this file is off by so much."""
    path.touch()
    with path.open("r+b") as file:
        file.write(_OFFSET.pack(offset_ms * 1_000_000))


def wear(path: Path) -> None:
    """Let this process's wall clock be off by what the file says, now and later."""
    with path.open("rb") as file:
        offset = mmap.mmap(file.fileno(), _OFFSET.size, prot=mmap.PROT_READ)
    true_ns = time.time_ns

    def time_ns() -> int:
        moved: int = true_ns() + _OFFSET.unpack_from(offset)[0]
        return moved

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1_000_000_000


def main(arguments: Sequence[str]) -> None:
    """The command line under such a clock."""
    path, *rest = arguments
    wear(Path(path))
    sys.argv[1:] = rest
    runpy.run_module("zkstore", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
