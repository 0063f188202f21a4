"""Setting damaged data aside: a server that others can bring in step again begins anew, and nothing is deleted.

    damaged-2026-11-24T20-45-12-log/   what was here, moved as it was; named by when it was found, and where
        why                            the sentence that the log says
        unfinished                     there until the new data says that this server has lost something

A crash in between is finished by the next start: whatever has not been moved is, and what a new start had begun to
write is nothing to anybody.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from zkstore.errors import DamageError, StorageError
from zkstore.storage import probe
from zkstore.storage.directory import (
    ASIDE_PREFIX,
    DataDirectory,
    make_directory,
    replace_file,
    sync_directory,
    translated,
)
from zkstore.storage.lock import DirectoryLock
from zkstore.storage.log import Epochs, Log, read_facts
from zkstore.wire.messages import LOST

_IN_ROOT: Final = ("format", "clean", "opening", "tree", "tree.incoming", "tree.damaged", "snapshots")
_UNFINISHED: Final = "unfinished"
_WHY: Final = "why"


class Aside(NamedTuple):
    """Where damaged data lies now; `log` is below the log directory, where that is another one."""

    path: Path
    log: Path


def begin(directory: DataDirectory, damage: DamageError) -> Aside:
    """Move everything out of the way; nobody has it open. Raises StorageError."""
    where = str(damage.where or directory.root)
    what = next((part for part in ("log", "snapshots", "tree", "format", "clean") if f"/{part}" in where), "data")
    name = f"{ASIDE_PREFIX}{time.strftime('%Y-%m-%dT%H-%M-%S')}-{what}"
    path = directory.root / name
    with _locked(directory):
        make_directory(path)
        replace_file(path / _WHY, f"{damage}\n".encode())
        replace_file(path / _UNFINISHED, b"")
        return _move(directory, path)


def unfinished(directory: DataDirectory) -> Aside | None:
    """Go on where a crash has interrupted `begin`, or what followed it; None if there is nothing of the kind."""
    if not directory.root.exists():
        return None
    found = sorted(path.parent for path in directory.root.glob(f"{ASIDE_PREFIX}*/{_UNFINISHED}"))
    if not found:
        return None
    with _locked(directory):
        return _move(directory, found[-1])


def finish(aside: Aside, log: Log) -> None:
    """The new log says from now on that this server has lost what it had; what it had promised and to which ensemble
    it belongs is taken over, if it can still be read. Raises StorageError."""
    accepted, ensemble_id = 0, None
    with suppress(StorageError):
        probe.refuse_fatal(aside.log / "log")
        facts = read_facts(aside.log / "log")
        accepted, ensemble_id = facts.epochs.accepted, facts.ensemble_id
    log.set_epochs(Epochs(accepted, 0))
    if ensemble_id is not None:
        log.set_ensemble_id(ensemble_id)
    log.set_enrolment(LOST)
    try:
        (aside.path / _UNFINISHED).unlink()
        sync_directory(aside.path)
    except OSError as error:
        raise translated(error, aside.path) from error


@contextmanager
def _locked(directory: DataDirectory) -> Iterator[None]:
    locks: list[DirectoryLock] = []
    try:
        for root in directory.roots:
            locks.append(DirectoryLock(root))
        yield
    finally:
        for lock in locks:
            lock.release()


def _move(directory: DataDirectory, path: Path) -> Aside:
    log_path = directory.log_root / path.name
    make_directory(log_path)
    try:
        for name in _IN_ROOT:
            _move_one(directory.root / name, path / name)
        _move_one(directory.log, log_path / "log")
        for changed in {path, log_path, *directory.roots}:
            sync_directory(changed)
    except OSError as error:
        raise translated(error, path) from error
    return Aside(path, log_path)


def _move_one(source: Path, target: Path) -> None:
    """Once there is something at the target, what is at the source was written since, by a start that broke off."""
    if not source.exists():
        return
    if not target.exists():
        source.rename(target)
    elif source.is_dir():
        shutil.rmtree(source)
    else:
        source.unlink()
