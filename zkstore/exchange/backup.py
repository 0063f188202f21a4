"""A backup is written: a tree as of one exact zxid, and with `with_history` all that the source knows of before.

The source may be the directory of a running server: it is read beside it, and what is written is checked on the way, so
that a backup which was completed holds what it says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple, Protocol

from zkstore.errors import DamageError
from zkstore.exchange.content import Content, checked
from zkstore.inspection import backup_format
from zkstore.inspection.backup_format import BLOCK_BYTES, SEGMENTS, ZNODES, ImagePlace, Index, LogPlace
from zkstore.inspection.facts import Facts
from zkstore.model import record as records_
from zkstore.version import VERSION
from zkstore.wire.segment import Segment

_TELL_EVERY_BLOCKS: Final = 16


class Origin(Protocol):
    """What a backup is made of: an `inspection.source.Source`, or a server that is asked over the network."""

    @property
    def facts(self) -> Facts:
        """What is known without reading on."""
        ...

    @property
    def damage(self) -> list[DamageError]:
        """What could not be read so far."""
        ...

    def view(self, zxid: int | None = None) -> Content:
        """The tree as of then, or of now."""
        ...

    def segments(self, after_zxid: int = 0, up_to_zxid: int | None = None) -> Iterator[Segment]:
        """Those that hold the zxids between the two."""
        ...

    def time_ms_at(self, zxid: int) -> int | None:
        """When a txn was proposed."""
        ...


class Written(NamedTuple):
    """What is in the new backup. `first_zxid` is the oldest that can be seen in it."""

    zxid: int
    digest: int
    znodes: int
    sessions: int
    first_zxid: int
    segments: int
    size_bytes: int


def write(
    source: Origin,
    file: BinaryIO,
    *,
    zxid: int | None = None,
    with_history: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write a backup of `source`, as of `zxid` or of now, into a file that need not be able to seek.

    Raises DamageError where the source is not sound, and StorageError where it does not reach to `zxid`.
    """
    writer = _Writer(file, progress)
    writer.put(backup_format.MAGIC)
    view = source.view(zxid)
    if source.damage:
        raise source.damage[0]
    images: list[ImagePlace] = []
    log: LogPlace | None = None
    segments = 0
    reach = source.facts.reach[-1] if source.facts.reach else None
    if with_history and reach is not None and reach.first_zxid < view.zxid:
        oldest = source.view(reach.first_zxid)
        images.append(writer.image(oldest, _crc_at(source, oldest.zxid)))
        segments, log = writer.log(source, oldest.zxid, view.zxid)
    crc = log.end[1] if log is not None else _crc_at(source, view.zxid)
    images.append(writer.image(view, crc))
    if source.damage:
        raise source.damage[0]
    facts = source.facts
    index = Index(
        made_ms=time.time_ns() // 1_000_000,
        maker=f"zkstore {VERSION}",
        store_id=facts.store_id,
        ensemble_id=bytes.fromhex(facts.ensemble_id) if facts.ensemble_id else None,
        epochs=(0, 0) if facts.epochs is None else (facts.epochs.accepted, facts.epochs.current),
        images=tuple(images),
        log=log,
    )
    writer.end(index)
    newest = images[-1]
    return Written(
        newest.zxid,
        newest.digest,
        newest.znodes,
        len(newest.sessions),
        images[0].zxid if log is not None else newest.zxid,
        segments,
        writer.at,
    )


def _crc_at(source: Origin, zxid: int) -> int:
    """Of the segment that ends there; 0 where that is not known, or in the middle of one."""
    facts = source.facts
    known = {facts.end.zxid: facts.end.crc, facts.start.zxid: facts.start.crc}
    for image in (facts.checkpoint, *facts.snapshots):
        if image is not None:
            known.setdefault(image.zxid, image.crc)
    return known.get(zxid, 0)


class _Writer:
    """Appends to the file, and knows where it is."""

    def __init__(self, file: BinaryIO, progress: Callable[[str], None]) -> None:
        self.at = 0
        self._file = file
        self._progress = progress
        self._blocks = 0

    def put(self, data: bytes) -> int:
        """Append; where that begins."""
        at = self.at
        self._file.write(data)
        self.at += len(data)
        return at

    def image(self, content: Content, crc: int) -> ImagePlace:
        """A whole tree. Raises DamageError where it is not what its digest says."""
        blocks: list[tuple[bytes, int]] = []
        znodes = data_bytes = ephemerals = 0
        for rows in _blocks(checked(content)):
            blocks.append((rows[0][0], self.put(backup_format.pack(ZNODES, rows))))
            znodes += len(rows)
            for path, record in rows:
                stat = records_.stat_of(record)
                data_bytes += len(path) + stat.data_length
                ephemerals += stat.ephemeral_owner != 0
            self._tell(f"{znodes:,} znodes are written")
        sessions = {number: (one.timeout_ms, one.password) for number, one in content.sessions.items()}
        return ImagePlace(content.zxid, content.digest, crc, znodes, data_bytes, ephemerals, sessions, tuple(blocks))

    def log(self, source: Origin, after_zxid: int, up_to_zxid: int) -> tuple[int, LogPlace]:
        """All segments between two zxids, and how many they are."""
        blocks: list[tuple[int, int]] = []
        start = end = (after_zxid, _crc_at(source, after_zxid))
        count, size = 0, 0
        waiting: list[bytes] = []
        first_zxid = 0
        for segment in source.segments(after_zxid, up_to_zxid):
            if not waiting:
                first_zxid = segment.first_zxid
            waiting.append(segment.data)
            size += len(segment.data)
            count, end = count + 1, (segment.last_zxid, segment.crc)
            if size >= BLOCK_BYTES:
                blocks.append((first_zxid, self.put(backup_format.pack(SEGMENTS, waiting))))
                size, waiting = 0, []
                self._tell(f"{count:,} segments of history are written")
        if waiting:
            blocks.append((first_zxid, self.put(backup_format.pack(SEGMENTS, waiting))))
        if source.damage:
            raise source.damage[0]
        times = source.time_ms_at(start[0] + 1) or source.facts.first_time_ms, source.time_ms_at(end[0])
        return count, LogPlace(start, end, *times, tuple(blocks))

    def end(self, index: Index) -> None:
        """The index, and the file's end."""
        content = index._asdict()
        content["images"] = [image._asdict() for image in index.images]
        content["log"] = None if index.log is None else index.log._asdict()
        at = self.put(backup_format.pack(backup_format.INDEX, content))
        self.put(backup_format.pack_end(at))
        self._file.flush()

    def _tell(self, text: str) -> None:
        self._blocks += 1
        if self._blocks % _TELL_EVERY_BLOCKS == 0:
            self._progress(text)


def _blocks(znodes: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    """About a megabyte at a time."""
    rows: list[tuple[bytes, bytes]] = []
    size = 0
    for row in znodes:
        rows.append(row)
        size += len(row[0]) + len(row[1])
        if size >= BLOCK_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
