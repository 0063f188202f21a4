"""Apache's recovery: the newest sound snapshot, and all txns since then, to the exact tree.

Stricter than Apache's own, because nobody looks at these files again once they are imported: a gap between two txns, a
digest that does not fit or a log that ends before a snapshot which could not be read are refused, and the message names
the zxid up to which all is sound (`up_to_zxid` stops there).

A txn at the end of the log of a member of an ensemble may never have been agreed on; as in Apache's recovery it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import error as StructError
from typing import Final

from zkstore.errors import DamageError, ProtocolError, StorageError
from zkstore.exchange.apache import snapshot_reader, txns
from zkstore.exchange.apache.layout import ApacheFile, ApacheFiles
from zkstore.exchange.apache.log_reader import Entry, LogReader, up_to_advice
from zkstore.exchange.apache.snapshot_reader import ReadSnapshot, SnapshotDigest
from zkstore.exchange.apache.tree import ApacheTree
from zkstore.model.zxid import counter_of, epoch_of
from zkstore.storage.image import collector_paused

Progress = Callable[[str], None]

_PROGRESS_TXNS: Final = 10_000


@dataclass(slots=True)
class Recovery:
    """What was read from where.

    Attributes:
        tree: as of `zxid`.
        snapshot: what it began with; None for a log that goes back to the first txn.
        logs: those of which a txn was replayed.
        txns: how many were.
        notes: sentences about what was not as a stopped server leaves it, or was left out.
    """

    tree: ApacheTree
    zxid: int
    snapshot: ApacheFile | None
    logs: list[ApacheFile] = field(default_factory=list)
    txns: int = 0
    notes: list[str] = field(default_factory=list)


def recover(
    files: ApacheFiles, progress: Progress, *, up_to_zxid: int | None = None, ignores_digests: bool = False
) -> Recovery:
    """The tree as the server would have it after a start, or as it was at `up_to_zxid`.

    Raises DamageError, FormatTooNewError and StorageError.
    """
    with collector_paused():
        found, digest, skipped = _load_snapshot(files, progress, up_to_zxid)
        last_zxid = _replay(found, digest, files.logs, progress, up_to_zxid, ignores_digests)
    if up_to_zxid is not None:
        if last_zxid < up_to_zxid:
            found.notes.append(f"there is nothing between {last_zxid:#x} and {up_to_zxid:#x}")
    else:
        _refuse_loss(found, skipped)
    return found


def _load_snapshot(
    files: ApacheFiles, progress: Progress, up_to_zxid: int | None
) -> tuple[Recovery, SnapshotDigest | None, list[tuple[ApacheFile, StorageError]]]:
    """The newest snapshot that can be read, or an empty tree where a log begins at the beginning."""
    skipped: list[tuple[ApacheFile, StorageError]] = []
    notes = []
    for file in reversed(files.snapshots):
        if up_to_zxid is not None and file.zxid > up_to_zxid:
            continue
        try:
            read = snapshot_reader.read(file, progress)
        except StorageError as error:
            skipped.append((file, error))
            notes.append(f"{file.path.name} is left out: {error}")
            continue
        if up_to_zxid is not None and _may_hold_more(read, file.zxid, up_to_zxid):
            notes.append(f"{file.path.name} is left out: it may hold some of what came behind {up_to_zxid:#x}")
            continue
        return Recovery(read.tree, file.zxid, file, notes=notes), read.digest, skipped
    if skipped:
        _, reason = skipped[0]
        raise StorageError(
            f"none of the snapshots can be read; of the newest, {reason}",
            advice="Name a backup of this directory, or the directory of another server of the ensemble",
        ) from reason
    if files.snapshots:
        reasons = notes or [f"there are {', '.join(file.path.name for file in files.snapshots)}"]
        raise StorageError(
            f"no snapshot is as old as {up_to_zxid or 0:#x}: {'; '.join(reasons)}", advice="Give a higher zxid"
        )
    return _from_the_beginning(files), None, []


def _may_hold_more(read: ReadSnapshot, zxid: int, up_to_zxid: int) -> bool:
    """Whether a snapshot may hold effects of txns behind `up_to_zxid`; one of before 3.6 does not tell."""
    if read.digest is None or read.digest.zxid < up_to_zxid:
        return False
    return not (zxid == up_to_zxid and read.digest == (up_to_zxid, read.tree.wrapped_digest))


def _from_the_beginning(files: ApacheFiles) -> Recovery:
    """A server of 3.4 writes no snapshot before the first one is due."""
    entries = [LogReader(file).first() for file in files.logs[:1]]
    if not entries or entries[0] is None or counter_of(entries[0].header.zxid) != 1 or epoch_of(files.logs[0].zxid) > 1:
        raise StorageError(
            "there are transaction logs and no snapshot, and the logs do not begin with a server's first txn",
            where=files.logs[0].path.parent,
            advice="Name the directory with the snapshots, and the one with the logs by --log-directory",
        )
    tree = ApacheTree()
    for path in (b"", b"/zookeeper", b"/zookeeper/quota"):
        tree.load(path, b"\0\0\0\0" + b"\xff" * 8 + bytes(60))
    return Recovery(tree, 0, None, notes=["there is no snapshot: the logs were replayed from the first txn"])


def _replay(
    found: Recovery,
    digest: SnapshotDigest | None,
    logs: list[ApacheFile],
    progress: Progress,
    up_to_zxid: int | None,
    ignores_digests: bool,
) -> int:
    """All txns behind the snapshot; returns the last zxid."""
    proof = _Proof(found, digest, ignores_digests)
    for file, entry in _following(found, logs, up_to_zxid):
        header = entry.header
        try:
            named = txns.apply(found.tree, header, entry.body)
        except (DamageError, ProtocolError, StructError) as error:  # the last: a number that nobody could store
            raise _refusal(
                file, entry.offset, f"the txn {header.zxid:#x} cannot be read ({error})", found.zxid
            ) from error
        found.zxid = header.zxid
        found.txns += 1
        proof.look(file, header.zxid, named)
        if found.txns % _PROGRESS_TXNS == 0:
            progress(f"{file.path.name}: {found.txns:,} txns")
    proof.end()
    return found.zxid


def _following(found: Recovery, logs: list[ApacheFile], up_to_zxid: int | None) -> Iterator[tuple[ApacheFile, Entry]]:
    """The txns behind the snapshot, each checked to follow the one before; nothing behind `up_to_zxid` is looked at.

    Fills in the recovery's `logs`.
    """
    start, last = found.zxid, found.zxid
    first_file = max((index for index, file in enumerate(logs) if file.zxid <= start + 1), default=0)
    for file in logs[first_file:]:
        if up_to_zxid is not None and max(last, file.zxid - 1) >= up_to_zxid:
            return
        reader = LogReader(file)
        for entry in reader.entries():
            header = entry.header
            if header.zxid <= start or (header.zxid == last and header.kind == txns.ERROR):
                continue  # in the snapshot; or what 3.9 notes of a request that it could not read, without a zxid
            if up_to_zxid is not None and header.zxid > up_to_zxid:
                return
            if header.zxid <= last:
                raise _refusal(file, entry.offset, f"the txn {header.zxid:#x} stands behind {last:#x}", last)
            expected = last + 1 if epoch_of(header.zxid) == epoch_of(last) else header.zxid & ~0xFFFFFFFF | 1
            if header.zxid != expected:
                raise _refusal(
                    file, entry.offset, f"the txns {expected:#x} to {header.zxid - 1:#x} are missing before this", last
                )
            last = header.zxid
            if not found.logs or found.logs[-1] != file:
                found.logs.append(file)
            yield file, entry
            if last == up_to_zxid:
                return
        if reader.ending is not None:
            found.notes.append(f"{file.path.name} {reader.ending}")


class _Proof:
    """Compares the tree's digest with the ones that the files name.

    A snapshot names the digest at a zxid, and may hold some of the txn that was under way then, too. So the tree is
    exact from the first digest on, there or behind it, which fits; none may differ after that one.
    """

    def __init__(self, found: Recovery, digest: SnapshotDigest | None, ignores: bool) -> None:
        self._found = found
        self._awaited = digest
        self._ignores = ignores
        self._is_exact = False
        self._last_misfit: tuple[ApacheFile | None, int, int, int] | None = None
        if digest is not None and digest.zxid <= found.zxid:
            # Lower where a leader began its epoch before it wrote this: nothing happened in between.
            self._compare(found.snapshot, digest.zxid, digest.digest)

    def look(self, file: ApacheFile, zxid: int, named: int | None) -> None:
        """A txn was replayed."""
        awaited = self._awaited
        if awaited is not None and not self._is_exact:
            if zxid < awaited.zxid:
                return
            if zxid == awaited.zxid:
                self._compare(self._found.snapshot, zxid, awaited.digest)
        if named is not None:
            self._compare(file, zxid, named)

    def end(self) -> None:
        """Nothing follows."""
        awaited = self._awaited
        if self._is_exact or self._ignores:
            return
        if awaited is not None and self._found.zxid < awaited.zxid:
            raise StorageError(
                f"this snapshot holds some of the txns up to {awaited.zxid:#x}, and the logs end at"
                f" {self._found.zxid:#x}",
                where=None if self._found.snapshot is None else self._found.snapshot.path,
                advice="If the server had a dataLogDir, name it by --log-directory; else name the directory of another"
                " server of the ensemble",
            )
        if self._last_misfit is not None:
            raise _misfit(*self._last_misfit)

    def _compare(self, file: ApacheFile | None, zxid: int, named: int) -> None:
        found = self._found.tree.wrapped_digest
        if found == named:
            self._is_exact = True
        elif self._is_exact and not self._ignores:
            raise _misfit(file, zxid, named, found)
        else:
            self._last_misfit = file, zxid, named, found


def _misfit(file: ApacheFile | None, zxid: int, named: int, found: int) -> DamageError:
    return DamageError(
        f"the tree's digest is {found:016x}, this file says {named:016x}",
        zxid=zxid,
        where=None if file is None else file.path,
        advice="The server's tree was not what its own files make of it. Name the directory of another server of the"
        " ensemble, or give --ignore-digests to take the tree as it is",
    )


def _refuse_loss(found: Recovery, skipped: list[tuple[ApacheFile, StorageError]]) -> None:
    """A snapshot that cannot be read does no harm where the logs go on to it."""
    for file, error in skipped:
        if found.zxid < file.zxid and counter_of(file.zxid):
            raise StorageError(
                f"{error}. And the logs end before it, at {found.zxid:#x}",
                advice="Name the directory of another server of the ensemble, or a backup; or give"
                f" --up-to {found.zxid:#x} to do without what came behind",
            ) from error


def _refusal(file: ApacheFile, offset: int, message: str, sound_zxid: int) -> DamageError:
    error = DamageError(f"{message}, at byte {offset}", where=file.path, advice=up_to_advice(sound_zxid))
    error.zxid = sound_zxid + 1
    return error
