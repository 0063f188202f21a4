"""Checkpoints while the server serves: when one is due, and how it gets to disk without anybody waiting for it.

The tree's changed znodes are captured exactly as of one zxid, in slices taken between two turns of the loop, and
written in another thread. Now and then a snapshot is copied from the checkpoint, and history is purged to its budget:
not behind each one, because under full load checkpoints follow each other within seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import trio

from zkstore import failpoints
from zkstore.errors import DamageError, DiskFullError
from zkstore.limits import HISTORY_BYTES_MAX, SNAPSHOT_EVERY_S
from zkstore.model.tree import Tree
from zkstore.server.pipeline import Summary
from zkstore.storage.image import Counts
from zkstore.storage.store import Store

logger = logging.getLogger(__name__)

_SLICE: Final = 250  # znodes captured in one turn: well under a millisecond
_SNAPSHOT_PARTS: Final = 8  # of the history budget: what the log may grow by until the next snapshot
_LOOK_EVERY_S: Final = 0.25
_RETRY_S: Final = 10.0
_PURGE_STEPS: Final = 4


class Checkpoints:
    """Keeps one store's checkpoint close behind one tree.

    Attributes:
        duration_ms: how long checkpoints took.
        lock: held while the checkpoint is written or copied. Whoever exchanges it holds this meanwhile.
    """

    def __init__(
        self,
        tree: Tree,
        store: Store,
        *,
        checkpoint_txns: int,
        history_bytes_max: int = HISTORY_BYTES_MAX,
        snapshot_every_s: float = SNAPSHOT_EVERY_S,
    ) -> None:
        self.duration_ms = Summary()
        self.lock = threading.Lock()
        self._is_held = False
        self._tree = tree
        self._store = store
        self._checkpoint_txns = checkpoint_txns
        mark = store.checkpoint.mark()
        self._snapshot_every_s = snapshot_every_s
        self._log_growth_max = history_bytes_max // _SNAPSHOT_PARTS
        self._snapshot_s: float | None = None
        self._log_bytes_then = 0
        self._done_zxid = 0 if mark is None else mark.zxid  # What was replayed counts: else crashes would add it up.

    async def run(self) -> None:
        """Write a checkpoint whenever one is due, until cancelled."""
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            if self._tree.zxid - self._done_zxid >= self._checkpoint_txns and not await self.write():
                await trio.sleep(_RETRY_S)

    def hold(self) -> None:
        """Begin no checkpoint until `go_on`: another tree is about to take the place of this one."""
        self._is_held = True

    def go_on(self, tree: Tree) -> None:
        """From now on it is this tree's checkpoint that is kept."""
        self._is_held = False
        if tree is not self._tree:
            self._tree = tree
            self._done_zxid = tree.zxid

    async def write(self, *, with_snapshot: bool = False) -> bool:
        """Bring the checkpoint up to the tree as it is now; `with_snapshot`, copy it, too, whether that is due or not.

        False if the disk was full, or another tree is about to take this one's place.
        """
        await trio.to_thread.run_sync(self.lock.acquire)
        try:
            return not self._is_held and await self._write(with_snapshot)
        finally:
            self.lock.release()

    async def _write(self, with_snapshot: bool) -> bool:
        started_s = time.perf_counter()
        failpoints.hit("checkpoints.captured")
        capture = self._tree.begin_capture()
        counts = Counts(capture.tree_znodes, capture.tree_data_bytes, capture.tree_ephemerals)
        in_thread = trio.to_thread.run_sync
        try:
            await in_thread(self._store.begin_checkpoint)
            while znodes := capture.take(_SLICE):
                await in_thread(self._store.put_checkpoint, znodes)
            await in_thread(self._store.finish_checkpoint, capture.zxid, capture.digest, capture.sessions, counts)
        except DiskFullError as error:
            logger.error("no checkpoint could be written; the log keeps everything meanwhile. %s", error)
            self._store.abandon_checkpoint()
            self._tree.abandon_capture()
            return False
        except trio.Cancelled:
            self._store.abandon_checkpoint()
            self._tree.abandon_capture()
            raise
        failpoints.hit("checkpoints.written")
        self._tree.end_capture()
        self._done_zxid = capture.zxid
        took_ms = (time.perf_counter() - started_s) * 1000
        self.duration_ms.add(took_ms)
        logger.info("checkpoint at zxid %#x: %d changed znodes in %.0f ms", capture.zxid, capture.count, took_ms)
        if with_snapshot or self._is_snapshot_due():
            self._snapshot_s = trio.current_time()
            self._log_bytes_then = self._store.log.used_bytes()
            await self._keep_history()
        return True

    def _is_snapshot_due(self) -> bool:
        """Whether some time has passed since the last one, or the log has grown by a good part of the budget."""
        if self._snapshot_s is None or trio.current_time() - self._snapshot_s >= self._snapshot_every_s:
            return True
        return self._store.log.used_bytes() - self._log_bytes_then > self._log_growth_max

    async def _keep_history(self) -> None:
        """A snapshot of the checkpoint, then as much purging as the budget asks for."""
        try:
            failpoints.hit("checkpoints.before_snapshot")
            await trio.to_thread.run_sync(self._store.take_snapshot)
            failpoints.hit("checkpoints.before_purge")
            while await trio.to_thread.run_sync(self._store.purge, _PURGE_STEPS):
                pass
        except DiskFullError as error:
            logger.error("no snapshot could be copied. %s", error)
        except DamageError as error:
            logger.error("history is not purged: %s", error)
