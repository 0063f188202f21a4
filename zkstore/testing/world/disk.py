"""A simulated disk: what is on it, what is on its way there, and what may be left of that after a crash.

It promises what the server's own storage does (`storage.log`, `storage.checkpoint`), and not a bit more:

- Effects are carried out in the order in which they were asked for; appends that wait together become one write.
- A crash leaves some first part of the write that is under way: of joined appends any number of the first, never half
  of one, for recovery drops what was torn. A fact, a cut and an install happen in one step, or not at all. Nothing of
  what was queued behind is there.
- What is on disk may be there before anybody was told, and the crash may come between the two.
- A snapshot that was arriving lies beside what there was before, and is forgotten.
- A full disk refuses, and is as before. A failing disk may have done what it says that it has not; its server must
  start again before it may trust it.
- Bits may rot. Segments are kept as bytes and decoded by the production code, which must see it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from zkstore.errors import DamageError
from zkstore.testing.world.clock import Agenda
from zkstore.wire import segment as segments_
from zkstore.wire.messages import ENROLLED, FRESH
from zkstore.wire.segment import Segment
from zkstore.zab.effects import (
    Adopt,
    Append,
    Belong,
    Cut,
    DiskEffect,
    Install,
    InstallBegin,
    InstallRows,
    Promise,
)
from zkstore.zab.history import BEGINNING, Point

_JOINED_MAX: Final = 64
_TOLD_US_MAX: Final = 200

Sessions = tuple[tuple[int, int, bytes], ...]
Row = tuple[bytes, bytes]


class Image(NamedTuple):
    """A whole state as a checkpoint holds it. `content` is the owner's and is never changed."""

    zxid: int
    crc: int
    digest: int
    content: Any


class Images(Protocol):
    """What a state looks like, which the disk does not know."""

    def built(self, zxid: int, crc: int, digest: int, rows: list[Row], sessions: Sessions) -> Image | None:
        """The image that arrived rows make; None if it does not have that digest."""


@dataclass(slots=True)
class Pace:
    """How quick a disk is just now; `stalled_until_us` and what else is wrong with it, faults set."""

    write_us: int
    jitter_us: int
    byte_ns: int = 20
    factor: int = 1
    stalled_until_us: int = 0
    is_full: bool = False
    is_failing: bool = False


