"""A tree from elsewhere becomes a new data directory: whole, or not at all.

It is built in a hidden directory inside the new one, and moved out when it is complete and was read back. A crash in
between leaves no data directory that a server would start from. What is there already is never overwritten.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from zkstore.errors import DirectoryUnusableError
from zkstore.model.tree import SessionRecord, session_digest
from zkstore.model.zxid import epoch_of
from zkstore.storage.directory import make_directory, sync_directory, translated
from zkstore.storage.image import Mark
from zkstore.storage.log import Epochs
from zkstore.storage.store import CleanNote, Store

_DRAFT: Final = ".incoming"
_STAYING: Final = frozenset({"lost+found", "myid", _DRAFT})
"""What may be in the directory before: a file system's own, and the number that its server was given."""

_ORDER: Final = ("snapshots", "log", "tree", "clean")
"""In which the parts are moved out, the format file last: with the log alone a server refuses to start, and with the
tree it has everything."""

_BATCH_ZNODES: Final = 20_000
_DIGEST_MASK: Final = 0xFFFFFFFFFFFFFFFF


class Landed(NamedTuple):
    """What is in the new directory."""

    zxid: int
    digest: int
    znodes: int
    sessions: int


def refuse_unless_empty(root: Path) -> None:
    """Raise DirectoryUnusableError for a directory in which anything lies that could be lost."""
    try:
        names = sorted({entry.name for entry in root.iterdir()} - _STAYING) if root.exists() else []
    except OSError as error:
        raise DirectoryUnusableError(
            f"cannot be used: {error.strerror or error}", where=root, advice="Name a new directory"
        ) from error
    if names:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise DirectoryUnusableError(
            f"this directory is not empty ({shown}), and nothing is ever overwritten",
            where=root,
            advice="Name a new directory, or move away what is in this one",
        )


def land(
    root: Path,
    znodes: Iterable[tuple[bytes, bytes]],
    sessions: dict[int, SessionRecord],
    zxid: int,
    epochs: Epochs,
    progress: Callable[[str], None] = lambda _: None,
) -> Landed:
    """Make `root` the data directory of a server that holds these znodes as of `zxid`, and has stopped in order.

    `znodes` are (path, record), best in the order of paths. Raises StorageError, and what the iterable raises;
    nothing is left then.
    """
    refuse_unless_empty(root)
    was_there = root.exists()
    make_directory(root)
    draft = root / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    is_done = False
    try:
        landed = _build(draft, znodes, sessions, zxid, epochs, progress)
        for name in (*_ORDER, "format"):
            if (draft / name).exists():
                (draft / name).rename(root / name)
                sync_directory(root)
        is_done = True
        return landed
    except OSError as error:
        raise translated(error, root) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not is_done and not was_there:
            shutil.rmtree(root, ignore_errors=True)


def _build(
    draft: Path,
    znodes: Iterable[tuple[bytes, bytes]],
    sessions: dict[int, SessionRecord],
    zxid: int,
    epochs: Epochs,
    progress: Callable[[str], None],
) -> Landed:
    store = Store.open(draft)
    note = None
    try:
        store.recover()
        incoming = store.begin_incoming()
        digest = sum(session_digest(number, session) for number, session in sessions.items())
        count, batch = 0, []
        for znode in znodes:
            batch.append(znode)
            digest += crc32(znode[1], crc32(znode[0]))
            if len(batch) == _BATCH_ZNODES:
                count += len(batch)
                incoming.put_for_good(batch)
                batch = []
        count += len(batch)
        incoming.put_for_good(batch)
        digest &= _DIGEST_MASK
        # The checksum stands for the log that is not here: equal trees at equal zxids go on as one.
        crc = crc32(digest.to_bytes(8, "big")) if zxid else 0
        incoming.finish(Mark(zxid, digest, crc, restarts_log=True), sessions)
        store.log.set_epochs(
            Epochs(max(epochs.accepted, epochs.current, epoch_of(zxid)), max(epochs.current, epoch_of(zxid)))
        )
        progress(f"{count:,} znodes are read back")
        store.install(incoming)
        note = CleanNote(zxid, digest, time.time_ns() // 1_000_000)
        return Landed(zxid, digest, count, len(sessions))
    finally:
        store.close(note)
