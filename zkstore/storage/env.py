"""One LMDB environment: opening, growing, and LMDB's errors in our words.

Every write goes through `Environment.write`, whose argument can be run again: where LMDB's map turns out too small,
the batch is aborted, the map doubled and the batch run anew. The map is address space, not disk, and bounded by
nothing but the disk. Growing it moves it, so no view may be open meanwhile: views are short and take turns with it.

A write that fails, for want of space or otherwise, leaves what was there before: LMDB writes to free pages only, and
its last step alone, the meta page, makes them count.

With `room_bytes` the file is kept longer than it need be, by zeros: a sync that does not have to put down a new length
of the file as well is a third quicker (one segment of 4 KB on ext4: 155 µs instead of 220).

Without `metasync` a write does not wait for that last step: a loss of power may undo the newest write, whole, unless
`sync` was called since. What becomes of it then, the log knows (`salvage`).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

import lmdb

from zkstore import failpoints
from zkstore.errors import DamageError, StorageError
from zkstore.storage import pages, probe
from zkstore.storage.directory import FULL_CODES, disk_full, make_directory, memory_gone, sync_directory, translating
from zkstore.storage.directory import translated as system_error

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

    With `checks_pages` the file's structure is looked at before LMDB trusts it; see `pages`.

    `is_blank` says of one opened for reading that whoever made it did not even come to make its databases.

    Raises DamageError where the files are not what LMDB wrote, DiskFullError, and StorageError for the rest.
    """

    def __init__(
        self,
        path: Path,
        databases: tuple[bytes, ...],
        *,
        map_bytes: int = MAP_BYTES,
        shared: bool = False,
        metasync: bool = True,
        read_only: bool = False,
        readahead: bool = True,
        room_bytes: int = 0,
        checks_pages: bool = False,
    ) -> None:
        self.path = path
        self._metasync = metasync
        self._room_bytes = room_bytes
        self._is_trusted = True
        self._descriptor = -1
        self._writing = Lock()
        # Held by a view and by growing. Where nothing else can happen meanwhile there is nothing to hold.
        self._mapping: AbstractContextManager[Any] = Lock() if shared else nullcontext()
        file = path / "data.mdb"
        with translating(file):
            is_new = not file.exists()
        if not read_only:
            make_directory(path)
        if checks_pages and not is_new:
            pages.check(file)
        try:
            failpoints.hit("environment.open", lmdb_error)
            if is_new and not read_only:
                _create(file, databases, map_bytes)
            self._env = lmdb.open(
                str(path),
                map_size=map_bytes if is_new else max(map_bytes, file.stat().st_size * 2),
                max_dbs=len(databases),
                max_readers=_READERS_MAX,
                mode=0o600,
                readonly=read_only,
                create=False,
                lock=shared and not read_only,
                metasync=metasync,
                readahead=readahead,
                # With meminit=False pages would hold whatever this process's memory did before, passwords included.
            )
        except lmdb.Error as error:
            raise translated(error, path) from error
        try:
            self._page_bytes = int(self._env.stat()["psize"])
            if not checks_pages:
                self._refuse_truncated(file)
            if not read_only:
                self._descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
                self._lengthen()
            self.is_blank = read_only and self._env.stat()["entries"] == 0
            self.databases = self._open_databases(() if self.is_blank else databases, read_only)
        except lmdb.Error as error:
            self.close()
            raise translated(error, path) from error
        except OSError as error:
            self.close()
            raise system_error(error, file) from error
        except StorageError:
            self.close()
            raise

    def close(self) -> None:
        """Unmap the files; whatever was written stays. Closing twice is harmless."""
        if self._descriptor >= 0:
            self._lengthen()
        self._env.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, change: Callable[[Any], T]) -> T:
        """Run `change` in one write batch; when this returns, what it did is on disk, all of it. Else none of it is.

        Without `metasync` a loss of power may make it none of it still. `change` may be run more than once.

        Raises DiskFullError, StorageError and what `change` raises.
        """
        self._refuse_distrusted()
        with self._writing:
            while True:
                try:
                    if self._room_bytes:
                        self._make_room()
                    with self._env.begin(write=True) as batch:
                        return change(batch)
                except lmdb.MapFullError:
                    self.grow()
                except lmdb.Error as error:
                    if not self._metasync:
                        self.sync()  # else the next write would take it that the one before this is on disk
                    raise translated(error, self.path) from error

    def sync(self) -> None:
        """All writes so far are on disk, meta page and all. Raises StorageError, and then nothing is written any more.

        Uses a descriptor of its own: the kernel tells each descriptor once of what it could not write, and LMDB's may
        have been told already, in a write that failed.
        """
        self._refuse_distrusted()
        try:
            failpoints.hit("environment.sync.before")
            os.fdatasync(self._descriptor)
            failpoints.hit("environment.sync.after")
        except OSError as error:
            self.distrust()
            raise StorageError(
                f"the disk did not keep what was written ({error.strerror})",
                where=self.path,
                advice="Check the disk and the system's log, then start the server again",
            ) from error

    def distrust(self) -> None:
        """Refuse every further write: it is not known any more what is on disk, so nothing can be put behind it."""
        self._is_trusted = False

    @property
    def is_trusted(self) -> bool:
        """Whether it is known what is on disk."""
        return self._is_trusted

    def begin(self) -> Any:
        """A write batch that outlives one call; who begins it handles LMDB's errors (`translated`) and `grow`s."""
        try:
            failpoints.hit("environment.begin", lmdb_error)
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
                failpoints.hit("environment.grow", lmdb_error)
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
            failpoints.hit("snapshot.copy", lmdb_error)
            self._env.copy(str(path), compact=True)
        except lmdb.Error as error:
            raise translated(error, path) from error

    def _make_room(self) -> None:
        """Lengthen the file by zeros where little is left behind its last page. No batch may be open.

        A disk that has no space for them will say so to whoever needs it.
        """
        used = self._needed_bytes()
        end = os.fstat(self._descriptor).st_size
        if end - used < self._room_bytes // 2:
            with suppress(OSError):
                failpoints.hit("environment.zeros.before")
                os.pwrite(self._descriptor, bytes(self._room_bytes), end)
                failpoints.hit("environment.zeros.after")

    def _open_databases(self, names: tuple[bytes, ...], read_only: bool) -> dict[bytes, Any]:
        if read_only:
            return {name: self._env.open_db(name, create=False) for name in names}
        with self._env.begin(write=True) as batch:  # one for all, so that a crash leaves all of them or none
            return {name: self._env.open_db(name, txn=batch) for name in names}

    def _refuse_distrusted(self) -> None:
        if not self._is_trusted:
            raise StorageError(
                "nothing is written any more, since the disk failed", where=self.path, advice="Start the server again"
            )

    def _refuse_truncated(self, file: Path) -> None:
        """A file that ends before a page in use would kill the process on first touch, by SIGBUS.

        It may well end before its last page: one that a batch has taken and freed again is counted, but not written.
        So a child process has to find out.
        """
        found, needed = file.stat().st_size, self._needed_bytes()
        if found < needed:
            try:
                probe.refuse_fatal(self.path)
            except DamageError as error:
                message = f"the file has {found} bytes where {needed} were written"
                raise DamageError(message, where=file) from error

    def _lengthen(self) -> None:
        """Have the file reach to its last page, so that the next one to open it need not wonder."""
        needed = self._needed_bytes()
        with suppress(OSError):
            if os.fstat(self._descriptor).st_size < needed:
                os.ftruncate(self._descriptor, needed)

    def _needed_bytes(self) -> int:
        pages: int = self._env.info()["last_pgno"] + 1
        return pages * self._page_bytes


