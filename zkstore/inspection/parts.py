"""What a source is made of: images of the tree, and a log between and behind them. Whoever reads them in another form
(a backup file) offers the same two things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from zkstore.errors import DamageError
from zkstore.model.tree import SessionRecord
from zkstore.storage.image import Counts, Mark
from zkstore.storage.log import Epochs, Link
from zkstore.storage.page_file import Rows
from zkstore.storage.tables import SLICE_LEAVES
from zkstore.wire.segment import Segment


class Image(Protocol):
    """A whole tree as of its mark's zxid.

    Every read may raise DamageError, and MovedOnError where a running server has written on what is read.
    """

    @property
    def name(self) -> str:
        """What people call it: "checkpoint", or "snapshot of 0x100000007"."""

    @property
    def mark(self) -> Mark:
        """What it is of."""

    @property
    def counts(self) -> Counts | None:
        """How much it is; None where only reading all of it tells."""

    def sessions(self) -> dict[int, SessionRecord]:
        """All sessions."""

    def get_many(self, paths: Iterable[bytes]) -> Iterator[bytes | None]:
        """The records of some znodes; quickest where the paths are in order."""

    def slices(
        self,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        leaves: int = SLICE_LEAVES,
        damage: list[DamageError] | None = None,
    ) -> Iterator[Rows]:
        """The znodes as (path, record) from `start` on and before `stop`, in the order of paths, some at a time.

        What is damaged goes to `damage` and is passed over; without such a list it is raised.
        """

    def close(self) -> None:
        """Let go of its files."""


class LogPart(Protocol):
    """Segments in the order of their zxids. Every read may raise DamageError."""

    @property
    def start(self) -> Link:
        """What the oldest segment continues."""

    @property
    def end(self) -> Link:
        """The newest segment's end, when the log was opened."""

    @property
    def epochs(self) -> Epochs:
        """The two promises."""

    @property
    def ensemble_id(self) -> bytes | None:
        """The ensemble that it belongs to."""

    def segments(
        self, after_zxid: int, up_to_zxid: int, *, damage: list[DamageError] | None = None
    ) -> Iterator[Segment]:
        """The segments that hold the zxids behind `after_zxid` up to `up_to_zxid`, oldest first, each checked.

        What is damaged or missing goes to `damage` and is passed over; without such a list it is raised.
        """

    def holding(self, zxid: int) -> Segment | None:
        """The last segment that does not begin behind `zxid`."""

    def close(self) -> None:
        """Let go of its files."""
