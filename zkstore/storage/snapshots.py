"""Snapshots: compact, immutable copies of the checkpoint, each complete in itself, in a directory named by its zxid.

Beside the copy lies its checksum, so that a damaged file is found before LMDB follows a wrong pointer in it. A
snapshot appears under its name by one rename, when all of it is on disk; what a crash leaves has another name and is
removed by the next snapshot.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from zkstore import failpoints
from zkstore.errors import DamageError
from zkstore.model.tree import Tree
from zkstore.storage import image
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.directory import bytes_below, make_directory, replace_file, sync_directory, sync_file, translating
from zkstore.storage.env import Environment
from zkstore.storage.image import Mark

_NAME: Final = re.compile("[0-9a-f]{16}")
_DRAFT: Final = ".draft"
_READ_BYTES: Final = 1 << 20


class Snapshot(NamedTuple):
    """One snapshot: what lies where."""

    zxid: int
    path: Path


class Snapshots:
    """All snapshots below `path`, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[Snapshot]:
        """Every snapshot, oldest first."""
        if not self.path.is_dir():
            return []
        found = [entry for entry in self.path.iterdir() if _NAME.fullmatch(entry.name)]
        return sorted(Snapshot(int(entry.name, 16), entry) for entry in found)

    def newest(self) -> Snapshot | None:
        """The one with the highest zxid."""
        return max(self.all(), default=None)

    def take(self, checkpoint: Checkpoint, zxid: int) -> Snapshot:
        """Copy the checkpoint, which is of `zxid`. Nothing happens where there is such a snapshot.

        Raises DiskFullError and StorageError; nothing is left behind then.
        """
        snapshot = Snapshot(zxid, self.path / f"{zxid:016x}")
        if snapshot.path.exists():
            return snapshot
        draft = self.path / _DRAFT
        self._remove_draft()  # a crash may have left one
        try:
            with translating(self.path):
                failpoints.hit("snapshot.take.before")
                make_directory(draft)
                checkpoint.copy_to(draft)
                failpoints.hit("snapshot.take.before_sync")
                sync_file(draft / "data.mdb")
                replace_file(draft / "checksum", b"%08x\n" % _checksum(draft / "data.mdb"))
                failpoints.hit("snapshot.take.before_rename")
                draft.rename(snapshot.path)
                failpoints.hit("snapshot.take.after_rename")
                sync_directory(self.path)
        finally:
            self._remove_draft()
        return snapshot

    def remove(self, zxid: int) -> None:
        """Remove a snapshot; first its name, so that no half of it is ever taken for one. Raises StorageError."""
        self._remove_draft()
        with translating(self.path):
            failpoints.hit("snapshot.remove.before_rename")
            (self.path / f"{zxid:016x}").rename(self.path / _DRAFT)
        failpoints.hit("snapshot.remove.after_rename")
        self._remove_draft()

    def _remove_draft(self) -> None:
        """Once its name is gone from the disk, too: else a power cut may bring back a snapshot without its files."""
        if (self.path / _DRAFT).exists():
            with translating(self.path):
                sync_directory(self.path)
            shutil.rmtree(self.path / _DRAFT, ignore_errors=True)


def load(snapshot: Snapshot) -> tuple[Tree, Mark]:
    """The tree in a snapshot; checksum, zxid and digest compared. Raises FormatTooNewError and DamageError."""
    check(snapshot)
    env = open_image(snapshot.path)
    try:
        loaded = image.load(env)
    finally:
        env.close()
    if loaded is None or loaded[1].zxid != snapshot.zxid:
        raise DamageError("the content is not what the name says", zxid=snapshot.zxid, where=snapshot.path)
    return loaded


def open_image(path: Path) -> Environment:
    """A snapshot's environment, for reading; the caller closes it. One process may have it open once."""
    return Environment(path, image.DATABASES, read_only=True)


def check(snapshot: Snapshot) -> None:
    """Compare a snapshot's file with its checksum. Raises DamageError."""
    file = snapshot.path / "data.mdb"
    try:
        failpoints.hit("snapshot.check")
        written = int((snapshot.path / "checksum").read_text(), 16)
        found = _checksum(file)
    except (OSError, ValueError) as error:
        raise image.damage(snapshot.path, snapshot.zxid, f"it cannot be read ({error})") from error
    if found != written:
        raise image.damage(file, snapshot.zxid, f"its checksum is {found:08x}, written was {written:08x}")


def size_bytes(snapshot: Snapshot) -> int:
    """Disk space that a snapshot takes."""
    return bytes_below(snapshot.path)


def _checksum(file: Path) -> int:
    checksum = 0
    with file.open("rb") as content:
        while piece := content.read(_READ_BYTES):
            checksum = crc32(piece, checksum)
    return checksum
