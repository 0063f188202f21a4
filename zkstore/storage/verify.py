"""Verification: walk everything in a data directory, believe nothing, and list what does not fit.

Reads only. The whole log is followed from its start; where it begins at zxid 0 or at a snapshot, a tree is built
along the way and compared with every snapshot and with the checkpoint as their zxids come by.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zkstore.errors import DamageError, StorageError
from zkstore.model.tree import Tree
from zkstore.storage import directory as directory_
from zkstore.storage import probe, recovery, snapshots
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.directory import DataDirectory
from zkstore.storage.image import Mark
from zkstore.storage.lock import DirectoryLock
from zkstore.storage.log import ADVICE, Link, Log
from zkstore.storage.snapshots import Snapshots
from zkstore.storage.store import read_clean_note


class Finding(NamedTuple):
    """One thing that is not as it should be.

    Attributes:
        where: the file or directory.
        zxid: the first one that cannot be trusted, where known.
        message: a sentence; it names the place, too.
    """

    where: str
    zxid: int | None
    message: str


class Verified(NamedTuple):
    """What was looked at and what was found; `findings` is empty where all is well.

    Of the segments, `awaiting` await salvage: the next start will put them in their place. That is no damage.
    """

    segments: int
    txns: int
    images: int
    findings: list[Finding]
    awaiting: int = 0


def verify(root: Path, *, log_directory: Path | None = None) -> Verified:
    """Check a data directory that no server is using. Raises DirectoryInUseError and DirectoryUnusableError."""
    directory = directory_.locate(root, log_directory)
    locks: list[DirectoryLock] = []
    try:
        for owned in directory.roots:
            locks.append(DirectoryLock(owned))
        return _walk(directory)
    finally:
        for lock in locks:
            lock.release()


def _walk(directory: DataDirectory) -> Verified:
    findings: list[Finding] = []
    images = _check_images(directory, findings)
    image_count = len(images)
    segments = txns = 0
    try:
        store_id = directory_.store_id(directory)
        if store_id is None:
            raise DamageError("there is no format file, so this is no data directory", where=directory.root)
        probe.refuse_fatal(directory.log)
        log = Log(directory.log, read_only=True)
    except StorageError as error:
        findings.append(_finding(error, directory.log))
        return Verified(segments, txns, image_count, findings)
    try:
        if log.store_id != store_id:
            message = f"this log belongs to another data directory than {directory.root}"
            findings.append(_finding(DamageError(message, where=directory.log), directory.log))
        _miss_checkpoint(directory, log, findings)
        segments = sum(1 for _ in log.read(log.start.zxid))
        txns, tree = _replay(log, images)
        _check_note(directory, tree)
    except StorageError as error:
        findings.append(_finding(error, directory.log))
    finally:
        log.close()
    return Verified(segments, txns, image_count, findings, len(log.awaiting))


def _miss_checkpoint(directory: DataDirectory, log: Log, findings: list[Finding]) -> None:
    """Where there are snapshots, or no beginning of time, there must be a checkpoint, unless one is being replaced."""
    checkpoint = Checkpoint(directory.tree)
    if checkpoint.exists() or checkpoint.is_being_replaced():
        return
    if log.start.zxid or Snapshots(directory.snapshots).newest() is not None:
        findings.append(_finding(DamageError("there is no checkpoint", where=directory.tree), directory.tree))


def _check_note(directory: DataDirectory, tree: Tree) -> None:
    """Whether the note of the last orderly stop fits what the log makes. Raises DamageError."""
    note = read_clean_note(directory)
    if note is None:
        return
    if tree.zxid < note.zxid:
        text = f"the server stopped in order at {note.zxid:#x}, but its data ends at {tree.zxid:#x}"
        raise DamageError(text, where=directory.clean)
    if (tree.zxid, tree.digest) != (note.zxid, note.digest) and tree.zxid == note.zxid:
        raise DamageError(
            f"the note of an orderly stop has digest {note.digest:016x}; the data make {tree.digest:016x}",
            zxid=note.zxid,
            where=directory.clean,
        )


def _check_images(directory: DataDirectory, findings: list[Finding]) -> list[tuple[Mark, Tree]]:
    """Load the snapshots and the checkpoint, oldest first; only the first tree is kept, of the others the mark."""
    found: list[tuple[Mark, Tree]] = []
    for snapshot in Snapshots(directory.snapshots).all():
        try:
            tree, mark = snapshots.load(snapshot)
            found.append((mark, tree if not found else Tree()))
        except StorageError as error:
            findings.append(_finding(error, snapshot.path))
    try:
        probe.refuse_fatal(directory.tree)
        loaded = Checkpoint(directory.tree).load()
        if loaded is not None:
            found.append((loaded[1], loaded[0] if not found else Tree()))
    except StorageError as error:
        findings.append(_finding(error, directory.tree))
    return found


def _replay(log: Log, images: list[tuple[Mark, Tree]]) -> tuple[int, Tree]:
    """Follow the log with a tree from as far back as there is one; returns the txns applied, and the tree then."""
    if log.start.zxid == 0:
        tree, at = Tree.new(), Link(0, 0)
    elif images:
        mark, tree = images.pop(0)
        at = Link(mark.zxid, mark.crc)
    else:
        raise DamageError(
            f"the log begins behind {log.start.zxid:#x} and there is no sound image of the tree before",
            where=log.path,
            advice=ADVICE,
        )
    txns = 0
    for mark, _ in sorted(images, key=lambda image: image[0].zxid):
        txns += recovery.replay(tree, at, log, up_to_zxid=mark.zxid).txns
        at = Link(tree.zxid, log.crc_at(tree.zxid) or 0)
        if (tree.zxid, tree.digest, at.crc) != (mark.zxid, mark.digest, mark.crc):
            error = DamageError(
                f"the log arrives at {tree.zxid:#x} with digest {tree.digest:016x};"
                f" the image of {mark.zxid:#x} has {mark.digest:016x}",
                where=log.path,
                advice=ADVICE,
            )
            error.zxid = mark.zxid
            raise error
    txns += recovery.replay(tree, at, log).txns
    return txns, tree


def _finding(error: StorageError, where: Path) -> Finding:
    zxid = error.zxid if isinstance(error, DamageError) else None
    return Finding(str(error.where or where), zxid, str(error))
