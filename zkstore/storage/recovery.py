"""Recovery: from what lies on disk to the tree in memory, exactly, or not at all.

The checkpoint is a tree as of one zxid; the log continues there. Everything is checked on the way: the image's
digest, each segment's CRC, that it continues the one before, and the digest that it names for an earlier end. A
checkpoint that is missing or unreadable can be done without where a snapshot, or the beginning of time, is followed
by an unbroken log, because the digests prove the result. Damage behind the checkpoint cannot be healed from here, so
recovery names the place and refuses.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from struct import error as StructError
from typing import Final

from zkstore import failpoints
from zkstore.errors import DamageError
from zkstore.model.apply import apply_segment
from zkstore.model.tree import Tree
from zkstore.storage import probe
from zkstore.storage import snapshots as snapshots_
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.directory import make_directory, sync_directory, sync_file, translated
from zkstore.storage.image import collector_paused
from zkstore.storage.log import ADVICE, Link, Log
from zkstore.storage.snapshots import Snapshot, Snapshots
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment

DIGESTS_KEPT: Final = 64
"""Digests of the last ends of segments: how far back the digest that a segment names may lie. It lags behind by the
segments that were under way when it was proposed, a handful."""


@dataclass(slots=True)
class Report:
    """How the tree was recovered, for the server's log.

    Attributes:
        source: "nothing" (a new directory), "checkpoint", "snapshot" or "log".
        image_zxid: of the checkpoint or snapshot that recovery began with; 0 where there was none.
        segments, txns: replayed from the log.
        warnings: sentences about what was not as it should be and could be healed.
    """

    source: str
    image_zxid: int = 0
    segments: int = 0
    txns: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recovered:
    """The tree with all that the log holds; the newest segment, None in an empty log; and how it went."""

    tree: Tree
    last_segment: Segment | None
    report: Report


def recover(
    log: Log,
    checkpoint: Checkpoint,
    snapshots: Snapshots,
    damaged: Path,
    *,
    is_suspect: bool = False,
    up_to_zxid: int | None = None,
) -> Recovered:
    """The tree as of the log's end, or of the last end of a segment up to `up_to_zxid`.

    `is_suspect`: an attempt before this one did not come to an end.

    An unreadable checkpoint that could be done without is moved to `damaged`, and the snapshot used takes its place.
    Raises DamageError and FormatTooNewError.
    """
    try:
        if is_suspect:
            probe.refuse_fatal(checkpoint.path)
        loaded = checkpoint.load()
    except DamageError as error:
        return _recover_without(error, log, checkpoint, snapshots, damaged, up_to_zxid)
    if loaded is None:
        if log.start.zxid == 0 and snapshots.newest() is None:
            report = Report("log" if log.end.zxid else "nothing")
            return _replayed(Tree.new(), Link(0, 0), log, report, up_to_zxid)
        missing = DamageError("there is no checkpoint", where=checkpoint.path)
        return _recover_without(missing, log, checkpoint, snapshots, damaged, up_to_zxid)
    tree, mark = loaded
    if mark.restarts_log and log.start != (mark.zxid, mark.crc):
        # The image came from elsewhere and was just put in place: what else is here is not its past.
        for snapshot in snapshots.all():
            snapshots.remove(snapshot.zxid)
        log.restart(Link(mark.zxid, mark.crc))
    return _replayed(tree, Link(mark.zxid, mark.crc), log, Report("checkpoint", mark.zxid), up_to_zxid)


def replay(tree: Tree, start: Link, log: Log, *, up_to_zxid: int | None = None) -> Report:
    """Apply what the log holds behind `start`, where the tree is, to its end or to the end of the segment `up_to_zxid`.

    Raises DamageError with the first zxid that cannot be trusted. The tree is of no use then.
    """
    report = Report("log")
    if log.end.zxid < start.zxid or (log.end.zxid == start.zxid and log.end.crc != start.crc):
        raise _damage(
            f"the log ends at {log.end.zxid:#x} and not at or behind the tree's {start.zxid:#x}", log, start.zxid
        )
    with collector_paused():
        _follow(tree, start, log, up_to_zxid, report)
    return report


def _follow(tree: Tree, start: Link, log: Log, up_to_zxid: int | None, report: Report) -> None:
    digests = {start.zxid: tree.digest}
    for segment in log.read(start.zxid):
        if up_to_zxid is not None and segment.last_zxid > up_to_zxid:
            break
        if report.segments == 0 and (segment.prev_zxid, segment.prev_crc) != start:
            raise _damage(
                f"the segment from {segment.first_zxid:#x} continues {segment.prev_zxid:#x},"
                f" crc {segment.prev_crc:08x}; the tree is of {start.zxid:#x}, crc {start.crc:08x}",
                log,
                segment.first_zxid,
            )
        if digests.get(segment.digest_zxid, segment.digest) != segment.digest:
            raise _damage(
                f"the tree's digest at {segment.digest_zxid:#x} is {digests[segment.digest_zxid]:016x},"
                f" the log says {segment.digest:016x}",
                log,
                segment.digest_zxid,
            )
        report.txns += _apply(tree, segment, log)
        report.segments += 1
        digests[tree.zxid] = tree.digest
        if len(digests) > DIGESTS_KEPT:
            del digests[next(iter(digests))]


def _replayed(tree: Tree, start: Link, log: Log, report: Report, up_to_zxid: int | None) -> Recovered:
    failpoints.hit("recovery.replay")
    replayed = replay(tree, start, log, up_to_zxid=up_to_zxid)
    report.segments, report.txns = replayed.segments, replayed.txns
    return Recovered(tree, log.last(), report)


def _apply(tree: Tree, segment: Segment, log: Log) -> int:
    try:
        txns = segments_.txns(segment)
        apply_segment(tree, segment.first_zxid, txns)
    except (LookupError, ValueError, TypeError, AssertionError, StructError) as error:
        raise _damage(f"a txn of this segment does not fit the tree ({error!r})", log, segment.first_zxid) from error
    return len(txns)


def _recover_without(
    reason: DamageError,
    log: Log,
    checkpoint: Checkpoint,
    snapshots: Snapshots,
    damaged: Path,
    up_to_zxid: int | None,
) -> Recovered:
    """Recover from the newest snapshot that is sound and that the log continues, or from the log alone."""
    warnings = [f"The checkpoint cannot be used ({reason})"]
    for snapshot in reversed(snapshots.all()):
        if log.start.zxid > snapshot.zxid:
            break
        try:
            tree, mark = snapshots_.load(snapshot)
            recovered = _replayed(tree, Link(mark.zxid, mark.crc), log, Report("snapshot", mark.zxid), up_to_zxid)
        except DamageError as error:
            warnings.append(f"Nor can the snapshot of {snapshot.zxid:#x} ({error})")
            continue
        _adopt(snapshot, checkpoint, damaged)
        warnings.append(f"Recovered from the snapshot of {snapshot.zxid:#x} and the log since; nothing is lost")
        recovered.report.warnings = warnings
        return recovered
    if log.start.zxid == 0 and log.end.zxid > 0:
        recovered = _replayed(Tree.new(), Link(0, 0), log, Report("log"), up_to_zxid)
        checkpoint.move_to(damaged)
        warnings.append("Recovered from the log alone, which reaches back to the beginning; nothing is lost")
        recovered.report.warnings = warnings
        return recovered
    message = ". ".join([*warnings, "No sound snapshot has an unbroken log behind it"])
    refusal = DamageError(message, advice=ADVICE)
    refusal.zxid = reason.zxid
    raise refusal from reason


def _adopt(snapshot: Snapshot, checkpoint: Checkpoint, damaged: Path) -> None:
    """A copy of the snapshot becomes the checkpoint, so that the next one continues there."""
    draft = checkpoint.path.with_name(f".{checkpoint.path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    make_directory(draft)
    try:
        failpoints.hit("recovery.adopt.before_copy")
        shutil.copyfile(snapshot.path / "data.mdb", draft / "data.mdb")
        sync_file(draft / "data.mdb")
        sync_directory(draft)
    except OSError as error:
        raise translated(error, draft) from error
    failpoints.hit("recovery.adopt.after_copy")
    checkpoint.move_to(damaged)
    checkpoint.replace_by(draft)


def _damage(message: str, log: Log, zxid: int) -> DamageError:
    error = DamageError(message, where=log.path, advice=ADVICE)
    error.zxid = zxid
    return error
