"""The store: one server's data directory, opened, and everything that can be done with it.

    store = Store.open(Path("data"))
    recovered = store.recover()
    store.append([segment])             # on disk when it returns
    ...
    store.close(CleanNote(tree.zxid, tree.digest, now_ms))

Threads: `append` and the facts in `log` belong to one caller at a time, checkpoints with snapshots and purging to
another one at a time; these two, and any number of readers of `log`, may run in different threads at once.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from zkstore import failpoints
from zkstore.errors import DamageError, MisplacedError, StorageError
from zkstore.limits import HISTORY_BYTES_MAX
from zkstore.model.tree import SessionRecord, Tree
from zkstore.storage import directory as directory_
from zkstore.storage import probe, recovery, retention, snapshots
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.directory import DataDirectory
from zkstore.storage.env import MAP_BYTES
from zkstore.storage.image import Counts, Mark
from zkstore.storage.lock import DirectoryLock
from zkstore.storage.log import ADVICE, Link, Log
from zkstore.storage.outgoing import Outgoing, OutgoingTrees
from zkstore.storage.recovery import Recovered
from zkstore.storage.snapshots import Snapshot, Snapshots
from zkstore.wire.segment import Segment

SNAPSHOTS_KEPT: Final = 3
"""Default of `autopurge.snapRetainCount`; the same number as Apache's."""

PURGE_SEGMENTS: Final = 256
"""Segments dropped in one batch: the log's writer waits for it once, for about a millisecond."""


class CleanNote(NamedTuple):
    """Left by an orderly stop: the tree that the next start must arrive at or pass through."""

    zxid: int
    digest: int
    time_ms: int


class Sizes(NamedTuple):
    """Disk space in bytes. Of the log: its file, and in it what segments take; the rest waits for reuse."""

    total_bytes: int
    log_file_bytes: int
    log_used_bytes: int
    tree_bytes: int
    snapshots_bytes: int


