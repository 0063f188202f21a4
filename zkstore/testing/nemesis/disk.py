"""A small disk for one server, which gets full when it is told to: a file system in memory, made smaller and larger."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

_MEGABYTES: Final = 1024
_SPARE_BYTES: Final = 16 << 10


class SmallDisk:
    """A tmpfs at `path`. Raises OSError where this user may not mount one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m", "zkstore-nemesis", str(path))

    def fill(self) -> None:
        """From now on there is no space but for a few pages."""
        found = os.statvfs(self.path)
        used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
        _run("mount", "-o", f"remount,size={(used_bytes + _SPARE_BYTES) // 1024}k", str(self.path))

    def free(self) -> None:
        """There is space again."""
        _run("mount", "-o", f"remount,size={_MEGABYTES}m", str(self.path))

    def close(self) -> None:
        """Let go of it; what is on it is lost."""
        _run("umount", "--lazy", str(self.path))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
