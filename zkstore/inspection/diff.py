"""Two trees compared: merged in the order of their paths, a slice at a time, so memory does not grow with them.

What is equal is skipped as whole lists of records, which is quick between two moments of one history.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import STAT_BYTES
from zkstore.storage.page_file import Rows


class Aspect(Enum):
    """In what two records differ."""

    DATA = "data"
    ACL = "acl"
    KIND = "kind"
    STAT = "stat"


class Difference(NamedTuple):
    """A znode that is not the same in both trees; None where it is not there."""

    path: bytes
    before: bytes | None
    after: bytes | None
    aspects: tuple[Aspect, ...] = ()


def differences(
    before: Iterable[Rows],
    after: Iterable[Rows],
    *,
    has_stats: bool = False,
    has_ephemerals: bool = False,
    has_kinds: bool = True,
) -> Iterator[Difference]:
    """What differs between two trees, given as slices of (path, record) in the order of paths.

    Stats and ephemeral znodes count only where asked; kinds (container, TTL) not where a side does not tell them.
    """
    for path, old, new in _unequal(iter(before), iter(after)):
        if not has_ephemerals:
            old, new = _unless_ephemeral(old), _unless_ephemeral(new)
        if old is None and new is None:
            continue
        if old is None or new is None:
            yield Difference(path, old, new)
            continue
        aspects = tuple(_aspects(old, new, has_stats=has_stats, has_kinds=has_kinds))
        if aspects:
            yield Difference(path, old, new, aspects)


def acl_of(record: bytes) -> tuple[Acl, ...]:
    """Its ACL."""
    extras = records_.extras_of(record)
    return OPEN_ACL if extras is None else extras.acl


def owner_of(record: bytes) -> int:
    """Its stored owner: a session, or what marks a container or a TTL."""
    extras = records_.extras_of(record)
    return records_.stat_of(record).ephemeral_owner if extras is None else extras.owner


# --- inside -------------------------------------------------------------------------------------------


def _unequal(before: Iterator[Rows], after: Iterator[Rows]) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    left: Rows = next(before, [])
    right: Rows = next(after, [])
    while left or right:
        if not left or not right:
            until = (left or right)[-1][0]
        else:
            until = min(left[-1][0], right[-1][0])
        at, other = _behind(left, until), _behind(right, until)
        if left[:at] != right[:other]:
            old, new = dict(left[:at]), dict(right[:other])
            for path in sorted({path for path, _ in old.items() ^ new.items()}):
                yield path, old.get(path), new.get(path)
        left = left[at:] or next(before, [])
        right = right[other:] or next(after, [])


def _behind(rows: Rows, path: bytes) -> int:
    """How many rows lie at or before a path."""
    return bisect_right(rows, path, key=lambda row: row[0])


def _unless_ephemeral(record: bytes | None) -> bytes | None:
    if record is None or records_.stat_of(record).ephemeral_owner:
        return None
    return record


def _aspects(old: bytes, new: bytes, *, has_stats: bool, has_kinds: bool) -> Iterator[Aspect]:
    old_end, new_end = records_.image_end(old), records_.image_end(new)
    if old[: old_end - STAT_BYTES] != new[: new_end - STAT_BYTES]:
        yield Aspect.DATA
    if old[old_end:] != new[new_end:] and acl_of(old) != acl_of(new):
        yield Aspect.ACL
    if has_kinds and owner_of(old) != owner_of(new):
        yield Aspect.KIND
    if has_stats and records_.stat_of(old) != records_.stat_of(new):
        yield Aspect.STAT