def _create(file: Path, databases: tuple[bytes, ...], map_bytes: int) -> None:
    """An environment with empty databases, under its name only when all of it is on disk.

    LMDB itself writes the first meta pages of a new file without a sync: a loss of power would leave a file of zeros,
    which LMDB refuses ever after. Raises lmdb.Error and StorageError.
    """
    draft = file.with_name(f".{file.name}.draft")
    with translating(file):
        draft.unlink(missing_ok=True)
        env = lmdb.open(str(draft), subdir=False, lock=False, mode=0o600, map_size=map_bytes, max_dbs=len(databases))
        try:
            with env.begin(write=True) as batch:
                for name in databases:
                    env.open_db(name, txn=batch)
        finally:
            env.close()
        draft.rename(file)
        sync_directory(file.parent)


def lmdb_error(code: int) -> lmdb.Error:
    """What LMDB raises where the system answers with that error."""
    kind = {errno.ENOSPC: lmdb.DiskError, errno.ENOMEM: lmdb.MemoryError}.get(code, lmdb.Error)
    return kind(f"mdb_env: {os.strerror(code)}")


def translated(error: lmdb.Error, where: Path) -> StorageError:
    """LMDB's error as one of ours."""
    text = str(error)
    if isinstance(error, lmdb.DiskError) or any(os.strerror(code) in text for code in FULL_CODES):
        return disk_full(where)
    if os.strerror(errno.EIO) in text and shutil.disk_usage(where).free < _NEARLY_FULL_BYTES:
        return disk_full(where)  # LMDB's words for a write that was cut short
    if isinstance(error, lmdb.MemoryError):
        return memory_gone(where)
    if isinstance(error, _DAMAGE):
        return DamageError(f"not a readable LMDB environment ({text})", where=where)
    return StorageError(f"the disk refused ({text})", where=where, advice="Check the disk and the system's log")
