"""What lies where in the data directory of an Apache ZooKeeper server.

    dataDir/version-2/snapshot.<zxid>[.gz|.snappy]     the zxid in hex: of the last txn when the snapshot began
    dataDir/version-2/acceptedEpoch, currentEpoch      members of an ensemble only
    dataLogDir/version-2/log.<zxid>                    the zxid of the first txn in the file

Apache takes every name that begins so, `snapshot.1f.bak` included; here a name has to fit entirely.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from zkstore.errors import DamageError, DirectoryUnusableError
from zkstore.storage.directory import translated

VERSION_DIRECTORY: Final = "version-2"

_SNAPSHOT: Final = re.compile(r"snapshot\.([0-9a-f]{1,16})(\.gz|\.snappy)?")
_LOG: Final = re.compile(r"log\.([0-9a-f]{1,16})")
_OTHER_VERSION: Final = re.compile(r"version-[0-9]+")
_EPOCH: Final = re.compile(r"[0-9]{1,10}")


class ApacheFile(NamedTuple):
    """A snapshot or a log: the zxid in its name, and where it lies."""

    zxid: int
    path: Path


class ApacheFiles(NamedTuple):
    """All that a server has left.

    Attributes:
        snapshots, logs: oldest first.
        accepted_epoch, current_epoch: None where there is no such file, as on a server that was alone.
        has_server_id: there is a `myid` beside them.
    """

    snapshots: list[ApacheFile]
    logs: list[ApacheFile]
    accepted_epoch: int | None
    current_epoch: int | None
    has_server_id: bool

    def fingerprint(self) -> list[tuple[Path, int, int]]:
        """What changes when a server writes to any of the files."""
        try:
            states = [(file.path, file.path.stat()) for file in [*self.snapshots, *self.logs]]
        except OSError as error:
            raise translated(error, Path(error.filename or ".")) from error
        return [(path, state.st_size, state.st_mtime_ns) for path, state in states]


def find(root: Path, log_directory: Path | None = None) -> ApacheFiles:
    """The files below `root` (dataDir, or the version-2 in it); the logs below `log_directory` if that is given.

    Raises DirectoryUnusableError where there is nothing to be read, and DamageError for a broken epoch file.
    """
    if not root.is_dir():
        raise DirectoryUnusableError(
            "there is no such directory", where=root, advice="Name the dataDir of an Apache ZooKeeper server"
        )
    home = _version_directory(root)
    log_home = home if log_directory is None else _version_directory(log_directory)
    try:
        snapshots = _matching(home, _SNAPSHOT)
        logs = _matching(log_home, _LOG)
    except OSError as error:
        raise DirectoryUnusableError(
            f"cannot be read: {error.strerror or error}",
            where=error.filename or root,
            advice="Run this as a user who may read the server's files",
        ) from error
    if not snapshots and not logs and (root / "format").is_file():
        raise DirectoryUnusableError(
            "this is a data directory of zkstore already", where=root, advice="Start it as it is: `zkstore serve`"
        )
    if not snapshots and not logs:
        raise DirectoryUnusableError(
            "this is not the data directory of an Apache ZooKeeper server: no snapshot.* and no log.* in it",
            where=root,
            advice=f"Name its dataDir, the directory with {VERSION_DIRECTORY}/ in it",
        )
    return ApacheFiles(
        snapshots,
        logs,
        _epoch(home / "acceptedEpoch"),
        _epoch(home / "currentEpoch"),
        (home.parent / "myid").is_file(),
    )


def _version_directory(root: Path) -> Path:
    home = root / VERSION_DIRECTORY
    if home.is_dir():
        return home
    if not root.is_dir():
        raise DirectoryUnusableError(
            "there is no such directory", where=root, advice="Name the dataLogDir of the Apache ZooKeeper server"
        )
    others = sorted(entry.name for entry in root.iterdir() if _OTHER_VERSION.fullmatch(entry.name))
    if others:
        raise DirectoryUnusableError(
            f"the files are in {', '.join(others)}/; only {VERSION_DIRECTORY}/ is known, which Apache ZooKeeper 3.0 to"
            " 3.9 write",
            where=root,
            advice="Have a server of 3.9 or before write them, or a newer zkstore read them",
        )
    return root


def _matching(home: Path, pattern: re.Pattern[str]) -> list[ApacheFile]:
    found = []
    for entry in home.iterdir():
        match = pattern.fullmatch(entry.name)
        if match is not None and int(match[1], 16) >> 63 == 0:
            found.append(ApacheFile(int(match[1], 16), entry))
    return sorted(found)


def _epoch(path: Path) -> int | None:
    try:
        text = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translated(error, path) from error
    if not _EPOCH.fullmatch(text):
        raise DamageError(
            f"this should hold the number of an epoch, and holds {text[:20]!r}",
            where=path,
            advice="Put the number in it that the other servers of the ensemble have, or remove it",
        )
    return int(text)
