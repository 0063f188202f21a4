"""The pipeline between a member and its disk: one segment is being written while the next one fills.

    member.propose_next() -> Append -> writer thread: one LMDB commit -> event descriptor -> member.done()

While a segment is with the writer thread, the log is that thread's. What it reports goes through an event descriptor
in the client port's own epoll set, so that a finished commit and a client's request wake the same loop.

As long as the disk is quick, no thread is involved: the commit runs in the loop. The two changes of thread cost more
than waiting does, for each commit gives up the interpreter some six times and must win it back: measured on two cores,
with 16 and with 100 clients that wait for each answer, a set costs 14 % less of the processor without the thread, and
no load gets less. A commit that is not quick makes the disk count as slow, so that a disk that begins to stall is
waited for by the thread, while the loop answers reads and pings; every so often one commit in the loop tries whether
that is over.

When the thread has finished a segment, what comes next depends on what has queued up meanwhile. As much as was in it,
or enough to keep the loop busy during a commit: the next one goes to the disk at once, before the first is applied and
answered. Less: most clients wait for their answer before they ask again, so they are answered first, and their next
requests are gathered until no more come. Otherwise a few clients fall into many small groups that wait for each
other's commits.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Final

from zkstore import failpoints
from zkstore.errors import DiskFullError, InvariantError, StorageError
from zkstore.replica.member import Member
from zkstore.server.disk import put_fact
from zkstore.storage.directory import memory_gone
from zkstore.storage.store import Store
from zkstore.zab.effects import Adopt, Append, Belong, Effect, Note, Promise, Stop

logger = logging.getLogger(__name__)

_COMPLAIN_EVERY_MS: Final = 10_000
_WRITER_FAILED: Final = "the log's writer failed in a way nobody foresaw; its traceback stands above"
_WAIT_FOR_CLIENTS_S: Final = 0.001  # epoll's finest grain
_WAIT_FOR_DISK_S: Final = 0.004  # other trio tasks wait as long, which is no more than under load
_WORTH_GATHERING_MAX: Final = 16  # while the disk writes so many, the loop is busy with as many others
_QUICK_MS: Final = 1.0
_PACE_WEIGHT: Final = 0.1  # of the newest commit in the moving average
_PACE_ON_TRIAL_MS: Final = 0.8  # at first in the loop: one commit of 3 ms is enough to go back to the thread
_COMMITS_UNTIL_TRIAL: Final = 50
_STALL_MS: Final = 5.0  # in the thread, where waiting for the interpreter counts, a commit this slow was the disk's


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
    """Carries segments from one member, which is alone, to one store."""

    def __init__(self, member: Member, store: Store) -> None:
        self.sync_ms = Summary()
        self.segments = 0
        self._member = member
        self._replica = member.replica
        self._store = store
        self._queue: SimpleQueue[Append | None] = SimpleQueue()
        self._done: deque[tuple[Append, StorageError | None, float]] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._busy = False
        self._worth_gathering = 0
        self._patient_until_s: float | None = None
        self._pace_ms = _QUICK_MS
        self._commits_until_trial = _COMMITS_UNTIL_TRIAL
        self._complain_again_ms = 0
        self._full = False
        self._thread = threading.Thread(target=self._write, name="log writer", daemon=True)
        self._thread.start()

    @property
    def descriptor(self) -> int:
        """Readable when `collect` has something to do."""
        return self._event

    @property
    def is_writing(self) -> bool:
        """Whether the thread has a segment: `collect` will have something to do."""
        return self._busy

    def gather(self) -> None:
        """More has been read: give the disk the next segment if it is idle, unless more is worth waiting for."""
        if not self._busy and self._replica.role.open_count >= self._worth_gathering:
            self.hand_over()

    def before_wait(self) -> float:
        """No more is there to be read just now; returns for how many seconds to wait for more, or for the disk.

        0 asks to look again at once, for more is worth waiting for: clients answer an answer within some ten
        microseconds, and epoll cannot wait for less than a millisecond. For at most half of what a commit takes.
        """
        if not self._busy and 0 < self._replica.role.open_count < self._worth_gathering:
            now_s = time.perf_counter()
            if self._patient_until_s is None:
                self._patient_until_s = now_s + min(self._pace_ms, _QUICK_MS) / 2000
            if now_s < self._patient_until_s:
                return 0.0
        self.hand_over()
        return _WAIT_FOR_DISK_S if self._busy else _WAIT_FOR_CLIENTS_S

    def hand_over(self) -> None:
        """Nothing more to be read now: give the disk the next segment, if it is idle and there is one."""
        if not self._busy:
            self._worth_gathering = 0
            self._patient_until_s = None
            append = self._next_append()
            if append is None:
                return
            self._busy = True
            if self._commits_until_trial:
                self._queue.put(append)
            else:
                _, error, sync_ms = self._append(append)
                self._pace_ms += (sync_ms - self._pace_ms) * _PACE_WEIGHT
                if self._pace_ms >= _QUICK_MS:
                    self._commits_until_trial = _COMMITS_UNTIL_TRIAL
                self._finish(append, error, sync_ms)

    def _next_append(self) -> Append | None:
        """Have the member propose what has queued up, if anything has, and do what else it asks for."""
        member = self._member
        member.propose_next()
        append: Append | None = None
        while member.effects:
            effects, member.effects = member.effects, []
            for effect in effects:
                if type(effect) is Append:
                    append = effect
                else:
                    self._carry_out(effect)
        return append

    def _carry_out(self, effect: Effect) -> None:
        """What a server alone asks for besides. Raises StorageError and InvariantError."""
        if isinstance(effect, Note):
            logger.info("%s", effect.text)
        elif isinstance(effect, Stop):
            raise InvariantError(effect.invariant, effect.zxid, effect.text)
        elif isinstance(effect, Promise | Adopt | Belong):
            put_fact(self._store.log, effect)  # Its zxids have run out, and epochs begin: nothing is under way then.
            self._member.done(effect)

    def _queue_next(self) -> None:
        """The next segment, always to the thread: the one before it is durable and not yet applied, so that nothing
        may be lost to a full disk before that."""
        self._worth_gathering = 0
        append = self._next_append()
        if append is not None:
            self._busy = True
            self._queue.put(append)

    def collect(self) -> None:
        """Take what the disk has finished: apply and answer it.

        Raises StorageError for anything but a full disk: a server that cannot trust its disk stops.
        """
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        while self._done:
            append, error, sync_ms = self._done.popleft()
            self._commits_until_trial = _COMMITS_UNTIL_TRIAL if sync_ms > _STALL_MS else self._commits_until_trial - 1
            if not self._commits_until_trial:
                self._pace_ms = _PACE_ON_TRIAL_MS
            self._finish(append, error, sync_ms)

    def _finish(self, append: Append, error: StorageError | None, sync_ms: float) -> None:
        self._busy = False
        segment = append.segment
        if error is None:
            count = min(segment.last_zxid - segment.first_zxid + 1, _WORTH_GATHERING_MAX)
            if self._commits_until_trial and self._replica.role.open_count >= count:
                self._queue_next()
            else:
                self._worth_gathering = count
            self.sync_ms.add(sync_ms)
            self.segments += 1
            failpoints.hit("pipeline.before_apply")
            self._member.done(append)
            failpoints.hit("pipeline.after_apply")
            if self._full:
                self._full = False
                logger.warning("the disk has space again: writes are served")
        elif isinstance(error, DiskFullError):
            self._complain(error)
            self._member.failed(append, True, str(error))
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
        """The writer thread. Should it ever end by a mistake of ours, the server must not go on without it."""
        while True:
            append = self._queue.get()
            if append is None:
                return
            report: tuple[Append, StorageError | None, float] = (append, StorageError(_WRITER_FAILED), 0.0)
            try:
                report = self._append(append)
            finally:
                self._done.append(report)
                os.eventfd_write(self._event, 1)

    def _append(self, append: Append) -> tuple[Append, StorageError | None, float]:
        """Make a segment durable; how that went, and how many milliseconds it took."""
        started_s = time.perf_counter()
        error: StorageError | None = None
        try:
            failpoints.hit("pipeline.before_append")
            self._store.append([append.segment])
        except StorageError as failure:
            error = failure
        except MemoryError:
            error = memory_gone(self._store.directory.log)
        return append, error, (time.perf_counter() - started_s) * 1000
