"""How much history is kept: a byte budget for old snapshots and the old part of the log.

Always kept, whatever the budget: the log behind the newest checkpoint, the newest snapshot and the log behind that.
Together they are the second way back, should the checkpoint be unreadable. Without any snapshot that way begins at
the log's start, so nothing of the log is dropped. What lies before is history: of use to learners that are far
behind, and to people who want to see the tree as it was. The oldest goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class History:
    """What there is.

    Attributes:
        snapshots: (zxid, bytes), oldest first.
        log_start_zxid: the zxid that the oldest segment continues.
        log_bytes: used by all segments.
        checkpoint_zxid: of the newest checkpoint, 0 where there is none.
    """

    snapshots: Sequence[tuple[int, int]]
    log_start_zxid: int
    log_bytes: int
    checkpoint_zxid: int


@dataclass(frozen=True, slots=True)
class DropSnapshot:
    """Remove this snapshot."""

    zxid: int


@dataclass(frozen=True, slots=True)
class DropLog:
    """Drop segments, oldest first, that end at or before `zxid`."""

    zxid: int


def next_drop(history: History, *, history_bytes_max: int, snapshots_kept: int) -> DropSnapshot | DropLog | None:
    """The next thing to go, or None when all is within bounds or all that is left must stay.

    `snapshots_kept` is the most there may be; at least one stays. Ask again after every step: pages are freed in
    ways that only the disk knows.
    """
    snapshots = history.snapshots
    if len(snapshots) > max(snapshots_kept, 1):
        return DropSnapshot(snapshots[0][0])
    used_bytes = history.log_bytes + sum(size for _, size in snapshots)
    if used_bytes <= history_bytes_max or not snapshots:
        return None
    oldest_zxid = min(snapshots[0][0], history.checkpoint_zxid)
    if history.log_start_zxid < oldest_zxid:
        return DropLog(oldest_zxid)
    if len(snapshots) > 1:
        return DropSnapshot(oldest_zxid)
    return None
