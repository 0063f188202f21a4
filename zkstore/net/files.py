"""Whether files have changed since they were read: certificates and lists of users are exchanged under a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 5.0
"""How long a change may go unnoticed."""


class FileWatch:
    """Some files as they were when they were looked at last."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._seen = _looks(paths)

    def has_changed(self) -> bool:
        """Whether one of them looks different from the last time; asking again says no."""
        seen = _looks(self._paths)
        changed = seen != self._seen
        self._seen = seen
        return changed


def _looks(paths: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """What changes when a file does; None where there is none."""
    looks: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            looks.append(None)
        else:
            looks.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return looks
