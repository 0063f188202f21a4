"""A backup, opened for looking: an image or two of the tree, and with them the log between, if it was put in.

Blocks are read one at a time and each is checked, so memory does not grow with the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Final

from zkstore.errors import DamageError, DirectoryUnusableError
from zkstore.inspection import backup_format
from zkstore.inspection.backup_format import SEGMENTS, ZNODES, ImagePlace, Index, LogPlace
from zkstore.inspection.facts import Facts, ImageFacts, Reach
from zkstore.inspection.parts import LogPart
from zkstore.inspection.view import Opener
from zkstore.model import zxid as zxids
from zkstore.model.tree import SessionRecord
from zkstore.storage.image import Counts, Mark
from zkstore.storage.log import Epochs, Link
from zkstore.storage.page_file import Rows
from zkstore.storage.tables import SLICE_LEAVES
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment

MAGIC: Final = backup_format.NAME
"""What every backup begins with, of whatever format version."""

_FIRST: Final = itemgetter(0)


def of_backup(path: Path) -> tuple[Facts, list[tuple[int, Opener]], LogPart | None]:
    """What is in a backup; see `gathering`. Raises DamageError, FormatTooNewError and StorageError."""
    with _open(path) as file:
        index = backup_format.read_index(file, path)
    images: list[tuple[int, Opener]] = []
    for place in index.images:
        images.append((place.zxid, _opener(path, place)))
    log = None if index.log is None else BackupLog(path, index, index.log)
    return _facts(path, index), images, log


class BackupImage:
    """One image in a backup; see `parts.Image`."""

    def __init__(self, path: Path, place: ImagePlace) -> None:
        self._path = path
        self._place = place
        self._file = _open(path)
        self.mark = Mark(place.zxid, place.digest, place.crc)
        self.counts: Counts | None = Counts(place.znodes, place.data_bytes, place.ephemerals)

    @property
    def name(self) -> str:
        """See `parts.Image`."""
        return f"backup of {zxids.text(self.mark.zxid)}"

    def sessions(self) -> dict[int, SessionRecord]:
        """See `parts.Image`."""
        return {number: SessionRecord(*session) for number, session in self._place.sessions.items()}

    def get_many(self, paths: Iterable[bytes]) -> Iterator[bytes | None]:
        """See `parts.Image`."""
        blocks, read_at, rows = self._place.blocks, -1, dict[bytes, bytes]()
        for path in paths:
            number = bisect_right(blocks, path, key=_FIRST) - 1
            if number < 0:
                yield None
                continue
            at = blocks[number][1]
            if at != read_at:
                rows, read_at = dict(self._block(at)), at
            yield rows.get(path)

    def slices(
        self,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        leaves: int = SLICE_LEAVES,
        damage: list[DamageError] | None = None,
    ) -> Iterator[Rows]:
        """See `parts.Image`."""
        blocks = self._place.blocks
        for first, at in blocks[max(bisect_right(blocks, start, key=_FIRST) - 1, 0) :]:
            if stop is not None and first >= stop:
                return
            try:
                rows = [row for row in self._block(at) if row[0] >= start and (stop is None or row[0] < stop)]
            except DamageError as error:
                if damage is None:
                    raise
                damage.append(error)
                continue
            if rows:
                yield rows

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _block(self, at: int) -> Rows:
        content = backup_format.read(self._file, at, ZNODES, self._path)
        return [(path, record) for path, record in content]


class BackupLog:
    """The log in a backup; see `parts.LogPart`."""

    def __init__(self, path: Path, index: Index, place: LogPlace) -> None:
        self._path = path
        self._place = place
        self._file = _open(path)
        self.start, self.end = Link(*place.start), Link(*place.end)
        self.epochs = Epochs(*index.epochs)
        self.ensemble_id = index.ensemble_id

    def segments(
        self, after_zxid: int, up_to_zxid: int, *, damage: list[DamageError] | None = None
    ) -> Iterator[Segment]:
        """See `parts.LogPart`."""
        blocks = self._place.blocks
        for first, at in blocks[max(bisect_right(blocks, after_zxid, key=_FIRST) - 1, 0) :]:
            if first > up_to_zxid:
                return
            try:
                found = self._block(at)
            except DamageError as error:
                if damage is None:
                    raise
                damage.append(error)
                continue
            for segment in found:
                if segment.last_zxid > after_zxid and segment.first_zxid <= up_to_zxid:
                    yield segment

    def holding(self, zxid: int) -> Segment | None:
        """See `parts.LogPart`."""
        blocks = self._place.blocks
        number = bisect_right(blocks, zxid, key=_FIRST) - 1
        if number < 0:
            return None
        return max((one for one in self._block(blocks[number][1]) if one.first_zxid <= zxid), key=_zxid_of)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _block(self, at: int) -> list[Segment]:
        content = backup_format.read(self._file, at, SEGMENTS, self._path)
        return [segments_.decode(data) for data in content]


def _zxid_of(segment: Segment) -> int:
    return segment.first_zxid


def _opener(path: Path, place: ImagePlace) -> Opener:
    return lambda: BackupImage(path, place)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DirectoryUnusableError(
            f"cannot be read: {error.strerror}", where=path, advice="Check its owner and mode"
        ) from error


def _facts(path: Path, index: Index) -> Facts:
    size = path.stat().st_size
    facts = Facts(path, "backup", formats={"backup": backup_format.FORMAT_VERSION}, store_id=index.store_id)
    facts.ensemble_id = "" if index.ensemble_id is None else index.ensemble_id.hex()
    facts.epochs = Epochs(*index.epochs)
    facts.made_ms = index.made_ms
    facts.snapshots = [
        ImageFacts("snapshot", path, one.zxid, one.digest, one.crc, one.znodes, one.data_bytes, one.ephemerals, size)
        for one in index.images
    ]
    newest = index.images[-1]
    facts.start = facts.end = Link(newest.zxid, newest.crc)
    if index.log is not None:
        facts.start, facts.end = Link(*index.log.start), Link(*index.log.end)
        facts.first_time_ms, facts.last_time_ms = index.log.first_time_ms, index.log.last_time_ms
    facts.reach = [Reach(facts.start.zxid, facts.end.zxid)]
    facts.total_bytes = size
    return facts
