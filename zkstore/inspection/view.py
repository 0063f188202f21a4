"""The whole tree as of one zxid: an image, and over it what the log changes since.

Znodes come in the order of their paths as bytes, in slices, and nothing but the overlay is in memory. Where an image
turns out to be damaged, or a running server has written it anew, the next older one goes on at the same path, with a
longer overlay over it, so that what comes is of the same zxid all the same. Only where there is none, damage is passed
over and told.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final
from zlib import crc32

from zkstore.errors import DamageError, MovedOnError, StorageError
from zkstore.inspection.overlay import Overlay
from zkstore.inspection.parts import Image, LogPart
from zkstore.model.paths import ROOT, join
from zkstore.model.tree import session_digest
from zkstore.storage.image import Counts
from zkstore.storage.page_file import Rows
from zkstore.storage.tables import SLICE_LEAVES

Opener = Callable[[], Image]
"""Opens an image, anew at each call."""

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_FEW_LEAVES: Final = 4
_ATTEMPTS: Final = 5


class View:
    """The tree as of `zxid`; made by `Source.view`.

    Attributes:
        zxid: what it is as of. Less than was asked for where the log is damaged on the way there.
        digest: the tree's, carried on from the image's.
        sessions: all that live then.
        base: the image that it stands on, the newest one that can be used.
        overlay: what differs from `base`.
        damage: what could not be read so far; grows while znodes are read.

    Raises StorageError where no image can be used.
    """

    def __init__(
        self, bases: Sequence[Opener], log: LogPart | None, zxid: int, damage: list[DamageError] | None = None
    ) -> None:
        self.damage: list[DamageError] = [] if damage is None else damage
        self._bases = list(bases)
        self._log = log
        self.base, self.overlay = self._first_base(zxid)
        self.zxid, self.digest, self.sessions = self.overlay.zxid, self.overlay.digest, self.overlay.sessions
        if self.overlay.damage is not None:
            self.damage.append(self.overlay.damage)

    @property
    def counts(self) -> Counts | None:
        """How much it is; None where the image does not tell, and `count` must."""
        return self.overlay.counts(self.base)

    def count(self) -> Counts:
        """How much it is, by reading all of it."""
        znodes = data_bytes = ephemerals = 0
        for rows in self.slices():
            znodes += len(rows)
            for path, record in rows:
                end = max(int.from_bytes(record[:4], signed=True), 0) + 4
                data_bytes += len(path) + end - 4
                owner = record[end + 44 : end + 52]  # of the Stat behind the data
                ephemerals += owner != b"\0\0\0\0\0\0\0\0"
        return Counts(znodes, data_bytes, ephemerals)

    def get(self, path: bytes) -> bytes | None:
        """A znode's record; None where there is no such znode. Raises DamageError where it cannot be read."""
        while True:
            if path in self.overlay.records:
                return self.overlay.records[path]
            try:
                return next(self.base.get_many((path,)))
            except MovedOnError as error:
                if not self._fall_back(error):
                    raise self._lost(error) from error
            except DamageError as error:
                if not self._fall_back(error):
                    raise

    def znodes(self, below: bytes = ROOT, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The same as `slices`, one by one."""
        return chain.from_iterable(self.slices(below, after))

    def slices(self, below: bytes = ROOT, after: bytes | None = None) -> Iterator[Rows]:
        """A znode and all below it as lists of (path, record), in the order of paths as bytes, from behind `after` on.

        The order is not that of a drawn tree: `/a-b` stands between `/a` and `/a/b`.
        """
        if below == ROOT:
            yield from self._range(b"/" if after is None else after + b"\0", None)
            return
        if after is None or after < below:
            record = self.get(below)
            if record is not None:
                yield [(below, record)]
        start = below + b"/"
        yield from self._range(start if after is None or after < start else after + b"\0", below + b"0")

    def children(self, path: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The children of a znode as (name, record), in order, from behind the name `after` on."""
        prefix = join(path, b"")
        stop = prefix[:-1] + b"0" if path != ROOT else None
        start = prefix + (b"\0" if after is None else after + b"\0")
        while True:
            for rows in self._range(start, stop, leaves=_FEW_LEAVES):
                for found, record in rows:
                    if found < start:
                        continue
                    slash = found.find(b"/", len(prefix))
                    if slash < 0:
                        yield found[len(prefix) :], record
                        start = found + b"\0"
                    else:
                        start = found[:slash] + b"0"  # behind all that lies below this child
                if rows[-1][0].find(b"/", len(prefix)) >= 0:
                    break  # look behind it at once, in place of walking through it
            else:
                return

    def close(self) -> None:
        """Let go of the image."""
        self.base.close()

    # --- inside -----------------------------------------------------------------------------------

    def _range(self, start: bytes, stop: bytes | None, *, leaves: int = SLICE_LEAVES) -> Iterator[Rows]:
        """The znodes from `start` on and before `stop`; of all of them, the digest is compared at the end."""
        is_whole = start == ROOT and stop is None
        digest, damage_before = 0, len(self.damage)
        damage: list[DamageError] | None = None
        is_done = False
        while not is_done:
            try:
                for rows in self._merged(start, stop, leaves, damage):
                    if is_whole:
                        digest += sum(crc32(record, crc32(path)) for path, record in rows)
                    yield rows
                    start = rows[-1][0] + b"\0"
                is_done = True
            except DamageError as error:
                if not self._fall_back(error):
                    damage = self.damage
            except MovedOnError as error:
                if not self._fall_back(error):
                    raise self._lost(error) from error
        if is_whole and len(self.damage) == damage_before:
            digest += sum(session_digest(number, session) for number, session in self.sessions.items())
            if digest & _MASK != self.digest:
                self.damage.append(_wrong_digest(digest & _MASK, self))

    def _merged(
        self, start: bytes, stop: bytes | None, leaves: int, damage: list[DamageError] | None
    ) -> Iterator[Rows]:
        overlay = self.overlay
        paths, records = overlay.paths, overlay.records
        at = bisect_left(paths, start)
        end = len(paths) if stop is None else bisect_left(paths, stop)
        for rows in self.base.slices(start, stop, leaves=leaves, damage=damage):
            until = bisect_right(paths, rows[-1][0], at, end)
            if until > at:
                found: dict[bytes, bytes | None] = dict(rows)
                found.update((path, records[path]) for path in paths[at:until])
                rows = sorted((path, record) for path, record in found.items() if record is not None)
                at = until
            if rows:
                yield rows
        if at < end and (rest := [(path, record) for path in paths[at:end] if (record := records[path]) is not None]):
            yield rest

    def _lost(self, error: MovedOnError) -> StorageError:
        return StorageError(
            f"the running server has replaced this while it was read, and no snapshot is left that leads to"
            f" {self.zxid:#x}; what came so far is right as of then",
            where=error.where,
            advice="Try again, or look at a snapshot",
        )

    def _fall_back(self, error: DamageError | MovedOnError) -> bool:
        """Stand on another image from now on; False if there is none that leads to the same zxid."""
        if isinstance(error, DamageError):
            self.damage.append(error)
            bases = self._bases[1:]
        else:
            bases = self._bases  # the checkpoint as it is now may do
        while bases:
            self._bases = bases
            found = self._try(bases[0], self.zxid)
            if found is not None:
                self.base.close()
                self.base, self.overlay = found
                return True
            bases = bases[1:]
        return False

    def _first_base(self, zxid: int) -> tuple[Image, Overlay]:
        for number, opener in enumerate(self._bases):
            found = self._try(opener, zxid, is_short_allowed=True)
            if found is not None:
                self._bases = self._bases[number:]
                return found
        for number, opener in enumerate(self._bases):  # what is damaged is met where the log was to be applied to it
            try:
                image = opener()
                self._bases = self._bases[number:]
                return image, Overlay(image, None, image.mark.zxid)
            except (DamageError, MovedOnError):
                continue
        raise StorageError(
            f"no checkpoint or snapshot can be read that leads to {zxid:#x}"
            + "".join(f". {error}" for error in self.damage[:3])
        )

    def _try(self, opener: Opener, zxid: int, *, is_short_allowed: bool = False) -> tuple[Image, Overlay] | None:
        for _ in range(_ATTEMPTS):
            try:
                image = opener()
            except MovedOnError:
                return None
            except StorageError as error:
                self.damage.append(error if isinstance(error, DamageError) else DamageError(str(error)))
                return None
            try:
                overlay = Overlay(image, self._log, zxid) if image.mark.zxid <= zxid else None
            except MovedOnError:
                image.close()
                continue
            except DamageError as error:
                self.damage.append(error)
                overlay = None
            if overlay is None or (overlay.zxid != zxid and not is_short_allowed):
                image.close()
                return None
            return image, overlay
        return None


def _wrong_digest(digest: int, view: View) -> DamageError:
    error = DamageError(
        f"the znodes as of {view.zxid:#x} have the digest {digest:016x}, and {view.digest:016x} was written:"
        f" the {view.base.name} is damaged"
    )
    error.zxid = view.zxid
    return error
