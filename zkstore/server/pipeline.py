"""The pipeline between the state machine and the disk: one segment is being written while the next one fills.

    replica.next_segment() -> writer thread: one LMDB commit -> event descriptor -> replica.durable(zxid)

The writer thread owns the log. What it reports goes through an event descriptor in the client port's own epoll set,
so that a finished commit and a client's request wake the same loop. When a segment is done the next one is handed over
before the first is applied and answered: the disk never waits for the loop.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Final

from zkstore.errors import DiskFullError, StorageError
from zkstore.replica.replica import Replica
from zkstore.storage.store import Store
from zkstore.wire.segment import Segment

logger = logging.getLogger(__name__)

_COMPLAIN_EVERY_MS: Final = 10_000


class Summary:
    """Count, sum and extremes of a duration, as ZooKeeper's summaries show it."""

    __slots__ = ("count", "max", "min", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = self.min = self.max = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.min = value if self.count == 0 else min(self.min, value)
        self.max = max(self.max, value)
        self.count += 1
        self.sum += value

    def reset(self) -> None:
        """None yet."""
        self.count = 0
        self.sum = self.min = self.max = 0.0


class Pipeline:
    """Carries segments from one replica to one store."""

    def __init__(self, replica: Replica, store: Store) -> None:
        self.sync_ms = Summary()
        self.segments = 0
        self._replica = replica
        self._store = store
        self._queue: SimpleQueue[Segment | None] = SimpleQueue()
        self._done: deque[tuple[Segment, StorageError | None, float]] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._busy = False
        self._complain_again_ms = 0
        self._full = False
        self._thread = threading.Thread(target=self._write, name="log writer", daemon=True)
        self._thread.start()

    @property
    def descriptor(self) -> int:
        """Readable when `collect` has something to do."""
        return self._event

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being written and nothing waits for it."""
        return not self._busy and not self._replica.has_outstanding

    def hand_over(self) -> None:
        """Give the disk the next segment, if it is idle and there is one."""
        if not self._busy:
            segment = self._replica.next_segment()
            if segment is not None:
                self._busy = True
                self._queue.put(segment)

    def collect(self) -> None:
        """Take what the disk has finished: apply and answer it.

        Raises StorageError for anything but a full disk: a server that cannot trust its disk stops.
        """
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        while self._done:
            segment, error, sync_ms = self._done.popleft()
            self._busy = False
            if error is None:
                self.hand_over()
                self.sync_ms.add(sync_ms)
                self.segments += 1
                self._replica.durable(segment.last_zxid)
                if self._full:
                    self._full = False
                    logger.warning("the disk has space again: writes are served")
            elif isinstance(error, DiskFullError):
                self._complain(error)
                self._replica.lose_proposals()
            else:
                raise error

    def _complain(self, error: DiskFullError) -> None:
        self._full = True
        if self._replica.now_ms >= self._complain_again_ms:
            self._complain_again_ms = self._replica.now_ms + _COMPLAIN_EVERY_MS
            logger.error("writes are refused until there is space; reads go on. %s", error)

    def close(self) -> None:
        """Let the writer finish what it has, and end it."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        os.close(self._event)

    def _write(self) -> None:
        """The writer thread."""
        while True:
            segment = self._queue.get()
            if segment is None:
                return
            started_s = time.perf_counter()
            error: StorageError | None = None
            try:
                self._store.append([segment])
            except StorageError as failure:
                error = failure
            self._done.append((segment, error, (time.perf_counter() - started_s) * 1000))
            os.eventfd_write(self._event, 1)
