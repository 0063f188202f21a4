"""What a path is: a data directory, an image of a tree, a backup, or something that people take for one of these."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Final

from zkstore.errors import DirectoryUnusableError
from zkstore.storage.directory import DataDirectory, locate

_APACHE_FILES: Final = {
    b"ZKSN": "a snapshot of an Apache ZooKeeper server",
    b"ZKLG": "a log of an Apache ZooKeeper server",
}
_KINDS: Final = {
    b"\x1f\x8b": "a gzip archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
}
_BEGUN: Final = frozenset({"lock", "log", "opening", "myid"})
_IMPORT: Final = "Import it with `zkstore import`, then inspect what came of it"
_NAME_IT: Final = "Name a zkstore data directory, one of its snapshots, or a backup"


class Kind(Enum):
    """What can be opened."""

    DIRECTORY = "data directory"
    IMAGE = "image"
    BACKUP = "backup"


def recognise(path: Path, backup_magic: bytes | None, log_directory: Path | None) -> tuple[Kind, Path]:
    """What a path is, and where that begins (which differs for a path into it). Raises DirectoryUnusableError."""
    try:
        if path.is_dir():
            return _directory(path, log_directory)
        if path.exists():
            return _file(path, backup_magic)
    except OSError as error:
        raise DirectoryUnusableError(
            f"cannot be read: {error.strerror}", where=path, advice="Check its owner and mode"
        ) from error
    near = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    advice = f"There is {near}, though. {_NAME_IT}" if near != Path("/") else _NAME_IT
    raise DirectoryUnusableError("there is no such file or directory", where=path, advice=advice)


def _directory(path: Path, log_directory: Path | None) -> tuple[Kind, Path]:
    names = {entry.name for entry in path.iterdir()}
    layout = locate(path, log_directory)
    if "format" in names or _has_environment(layout):
        return Kind.DIRECTORY, path
    if "data.mdb" in names:
        if "generation" in names:
            raise _other(
                path, "this is the log of a data directory", f"Name the directory itself: {path.absolute().parent}"
            )
        return Kind.IMAGE, path
    if "version-2" in names:
        raise _other(path, "this directory holds the data of an Apache ZooKeeper server (version-2/)", _IMPORT)
    if any(name.startswith(("snapshot.", "log.")) for name in names):
        raise _other(path, "this directory holds snapshots and logs of an Apache ZooKeeper server", _IMPORT)
    if path.name == "snapshots" and _has_environment(locate(path.absolute().parent)):
        raise _other(path, "these are the snapshots of a data directory", "Name one of them, or the directory itself")
    if not names:
        raise _other(path, "this directory is empty", _NAME_IT)
    if "lock" in names and names <= _BEGUN:
        raise _other(path, "a server only began to make a data directory here: there is nothing in it yet", _NAME_IT)
    shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    raise _other(path, f"this is no data directory; it holds {shown}", _NAME_IT)


def _file(path: Path, backup_magic: bytes | None) -> tuple[Kind, Path]:
    if not path.is_file():
        raise _other(path, "this is neither a directory nor an ordinary file", _NAME_IT)
    with path.open("rb") as content:
        head = content.read(64)
    if backup_magic is not None and head.startswith(backup_magic):
        return Kind.BACKUP, path
    if path.name == "data.mdb":
        return _directory(path.absolute().parent, None)
    if path.name == "format" and _has_environment(locate(path.absolute().parent)):
        return Kind.DIRECTORY, path.absolute().parent
    for magic, what in _APACHE_FILES.items():
        if head.startswith(magic):
            raise _other(path, f"this is {what}", _IMPORT)
    for magic, what in _KINDS.items():
        if head.startswith(magic):
            raise _other(path, f"this is {what}", "Unpack it first")
    if not head:
        raise _other(path, "this file is empty", _NAME_IT)
    what = "a text file" if head.isascii() and b"\0" not in head else "a file of another program"
    raise _other(path, f"this is {what}", _NAME_IT)


def _has_environment(layout: DataDirectory) -> bool:
    return any((place / "data.mdb").exists() for place in (layout.log, layout.tree))


def _other(path: Path, what: str, advice: str) -> DirectoryUnusableError:
    return DirectoryUnusableError(what, where=path, advice=advice)
