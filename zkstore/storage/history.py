"""The log as agreement reads it: what a leader tells its learners, straight off its disk."""

from __future__ import annotations

from zkstore import failpoints
from zkstore.errors import DamageError
from zkstore.storage.log import Link, Log
from zkstore.wire.segment import Segment


class LogHistory:
    """`zab.history.History` over a log that others append to and purge meanwhile."""

    def __init__(self, log: Log) -> None:
        self._log = log

    @property
    def start(self) -> Link:
        """What the oldest segment continues."""
        return self._log.start

    @property
    def end(self) -> Link:
        """The newest segment's."""
        return self._log.end

    def end_at_or_before(self, zxid: int) -> Link | None:
        """See `Log.end_at_or_before`."""
        try:
            return self._log.end_at_or_before(zxid)
        except DamageError:
            if zxid < self._log.stored_start().zxid:
                return None  # purged in this very moment
            raise

    def read(self, after_zxid: int, bytes_max: int) -> list[Segment]:
        """See `Log.read_some`; nothing where what follows was purged."""
        failpoints.hit("sync.history_read")
        try:
            return self._log.read_some(after_zxid, bytes_max)
        except DamageError:
            if after_zxid < self._log.stored_start().zxid:
                return []
            raise
