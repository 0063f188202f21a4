"""What would take back a txn, or all that happened to a subtree since some moment: writes that a client can make.

Each write names what it expects to find, as the source's history left it, so that whoever carries it out can refuse
where somebody has changed a znode since. Ephemeral znodes are their sessions', and cannot be brought back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zkstore.errors import StorageError
from zkstore.inspection import diff, txn_listing
from zkstore.inspection.diff import Aspect, Difference
from zkstore.inspection.source import Source
from zkstore.model import record as records_
from zkstore.model import zxid as zxids
from zkstore.model.paths import CONFIG

_OWN = b"/zookeeper"


class Undoing(NamedTuple):
    """What is to be taken back.

    Attributes:
        differences: from the tree as it is (`before`) to the one that is wanted back (`after`).
        ephemerals: how many were left out.
        back_to_zxid: the tree that is wanted back is as of this one.
    """

    differences: list[Difference]
    ephemerals: int
    back_to_zxid: int


def of_txn(source: Source, zxid: int) -> Undoing:
    """Take back one txn. Raises StorageError where the source does not have it, or it changed nothing."""
    found = next((txn for at, txn in source.txns(zxid - 1, zxid) if at == zxid), None)
    if found is None:
        first, last = zxids.text(source.facts.start.zxid + 1), zxids.text(source.facts.end.zxid)
        raise StorageError(f"there is no txn {zxids.text(zxid)} here; the log holds {first} to {last}")
    paths = sorted(set(txn_listing.paths_of(found)))
    if CONFIG in paths:
        raise StorageError(
            f"{zxids.text(zxid)} changed the ensemble's members", advice="Change them back with reconfig in the shell"
        )
    if not paths:
        name = txn_listing.NAMES[found.kind]
        raise StorageError(f"{zxids.text(zxid)} is a txn of kind {name}; it changed no znode")
    now, then = source.view(zxid), source.view(zxid - 1)
    old = [(path, record) for path in paths if (record := now.get(path)) is not None]
    new = [(path, record) for path in paths if (record := then.get(path)) is not None]
    return _undoing([old] if old else [], [new] if new else [], zxid - 1)


def since(source: Source, subtree: bytes, zxid: int) -> Undoing:
    """Take back all that happened to a subtree behind `zxid`. Raises StorageError where it was never there."""
    now, then = source.view(), source.view(zxid)
    if now.get(subtree) is None and then.get(subtree) is None:
        raise StorageError(
            f"there is no {subtree.decode('utf-8', 'backslashreplace')}, neither at {zxids.text(zxid)} nor at"
            f" {zxids.text(now.zxid)}"
        )
    return _undoing(now.slices(subtree), then.slices(subtree), zxid)


def _undoing(now: Iterable[list[tuple[bytes, bytes]]], then: Iterable[list[tuple[bytes, bytes]]], zxid: int) -> Undoing:
    found: list[Difference] = []
    ephemerals = 0
    for each in _own_left_out(diff.differences(now, then, has_ephemerals=True)):
        if any(record is not None and records_.stat_of(record).ephemeral_owner for record in each[1:3]):
            ephemerals += 1
        elif each.aspects != (Aspect.KIND,):
            found.append(each)
    return Undoing(found, ephemerals, zxid)


def _own_left_out(found: Iterable[Difference]) -> Iterator[Difference]:
    for each in found:
        if each.path != _OWN and not each.path.startswith(_OWN + b"/"):
            yield each
