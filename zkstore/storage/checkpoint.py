"""The checkpoint: the tree on disk, brought from one zxid to a later one by writing what changed in between.

One LMDB write batch takes it there, so that a crash leaves the old checkpoint or the new one. The environment is
open only while it is written, read or copied: what is mapped then does not count as the server's memory later.

One caller at a time; its calls may come from different threads.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from zkstore import failpoints
from zkstore.errors import StorageError
from zkstore.model.tree import SessionRecord, Tree
from zkstore.storage import image
from zkstore.storage.directory import sync_directory, translating
from zkstore.storage.env import MAP_BYTES, Environment, lmdb_error, translated
from zkstore.storage.image import Counts, Mark


class Checkpoint:
    """A tree in one LMDB environment at `path`.

    To bring it up to date: `begin`, `put` as often as it takes, `finish` or `abandon`. DiskFullError from any of
    these abandons it and leaves the checkpoint as it was.
    """

    def __init__(self, path: Path, *, map_bytes: int = MAP_BYTES) -> None:
        self.path = path
        self._map_bytes = map_bytes
        self._env: Environment | None = None
        self._batch: Any = None
        # What was done so far, to do it again where the map has to grow. The tree holds nearly all of it anyway.
        self._steps: list[Callable[[Environment], None]] = []

    # --- reading ----------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether there is anything to be read, sound or not."""
        file = self.path / "data.mdb"
        return file.exists() and file.stat().st_size > 0

    def mark(self) -> Mark | None:
        """What the checkpoint is of; None where there is none. Raises FormatTooNewError and DamageError."""
        if not self.exists():
            return None
        with self._opened() as env:
            return image.read_mark(env)

    def load(self) -> tuple[Tree, Mark] | None:
        """The tree, its digest compared; None where there is none. Raises FormatTooNewError and DamageError."""
        if not self.exists():
            return None
        with self._opened(checks_pages=True) as env:
            return image.load(env)

    def copy_to(self, path: Path) -> None:
        """A compact copy into an existing, empty directory, not synced. Raises DiskFullError."""
        with self._opened() as env:
            env.copy_to(path)

    # --- writing ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open the environment and a batch."""
        assert self._env is None, "a checkpoint is under way already"
        failpoints.hit("checkpoint.begin")
        env = Environment(self.path, image.DATABASES, map_bytes=self._map_bytes)
        try:
            self._batch = env.begin()
        except StorageError:
            env.close()
            raise
        self._env = env

    def put(self, znodes: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Some changed znodes as (path, record), None for a deleted one; some 500 at a time keep others alive."""

        def write(env: Environment) -> None:
            failpoints.hit("checkpoint.put", lmdb_error)
            image.write_znodes(env, self._batch, znodes)

        self._do(write)

    def put_for_good(self, znodes: Sequence[tuple[bytes, bytes]]) -> None:
        """Some znodes of a tree that arrives whole, and that counts for nothing before its mark is there: nothing of
        it is kept in memory to be done again."""
        self.put(znodes)
        env = self._env
        assert env is not None, "no checkpoint is under way"
        try:
            failpoints.hit("incoming.rows.before_commit", lmdb_error)
            self._batch.commit()
            failpoints.hit("incoming.rows.after_commit")
        except lmdb.Error as error:
            self._close()
            raise translated(error, self.path) from error
        self._steps = []
        self._batch = env.begin()

    def finish(self, mark: Mark, sessions: dict[int, SessionRecord], counts: Counts | None = None) -> None:
        """Everything put is on disk and is the tree as of `mark`."""

        def commit(env: Environment) -> None:
            failpoints.hit("checkpoint.finish.before_mark", lmdb_error)
            image.write_mark(env, self._batch, mark, sessions, counts)
            failpoints.hit("checkpoint.finish.before_commit", lmdb_error)
            self._batch.commit()
            failpoints.hit("checkpoint.finish.after_commit")

        self._do(commit)
        self._close()

    def abandon(self) -> None:
        """Nothing of it happened. Harmless where no checkpoint is under way."""
        if self._env is not None:
            self._batch.abort()
            self._close()

    # --- standing in for another ------------------------------------------------------------------

    def replace_by(self, path: Path) -> None:
        """The environment in another directory becomes the checkpoint; the old one is gone.

        A crash leaves either, or neither in place; then `finish_replacing` puts the new one there. So does an error:
        raises StorageError.
        """
        assert self._env is None, "a checkpoint is under way"
        shutil.rmtree(self._doomed, ignore_errors=True)
        with translating(self.path):
            failpoints.hit("checkpoint.replace.before_move")
            if self.path.exists():
                self.path.rename(self._doomed)
            failpoints.hit("checkpoint.replace.between")
            path.rename(self.path)
            failpoints.hit("checkpoint.replace.before_sync")
            sync_directory(self.path.parent)
        failpoints.hit("checkpoint.replace.before_remove")
        shutil.rmtree(self._doomed, ignore_errors=True)

    def is_being_replaced(self) -> bool:
        """Whether a crash interrupted a `replace_by`, for `finish_replacing` to finish it."""
        return self._doomed.exists()

    def finish_replacing(self, path: Path) -> None:
        """Finish a `replace_by` that a crash interrupted between its two steps; else nothing. Raises StorageError."""
        with translating(self.path):
            if self._doomed.exists() and not self.path.exists():
                path.rename(self.path)
                sync_directory(self.path.parent)
        shutil.rmtree(self._doomed, ignore_errors=True)

    def move_to(self, path: Path) -> None:
        """Put what is here aside, in place of what lies there. Raises StorageError."""
        with translating(self.path):
            if self.path.exists():
                shutil.rmtree(path, ignore_errors=True)
                failpoints.hit("checkpoint.aside.before_rename")
                self.path.rename(path)
                failpoints.hit("checkpoint.aside.after_rename")
                sync_directory(self.path.parent)

    @property
    def _doomed(self) -> Path:
        return self.path.with_name(f".{self.path.name}.doomed")

    # --- inside -----------------------------------------------------------------------------------

    @contextmanager
    def _opened(self, *, checks_pages: bool = False) -> Iterator[Environment]:
        assert self._env is None, "the checkpoint is being written"
        env = Environment(
            self.path, image.DATABASES, map_bytes=self._map_bytes, read_only=True, checks_pages=checks_pages
        )
        try:
            yield env
        finally:
            env.close()

    def _do(self, step: Callable[[Environment], None]) -> None:
        """Do one step of the batch; where the map is too small, all steps again in a larger one."""
        env = self._env
        assert env is not None, "no checkpoint is under way"
        self._steps.append(step)
        left = [step]
        try:
            while left:
                try:
                    for one in left:
                        one(env)
                    left = []
                except lmdb.MapFullError:
                    self._batch.abort()
                    env.grow()
                    self._batch = env.begin()
                    left = self._steps
        except lmdb.Error as error:
            self.abandon()
            raise translated(error, self.path) from error

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env = self._batch = None
        self._steps = []
