"""The log as the events that a watch would have told: those of a persistent recursive watch, in the order of the txns.

Who may not read a znode hears nothing of it, as where events are delivered: the ACL of that moment decides, of a znode
that is gone the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.paths import CONFIG, ROOT
from zkstore.model.txns import (
    CloseSessionTxn,
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    ReconfigTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
)
from zkstore.model.watches import EventType
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment

Event: TypeAlias = tuple[int, int, int, bytes]
"""zxid, time in ms, event type, path."""

Found: TypeAlias = tuple[list[Event], int, int]
"""The events, the zxid up to which was looked, and the one at which history ends."""

Permission: TypeAlias = tuple[Callable[[tuple[Acl, ...]], bool], Callable[[bytes], "tuple[Acl, ...]"]]
"""Whether an ACL lets the asker read, and the ACL that a znode had at the zxid from which events are told."""

_LOOKED_AT_BYTES_MAX: Final = 16 << 20
_EVENT_BYTES: Final = 24


def find(
    segments: Iterable[Segment],
    after_zxid: int,
    end_zxid: int,
    path: bytes,
    permission: Permission | None,
    answer_bytes: int,
) -> Found:
    """The events behind `after_zxid` at or below `path`, of whole txns; `permission` None lets all be seen."""
    known: dict[bytes, tuple[Acl, ...]] = {}
    events: list[Event] = []
    size = looked_at = 0
    for segment in segments:
        looked_at += len(segment.data)
        if path not in segment.data and not is_at_or_below(CONFIG, path):
            continue
        for zxid, txn in enumerate(segments_.txns(segment), segment.first_zxid):
            if not after_zxid < zxid <= end_zxid:
                continue
            for event_type, where, acl in _changes(txn):
                if acl is not None:
                    known[where] = acl
                if event_type is None or not is_at_or_below(where, path):
                    continue
                if permission is None or _may_read(where, known, *permission):
                    events.append((zxid, txn.time_ms, event_type, where))
                    size += len(where) + _EVENT_BYTES
            if size > answer_bytes:
                return events, zxid, end_zxid
        if looked_at > _LOOKED_AT_BYTES_MAX:
            return events, min(segment.last_zxid, end_zxid), end_zxid
    return events, max(after_zxid, end_zxid), end_zxid


def is_at_or_below(path: bytes, root: bytes) -> bool:
    """Whether a recursive watch of `root` hears of `path`."""
    return root == ROOT or path == root or path.startswith(root + b"/")


def _may_read(
    path: bytes,
    known: dict[bytes, tuple[Acl, ...]],
    allows: Callable[[tuple[Acl, ...]], bool],
    acl_before: Callable[[bytes], tuple[Acl, ...]],
) -> bool:
    if path not in known:
        known[path] = acl_before(path)
    return allows(known[path])


def _changes(txn: Txn) -> Iterator[tuple[int | None, bytes, tuple[Acl, ...] | None]]:
    """What is told of a txn, and ACLs that are new with it: (event type, path, ACL)."""
    if isinstance(txn, SetDataTxn):
        yield EventType.DATA_CHANGED, txn.path, None
    elif isinstance(txn, CreateTxn):
        acl = OPEN_ACL if txn.acl is None else tuple(Acl(*entry) for entry in txn.acl)
        yield EventType.CREATED, txn.path, acl
    elif isinstance(txn, SetAclTxn):
        yield None, txn.path, tuple(Acl(*entry) for entry in txn.acl)
    elif isinstance(txn, DeleteTxn):
        yield EventType.DELETED, txn.path, None
    elif isinstance(txn, CloseSessionTxn):
        for path in txn.paths:
            yield EventType.DELETED, path, None
    elif isinstance(txn, MultiTxn):
        for change in txn.changes:
            yield from _changes(change)
    elif isinstance(txn, ReconfigTxn):
        yield EventType.DATA_CHANGED, CONFIG, None