class SimulatedLog:
    """The durable chain of segments: a `zab.history.History`."""

    def __init__(self) -> None:
        self.start: Point = BEGINNING
        self._segments: list[Segment] = []
        self._ends: list[int] = []
        self.rotten: dict[int, bytes] = {}

    @property
    def end(self) -> Point:
        """The end of the last segment."""
        return (self._segments[-1].last_zxid, self._segments[-1].crc) if self._segments else self.start

    def __len__(self) -> int:
        return len(self._segments)

    def end_at_or_before(self, zxid: int) -> Point | None:
        """See `History`."""
        index = bisect_right(self._ends, zxid)
        if index:
            return self._segments[index - 1].last_zxid, self._segments[index - 1].crc
        return self.start if zxid >= self.start[0] else None

    def read(self, after_zxid: int, bytes_max: int) -> list[Segment]:
        """See `History`. Raises DamageError."""
        found: list[Segment] = []
        size = 0
        for index in range(bisect_right(self._ends, after_zxid), len(self._segments)):
            segment = self._segments[index]
            size += len(segment.data)
            if found and size > bytes_max:
                break
            found.append(self._checked(segment) if self.rotten else segment)
        return found

    def holds(self, zxid: int, crc: int) -> bool:
        """Whether this history contains that end, or begins behind it."""
        return zxid <= self.start[0] or self.end_at_or_before(zxid) == (zxid, crc)

    def all(self) -> list[Segment]:
        """Everything, decoded from its bytes as at the start of a server. Raises DamageError."""
        found = []
        zxid, crc = self.start
        for segment in self._segments:
            decoded = segments_.decode(self.rotten.get(segment.last_zxid, segment.data))
            if (decoded.prev_zxid, decoded.prev_crc) != (zxid, crc):
                raise DamageError("a segment does not continue the one before it", zxid=decoded.first_zxid)
            zxid, crc = decoded.last_zxid, decoded.crc
            found.append(decoded)
        return found

    def append(self, segment: Segment) -> None:
        """Put it behind the end, where it must fit."""
        assert (segment.prev_zxid, segment.prev_crc) == self.end, "the log is a chain"
        self._segments.append(segment)
        self._ends.append(segment.last_zxid)

    def cut(self, zxid: int) -> list[Segment]:
        """Remove what ends behind `zxid`, which must be an end; what was removed is returned."""
        point = self.end_at_or_before(zxid)
        assert point is not None and point[0] == zxid, f"no segment ends at {zxid:#x}"
        index = bisect_right(self._ends, zxid)
        removed = self._segments[index:]
        del self._segments[index:], self._ends[index:]
        for segment in removed:
            self.rotten.pop(segment.last_zxid, None)
        return removed

    def drop_before(self, zxid: int, kept: int) -> None:
        """Forget the segments that end at or before `zxid` but for the last `kept`, and never the last of all."""
        index = min(bisect_right(self._ends, zxid) - kept, len(self._segments) - 1)
        if index > 0:
            self.start = self._segments[index - 1].last_zxid, self._segments[index - 1].crc
            for segment in self._segments[:index]:
                self.rotten.pop(segment.last_zxid, None)
            del self._segments[:index], self._ends[:index]

    def restart(self, start: Point) -> None:
        """Drop all; the next segment continues `start`."""
        self.start = start
        self._segments, self._ends, self.rotten = [], [], {}

    def rot(self, at: float, bit: int) -> bool:
        """One bit of a segment, `at` from 0 (the oldest) to 1, turns over. False if there is none."""
        if not self._segments:
            return False
        segment = self._segments[min(int(at * len(self._segments)), len(self._segments) - 1)]
        data = bytearray(segment.data)
        bit %= len(data) * 8
        data[bit // 8] ^= 1 << bit % 8
        self.rotten[segment.last_zxid] = bytes(data)
        return True

    def _checked(self, segment: Segment) -> Segment:
        bad = self.rotten.get(segment.last_zxid)
        return segment if bad is None else segments_.decode(bad)


class DiskOwner(Protocol):
    """Who hears of what becomes of the disk."""

    def disk_changed(self, effect: DiskEffect, removed: list[Segment]) -> None:
        """`effect` is on disk now, told or not; `removed` is what a cut or an install took away."""

    def disk_done(self, effects: list[DiskEffect]) -> None:
        """Tell the server that these are on disk."""

    def disk_failed(self, effect: DiskEffect, is_full: bool, text: str) -> None:
        """Tell the server that this one and all behind it are not."""


class Disk:
    """One server's.

    Attributes:
        promised_epoch, adopted_epoch, ensemble_id, enrolment, log, checkpoint: what is on it.
        pace: how quick it is, and what is wrong with it.
        trusted: False once it has failed, until the server starts again.
    """

    def __init__(self, agenda: Agenda, random: Random, pace: Pace, images: Images, owner: DiskOwner) -> None:
        self.promised_epoch = 0
        self.adopted_epoch = 0
        self.ensemble_id: bytes | None = None
        self.enrolment = FRESH
        self.log = SimulatedLog()
        self.checkpoint: Image | None = None
        self.pace = pace
        self.trusted = True
        self._agenda = agenda
        self._random = random
        self._images = images
        self._owner = owner
        self._queue: deque[DiskEffect] = deque()
        self._writing: list[DiskEffect] = []
        self._untold: list[DiskEffect] = []
        self._turn = 0
        self._told_us = 0
        self._incoming: tuple[InstallBegin, list[Row]] | None = None
        self._drafts = 0

    # --- what the server asks for -----------------------------------------------------------------

    def ask(self, effect: DiskEffect) -> None:
        """Carry this out behind all that was asked for before."""
        self._queue.append(effect)
        if not self._writing:
            self._begin()

    def take_checkpoint(self, image: Image, kept: int, lasts_us: int) -> None:
        """In the background: the image becomes the checkpoint, and of the log before it `kept` segments stay."""
        turn = self._drafts

        def finish() -> None:
            # A snapshot installed meanwhile is newer. What a crash interrupts leaves the old one.
            if turn == self._drafts and (self.checkpoint is None or self.checkpoint.zxid <= image.zxid):
                self.checkpoint = image
                self.log.drop_before(image.zxid, kept)

        if not self.pace.is_full and not self.pace.is_failing:
            self._agenda.call_in(lasts_us * self.pace.factor, finish)

    def crash(self, part: float) -> None:
        """The server is gone. Of the write under way, the first `part` (0 to 1) is on disk."""
        writing, self._writing = self._writing, []
        self._queue.clear()
        self._untold.clear()
        self._turn += 1
        self._drafts += 1
        for effect in writing[: round(part * len(writing))]:
            self._carry_out(effect)
        self._incoming = None
        self.trusted = True

    def wipe(self) -> None:
        """Nothing is on it any more; its server is down."""
        assert not self._writing, "nobody wipes the disk of a server that runs"
        self.promised_epoch = self.adopted_epoch = 0
        self.ensemble_id, self.enrolment = None, FRESH
        self.log.restart(BEGINNING)
        self.checkpoint = None

    # --- inside -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        queue = self._queue
        if not queue:
            return
        writing = [queue.popleft()]
        if isinstance(writing[0], Append):
            while queue and isinstance(queue[0], Append) and len(writing) < _JOINED_MAX:
                writing.append(queue.popleft())
        self._writing = writing
        pace = self.pace
        size = sum(len(effect.segment.data) for effect in writing if isinstance(effect, Append))
        lasts_us = (
            pace.write_us + self._random.randrange(pace.jitter_us + 1) + size * pace.byte_ns // 1000
        ) * pace.factor
        self._agenda.call_in(lasts_us, self._end, self._turn)

    def _end(self, turn: int) -> None:
        if turn != self._turn:
            return
        pace = self.pace
        if self._agenda.now_us < pace.stalled_until_us:
            self._agenda.call_at(pace.stalled_until_us, self._end, turn)
            return
        writing, self._writing = self._writing, []
        if pace.is_full or pace.is_failing or not self.trusted:
            self._fail(writing)
            return
        for effect in writing:
            if not self._carry_out(effect):
                self._turn += 1
                self._queue.clear()
                self._owner.disk_failed(effect, False, "a snapshot does not have the digest that it was announced with")
                return
        self._untold += writing
        self._told_us = max(self._told_us, self._agenda.now_us + self._random.randrange(_TOLD_US_MAX))
        self._agenda.call_at(self._told_us, self._tell, self._turn, writing)
        self._begin()

    def _tell(self, turn: int, effects: list[DiskEffect]) -> None:
        if turn == self._turn:
            del self._untold[: len(effects)]
            self._owner.disk_done(effects)

    def _fail(self, writing: list[DiskEffect]) -> None:
        """What was done but not told is told first, for only what follows has failed."""
        untold, self._untold = self._untold, []
        self._turn += 1
        self._queue.clear()
        if untold:
            self._owner.disk_done(untold)
        if not self.pace.is_full:
            self.trusted = False
            for effect in writing[: self._random.randrange(len(writing) + 1)]:
                self._carry_out(effect)
        self._owner.disk_failed(writing[0], self.pace.is_full, "no space is left" if self.pace.is_full else "I/O error")

    def _carry_out(self, effect: DiskEffect) -> bool:
        removed: list[Segment] = []
        if isinstance(effect, Append):
            self.log.append(effect.segment)
        elif isinstance(effect, Promise):
            self.promised_epoch = effect.epoch
        elif isinstance(effect, Adopt):
            self.adopted_epoch = effect.epoch
            if effect.enrols:
                self.enrolment = ENROLLED
        elif isinstance(effect, Belong):
            self.ensemble_id = effect.ensemble_id
        elif isinstance(effect, Cut):
            removed = self.log.cut(effect.zxid)
        elif isinstance(effect, InstallBegin):
            self._incoming = effect, []
        elif isinstance(effect, InstallRows):
            assert self._incoming is not None, "rows of no snapshot"
            self._incoming[1].extend(effect.rows)
        else:
            assert isinstance(effect, Install) and self._incoming is not None, f"{effect!r:.60} is no disk effect"
            (begin, rows), self._incoming = self._incoming, None
            assert begin.zxid == effect.zxid, "the snapshot that ends is the one that began"
            image = self._images.built(begin.zxid, begin.crc, begin.digest, rows, effect.sessions)
            if image is None:
                return False
            self._drafts += 1
            removed = self.log.cut(self.log.start[0])
            self.checkpoint = image
            self.log.restart((image.zxid, image.crc))
        self._owner.disk_changed(effect, removed)
        return True
