"""How much memory the server takes, and how much it may.

At the limit, writes that grow the tree are refused; reads and deletes go on. A server that is ended by the system for
want of memory helps nobody.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
_CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_UNLIMITED_BYTES: Final = 1 << 60
_SHARE_OF_CGROUP: Final = 0.9


def resident_bytes() -> int:
    """What this process holds now, as far as the system tells; elsewhere than on Linux its peak."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def default_limit_bytes() -> int | None:
    """Nine tenths of what the cgroup allows; None where there is no limit."""
    for file in _CGROUP_LIMITS:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _UNLIMITED_BYTES:
            return int(int(text) * _SHARE_OF_CGROUP)
    return None
