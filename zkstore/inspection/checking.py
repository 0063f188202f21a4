"""Checking all of a source without a server's help and beside one that runs: believe nothing, list what does not fit.

Looked at are the structure of each LMDB file, the snapshots' checksums, each image's znodes (their digest, and the
invariants of a tree), the CRC and the chain of all segments with every txn in them, and whether the log leads from
each image to the next one: each digest on the way, and the one at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from struct import error as StructError
from typing import Final, NamedTuple

from zkstore.errors import DamageError, MovedOnError, StorageError
from zkstore.inspection.facts import ImageFacts
from zkstore.inspection.measuring import Progress
from zkstore.inspection.source import Source
from zkstore.inspection.view import View
from zkstore.model import record as records_
from zkstore.model.paths import ROOT, parent_of
from zkstore.storage import pages, snapshots
from zkstore.storage.page_file import PageFile
from zkstore.storage.snapshots import Snapshot
from zkstore.wire import segment as segments_

_FINDINGS_MAX: Final = 1000


class Checked(NamedTuple):
    """What was looked at, and what was found: sentences, none where all is well."""

    files: int
    images: int
    znodes: int
    segments: int
    txns: int
    findings: list[str]


def check(source: Source, progress: Progress) -> Checked:
    """Check everything. Raises nothing for damage."""
    return _Check(source, progress).run()


class _Check:
    """One check of one source."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self._source = source
        self._log_path = source.facts.log_path or source.facts.path
        self._progress = progress
        self._found: dict[str, None] = {}
        self._files = self._images = self._znodes = self._segments = self._txns = 0

    def run(self) -> Checked:
        """All of it."""
        facts = self._source.facts
        for trouble in facts.troubles:
            self._add(trouble)
        images = [image for image in (*facts.snapshots, facts.checkpoint) if image is not None]
        for image in images:
            self._structure(image.path / "data.mdb")
        if facts.log_path is not None:
            self._structure(facts.log_path / "data.mdb")
        for snapshot in facts.snapshots:
            if snapshot.path.is_dir():  # a backup has checksums of its own
                self._checksum(snapshot)
        self._log()
        for image in sorted(images, key=lambda each: each.zxid):
            self._image(image)
        self._lead(images)
        if facts.clean is not None and facts.clean.zxid > facts.end.zxid:
            self._add(
                f"the server stopped in order at {facts.clean.zxid:#x}, but its data ends at {facts.end.zxid:#x}: files"
                " were lost or exchanged"
            )
        for error in self._source.damage:
            self._add(str(error))
        return Checked(
            self._files, self._images, self._znodes, self._segments, self._txns, list(self._found)[:_FINDINGS_MAX]
        )

    # --- inside -----------------------------------------------------------------------------------

    def _add(self, finding: str) -> None:
        self._found[finding] = None

    def _structure(self, file: Path) -> None:
        """A file that a server writes may change under the look: then it counts only if nothing was written."""
        if not file.exists():
            return
        self._files += 1
        for _ in range(3):
            before = _txnid(file)
            try:
                pages.check(file)
                return
            except StorageError as error:
                if before == _txnid(file):
                    self._add(str(error))
                    return

    def _checksum(self, image: ImageFacts) -> None:
        try:
            snapshots.check(Snapshot(image.zxid, image.path))
        except StorageError as error:
            if image.path.exists():
                self._add(str(error))

    def _log(self) -> None:
        """CRC and chain, and that each txn can be read."""
        for segment in self._source.segments(self._source.facts.start.zxid):
            self._segments += 1
            try:
                self._txns += len(segments_.txns(segment))
            except DamageError as error:
                self._add(f"{self._log_path}: {error}")
            self._progress(1)

    def _image(self, image: ImageFacts) -> None:
        """Its znodes; which also compares their digest."""
        self._images += 1
        try:
            view = self._source.view(image.zxid)
            if view.base.mark.zxid == image.zxid and not view.overlay.records:
                self._znodes += _check_znodes(view, self._add, self._progress)
        except StorageError as error:
            self._add(str(error))

    def _lead(self, images: list[ImageFacts]) -> None:
        """The log's way from each image to the next one, and to the end."""
        facts = self._source.facts
        if not facts.segments:
            return
        digests = {image.zxid: image.digest for image in images if image.zxid >= facts.start.zxid}
        places = sorted({*digests, facts.end.zxid} | ({0} if facts.start.zxid == 0 else set()))
        if places[0] == facts.end.zxid and facts.end.zxid not in digests:
            self._add(
                f"{self._log_path}: the log begins behind {facts.start.zxid:#x} and there is no sound image of the tree"
                " before"
            )
        for begin, end in pairwise(places):
            try:
                arrived = self._source.lead(begin, end)
            except MovedOnError:
                continue  # a server has just replaced the image
            except StorageError as error:
                self._add(str(error))
                continue
            if arrived.damage is not None:
                self._add(f"{self._log_path}: {arrived.damage}")
            elif digests.get(end, arrived.digest) != arrived.digest:
                self._add(
                    f"{self._log_path}: the log arrives at {end:#x} with digest {arrived.digest:016x}; the image there"
                    f" has {digests[end]:016x}"
                )


def _check_znodes(view: View, add: Callable[[str], None], progress: Progress) -> int:
    """The invariants of a tree; returns the number of its znodes."""
    missing: dict[bytes, int] = {}  # of a znode, the children that its Stat counts and that did not come yet
    count = 0
    sessions = view.sessions
    name = view.base.name
    for rows in view.slices():
        for path, record in rows:
            try:
                stat = records_.stat_of(record)
                data_bytes = int.from_bytes(record[:4], signed=True)
                extras = records_.extras_of(record)
            except (StructError, ValueError, TypeError) as error:
                add(f"{name}: the record of {path!r} cannot be read ({error})")
                continue
            if stat.data_length != max(data_bytes, 0):
                add(f"{name}: {path!r} has {data_bytes} bytes of data and says {stat.data_length}")
            if stat.ephemeral_owner:
                if stat.ephemeral_owner not in sessions:
                    add(f"{name}: {path!r} belongs to a session that is gone, {stat.ephemeral_owner:#x}")
                if stat.num_children:
                    add(f"{name}: {path!r} is ephemeral and has children")
            if extras is not None and not extras.acl:
                add(f"{name}: {path!r} has an empty ACL")
            if path != ROOT:
                _less(missing, parent_of(path), 1)
            _less(missing, path, -stat.num_children)
        count += len(rows)
        progress(len(rows))
    for path, number in list(missing.items())[:_FINDINGS_MAX]:
        if number < 0:
            add(f"{name}: {path!r} has {-number} children more than it counts, or is missing itself")
        else:
            add(f"{name}: of {path!r}, {number} children are missing")
    return count


def _less(missing: dict[bytes, int], path: bytes, count: int) -> None:
    if count:
        left = missing.get(path, 0) - count
        if left:
            missing[path] = left
        else:
            del missing[path]


def _txnid(file: Path) -> int:
    try:
        with PageFile(file) as opened:
            return opened.newest().txnid
    except StorageError:
        return -1
