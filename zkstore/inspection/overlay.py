"""What the log changes in an image: the znodes that differ from it as of a later zxid, and nothing of the others.

The txns are applied by `model.apply`, as on every server, to a tree that holds only what they touch: their znodes, the
parents of those that come and go, and all quotas. The digest is carried on from the image's, so each digest that a
segment names is compared, as at a start. Memory grows with the znodes touched, not with the tree or the log.
"""

from __future__ import annotations

from struct import error as StructError
from typing import Final
from zlib import crc32

from zkstore.errors import DamageError
from zkstore.inspection.parts import Image, LogPart
from zkstore.model import apply, quotas
from zkstore.model.paths import CONFIG, ROOT, parent_of
from zkstore.model.tree import SessionRecord, Tree, session_digest
from zkstore.model.txns import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    ReconfigTxn,
    Txn,
)
from zkstore.storage.image import Counts
from zkstore.storage.log import Link
from zkstore.storage.recovery import DIGESTS_KEPT
from zkstore.wire import segment as segments_

_MASK: Final = 0xFFFFFFFFFFFFFFFF


class Overlay:
    """An image's znodes as of a later zxid, where they differ.

    Attributes:
        zxid: what it is as of: as asked for, or of the last txn before damage in the log.
        digest: of the whole tree then.
        records: path to record; None for a znode that is gone.
        paths: those of `records`, in order.
        sessions: all that live then.
        change: what comes to the image's counts.
        txns: applied.
        damage: what kept it from going on to the zxid asked for.
    """

    def __init__(self, image: Image, log: LogPart | None, zxid: int) -> None:
        mark = image.mark
        self.zxid, self.digest, self.txns = mark.zxid, mark.digest, 0
        self.records: dict[bytes, bytes | None] = {}
        self.sessions: dict[int, SessionRecord] = image.sessions()
        self.change = Counts(0, 0, 0)
        self.damage: DamageError | None = None
        if log is not None and zxid > mark.zxid:
            self._apply(image, log, zxid)
        self.paths = sorted(self.records)

    def counts(self, image: Image) -> Counts | None:
        """How much the tree is; None where the image does not tell."""
        known = image.counts
        if known is None:
            return None
        return Counts(*(number + change for number, change in zip(known, self.change, strict=True)))

    def _apply(self, image: Image, log: LogPart, zxid: int) -> None:
        touched = _Touched()
        try:
            for segment in log.segments(image.mark.zxid, zxid):
                for txn in segments_.txns(segment):
                    touched.add(txn)
        except DamageError:
            pass  # met again, at the same place, below
        before = touched.read(image)
        tree = _partial(before, self.sessions)
        tree.digest, tree.zxid = image.mark.digest, image.mark.zxid
        counts = _counts(tree)
        try:
            self._follow(tree, image, log, zxid)
        except DamageError as error:
            self.damage = error
            _forget_unsealed(tree)
        self.digest, self.sessions = tree.digest, tree.sessions
        self.change = Counts(*(after - number for after, number in zip(_counts(tree), counts, strict=True)))
        self.records.update((path, record) for path, record in tree.records.items() if before.get(path) != record)
        self.records.update((path, None) for path in before if path not in tree.records)

    def _follow(self, tree: Tree, image: Image, log: LogPart, zxid: int) -> None:
        """Apply txn for txn; `zxid` and `txns` say how far that came. Raises DamageError."""
        mark = image.mark
        digests = {mark.zxid: mark.digest}
        expected = Link(mark.zxid, mark.crc)
        for segment in log.segments(mark.zxid, zxid):
            if (segment.prev_zxid, segment.prev_crc) != expected:
                raise _damage(f"the log does not continue the {image.name}", segment.first_zxid)
            if digests.get(segment.digest_zxid, segment.digest) != segment.digest:
                raise _damage(
                    f"the tree's digest at {segment.digest_zxid:#x} is {digests[segment.digest_zxid]:016x},"
                    f" the log says {segment.digest:016x}",
                    segment.digest_zxid,
                )
            txns = segments_.txns(segment)[: zxid - segment.first_zxid + 1]
            try:
                apply.apply_segment(tree, segment.first_zxid, txns)
            except (LookupError, ValueError, TypeError, AssertionError, StructError) as error:
                raise _damage(f"a txn does not fit the tree ({error!r})", segment.first_zxid) from error
            self.zxid = tree.zxid
            self.txns += len(txns)
            expected = Link(segment.last_zxid, segment.crc)
            digests[tree.zxid] = tree.digest
            if len(digests) > DIGESTS_KEPT:
                del digests[next(iter(digests))]


class _Touched:
    """What some txns touch, so that they can be applied to a tree that has nothing else."""

    def __init__(self) -> None:
        self._paths = {ROOT}
        self._subtrees = {quotas.QUOTA_ROOT}  # they count against quotas, and a new quota counts what it is for

    def add(self, txn: Txn) -> None:
        """One more."""
        if isinstance(txn, CreateTxn):
            self._paths.add(parent_of(txn.path))
            governed = quotas.governed_by(txn.path)
            if governed is not None:
                self._subtrees.add(governed)
        elif isinstance(txn, DeleteTxn):
            self._paths.add(parent_of(txn.path))
        elif isinstance(txn, CloseSessionTxn):
            self._paths.update(txn.paths)
            self._paths.update(map(parent_of, txn.paths))
            return
        elif isinstance(txn, MultiTxn):
            for part in txn.changes:
                self.add(part)
            return
        elif isinstance(txn, ReconfigTxn):
            self._paths.add(CONFIG)
            return
        elif isinstance(txn, CreateSessionTxn | ErrorTxn):
            return
        self._paths.add(txn.path)

    def read(self, image: Image) -> dict[bytes, bytes]:
        """Their records, as far as the image has them. Raises DamageError and MovedOnError."""
        paths = sorted(self._paths | self._subtrees)
        found = {path: record for path, record in zip(paths, image.get_many(paths), strict=True) if record is not None}
        for subtree in self._subtrees:
            for rows in image.slices(subtree + b"/", subtree + b"0"):
                found.update(rows)
        return found


def _partial(records: dict[bytes, bytes], sessions: dict[int, SessionRecord]) -> Tree:
    """A tree with its indexes that has these znodes only."""
    digest = sum(crc32(record, crc32(path)) for path, record in records.items())
    digest += sum(session_digest(number, session) for number, session in sessions.items())
    return Tree.load(sorted(records.items()), sessions, 0, digest & _MASK)


def _forget_unsealed(tree: Tree) -> None:
    """The znodes as of the last whole segment."""
    for path, record in tree.touched.items():
        if record is None:
            tree.records.pop(path, None)
        else:
            tree.records[path] = record


def _counts(tree: Tree) -> Counts:
    return Counts(len(tree.records), tree.data_bytes, sum(map(len, tree.ephemerals.values())))


def _damage(message: str, zxid: int) -> DamageError:
    error = DamageError(message)
    error.zxid = zxid
    return error
