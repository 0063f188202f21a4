"""Whatever has a tree and its history in it, opened for looking: a data directory, one snapshot, a backup.

    with open_source(Path("data")) as source:
        view = source.view(source.resolve("2h ago"))
        for path, record in view.znodes(below=b"/app"): ...
        for zxid, txn in source.txns(): ...

Nothing is written, locked or mapped, so a server may be running on the directory; what is read beside it is noticed to
have changed, and read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from zkstore.errors import DamageError, StorageError
from zkstore.inspection import backup_file, gathering, moments
from zkstore.inspection.facts import Facts
from zkstore.inspection.overlay import Overlay
from zkstore.inspection.parts import LogPart
from zkstore.inspection.recognition import Kind, recognise
from zkstore.inspection.view import Opener, View
from zkstore.model import zxid as zxids
from zkstore.model.txns import Txn
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment


def open_source(path: Path, *, log_directory: Path | None = None) -> Source:
    """Open it. Raises StorageErrors that say what was found instead, and what to do."""
    kind, place = recognise(path, backup_file.MAGIC, log_directory)
    if kind is Kind.IMAGE:
        return Source(*gathering.of_image(place))
    if kind is Kind.BACKUP:
        facts, images, log = backup_file.of_backup(place)
        return Source(facts, images, log, (lambda: None) if log is None else log.close)
    return Source(*gathering.of_directory(place, log_directory))


class Source:
    """An open source; made by `open_source`.

    Attributes:
        facts: what is known without reading on.
        damage: what could not be read so far; grows while reading.
    """

    def __init__(
        self, facts: Facts, images: list[tuple[int, Opener]], log: LogPart | None, close: Callable[[], None]
    ) -> None:
        self.facts = facts
        self.damage: list[DamageError] = []
        self._images = sorted(images, key=lambda image: image[0], reverse=True)
        self._log = log
        self._close = close
        self._views: list[View] = []

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything, views included."""
        for view in self._views:
            view.close()
        self._views = []
        self._close()

    # --- the tree -----------------------------------------------------------------------------------

    def view(self, zxid: int | None = None) -> View:
        """The tree as of exactly that zxid; None for the newest there is. Raises StorageError where that is not to be
        seen any more, or cannot be read."""
        wanted = self.facts.end.zxid if zxid is None else zxid
        if wanted > self.facts.end.zxid:
            raise StorageError(f"there is no {zxids.text(wanted)} yet: history ends at {self._end_text()}")
        start = self.facts.start.zxid
        bases = [opener for at, opener in self._images if at == wanted or start <= at <= wanted]
        if not bases:
            raise StorageError(f"the tree at {zxids.text(wanted)} cannot be seen any more: {self._reach_text()}")
        view = View(bases, self._log, wanted, self.damage)
        self._views.append(view)
        return view

    def views(self, zxid: int) -> Iterator[View]:
        """The same tree from each image that may lead to it, the newest image first; what cannot be read of them goes
        to `damage`. For whoever does not trust an image, though it can be read."""
        start = self.facts.start.zxid
        for at, opener in self._images:
            if at != zxid and not start <= at <= zxid:
                continue
            try:
                view = View([opener], self._log, zxid, self.damage)
            except DamageError as error:
                self.damage.append(error)
                continue
            except StorageError as error:
                self.damage.append(DamageError(str(error)))
                continue
            self._views.append(view)
            yield view

    def lead(self, begin_zxid: int, end_zxid: int) -> Overlay:
        """Where the log leads from the image at `begin_zxid`. Raises DamageError and MovedOnError for the image."""
        opener = next(opener for at, opener in self._images if at == begin_zxid)
        image = opener()
        try:
            return Overlay(image, self._log, end_zxid)
        finally:
            image.close()

    # --- history --------------------------------------------------------------------------------------

    def segments(self, after_zxid: int = 0, up_to_zxid: int | None = None) -> Iterator[Segment]:
        """The segments that hold the zxids behind `after_zxid` up to `up_to_zxid`, oldest first, from as far back as
        history reaches. What is damaged is passed over and goes to `damage`."""
        if self._log is None:
            return
        end = self.facts.end.zxid if up_to_zxid is None else up_to_zxid
        yield from self._log.segments(max(after_zxid, self.facts.start.zxid), end, damage=self.damage)

    def txns(
        self, after_zxid: int = 0, up_to_zxid: int | None = None, *, containing: bytes | None = None
    ) -> Iterator[tuple[int, Txn]]:
        """The txns behind `after_zxid` up to `up_to_zxid` with their zxids, oldest first.

        `containing` passes over segments without these bytes (a path; a session's id in msgpack), which is quick. Of
        those that have them, all txns come. What is damaged is passed over and goes to `damage`.
        """
        end = self.facts.end.zxid if up_to_zxid is None else up_to_zxid
        for segment in self.segments(after_zxid, end):
            if containing is not None and containing not in segment.data:
                continue
            try:
                txns = segments_.txns(segment)
            except DamageError as error:
                self.damage.append(error)
                continue
            if segment.first_zxid > after_zxid and segment.last_zxid <= end:
                yield from enumerate(txns, segment.first_zxid)
            else:
                for zxid, txn in enumerate(txns, segment.first_zxid):
                    if after_zxid < zxid <= end:
                        yield zxid, txn

    # --- moments ----------------------------------------------------------------------------------------

    def resolve(self, text: str) -> int:
        """The zxid that a text means: itself, or that of the last txn at or before a time (`moments`).

        Raises StorageError where it cannot be understood, or lies before history.
        """
        zxid = moments.zxid_of(text)
        if zxid is not None:
            return zxid
        time_ms = moments.time_ms_of(text, moments.now_ms())
        found = self.zxid_at(time_ms)
        if found is None:
            raise StorageError(f"{gathering.time_text(time_ms)} lies before history: {self._reach_text()}")
        return found

    def zxid_at(self, time_ms: int) -> int | None:
        """The last txn at or before a time, by the leaders' clocks; None where that lies before history."""
        log, first = self._log, self.facts.first_time_ms
        if log is None or first is None:
            raise StorageError("there is no log here, so nothing is known of times. Name a zxid")
        if time_ms < first:
            return None
        low, high = self.facts.start.zxid + 1, self.facts.end.zxid
        while low < high:  # the last segment that begins at or before that time
            middle = (low + high + 1) // 2
            segment = log.holding(middle)
            if segment is None or segments_.txns(segment)[0].time_ms <= time_ms:
                low = middle
            else:
                high = segment.first_zxid - 1
        holder = log.holding(low)
        if holder is None:
            return None
        found = holder.first_zxid
        for zxid, txn in enumerate(segments_.txns(holder), holder.first_zxid):
            if txn.time_ms <= time_ms:
                found = zxid
        return found

    def time_ms_at(self, zxid: int) -> int | None:
        """When a txn was proposed, by the leader's clock; None where the log does not hold it."""
        if self._log is None or not self.facts.start.zxid < zxid <= self.facts.end.zxid:
            return None
        return gathering.time_ms_at(self._log, zxid)

    # --- inside -----------------------------------------------------------------------------------

    def _end_text(self) -> str:
        last = self.facts.last_time_ms
        return zxids.text(self.facts.end.zxid) + ("" if last is None else f" ({gathering.time_text(last)})")

    def _reach_text(self) -> str:
        if not self.facts.reach:
            return "nothing can be seen here"
        places = [
            zxids.text(reach.first_zxid)
            if reach.first_zxid == reach.last_zxid
            else f"{zxids.text(reach.first_zxid)} to {zxids.text(reach.last_zxid)}"
            for reach in self.facts.reach
        ]
        first = self.facts.first_time_ms
        since = "" if first is None else f"; the log begins at {gathering.time_text(first)}"
        return f"history reaches over {' and '.join(places)}{since}"
