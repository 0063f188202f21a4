"""What a source has: each part looked at by itself, so that one that is damaged does not hide the others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from zkstore.errors import DamageError, FormatTooNewError, MovedOnError, StorageError
from zkstore.inspection.facts import Facts, ImageFacts, Reach
from zkstore.inspection.images import EmptyImage, StoredImage, UnfinishedImageError
from zkstore.inspection.logs import StoredLog
from zkstore.inspection.parts import Image, LogPart
from zkstore.inspection.view import Opener
from zkstore.storage import directory as directory_
from zkstore.storage import image as image_
from zkstore.storage.directory import DataDirectory
from zkstore.storage.log import Link
from zkstore.storage.snapshots import Snapshots
from zkstore.storage.store import CleanNote
from zkstore.wire import segment as segments_

Gathered = tuple[Facts, list[tuple[int, Opener]], "StoredLog | None", Callable[[], None]]

_ATTEMPTS: Final = 100
_LOCKS: Final = Path("/proc/locks")


def of_image(path: Path) -> Gathered:
    """One checkpoint or snapshot, all by itself. Raises StorageError where it cannot be read."""
    kind = "snapshot" if (path / "checksum").exists() else "checkpoint"
    found = _image_facts(path, kind)
    facts = Facts(path, kind, formats={"image": image_.FORMAT_VERSION})
    facts.start = facts.end = Link(found.zxid, found.crc)
    if kind == "snapshot":
        facts.snapshots = [found]
    else:
        facts.checkpoint = found
    facts.total_bytes = directory_.bytes_below(path)
    facts.reach = [Reach(found.zxid, found.zxid)]
    return facts, [(found.zxid, _opener(path, kind))], None, lambda: None


def of_directory(path: Path, log_directory: Path | None) -> Gathered:
    """A data directory. Raises FormatTooNewError, and StorageError where nothing in it can be read."""
    layout = directory_.locate(path, log_directory)
    facts = Facts(path, "data directory")
    troubles = facts.troubles
    try:
        store_id = directory_.store_id(layout)
        if store_id is None:
            troubles.append(f"{layout.format}: there is no format file")
        else:
            facts.formats["directory"], facts.store_id = directory_.FORMAT_VERSION, store_id.hex()
    except FormatTooNewError:
        raise
    except StorageError as error:
        troubles.append(str(error))
    images = _images(layout, facts)
    log = _open_log(layout, facts)  # behind the images, so that a running server's log ends behind all of them
    if facts.unfinished and (log is None or log.start.zxid or images):  # else it is a server's first checkpoint
        troubles.append(facts.unfinished)
    if log is None and not images:
        raise DamageError(". ".join(["nothing in this data directory can be read", *troubles]), where=path)
    _read_notes(layout, facts)
    if log is not None:
        if facts.store_id and log.store_id is not None and log.store_id.hex() != facts.store_id:
            troubles.append(f"{layout.log}: this log belongs to another data directory")
        log = _unless_restarted(log, images, facts)
    _measure(layout, log, images, facts)
    return facts, images, log, (lambda: None) if log is None else log.close


def time_text(time_ms: int) -> str:
    """A time in this machine's zone, with its offset: 2026-03-01 14:00:05+01:00."""
    try:
        return datetime.fromtimestamp(time_ms / 1000).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


def time_ms_at(log: LogPart, zxid: int) -> int | None:
    """When a txn was proposed; None where the log does not hold it, or cannot tell."""
    try:
        segment = log.holding(zxid)
        if segment is None or segment.last_zxid < zxid:
            return None
        return segments_.txns(segment)[zxid - segment.first_zxid].time_ms
    except DamageError:
        return None


# --- the parts ------------------------------------------------------------------------------------


def _open_log(layout: DataDirectory, facts: Facts) -> StoredLog | None:
    if not (layout.log / "data.mdb").exists():
        facts.troubles.append(
            f"{layout.log}: there is no log. If it is kept elsewhere, name that directory with --log-directory"
        )
        return None
    facts.log_path = layout.log
    try:
        log = StoredLog(layout.log)
    except FormatTooNewError:
        raise
    except StorageError as error:
        facts.troubles.append(str(error))
        return None
    facts.formats["log"] = log.format_version
    facts.formats["segment"] = segments_.FORMAT_VERSION
    facts.epochs = log.epochs
    facts.ensemble_id = "" if log.ensemble_id is None else log.ensemble_id.hex()
    facts.start, facts.end = log.start, log.end
    facts.segments, facts.awaiting = log.segment_count + len(log.awaiting), len(log.awaiting)
    facts.log_used_bytes, facts.log_file_bytes = log.used_bytes, log.size_bytes
    facts.troubles += log.troubles
    return log


