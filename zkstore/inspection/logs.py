"""The log as it lies on disk, read by pages, beside a running server if need be.

Segments are appended and dropped meanwhile; each slice is read as of one LMDB transaction, and again where that was
overwritten. What was found is checked as always: each segment's CRC, and that it continues the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any, Final

import msgpack

from zkstore.errors import DamageError, MovedOnError, StorageError
from zkstore.storage import salvage
from zkstore.storage.directory import refuse_newer
from zkstore.storage.generation import GenerationFile
from zkstore.storage.log import FORMAT_VERSION, Epochs, Link
from zkstore.storage.page_file import PageFile
from zkstore.storage.tables import Table, tables
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment

_KEY: Final = Struct(">Q")
_ATTEMPTS: Final = 100


class StoredLog:
    """The log below `path`, as of the moment of opening; its older part may be dropped meanwhile.

    Attributes:
        start, end: of the chain. Where the newest segments are damaged, the end of the last sound one.
        awaiting: whole segments behind the end that LMDB does not refer to: a power cut left them so, and the next
            start of a server will put them in their place; or a server is about to. `end` is theirs.
        troubles: sentences about what is damaged and could be done without.

    Raises DamageError, FormatTooNewError and StorageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.troubles: list[str] = []
        self.awaiting: list[Segment] = []
        self._file = PageFile(path / "data.mdb")
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        facts: dict[bytes, Any] = {}
        for name, value in self._again(lambda found: [row for rows in found[b"meta"].slices() for row in rows]):
            try:
                facts[name] = msgpack.unpackb(value)
            except ValueError as error:
                raise self._file.damage(f"the fact {name!r} cannot be read ({error})") from error
        try:
            refuse_newer(facts.get(b"format_version", 0), FORMAT_VERSION, self.path)
            self.format_version: int = facts.get(b"format_version", 0)
            self.epochs = Epochs(*facts.get(b"epochs", (0, 0)))
            self.start = Link(*facts.get(b"start", (0, 0)))
        except TypeError as error:
            raise self._file.damage(f"the log's facts cannot be read ({error})") from error
        self.ensemble_id: bytes | None = facts.get(b"ensemble_id")
        self.store_id: bytes | None = facts.get(b"store_id")
        self.used_bytes = self._again(self._bytes_of)
        self.segment_count = self._again(lambda found: found[b"segments"].root.entries)
        self.troubles += self._file.troubles
        self.end = self._find_end()
        self._find_awaiting()

    @property
    def size_bytes(self) -> int:
        """The file's length."""
        return self._file.size_bytes

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def segments(
        self, after_zxid: int, up_to_zxid: int, *, damage: list[DamageError] | None = None
    ) -> Iterator[Segment]:
        """See `parts.LogPart`. Where a running server drops what is asked for, the segments that are left come, or,
        without `damage`, MovedOnError."""
        previous: Link | None = None
        before = after_zxid  # the zxid that the next segment may not lie behind
        for key, stored in self._rows(after_zxid, damage):
            if key > up_to_zxid:
                return
            try:
                segment = self._decoded(key, stored)
            except DamageError as error:
                if damage is None:
                    raise
                damage.append(error)
                previous, before = None, up_to_zxid
                continue
            try:
                self._check(previous, before, segment)
            except DamageError as error:
                if not self._is_dropped(before):
                    if damage is None:
                        raise
                    damage.append(error)
                elif damage is None:
                    raise MovedOnError("a running server has dropped this part of the log", where=self.path) from error
            previous, before = Link(segment.last_zxid, segment.crc), segment.last_zxid
            if segment.last_zxid > after_zxid:
                yield segment
        for segment in self.awaiting:
            # A server may have put them in their place meanwhile.
            if max(after_zxid, before) < segment.last_zxid and segment.first_zxid <= up_to_zxid:
                yield segment

    def holding(self, zxid: int) -> Segment | None:
        """See `parts.LogPart`."""
        for segment in reversed(self.awaiting):
            if segment.first_zxid <= zxid:
                return segment
        row = self._again(lambda found: found[b"segments"].floor(_KEY.pack(max(zxid, 0))))
        return None if row is None else self._decoded(self._zxid(row[0]), row[1])

    # --- inside -----------------------------------------------------------------------------------

    def _rows(self, after_zxid: int, damage: list[DamageError] | None) -> Iterator[tuple[int, bytes]]:
        """Stored segments by first zxid, from the one that holds the first zxid behind `after_zxid`; across moves.
        Pages that are damaged go to `damage`, and what they hold does not come."""
        start = _KEY.pack(after_zxid + 1)
        try:
            row = self._again(lambda found: found[b"segments"].floor(start))
        except DamageError as error:
            if damage is None:
                raise
            damage.append(error)
            row = None
        if row is not None:
            start = row[0]
        attempts = 0
        while True:
            try:
                for rows in self._tables()[b"segments"].slices(start, damage=damage):
                    attempts = 0
                    for key, stored in rows:
                        yield self._zxid(key), stored
                    start = rows[-1][0] + b"\0"
                return
            except MovedOnError:
                attempts += 1
                if attempts > _ATTEMPTS:
                    raise

    def _again(self, read: Any) -> Any:
        """Read until a running server did not overwrite it meanwhile."""
        for attempt in range(_ATTEMPTS):
            try:
                return read(self._tables())
            except MovedOnError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _tables(self) -> dict[bytes, Table]:
        found = tables(self._file, self._file.newest())
        missing = [name.decode() for name in (b"segments", b"meta") if name not in found]
        if missing:
            raise self._file.damage(f"there is nothing in this log: it has no table {', '.join(missing)}")
        return found

    def _bytes_of(self, found: dict[bytes, Table]) -> int:
        root = found[b"segments"].root
        return (root.branch_pages + root.leaf_pages + root.overflow_pages) * self._file.page_bytes

    def _is_dropped(self, zxid: int) -> bool:
        """Whether the log begins behind this zxid by now."""
        content = self._again(lambda found: found[b"meta"].get(b"start"))
        try:
            return content is not None and int(msgpack.unpackb(content)[0]) > zxid
        except (ValueError, TypeError, LookupError):
            return False

    def _find_end(self) -> Link:
        try:
            newest = self.holding((1 << 63) - 1)
        except DamageError as error:
            self.troubles.append(str(error))
            end = self.start
            damage: list[DamageError] = []
            for segment in self.segments(self.start.zxid, (1 << 63) - 1, damage=damage):
                if damage:
                    break
                end = Link(segment.last_zxid, segment.crc)
            return end
        return self.start if newest is None else Link(newest.last_zxid, newest.crc)

    def _find_awaiting(self) -> None:
        try:
            generation = GenerationFile(self.path / "generation", read_only=True)
            generation.close()
        except StorageError as error:
            self.troubles.append(str(error))
            return
        if generation.current.is_closed:
            return
        for file in (self.path / "data.mdb", self.path / "salvaged"):
            while segment := salvage.find_next(file, generation.current.key, *self.end):
                self.awaiting.append(segment)
                self.end = Link(segment.last_zxid, segment.crc)

    def _zxid(self, key: bytes) -> int:
        if len(key) != _KEY.size:
            raise self._file.damage(f"a segment is stored under {key!r}, which is no zxid")
        return int(_KEY.unpack(key)[0])

    def _decoded(self, zxid: int, stored: bytes) -> Segment:
        try:
            segment = segments_.decode(salvage.unwrap(stored))
        except DamageError as error:
            raise self._damage(str(error), zxid) from error
        if segment.first_zxid != zxid:
            raise self._damage(f"the segment stored under {zxid:#x} begins at {segment.first_zxid:#x}", zxid)
        return segment

    def _check(self, previous: Link | None, before: int, segment: Segment) -> None:
        if segment.prev_zxid > before:
            raise self._damage(f"segments are missing between {before:#x} and {segment.prev_zxid:#x}", before + 1)
        if previous is not None and (segment.prev_zxid, segment.prev_crc) != previous:
            raise self._damage(
                f"the segment from {segment.first_zxid:#x} continues {segment.prev_zxid:#x}, crc"
                f" {segment.prev_crc:08x}, not {previous.zxid:#x}, crc {previous.crc:08x}, which stands before it",
                segment.first_zxid,
            )

    def _damage(self, message: str, zxid: int) -> DamageError:
        error = DamageError(message, where=self.path)
        error.zxid = zxid
        return error
