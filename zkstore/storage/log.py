"""The log: segments in the order of their zxids, and the few facts that a server must not forget.

Segments are keyed by their first zxid and stored as they travel, each in an envelope. Each names the zxid and CRC of
the one before, so the log is a chain; `append` lets nothing break it and `read` checks it again. The chain's start is
the zxid and CRC that the oldest segment continues: 0 and 0 in a new log, more once history was dropped or a tree came
from elsewhere.

An append waits for the disk once; `salvage` tells why that is enough.

One caller at a time appends; reading and dropping may go on in other threads meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import msgpack

from zkstore import failpoints
from zkstore.errors import DamageError, StorageError
from zkstore.storage import generation, salvage
from zkstore.storage.directory import make_directory, refuse_newer, replace_file, translating
from zkstore.storage.env import MAP_BYTES, Environment, lmdb_error
from zkstore.storage.generation import GenerationFile
from zkstore.wire import segment as segments_
from zkstore.wire.messages import ENROLLED, FRESH
from zkstore.wire.segment import Segment

FORMAT_VERSION: Final = 1

_KEY: Final = Struct(">Q")
_SLICE_SEGMENTS: Final = 256
_SLICE_BYTES: Final = 4 << 20
"""Read in one view: bounds how long a reader keeps the map from growing and the interpreter from the loop."""
_ROOM_BYTES: Final = 256 << 10

ADVICE: Final = (
    "Nothing was changed; `zkstore verify` lists all damage. Keep the directory, and start on a sound copy of it (a"
    " backup), on what `zkstore verify DIR --repair-to NEWDIR` can save of it, or, in an ensemble, on an empty one"
)


class Link(NamedTuple):
    """An end of the chain: the last zxid of a segment and its CRC; both 0 before the very first."""

    zxid: int
    crc: int


class Epochs(NamedTuple):
    """Zab's two promises: the newest epoch proposed to this server that it accepted, and the one it follows."""

    accepted: int
    current: int


class Facts(NamedTuple):
    """What a log says besides its segments."""

    epochs: Epochs
    ensemble_id: bytes | None


