"""The data directory: what lies where in it, and whether a directory is one of ours.

    format          says that this is a data directory, in which format, and which log belongs to it
    log/            LMDB: the log, and what its salvage needs; under the log directory, where a separate one is set
    tree/           LMDB: the checkpoint
    tree.incoming/  a checkpoint that is being received or restored, until it replaces tree/
    tree.damaged/   a checkpoint that could not be read, kept for whoever wants to know why
    damaged-*/      all that was here when a member of an ensemble began anew, see `aside`
    snapshots/      compact copies of tree/, one directory each, named by zxid in 16 hex digits
    lock            held by the one server that owns the directory
    clean           note of an orderly stop
    opening         there while a server opens and recovers: left behind, that came to a bad end
    myid            the server's number in its ensemble; written by people, read by the configuration

The format file is written last when a directory is made, so one without it holds nothing yet. A directory that
holds other people's files is refused: it is a typing error far more often than a wish.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zkstore import failpoints
from zkstore.errors import DamageError, DirectoryUnusableError, DiskFullError, FormatTooNewError, StorageError

FORMAT_VERSION: Final = 1

_OURS: Final = frozenset(
    {"format", "log", "tree", "tree.incoming", "tree.damaged", "snapshots", "lock", "clean", "opening", "myid"}
)
_HARMLESS: Final = frozenset({"lost+found", "samples"})
ASIDE_PREFIX: Final = "damaged-"
_APACHE: Final = "version-2"

FULL_CODES: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Where everything lies. `log_root` equals `root` unless the log has a directory of its own."""

    root: Path
    log_root: Path

    @property
    def roots(self) -> tuple[Path, ...]:
        """The one or two directories that a server owns."""
        return (self.root,) if self.root == self.log_root else (self.root, self.log_root)

    @property
    def log(self) -> Path:
        """The log's LMDB environment."""
        return self.log_root / "log"

    @property
    def tree(self) -> Path:
        """The checkpoint's LMDB environment."""
        return self.root / "tree"

    @property
    def incoming(self) -> Path:
        """Where a checkpoint is built that will replace `tree`."""
        return self.root / "tree.incoming"

    @property
    def damaged(self) -> Path:
        """Where a checkpoint goes that could not be read."""
        return self.root / "tree.damaged"

    @property
    def snapshots(self) -> Path:
        """Parent of the snapshots."""
        return self.root / "snapshots"

    @property
    def clean(self) -> Path:
        """The note of an orderly stop."""
        return self.root / "clean"

    @property
    def opening(self) -> Path:
        """There from the beginning of `Store.open` to the end of `Store.recover`."""
        return self.root / "opening"

    @property
    def format(self) -> Path:
        """The file that makes a directory ours."""
        return self.root / "format"


def locate(root: Path, log_directory: Path | None = None) -> DataDirectory:
    """The layout under `root`, nothing touched."""
    root = root.absolute()
    return DataDirectory(root, root if log_directory is None else log_directory.absolute())


def prepare(directory: DataDirectory) -> None:
    """Make what is missing and refuse what is not ours.

    Raises DirectoryUnusableError (cannot be made, holds foreign files, or holds a log though the log is set to lie
    elsewhere) and FormatTooNewError.
    """
    for root in directory.roots:
        make_directory(root)
        _refuse_foreign(root)
    if directory.log_root != directory.root and (directory.root / "log" / "data.mdb").exists():
        raise DirectoryUnusableError(
            f"there is a log here, but the log directory is set to {directory.log_root}",
            where=directory.root,
            advice=f"Move {directory.root / 'log'} there while no server runs, or drop the setting",
        )
    store_id(directory)


