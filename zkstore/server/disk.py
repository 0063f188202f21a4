"""The disk of a member of an ensemble: everything that agreement asks of it, in order, by a thread of its own.

Effects go in by `submit` and come out of `take` as reports, each when it is on disk; the descriptor is readable then.
Segments that queue up while the disk is busy share one commit. Once an effect has failed, nothing that was submitted
before `forget` is carried out any more, nor reported: what followed it may make no sense without it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TypeAlias

from zkstore import failpoints, limits
from zkstore.errors import DiskFullError, StorageError
from zkstore.model.tree import SessionRecord
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.directory import memory_gone
from zkstore.storage.image import Mark
from zkstore.storage.log import Epochs, Log
from zkstore.storage.recovery import Recovered
from zkstore.storage.store import Store
from zkstore.zab.effects import Adopt, Append, Belong, Cut, DiskEffect, Install, InstallBegin, InstallRows, Promise

_WRITER_FAILED: Final = "the log's writer failed in a way nobody foresaw; its traceback stands above"


class Probe(NamedTuple):
    """Write something that changes nothing: whether the disk takes writes again."""


Task: TypeAlias = DiskEffect | Probe


class Report(NamedTuple):
    """What became of one effect.

    Attributes:
        error: None if it is on disk.
        is_fatal: the log can be trusted no more.
        recovered: the tree that an Install has brought.
        took_ms: the commit that it was part of.
    """

    effect: Task
    error: StorageError | None = None
    is_fatal: bool = False
    recovered: Recovered | None = None
    took_ms: float = 0.0


class Disk:
    """The thread that writes a store's log, facts and incoming trees.

    `tree_lock` is held while an incoming tree takes the place of the store's checkpoint: whoever writes or copies that
    holds it, too.
    """

    def __init__(self, store: Store, tree_lock: threading.Lock) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._store = store
        self._tree_lock = tree_lock
        self._queue: SimpleQueue[tuple[int, Task] | None] = SimpleQueue()
        self._reports: deque[Report] = deque()
        self._generation = 0
        self._pending = 0
        self._failed_generation = -1
        self._incoming: tuple[InstallBegin, Checkpoint] | None = None
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    # --- for the loop -----------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether reports are to come."""
        return self._pending > 0

    def submit(self, effects: Iterable[Task]) -> None:
        """To be carried out behind all that was submitted before."""
        for effect in effects:
            self._pending += 1
            self._queue.put((self._generation, effect))

    def take(self) -> list[Report]:
        """What has been done since the last time; a failure is the last of its generation."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)
        taken: list[Report] = []
        while self._reports:
            taken.append(self._reports.popleft())
        self._pending -= len(taken)
        return taken

    def forget(self) -> None:
        """A failure was taken: what is submitted from now on is carried out again."""
        self._generation += 1
        self._pending = 0

    def close(self) -> None:
        """Carry out what was submitted, and end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self._incoming is not None:
            self._incoming[1].abandon()
        os.close(self.descriptor)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        """Should it ever end by a mistake of ours, the server must not go on without it."""
        tasks: list[tuple[int, Task] | None] = []
        while True:
            tasks = tasks or [self._queue.get()]
            task = tasks.pop(0)
            if task is None:
                return
            generation, effect = task
            if generation == self._failed_generation:
                continue
            effects = [effect]
            if isinstance(effect, Append):
                tasks = self._more_appends(effects, generation)
            reports = [Report(effect, StorageError(_WRITER_FAILED), is_fatal=True)]
            try:
                reports = self._carry_out(effects)
            finally:
                if reports[-1].error is not None:
                    self._failed_generation = generation
                self._reports.extend(reports)
                os.eventfd_write(self.descriptor, 1)

    def _more_appends(self, effects: list[Task], generation: int) -> list[tuple[int, Task] | None]:
        """Add the segments that wait already to those of one commit; returns what was taken and is none of them."""
        size = 0
        with suppress(Empty):
            while size < limits.SEGMENT_BYTES_MAX:
                task = self._queue.get_nowait()
                if task is None or task[0] != generation or not isinstance(task[1], Append):
                    return [task]
                effects.append(task[1])
                size += len(task[1].segment.data)
        return []

    def _carry_out(self, effects: list[Task]) -> list[Report]:
        started_s = time.perf_counter()
        recovered: Recovered | None = None
        try:
            if isinstance(effects[0], Append):
                failpoints.hit("ensemble.before_append")
                self._store.append([effect.segment for effect in effects if isinstance(effect, Append)])
            else:
                recovered = self._do(effects[0])
        except StorageError as error:
            # A log that was full is as it was. An arriving tree that does not fit its digest has replaced nothing.
            return [Report(effects[0], error, is_fatal=self._is_fatal(effects[0], error))]
        except MemoryError:
            return [Report(effects[0], memory_gone(self._store.directory.root), is_fatal=True)]
        took_ms = (time.perf_counter() - started_s) * 1000
        return [Report(effect, None, False, recovered, took_ms) for effect in effects]

    def _is_fatal(self, effect: Task, error: StorageError) -> bool:
        if isinstance(effect, InstallBegin | InstallRows | Install):
            return self._incoming is None and isinstance(effect, Install)
        return not isinstance(error, DiskFullError)

    def _do(self, effect: Task) -> Recovered | None:
        """Anything but segments. Raises StorageError."""
        if isinstance(effect, InstallBegin):
            self._begin_install(effect)
        elif isinstance(effect, InstallRows):
            assert self._incoming is not None, "rows of no tree"
            self._incoming[1].put_for_good(effect.rows)
        elif isinstance(effect, Install):
            return self._install(effect)
        elif isinstance(effect, Cut):
            failpoints.hit("sync.cut.before")
            self._store.log.truncate_after(effect.zxid)
        elif isinstance(effect, Probe):
            self._store.log.set_epochs(self._store.log.epochs)
        else:
            assert not isinstance(effect, Append), "segments go another way"
            put_fact(self._store.log, effect)
        return None

    def _begin_install(self, effect: InstallBegin) -> None:
        if self._incoming is not None:
            self._incoming[1].abandon()
            self._incoming = None
        self._incoming = effect, self._store.begin_incoming()

    def _install(self, effect: Install) -> Recovered:
        assert self._incoming is not None, "the end of no tree"
        begin, incoming = self._incoming
        sessions = {number: SessionRecord(timeout_ms, password) for number, timeout_ms, password in effect.sessions}
        incoming.finish(Mark(begin.zxid, begin.digest, begin.crc, restarts_log=True), sessions)
        failpoints.hit("incoming.before_load")
        incoming.load()  # What does not fit its digest ends here, with the old tree in its place.
        with self._tree_lock:
            self._incoming = None
            failpoints.hit("incoming.before_install")
            recovered = self._store.install(incoming)
            failpoints.hit("incoming.after_install")
            return recovered


def put_fact(log: Log, effect: Promise | Adopt | Belong) -> None:
    """Put what a server has promised, or where it belongs, on disk. Raises StorageError."""
    epochs = log.epochs
    if isinstance(effect, Belong):
        failpoints.hit("discovery.belong")
        log.set_ensemble_id(effect.ensemble_id)
    elif isinstance(effect, Promise):
        failpoints.hit("discovery.promise.before")
        log.set_epochs(epochs._replace(accepted=effect.epoch))
        failpoints.hit("discovery.promise.after")
    else:
        failpoints.hit("discovery.adopt.before")
        log.set_epochs(Epochs(max(effect.epoch, epochs.accepted), effect.epoch), enrols=effect.enrols)
        failpoints.hit("discovery.adopt.after")