class Log:
    """The log in one LMDB environment.

    Attributes:
        start: what the oldest segment continues.
        end: the newest segment's, or `start` where there is none.
        awaiting: segments that await salvage, where the log was opened for reading only. They are read like all others
            and `end` is theirs.
        salvaged: segments that were put in their place when the log was opened.

    Raises FormatTooNewError, DamageError and StorageError.
    """

    def __init__(self, path: Path, *, map_bytes: int = MAP_BYTES, read_only: bool = False) -> None:
        self.path = path
        if not read_only and not self._file.exists():
            make_directory(path)
            generation.create(path / "generation")
        self._generation = GenerationFile(path / "generation", read_only=read_only)
        try:
            self._env = Environment(
                path,
                (b"segments", b"meta"),
                map_bytes=map_bytes,
                shared=True,
                metasync=False,
                read_only=read_only,
                readahead=False,
                room_bytes=_ROOM_BYTES,
                checks_pages=True,
            )
        except StorageError:
            self._generation.close()
            raise
        self._read_only = read_only
        try:
            self._open(read_only)
        except StorageError:
            self._let_go()
            raise

    def _open(self, read_only: bool) -> None:
        if self._env.is_blank:
            raise DamageError("there is nothing in this log", where=self.path, advice=ADVICE)
        self._segments = self._env.databases[b"segments"]
        self._meta = self._env.databases[b"meta"]
        format_version = self._get(b"format_version")
        if format_version is None and not read_only:
            new = {b"epochs": Epochs(0, 0), b"start": Link(0, 0), b"enrolment": FRESH}
            self._put({b"format_version": FORMAT_VERSION, **new})
        else:
            refuse_newer(format_version or 0, FORMAT_VERSION, self.path)
        self.start = self.stored_start()
        self.awaiting: Sequence[Segment] = ()
        self.salvaged: Sequence[Segment] = ()
        newest = self.last()
        self.end = self.start if newest is None else Link(newest.last_zxid, newest.crc)
        current = self._generation.current
        found = [] if current.is_closed else salvage.find((self._file, self._spare), current.key, *self.end)
        if found:
            self.end = Link(found[-1].last_zxid, found[-1].crc)
        if read_only:
            self.awaiting = found
            return
        if found:
            failpoints.hit("log.salvage.found")
            replace_file(self._spare, b"".join(salvage.wrap(segment, current.key) for segment in found))
            failpoints.hit("log.salvage.kept")
            self._put_segments(found)
            failpoints.hit("log.salvage.put")
        self.salvaged = found
        self._end_generation()
        with translating(self._spare):
            if found:
                failpoints.hit("log.salvage.before_remove")
            self._spare.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files; what is in them needs no salvage. Raises StorageError if that cannot be had."""
        try:
            if not self._read_only and self._env.is_trusted:
                failpoints.hit("log.close.before")
                self._end_generation(is_closing=True)
        finally:
            self._let_go()

    def abandon(self) -> None:
        """Let go of the files as a process does that dies: nothing is brought to an end."""
        self._let_go()

    def _let_go(self) -> None:
        self._env.close()
        self._generation.close()

    @property
    def _file(self) -> Path:
        return self.path / "data.mdb"

    @property
    def _spare(self) -> Path:
        return self.path / "salvaged"

    # --- segments ---------------------------------------------------------------------------------

    def append(self, segments: Sequence[Segment]) -> None:
        """Put segments behind the last one; when this returns they are on disk.

        Raises DiskFullError, after which the log is as before and may be appended to once there is space, and
        StorageError for a segment that does not continue the chain, and where the disk fails: then the segments may
        be found there later, or not.
        """
        end_zxid, end_crc = self.end
        for segment in segments:
            if segment.prev_zxid != end_zxid or segment.prev_crc != end_crc:
                raise StorageError(
                    f"the segment from {segment.first_zxid:#x} continues {segment.prev_zxid:#x},"
                    f" crc {segment.prev_crc:08x}; the log ends at {end_zxid:#x}, crc {end_crc:08x}",
                    where=self.path,
                )
            end_zxid, end_crc = segment.last_zxid, segment.crc
        is_done = False
        try:
            self._put_segments(segments)
            is_done = True
            failpoints.hit("log.append.after_sync")
        finally:
            if not is_done and self._env.is_trusted:
                failpoints.hit("log.append.after_failure")
                self._end_generation()  # whole segments may lie in the file already
        self.end = Link(end_zxid, end_crc)

    def read(self, after_zxid: int) -> Iterator[Segment]:
        """The segments behind `after_zxid`, oldest first, each checked, and checked to continue the one before.

        `after_zxid` lies at or behind `start` and normally at a segment's end; if not, the first segment given is
        the one that holds it. Segments appended meanwhile are given too. Raises DamageError, which names the first
        zxid that cannot be trusted, also where history is dropped under a slow reader.
        """
        previous: Link | None = None
        for segment in chain(self._stored(after_zxid), self.awaiting):
            if previous is not None:
                self._check_link(previous, segment)
            elif segment.prev_zxid > after_zxid:
                raise self._missing(after_zxid, segment)
            previous = Link(segment.last_zxid, segment.crc)
            if segment.last_zxid > after_zxid:
                yield segment

    def stored_start(self) -> Link:
        """`start` as it is on disk: while another thread drops segments, that is first to change."""
        return Link(*(self._get(b"start") or (0, 0)))

    def last(self) -> Segment | None:
        """The newest segment, checked; None in an empty log."""
        if self.awaiting:
            return self.awaiting[-1]
        with self._env.view() as view:
            cursor = view.cursor(db=self._segments)
            found = cursor.last()
            key, data = cursor.item()
        return self._decoded(key, data) if found else None

    def read_some(self, after_zxid: int, bytes_max: int) -> list[Segment]:
        """The next segments behind the one that ends at `after_zxid`: one at least if there is any, and as many more as
        fit into `bytes_max`. In one short view. Raises DamageError."""
        found: list[Segment] = []
        previous: Link | None = None
        for key, stored in self._slice(after_zxid, bytes_max):
            segment = self._decoded(key, stored)
            if previous is not None:
                self._check_link(previous, segment)
            elif segment.prev_zxid > after_zxid:
                raise self._missing(after_zxid, segment)
            previous = Link(segment.last_zxid, segment.crc)
            if segment.last_zxid > after_zxid:
                found.append(segment)
        return found

    def end_at_or_before(self, zxid: int) -> Link | None:
        """The last end of a segment that is not behind `zxid`, `start` included; None if that lies behind `zxid`."""
        if zxid >= self.end.zxid:
            return self.end
        if zxid <= self.start.zxid:
            return self.start if zxid == self.start.zxid else None
        holder = self.read_some(zxid, 0)[0]  # it holds the first zxid after this one, so this is its predecessor's end
        return Link(holder.prev_zxid, holder.prev_crc)

    def crc_at(self, zxid: int) -> int | None:
        """The CRC of the segment that ends at `zxid`; None where no segment, nor the log's start, ends there."""
        if zxid == self.start.zxid:
            return self.start.crc
        if zxid == self.end.zxid:
            return self.end.crc
        segment = next(self.read(zxid - 1), None) if zxid > self.start.zxid else None
        return segment.crc if segment is not None and segment.last_zxid == zxid else None

    def drop_before(self, zxid: int, at_most: int) -> int:
        """Drop up to `at_most` of the oldest segments, those that end at or before `zxid`, but never the last of all.

        One batch. Returns how many went: fewer than `at_most` when there are no more. A loss of power may bring back
        the last batch's, until the next write.
        """
        database = self._segments

        def drop(batch: Any) -> tuple[int, Link]:
            failpoints.hit("log.drop.before_write", lmdb_error)
            cursor = batch.cursor(db=database)
            start, count = self.start, 0
            found = cursor.first()
            while found and count < at_most:
                oldest = cursor.key()
                if not cursor.next():
                    break
                following = self._decoded(*cursor.item())
                if following.prev_zxid > zxid:
                    break
                cursor.set_key(oldest)
                cursor.delete()  # which moves the cursor on to the one that follows
                start, count = Link(following.prev_zxid, following.prev_crc), count + 1
            if count:
                batch.put(b"start", msgpack.packb(start), db=self._meta)
            failpoints.hit("log.drop.before_sync", lmdb_error)
            return count, start

        count, self.start = self._env.write(drop)
        failpoints.hit("log.drop.after_sync")
        return count

    def truncate_after(self, zxid: int) -> None:
        """Drop every segment behind `zxid`, which is the end of a segment or the log's start.

        For a learner whose newest segments were never committed. Raises StorageError if the chain has no such end.
        """
        crc = self.crc_at(zxid)
        if crc is None:
            raise StorageError(f"no segment ends at {zxid:#x}, so the log cannot be cut there", where=self.path)
        database = self._segments

        def drop(batch: Any) -> None:
            failpoints.hit("log.cut.before_write", lmdb_error)
            cursor = batch.cursor(db=database)
            found = cursor.set_range(_KEY.pack(zxid + 1))
            while found:
                cursor.delete()
                found = bool(cursor.key())
            failpoints.hit("log.cut.before_sync", lmdb_error)

        self._end_generation()  # before, so that there is no moment when a part of them could come back
        self._env.write(drop)
        self._env.sync()
        failpoints.hit("log.cut.after_sync")
        self.end = Link(zxid, crc)

    def restart(self, start: Link) -> None:
        """Drop all segments: the next one continues `start`, the state of a tree that came from elsewhere."""

        def replace(batch: Any) -> None:
            failpoints.hit("log.restart.before_write", lmdb_error)
            batch.drop(self._segments, delete=False)
            batch.put(b"start", msgpack.packb(start), db=self._meta)

        self._end_generation()
        self._env.write(replace)
        self._env.sync()
        failpoints.hit("log.restart.after_sync")
        self.start = self.end = start

    # --- facts ------------------------------------------------------------------------------------

    @property
    def epochs(self) -> Epochs:
        """What this server promised; zeros in a new log."""
        return Epochs(*(self._get(b"epochs") or (0, 0)))

    def set_epochs(self, epochs: Epochs, *, enrols: bool = False) -> None:
        """Promise; on disk when this returns. If it `enrols`, this server has a vote from now on."""
        failpoints.hit("log.epochs.before_write")
        self._put({b"epochs": epochs, b"enrolment": ENROLLED} if enrols else {b"epochs": epochs})
        failpoints.hit("log.epochs.after_sync")

    @property
    def enrolment(self) -> int | None:
        """FRESH, LOST or ENROLLED of `wire.messages`; None in a log from before this was put down."""
        value: int | None = self._get(b"enrolment")
        return value

    def set_enrolment(self, enrolment: int) -> None:
        """Whether what this server says counts in its ensemble; on disk when this returns."""
        self._put({b"enrolment": enrolment})

    @property
    def ensemble_id(self) -> bytes | None:
        """128 random bits shared by all servers of an ensemble; None until they are agreed on."""
        value: bytes | None = self._get(b"ensemble_id")
        return value

    def set_ensemble_id(self, ensemble_id: bytes) -> None:
        """Belong to that ensemble from now on."""
        assert len(ensemble_id) == 16, "an ensemble id has 128 bits"
        self._put({b"ensemble_id": ensemble_id})

    @property
    def store_id(self) -> bytes | None:
        """The id of the data directory that this log belongs to; None in a new log."""
        value: bytes | None = self._get(b"store_id")
        return value

    def set_store_id(self, store_id: bytes) -> None:
        """Belong to that data directory."""
        self._put({b"store_id": store_id})

    def used_bytes(self) -> int:
        """Bytes of the pages that hold segments. The file never shrinks; freed pages are used again."""
        with self._env.view() as view:
            return self._env.bytes_in(view, b"segments")

    # --- inside -----------------------------------------------------------------------------------

    def _get(self, name: bytes) -> Any:
        with self._env.view() as view:
            value = view.get(name, db=self._meta)
        return None if value is None else msgpack.unpackb(value)

    def _put(self, values: dict[bytes, Any]) -> None:
        def put_all(batch: Any) -> None:
            failpoints.hit("log.facts.before_write", lmdb_error)
            for name, value in values.items():
                batch.put(name, msgpack.packb(value), db=self._meta)

        self._env.write(put_all)
        failpoints.hit("log.facts.before_sync")
        self._env.sync()
        failpoints.hit("log.facts.after_sync")

    def _put_segments(self, segments: Sequence[Segment]) -> None:
        key, database = self._generation.current.key, self._segments
        rows = [(_KEY.pack(segment.first_zxid), salvage.wrap(segment, key)) for segment in segments]

        def put_all(batch: Any) -> None:
            failpoints.hit("log.append.before_write", lmdb_error)
            for zxid, stored in rows:
                batch.put(zxid, stored, append=True, db=database)
            failpoints.hit("log.append.before_sync", lmdb_error)

        self._env.write(put_all)

    def _end_generation(self, *, is_closing: bool = False) -> None:
        """What the log refers to now is on disk, and nothing else in its file can become a part of it any more.

        Raises StorageError, and nothing is written any more then.
        """
        self._env.sync()
        try:
            self._generation.replace(is_closed=is_closing)
        except StorageError:
            self._env.distrust()
            raise

    def _stored(self, after_zxid: int) -> Iterator[Segment]:
        """The segments in the environment, from the one that holds the first zxid after `after_zxid`."""
        while batch := self._slice(after_zxid):
            for key, stored in batch:
                segment = self._decoded(key, stored)
                after_zxid = max(after_zxid, segment.last_zxid)
                yield segment

    def _slice(self, after_zxid: int, bytes_max: int = _SLICE_BYTES) -> list[tuple[bytes, bytes]]:
        """Some stored segments in one short view: the one that holds the first zxid after `after_zxid`, and more."""
        rows: list[tuple[bytes, bytes]] = []
        if after_zxid >= (self.awaiting[0].prev_zxid if self.awaiting else self.end.zxid):
            return rows
        size = 0
        with self._env.view() as view:
            cursor = view.cursor(db=self._segments)
            found = cursor.set_range(_KEY.pack(after_zxid + 1))
            if not found:
                found = cursor.last()
            elif self._decoded(*cursor.item()).prev_zxid > after_zxid:
                found = cursor.prev() or cursor.first()  # the segment before begins earlier and ends later
            while found and len(rows) < _SLICE_SEGMENTS and size < (bytes_max if rows else 1):
                rows.append(cursor.item())
                size += len(rows[-1][1])
                found = cursor.next()
        return rows

    def _decoded(self, key: bytes, stored: bytes) -> Segment:
        zxid = _KEY.unpack(key)[0]
        try:
            segment = segments_.decode(salvage.unwrap(stored))
        except DamageError as error:
            raise self._damage(str(error), zxid) from error
        if segment.first_zxid != zxid:
            raise self._damage(f"the segment stored under {zxid:#x} begins at {segment.first_zxid:#x}", zxid)
        return segment

    def _check_link(self, previous: Link, segment: Segment) -> None:
        if segment.prev_zxid > previous.zxid:
            raise self._missing(previous.zxid, segment)
        if (segment.prev_zxid, segment.prev_crc) != previous:
            raise self._damage(
                f"the segment from {segment.first_zxid:#x} continues {segment.prev_zxid:#x},"
                f" crc {segment.prev_crc:08x}, not {previous.zxid:#x}, crc {previous.crc:08x}, which stands before it",
                segment.first_zxid,
            )

    def _missing(self, zxid: int, segment: Segment) -> DamageError:
        return self._damage(f"segments are missing between {zxid:#x} and {segment.prev_zxid:#x}", zxid + 1)

    def _damage(self, message: str, zxid: int) -> DamageError:
        error = DamageError(message, where=self.path, advice=ADVICE)
        error.zxid = zxid
        return error


def read_facts(path: Path) -> Facts:
    """What a log that may be damaged says besides its segments. Raises StorageError where that cannot be read."""
    env = Environment(path, (b"segments", b"meta"), shared=True, read_only=True)
    try:
        if env.is_blank:
            raise DamageError("there is nothing in this log", where=path)
        with env.view() as view:
            meta = env.databases[b"meta"]
            epochs, ensemble_id = (view.get(name, db=meta) for name in (b"epochs", b"ensemble_id"))
        return Facts(
            Epochs(*(msgpack.unpackb(epochs) if epochs else (0, 0))),
            msgpack.unpackb(ensemble_id) if ensemble_id else None,
        )
    except (ValueError, TypeError) as error:
        raise DamageError(f"the log's facts cannot be read ({error})", where=path) from error
    finally:
        env.close()