def store_id(directory: DataDirectory) -> bytes | None:
    """The id that ties the directory to its log; None before the directory was used for the first time.

    Raises FormatTooNewError and DamageError.
    """
    try:
        text = directory.format.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(directory.format, error) from error
    try:
        content = json.loads(text)
        format_version, id_text = int(content["format_version"]), str(content["store_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(
            f"not the format file of a data directory ({error})",
            where=directory.format,
            advice="Restore it from a backup",
        ) from error
    refuse_newer(format_version, FORMAT_VERSION, directory.format)
    try:
        return bytes.fromhex(id_text)
    except ValueError as error:
        raise DamageError("the store id is not hexadecimal", where=directory.format) from error


def write_format(directory: DataDirectory, store_id: bytes) -> None:
    """The directory is in use from now on, and belongs with the log that has the same id."""
    content = json.dumps(
        {"what": "zkstore data directory", "format_version": FORMAT_VERSION, "store_id": store_id.hex()}
    )
    failpoints.hit("format.before_write")
    replace_file(directory.format, content.encode() + b"\n")
    failpoints.hit("format.after_write")


def refuse_newer(found: int, known: int, where: Path) -> None:
    """Raise FormatTooNewError if `found` is a format that this zkstore cannot know."""
    if found > known:
        raise FormatTooNewError(
            f"format {found} was written by a newer zkstore; this one reads up to {known}",
            where=where,
            advice="Start the newer version again, or restore a backup made by this one",
        )


# --- files ----------------------------------------------------------------------------------------


def make_directory(path: Path) -> None:
    """`path` exists and so do its parents, each for the owner alone, and that survives a loss of power."""
    missing = []
    try:
        while not path.exists():
            missing.append(path)
            path = path.parent
        if not path.is_dir():
            raise DirectoryUnusableError(
                "not a directory", where=path, advice="Name another one, or move the file away"
            )
        for child in reversed(missing):
            failpoints.hit("directory.make.before")
            child.mkdir(mode=0o700, exist_ok=True)
            failpoints.hit("directory.make.after")
            sync_directory(child.parent)
    except OSError as error:
        raise _unusable(path, error) from error


def sync_directory(path: Path) -> None:
    """The names in a directory survive a loss of power."""
    failpoints.hit("directory.sync")
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """A file's content survives a loss of power; its name needs `sync_directory`."""
    failpoints.hit("file.sync")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """A small file has this content, or after a crash its old one, never half of it. Raises StorageError."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        failpoints.hit("file.replace.before_write")
        draft.write_bytes(content)
        sync_file(draft)
        failpoints.hit("file.replace.before_rename")
        draft.rename(path)
        failpoints.hit("file.replace.after_rename")
        sync_directory(path.parent)
    except OSError as error:
        raise translated(error, path) from error


def bytes_below(path: Path) -> int:
    """Disk space taken by all files below a directory; sparse files count what they take."""
    total = 0
    for folder, folders, files in os.walk(path):  # which passes over a folder that is removed while we look
        for name in (*folders, *files):
            try:
                total += Path(folder, name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue  # removed while we looked
    return total


def translated(error: OSError, where: Path) -> StorageError:
    """The system's error as one of ours."""
    if error.errno in FULL_CODES:
        return disk_full(where)
    return StorageError(
        f"the disk refused ({error.strerror})", where=where, advice="Check the disk and the system's log"
    )


@contextmanager
def translating(where: Path) -> Iterator[None]:
    """The system's errors meanwhile are raised as ours."""
    try:
        yield
    except OSError as error:
        raise translated(error, where) from error


def memory_gone(where: Path) -> StorageError:
    """No memory, in words for people."""
    return StorageError(
        "no memory is left",
        where=where,
        advice="Give the server more (the container's limit, ulimit -v); what was acknowledged is on disk",
    )


def disk_full(where: Path) -> DiskFullError:
    """No space, in words for people."""
    return DiskFullError(
        "no space left on the disk", where=where, advice="Free some space; what was written before is intact"
    )


# --- recognising ----------------------------------------------------------------------------------


def _refuse_foreign(root: Path) -> None:
    try:
        names = {entry.name for entry in root.iterdir()}
    except OSError as error:
        raise _unusable(root, error) from error
    if "format" in names:
        return
    foreign = sorted(name for name in names - _OURS - _HARMLESS if not name.startswith((".", ASIDE_PREFIX)))
    if _APACHE in foreign:
        raise DirectoryUnusableError(
            f"this directory holds the data of an Apache ZooKeeper server ({_APACHE}/), which is left alone",
            where=root,
            advice="Import it into a new directory with `zkstore import`, or name another data directory",
        )
    if foreign:
        shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise DirectoryUnusableError(
            f"this directory holds files that are not zkstore's: {shown}",
            where=root,
            advice="Name an empty or a new directory as data directory",
        )


def _unusable(path: Path, error: OSError) -> StorageError:
    if error.errno in FULL_CODES:
        return disk_full(path)
    return DirectoryUnusableError(
        f"cannot be used: {error.strerror or error}",
        where=error.filename or path,
        advice="Make the directory and let the server's user own it, or name another one",
    )