def _images(layout: DataDirectory, facts: Facts) -> list[tuple[int, Opener]]:
    images: list[tuple[int, Opener]] = []
    checkpoint = layout.tree
    if not checkpoint.exists() and (layout.root / f".{checkpoint.name}.doomed").exists():
        checkpoint = layout.incoming  # a crash came between the two steps of replacing it
    places = [(checkpoint, "checkpoint")] if (checkpoint / "data.mdb").exists() else []
    with suppress(OSError):
        places += [(snapshot.path, "snapshot") for snapshot in Snapshots(layout.snapshots).all()]
    for place, kind in places:
        try:
            found = _image_facts(place, kind)
        except FormatTooNewError:
            raise
        except UnfinishedImageError as error:
            facts.unfinished = str(error)
            continue
        except StorageError as error:
            if place.exists():  # else a running server has just purged it
                facts.troubles.append(str(error))
            continue
        if kind == "checkpoint":
            facts.checkpoint = found
        else:
            facts.snapshots.append(found)
        images.append((found.zxid, _opener(place, kind)))
        facts.formats["image"] = image_.FORMAT_VERSION
    return images


def _image_facts(path: Path, kind: str) -> ImageFacts:
    image = _opened(path, kind)
    try:
        mark, counts = image.mark, image.counts
        size_bytes = directory_.bytes_below(path)
        znodes = image.znodes
    finally:
        image.close()
    return ImageFacts(
        kind,
        path,
        mark.zxid,
        mark.digest,
        mark.crc,
        znodes,
        None if counts is None else counts.data_bytes,
        None if counts is None else counts.ephemerals,
        size_bytes,
    )


def _opened(path: Path, kind: str) -> StoredImage:
    for attempt in range(_ATTEMPTS):
        try:
            return StoredImage(path, kind)
        except MovedOnError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _opener(path: Path, kind: str) -> Opener:
    def opened() -> Image:
        try:
            return _opened(path, kind)
        except StorageError as error:
            if path.exists():
                raise
            raise MovedOnError("a running server has removed it", where=path) from error

    return opened


def _unless_restarted(log: StoredLog, images: list[tuple[int, Opener]], facts: Facts) -> StoredLog | None:
    """No log where the checkpoint came from elsewhere and was just put in place: what else is here is not its past."""
    checkpoint = facts.checkpoint
    if checkpoint is None or log.start == (checkpoint.zxid, checkpoint.crc):
        return log
    image = _opened(checkpoint.path, "checkpoint")
    image.close()
    if not image.mark.restarts_log:
        return log
    log.close()
    facts.troubles.append(
        f"the tree came from elsewhere at {checkpoint.zxid:#x}; the log and the snapshots are of what was here before,"
        " and go with the next start"
    )
    images[:] = [(at, opener) for at, opener in images if at == checkpoint.zxid][:1]
    facts.start = facts.end = Link(checkpoint.zxid, checkpoint.crc)
    facts.snapshots = []
    return None


def _measure(layout: DataDirectory, log: StoredLog | None, images: list[tuple[int, Opener]], facts: Facts) -> None:
    """How far back history reaches, and how much it is."""
    newest = max(images, key=lambda image: image[0], default=(0, None))[0]
    if log is None:
        if facts.end.zxid < newest:
            facts.start = facts.end = Link(newest, 0)
    else:
        if log.end.zxid < newest:
            facts.troubles.append(
                f"the log ends at {log.end.zxid:#x}, before the newest image of the tree, {newest:#x}"
            )
            facts.end = Link(newest, 0)
        if facts.start.zxid == 0:
            images.append((0, EmptyImage))
        facts.first_time_ms = _first_time_ms(log)
        facts.last_time_ms = time_ms_at(log, log.end.zxid)
        facts.committed_zxid = max(newest, _committed_zxid(log), 0 if facts.clean is None else facts.clean.zxid)
    at = sorted({zxid for zxid, _ in images})
    facts.reach = [Reach(zxid, zxid) for zxid in at if zxid < facts.start.zxid]
    begin = min((zxid for zxid in at if zxid >= facts.start.zxid), default=None)
    if begin is not None:
        facts.reach.append(Reach(begin, facts.end.zxid))
    facts.total_bytes = sum(directory_.bytes_below(root) for root in layout.roots)


def _committed_zxid(log: StoredLog) -> int:
    """The digest that the newest segment names is of a tree that was committed when that segment was proposed."""
    try:
        segment = log.holding(log.end.zxid)
    except DamageError:
        return 0
    return 0 if segment is None else segment.digest_zxid


def _first_time_ms(log: StoredLog) -> int | None:
    damage: list[DamageError] = []
    segment = next(log.segments(log.start.zxid, log.end.zxid, damage=damage), None)
    return None if segment is None else time_ms_at(log, segment.first_zxid)


def _read_notes(layout: DataDirectory, facts: Facts) -> None:
    try:
        facts.clean = CleanNote(**json.loads(layout.clean.read_bytes()))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError) as error:
        facts.troubles.append(f"{layout.clean}: the note of an orderly stop cannot be read ({error})")
    lock = layout.root / "lock"
    with suppress(OSError):
        if _is_held(lock):
            facts.holder = lock.read_text(errors="replace").strip() or "another process"


def _is_held(lock: Path) -> bool:
    """Whether somebody holds the lock, without touching it: a lock of ours might keep a server from starting."""
    stat = lock.stat()
    place = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    try:
        return any(f" {place} " in line for line in _LOCKS.read_text().splitlines())
    except OSError:
        return stat.st_size > 0