class Store:
    """An opened data directory; made by `Store.open`.

    Attributes:
        directory: where everything lies.
        log, checkpoint, snapshots: its parts, to be read freely; written through the store.
        is_new: the directory was made by this call of `open`.
    """

    def __init__(
        self,
        directory: DataDirectory,
        locks: list[DirectoryLock],
        log: Log,
        *,
        map_bytes: int,
        history_bytes_max: int,
        snapshots_kept: int,
        is_new: bool,
        is_suspect: bool,
    ) -> None:
        self.directory = directory
        self.log = log
        self.checkpoint = Checkpoint(directory.tree, map_bytes=map_bytes)
        self.snapshots = Snapshots(directory.snapshots)
        self.is_new = is_new
        self._locks = locks
        self._map_bytes = map_bytes
        self._history_bytes_max = history_bytes_max
        self._snapshots_kept = snapshots_kept
        self._checkpoint_zxid = 0
        self._is_suspect = is_suspect
        self._outgoing = OutgoingTrees()

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        log_directory: Path | None = None,
        history_bytes_max: int = HISTORY_BYTES_MAX,
        snapshots_kept: int = SNAPSHOTS_KEPT,
        map_bytes: int = MAP_BYTES,
    ) -> Store:
        """Own the data directory, making it where it is new.

        Raises DirectoryInUseError, DirectoryUnusableError, FormatTooNewError, DamageError and other StorageErrors.
        """
        directory = directory_.locate(root, log_directory)
        directory_.prepare(directory)
        locks: list[DirectoryLock] = []
        try:
            for owned in directory.roots:
                locks.append(DirectoryLock(owned))
            is_suspect = directory.opening.exists()
            with suppress(OSError):  # on a full disk a server starts all the same
                directory.opening.touch()
            failpoints.hit("store.opening_noted")
            if is_suspect:
                probe.refuse_fatal(directory.log)
            store_id = directory_.store_id(directory)
            log = _open_log(directory, store_id, map_bytes)
        except StorageError as error:
            if locks and isinstance(error, DamageError) and not isinstance(error, MisplacedError):
                _add_way_back(error, directory)
            if locks:
                directory.opening.unlink(missing_ok=True)
            _release(locks)
            raise
        return cls(
            directory,
            locks,
            log,
            map_bytes=map_bytes,
            history_bytes_max=history_bytes_max,
            snapshots_kept=snapshots_kept,
            is_new=store_id is None,
            is_suspect=is_suspect,
        )

    def recover(self, *, committed_only: bool = False) -> Recovered:
        """The tree with everything that was ever appended. Call it once, before all else.

        With `committed_only`, as a member of an ensemble needs it, with everything that is known to be committed: the
        digest that a segment names is of a tree that was committed when the segment was proposed. What the log holds
        behind it (`tail`) may yet be agreed on, or not.

        Raises DamageError: what is on disk is not what was written, and cannot be healed from here.
        """
        try:
            failpoints.hit("store.recover.before")
            recovered = self._recover(committed_only)
            failpoints.hit("store.recover.after")
            return recovered
        except DamageError as error:
            _add_way_back(error, self.directory)
            raise
        finally:
            self.directory.opening.unlink(missing_ok=True)

    def tail(self, recovered: Recovered) -> list[Segment]:
        """The segments behind the recovered tree."""
        return list(self.log.read(recovered.tree.zxid))

    def _recover(self, committed_only: bool) -> Recovered:
        self._settle_incoming()
        note = read_clean_note(self.directory)
        newest = self.log.last()
        committed_zxid = max(0 if newest is None else newest.digest_zxid, 0 if note is None else note.zxid)
        recovered = recovery.recover(
            self.log,
            self.checkpoint,
            self.snapshots,
            self.directory.damaged,
            is_suspect=self._is_suspect,
            up_to_zxid=committed_zxid if committed_only else None,
        )
        self._is_suspect = False
        if self.log.salvaged:
            first, last = self.log.salvaged[0].first_zxid, self.log.salvaged[-1].last_zxid
            recovered.report.warnings.append(
                f"a crash or a power cut left the log's end ({first:#x} to {last:#x}) in the file without a reference:"
                " it was found there and put in its place, and nothing is lost"
            )
        if note is not None:
            if recovered.tree.zxid < note.zxid:
                raise DamageError(
                    f"the server stopped in order at {note.zxid:#x}, but its data ends at {recovered.tree.zxid:#x}",
                    where=self.directory.root,
                    advice=f"Files were lost or exchanged. {ADVICE}",
                )
            if recovered.tree.zxid == note.zxid and recovered.tree.digest != note.digest:
                raise DamageError(
                    f"the tree is not the one that the server stopped with (digest {note.digest:016x}; its data make"
                    f" {recovered.tree.digest:016x})",
                    zxid=note.zxid,
                    where=self.directory.clean,
                    advice=f"If `zkstore verify {self.directory.root}` finds nothing else, this note is the damage;"
                    " remove it then",
                )
            with directory_.translating(self.directory.clean):
                failpoints.hit("store.clean.before_remove")
                self.directory.clean.unlink()
        mark = self.checkpoint.mark()
        self._checkpoint_zxid = 0 if mark is None else mark.zxid
        return recovered

    def append(self, segments: Sequence[Segment]) -> None:
        """Put segments behind the last one; on disk when this returns. See `Log.append`."""
        self.log.append(segments)

    def truncate_after(self, zxid: int) -> Recovered:
        """Forget what was appended behind `zxid`, the end of a segment: it was never committed. The tree without it.

        Raises StorageError where the log cannot be cut there, or the checkpoint holds more already.
        """
        if zxid < self._checkpoint_zxid:
            raise StorageError(
                f"the log cannot be cut at {zxid:#x}: the checkpoint is of {self._checkpoint_zxid:#x}",
                where=self.directory.root,
            )
        self.log.truncate_after(zxid)
        return self.recover()

    def close(self, note: CleanNote | None = None) -> None:
        """Let go of the directory; with a note if everything was brought to an end in order."""
        try:
            self.checkpoint.abandon()
            self.log.close()
            if note is not None:
                failpoints.hit("store.clean.before_write")
                directory_.replace_file(self.directory.clean, json.dumps(note._asdict()).encode() + b"\n")
        finally:
            self.directory.opening.unlink(missing_ok=True)
            _release(self._locks)

    def abandon(self) -> None:
        """Let go of the directory as a process does that dies: the next start finds what a crash leaves."""
        try:
            self.checkpoint.abandon()
            self.log.abandon()
        finally:
            _release(self._locks)

    # --- checkpoints and snapshots ------------------------------------------------------------------------

    def begin_checkpoint(self) -> None:
        """Start to bring the checkpoint up to date; `put_checkpoint`, then finish or abandon it."""
        self.checkpoint.begin()

    def put_checkpoint(self, znodes: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Some changed znodes as a capture hands them out, about 500 at a time. Raises DiskFullError."""
        self.checkpoint.put(znodes)

    def finish_checkpoint(
        self, zxid: int, digest: int, sessions: dict[int, SessionRecord], counts: Counts | None = None
    ) -> None:
        """The checkpoint is as of `zxid`, the end of a segment, once this returns. Raises DiskFullError."""
        crc = self.log.crc_at(zxid)
        assert crc is not None, f"no segment of the log ends at the checkpoint's zxid {zxid:#x}"
        self.checkpoint.finish(Mark(zxid, digest, crc), sessions, counts)
        self._checkpoint_zxid = zxid

    def abandon_checkpoint(self) -> None:
        """The checkpoint stays what it was."""
        self.checkpoint.abandon()

    def take_snapshot(self) -> Snapshot | None:
        """Copy the checkpoint; None where there is none. Raises DiskFullError."""
        if self._checkpoint_zxid == 0:
            return None
        return self.snapshots.take(self.checkpoint, self._checkpoint_zxid)

    def tree_at(self, zxid: int) -> Tree:
        """The tree as it was after the segment that ends last, at or before `zxid`.

        Raises StorageError where history does not reach back that far, and DamageError.
        """
        for snapshot in reversed(self.snapshots.all()):
            if self.log.start.zxid <= snapshot.zxid <= zxid:
                tree, mark = snapshots.load(snapshot)
                recovery.replay(tree, Link(mark.zxid, mark.crc), self.log, up_to_zxid=zxid)
                return tree
        if self.log.start.zxid > 0:
            raise StorageError(f"history does not reach back to {zxid:#x}", where=self.directory.root)
        tree = Tree.new()
        recovery.replay(tree, Link(0, 0), self.log, up_to_zxid=zxid)
        return tree

    # --- a tree from elsewhere ----------------------------------------------------------------------------

    def begin_incoming(self) -> Checkpoint:
        """A checkpoint to be filled with a tree from a leader, a backup or an import; then `install` it.

        Its `finish` takes a mark that restarts the log.
        """
        shutil.rmtree(self.directory.incoming, ignore_errors=True)
        with directory_.translating(self.directory.incoming):
            failpoints.hit("incoming.begin")
        incoming = Checkpoint(self.directory.incoming, map_bytes=self._map_bytes)
        incoming.begin()
        return incoming

    def install(self, incoming: Checkpoint) -> Recovered:
        """The finished incoming tree replaces everything that was here; history goes, too.

        A crash leaves the old state or the new one. Raises DamageError if what arrived is not what its mark says.
        """
        loaded = incoming.load()
        assert loaded is not None, "the incoming checkpoint is not finished"
        mark = loaded[1]
        assert mark.restarts_log, "an incoming tree restarts the log"
        del loaded  # a whole tree in memory, where recovery is about to make another one
        self.checkpoint.replace_by(incoming.path)
        return self.recover()

    def open_outgoing(self) -> Outgoing | None:
        """A whole tree to be sent to a learner: that of the newest snapshot which the log continues. None where there
        is none: take one first. The caller closes it. Raises DamageError if it is not sound."""
        snapshot = self.snapshots.newest()
        if snapshot is None or snapshot.zxid < self.log.start.zxid:
            return None
        return self._outgoing.open(snapshot)

    # --- history ------------------------------------------------------------------------------------------

    def purge(self, steps_max: int = 1 << 30) -> bool:
        """Bring history within its bounds, in short steps; True if there is more to do after `steps_max`.

        Raises DamageError instead of removing anything while the newest snapshot, the second way back, is unsound.
        """
        is_checked = False
        for _ in range(steps_max):
            drop = retention.next_drop(
                self._history(), history_bytes_max=self._history_bytes_max, snapshots_kept=self._snapshots_kept
            )
            if drop is None:
                return False
            newest = self.snapshots.newest()
            if newest is not None and not is_checked:
                snapshots.check(newest)
                is_checked = True
            if isinstance(drop, retention.DropSnapshot):
                self.snapshots.remove(drop.zxid)
            elif self.log.drop_before(drop.zxid, PURGE_SEGMENTS) == 0:
                return False
        return True

    def sizes(self) -> Sizes:
        """What takes how much disk."""
        log_file, tree = directory_.bytes_below(self.directory.log), directory_.bytes_below(self.directory.tree)
        total = sum(directory_.bytes_below(root) for root in self.directory.roots)
        kept = directory_.bytes_below(self.directory.snapshots)
        return Sizes(total, log_file, self.log.used_bytes(), tree, kept)

    # --- inside -------------------------------------------------------------------------------------------

    def _history(self) -> retention.History:
        return retention.History(
            snapshots=[(snapshot.zxid, snapshots.size_bytes(snapshot)) for snapshot in self.snapshots.all()],
            log_start_zxid=self.log.start.zxid,
            log_bytes=self.log.used_bytes(),
            checkpoint_zxid=self._checkpoint_zxid,
        )

    def _settle_incoming(self) -> None:
        """Finish what a crash interrupted: a tree that was just taking the old one's place, or one half arrived."""
        self.checkpoint.finish_replacing(self.directory.incoming)
        shutil.rmtree(self.directory.incoming, ignore_errors=True)


def read_clean_note(directory: DataDirectory) -> CleanNote | None:
    """The note of the last orderly stop; None where there is none. Raises DamageError."""
    try:
        note = CleanNote(**json.loads(directory.clean.read_bytes()))
        if not all(isinstance(field, int) for field in note):
            raise ValueError("what it says are no whole numbers")
        return note
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise DamageError(
            f"the note of an orderly stop cannot be read ({error})",
            where=directory.clean,
            advice="Remove it if you know why; all other checks remain",
        ) from error


def _open_log(directory: DataDirectory, store_id: bytes | None, map_bytes: int) -> Log:
    """The directory's own log; made, and tied to the directory, where that is new."""
    if store_id is not None and not _has_content(directory.log / "data.mdb"):
        raise MisplacedError(
            "the log is not here, though this data directory has been in use",
            where=directory.log,
            advice="If it is kept elsewhere, set the log directory (dataLogDir); otherwise restore it from a backup",
        )
    log = Log(directory.log, map_bytes=map_bytes)
    try:
        if log.store_id is None:
            log.set_store_id(os.urandom(16))
        if store_id is None and log.last() is None:
            directory_.write_format(directory, log.store_id or b"")
        elif store_id != log.store_id:
            raise MisplacedError(
                f"this log belongs to another data directory than {directory.root}",
                where=directory.log,
                advice="Set the log directory (dataLogDir) that was used with it",
            )
    except StorageError:
        log.close()
        raise
    return log


def _has_content(file: Path) -> bool:
    with directory_.translating(file):
        return file.exists() and file.stat().st_size > 0


def _add_way_back(error: DamageError, directory: DataDirectory) -> None:
    """Have the error name the newest snapshot that is sound, and the command that makes a data directory of it."""
    for snapshot in reversed(Snapshots(directory.snapshots).all()):
        with suppress(DamageError):
            snapshots.check(snapshot)
            way = f"`zkstore restore {snapshot.path} NEWDIR` makes a new directory of the newest sound snapshot"
            error.args = (f"{error}. {way}, which ends at zxid {snapshot.zxid:#x}", *error.args[1:])
            return


def _release(locks: list[DirectoryLock]) -> None:
    for lock in locks:
        lock.release()
