"""One LMDB environment: opening, growing, and LMDB's errors in our words.

Every write goes through `Environment.write`, whose argument can be run again: where LMDB's map turns out too small,
the batch is aborted, the map doubled and the batch run anew. The map is address space, not disk, and bounded by
nothing but the disk. Growing it moves it, so no view may be open meanwhile: views are short and take turns with it.

A write that fails, for want of space or otherwise, leaves what was there before: LMDB writes to free pages only, and
its last step alone, the meta page, makes them count.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

import lmdb

from zkstore.errors import DamageError, StorageError
from zkstore.storage.directory import FULL_CODES, disk_full, make_directory, sync_directory

MAP_BYTES: Final = 256 << 20
"""Address space mapped at first; doubled as needed."""

_NEARLY_FULL_BYTES: Final = 1 << 20
_READERS_MAX: Final = 16

_DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.CursorFullError,  # deeper than any tree grows
    lmdb.IncompatibleError,  # a database with flags that it was not made with
    lmdb.InvalidError,
    lmdb.NotFoundError,  # a database that should be there
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)

T = TypeVar("T")


class Environment:
    """An open LMDB environment with named databases.

    `shared` says whether views and batches may meet (the log). Without it LMDB keeps no lock of its own, which is
    right where one caller at a time has the environment (checkpoint, snapshots), and frees a batch from the thread
    that began it.

    Raises DamageError where the files are not what LMDB wrote, DiskFullError, and StorageError for the rest.
    """

    def __init__(
        self,
        path: Path,
        databases: tuple[bytes, ...],
        *,
        map_bytes: int = MAP_BYTES,
        shared: bool = False,
        read_only: bool = False,
        readahead: bool = True,
    ) -> None:
        self.path = path
        self._writing = Lock()
        # Held by a view and by growing. Where nothing else can happen meanwhile there is nothing to hold.
        self._mapping: AbstractContextManager[Any] = Lock() if shared else nullcontext()
        file = path / "data.mdb"
        is_new = not file.exists()
        if not read_only:
            make_directory(path)
        try:
            self._env = lmdb.open(
                str(path),
                map_size=map_bytes if is_new else max(map_bytes, file.stat().st_size * 2),
                max_dbs=len(databases),
                max_readers=_READERS_MAX,
                mode=0o600,
                readonly=read_only,
                create=False,
                lock=shared and not read_only,
                readahead=readahead,
                meminit=False,
            )
        except lmdb.Error as error:
            raise translated(error, path) from error
        try:
            self._refuse_truncated(file)
            self.databases = {name: self._env.open_db(name, create=not read_only) for name in databases}
        except lmdb.Error as error:
            self._env.close()
            raise translated(error, path) from error
        except StorageError:
            self._env.close()
            raise
        if is_new and not read_only:
            sync_directory(path)

    def close(self) -> None:
        """Unmap the files; whatever was written stays. Closing twice is harmless."""
        self._env.close()

    def write(self, change: Callable[[Any], T]) -> T:
        """Run `change` in one write batch; when this returns, what it did is on disk, all of it. Else none of it is.

        `change` may be run more than once. Raises DiskFullError, StorageError and what `change` raises.
        """
        with self._writing:
            while True:
                try:
                    with self._env.begin(write=True) as batch:
                        return change(batch)
                except lmdb.MapFullError:
                    self.grow()
                except lmdb.Error as error:
                    raise translated(error, self.path) from error

    def begin(self) -> Any:
        """A write batch that outlives one call; who begins it handles LMDB's errors (`translated`) and `grow`s."""
        try:
            return self._env.begin(write=True)
        except lmdb.Error as error:
            raise translated(error, self.path) from error

    @contextmanager
    def view(self) -> Iterator[Any]:
        """A read view. Keep it short where `shared`: the map cannot grow meanwhile, nor can freed pages be reused."""
        with self._mapping:
            try:
                with self._env.begin() as view:
                    yield view
            except lmdb.Error as error:
                raise translated(error, self.path) from error

    def grow(self) -> None:
        """Double the map. No batch may be open."""
        with self._mapping:
            try:
                self._env.set_mapsize(self.map_bytes * 2)
            except lmdb.Error as error:
                raise translated(error, self.path) from error

    @property
    def map_bytes(self) -> int:
        """Address space mapped now."""
        size: int = self._env.info()["map_size"]
        return size

    def bytes_in(self, view: Any, database: bytes) -> int:
        """Bytes of the pages that a database uses; the file is larger by the pages that wait for reuse."""
        stat = view.stat(self.databases[database])
        pages: int = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return pages * int(stat["psize"])

    def copy_to(self, path: Path) -> None:
        """A compact copy of the whole environment into an existing, empty directory; the interpreter stays free."""
        try:
            self._env.copy(str(path), compact=True)
        except lmdb.Error as error:
            raise translated(error, path) from error

    def _refuse_truncated(self, file: Path) -> None:
        """A file that ends before its last page would kill the process on first touch, by SIGBUS."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        found = file.stat().st_size
        if found < needed:
            raise DamageError(f"the file has {found} bytes where {needed} were written", where=file)


def translated(error: lmdb.Error, where: Path) -> StorageError:
    """LMDB's error as one of ours."""
    text = str(error)
    if isinstance(error, lmdb.DiskError) or any(os.strerror(code) in text for code in FULL_CODES):
        return disk_full(where)
    if os.strerror(errno.EIO) in text and shutil.disk_usage(where).free < _NEARLY_FULL_BYTES:
        return disk_full(where)  # LMDB's words for a write that was cut short
    if isinstance(error, _DAMAGE):
        return DamageError(f"not a readable LMDB environment ({text})", where=where)
    return StorageError(f"the disk refused ({text})", where=where, advice="Check the disk and the system's log")
