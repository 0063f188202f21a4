"""How many files and sockets this process may have open, and how many of them clients may take.

Where connections took the last one, no checkpoint and no snapshot could be written any more, and a server whose disk
fails it stops: too many clients would end it for all.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final

_KEPT: Final = 64
"""For the log, the checkpoint, a snapshot under way and what the interpreter opens now and then; some 20 are usual."""

_UNLIMITED: Final = 1 << 20
"""As many as epoll is ever asked about, where the system sets no limit."""


def raise_limit() -> None:
    """Ask for as many as the system allows this process; shells give 1024 where 500,000 are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # Then it stays what it is.
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_bound() -> int:
    """How many client connections leave enough descriptors for the rest."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > _UNLIMITED:
        soft = _UNLIMITED
    return max(soft - _KEPT, soft // 2)
