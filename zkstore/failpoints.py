"""Named places where a test may have the program crash, wait or fail.

A place calls `hit` with its name. Nothing happens there unless the name was armed before the program began its work,
by the variable ZKSTORE_FAILPOINTS:

    ZKSTORE_FAILPOINTS="log.append.before_sync=delay(300)@5+;checkpoint.finish.before_commit=crash"

    crash        the process kills itself on the spot; nothing is flushed or brought to an end
    delay(MS)    the thread that came by waits so long
    fail(ERROR)  the error of that name in `errno` is raised, as the system or LMDB would raise it at this place

Without more it strikes whenever the place is reached; with @5 the fifth time only, with @5-9 from the fifth to the
ninth, with @5+ from the fifth on. The same name may be armed several times.

Where nothing is armed a place costs one call that returns at once, less than a ten-thousandth of a commit; and places
are reached per segment, commit or rarer event, never per request. Each name stands at one place in the source.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from zkstore.errors import ConfigError

logger = logging.getLogger(__name__)

VARIABLE: Final = "ZKSTORE_FAILPOINTS"

_ARM: Final = re.compile(
    r"(?P<name>[a-z_.]+)\s*=\s*(?P<verb>[a-z]+)(?:\((?P<argument>[A-Za-z0-9]*)\))?"
    r"(?:@(?P<first>[1-9][0-9]*)(?P<rest>\+|-[1-9][0-9]*)?)?"
)
_NEAR_NAMES_MAX: Final = 3

_FULL: Final = ("ENOSPC", "EDQUOT")
_WRITING: Final = (*_FULL, "EIO", "EROFS")
_SYNCING: Final = (*_FULL, "EIO")
_NAMING: Final = (*_WRITING, "EACCES")
_OPENING: Final = ("EMFILE", "ENFILE", "EACCES", "EIO", "ENOMEM")
_ACCEPTING: Final = ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED")
_DIALLING: Final = ("ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT")
_TALKING: Final = ("ECONNRESET", "EPIPE", "ETIMEDOUT")


class Failpoint(NamedTuple):
    """A place.

    Attributes:
        text: what has happened there, and what has not.
        errors: those that the place can really meet, as `errno` names them; none where nothing can fail.
    """

    name: str
    text: str
    errors: tuple[str, ...] = ()


FAILPOINTS: Final[Mapping[str, Failpoint]] = {
    name: Failpoint(name, text, errors)
    for name, text, errors in (
        # --- the data directory ---
        ("directory.make.before", "a directory is about to be made", _NAMING),
        ("directory.make.after", "a directory is made, its name not yet synced", ()),
        ("directory.sync", "the names in a directory are about to be synced", _SYNCING),
        ("file.sync", "a file's content is about to be synced", _SYNCING),
        ("file.replace.before_write", "a small file is about to be replaced: its draft is not written", _WRITING),
        ("file.replace.before_rename", "a small file's draft is on disk under its own name", _NAMING),
        ("file.replace.after_rename", "a small file is replaced, its name not yet synced", ()),
        ("format.before_write", "a new directory has a log and no format file yet", ()),
        ("format.after_write", "a new directory has its format file", ()),
        ("lock.before_open", "the directory's lock is about to be opened", ("EACCES", "EMFILE", "ENOSPC", "EROFS")),
        ("lock.taken", "the directory is locked", ()),
        ("store.opening_noted", "the directory is locked, and the note that it is being opened is written", ()),
        ("store.recover.before", "the log is open, the tree not yet recovered", ()),
        ("store.recover.after", "the tree is recovered, and the note of being opened still there", ()),
        ("store.clean.before_write", "the log is closed in order, the note of it not written", ()),
        ("store.clean.before_remove", "the tree is recovered, the note of the last stop still there", _NAMING),
        # --- an LMDB environment ---
        ("environment.open", "an LMDB file is about to be opened", _OPENING),
        ("environment.read", "a page of an LMDB file is about to be read, before LMDB sees it", ("EIO",)),
        ("environment.begin", "a checkpoint's batch is about to begin", ("ENOMEM",)),
        ("environment.grow", "the map was too small and is about to be doubled", ("ENOMEM",)),
        ("environment.zeros.before", "the file is about to be lengthened by zeros", _WRITING),
        ("environment.zeros.after", "the file is lengthened by zeros", ()),
        ("environment.sync.before", "an LMDB file is about to be synced", _SYNCING),
        ("environment.sync.after", "an LMDB file is synced, its newest meta page included", ()),
        # --- the log ---
        ("log.append.before_write", "segments are about to be put into a batch", _WRITING),
        ("log.append.before_sync", "segments are in a batch, about to be written and synced", _WRITING),
        ("log.append.after_sync", "segments are on disk, and nobody knows yet", ()),
        ("log.append.after_failure", "segments could not be written, their generation has not ended yet", ()),
        ("log.facts.before_write", "a fact is about to be put into the log's environment", _WRITING),
        ("log.facts.before_sync", "a fact is written and may not survive a loss of power", ()),
        ("log.facts.after_sync", "a fact is on disk", ()),
        ("log.epochs.before_write", "a promise of agreement is about to be put on disk", ()),
        ("log.epochs.after_sync", "a promise of agreement is on disk, and nobody was told", ()),
        ("log.salvage.found", "segments without a reference were found, nothing is done about it yet", ()),
        ("log.salvage.kept", "segments without a reference are in a file of their own", ()),
        ("log.salvage.put", "segments without a reference are in the log again", ()),
        ("log.salvage.before_remove", "the file of salvaged segments is not needed any more, and there", _NAMING),
        ("log.generation.created", "a new log has its generation, and no environment yet", ()),
        ("log.generation.before_write", "a generation is about to end", _WRITING),
        ("log.generation.before_sync", "a generation has ended, not yet synced", _SYNCING),
        ("log.generation.after_sync", "a generation has ended, on disk", ()),
        ("log.drop.before_write", "the oldest segments are about to be dropped", _WRITING),
        ("log.drop.before_sync", "the oldest segments are dropped in a batch", _WRITING),
        ("log.drop.after_sync", "the oldest segments are dropped", ()),
        ("log.cut.before_write", "the generation has ended, what is to be cut off is still there", _WRITING),
        ("log.cut.before_sync", "the log's end is cut off in a batch", _WRITING),
        ("log.cut.after_sync", "the log's end is cut off", ()),
        ("log.restart.before_write", "another tree is in place, the log is about to be emptied", _WRITING),
        ("log.restart.after_sync", "the log is empty and continues another tree", ()),
        ("log.close.before", "the log is about to be closed in order", ()),
        # --- checkpoints and snapshots ---
        ("checkpoint.begin", "a checkpoint begins", ()),
        ("checkpoint.put", "some znodes are about to be put into the checkpoint's batch", _WRITING),
        ("checkpoint.finish.before_mark", "all znodes are in the checkpoint's batch", _WRITING),
        ("checkpoint.finish.before_commit", "the checkpoint's batch is whole, about to be written", _WRITING),
        ("checkpoint.finish.after_commit", "the checkpoint is on disk, and nobody knows yet", ()),
        ("checkpoint.replace.before_move", "another tree is about to take the checkpoint's place", _NAMING),
        ("checkpoint.replace.between", "the old checkpoint has gone, the new one is not in its place yet", _NAMING),
        ("checkpoint.replace.before_sync", "another tree has the checkpoint's place, its name not yet synced", ()),
        ("checkpoint.replace.before_remove", "another tree has the checkpoint's place, the old one is still kept", ()),
        ("checkpoint.aside.before_rename", "an unreadable checkpoint is about to be put aside", _NAMING),
        ("checkpoint.aside.after_rename", "an unreadable checkpoint is put aside", ()),
        ("snapshot.take.before", "a snapshot is about to be taken", _NAMING),
        ("snapshot.copy", "the checkpoint is about to be copied", _WRITING),
        ("snapshot.take.before_sync", "a snapshot is copied, not yet synced", ()),
        ("snapshot.take.before_rename", "a snapshot is on disk, not yet under its name", _NAMING),
        ("snapshot.take.after_rename", "a snapshot has its name, not yet synced", ()),
        ("snapshot.remove.before_rename", "a snapshot is about to be removed", _NAMING),
        ("snapshot.remove.after_rename", "a snapshot has lost its name, its files are there", ()),
        ("snapshot.check", "a snapshot is about to be compared with its checksum", ("EIO", "EACCES", "EMFILE")),
        # --- recovery ---
        ("recovery.replay", "a tree was loaded, the log is about to be replayed", ()),
        ("recovery.adopt.before_copy", "a snapshot is about to be copied in the checkpoint's place", _NAMING),
        ("recovery.adopt.after_copy", "a snapshot is copied, the old checkpoint still in its place", ()),
        # --- a tree from elsewhere ---
        ("incoming.begin", "a tree begins to arrive", _NAMING),
        ("incoming.rows.before_commit", "some znodes of an arriving tree are about to be written", _WRITING),
        ("incoming.rows.after_commit", "some znodes of an arriving tree are written", ()),
        ("incoming.before_load", "a tree has arrived, unchecked", ()),
        ("incoming.before_install", "a tree has arrived and is sound, the old one still in its place", ()),
        ("incoming.after_install", "an arrived tree is in place and recovered, and nobody knows yet", ()),
        # --- a server alone, and checkpoints while it serves ---
        ("pipeline.before_append", "a segment is about to go to the log", ()),
        ("pipeline.before_apply", "a segment is on disk, not applied", ()),
        ("pipeline.after_apply", "a segment is applied, its clients not answered", ()),
        ("checkpoints.captured", "the tree's changes are about to be captured", ()),
        ("checkpoints.written", "a checkpoint is written, the tree not yet told", ()),
        ("checkpoints.before_snapshot", "a snapshot is due", ()),
        ("checkpoints.before_purge", "a snapshot was taken, history is about to be purged", ()),
        ("service.before_note", "everything was brought to an end in order, which is not noted yet", ()),
        # --- a member of an ensemble ---
        ("ensemble.before_send", "this server asks something of its disk, and has told no other server", ()),
        ("sealing.proposed", "a leader's segment has left for the followers, its own disk does not have it", ()),
        ("ensemble.before_disk", "what this server asks of its disk: the others have its messages, the disk not", ()),
        ("ensemble.before_append", "the disk's thread is about to append segments", ()),
        ("ensemble.before_ack", "this server has segments on disk, nobody was told", ()),
        ("ensemble.disk_failed", "the disk has failed, agreement does not know yet", ()),
        ("election.vote", "a vote is about to be told to another server", ()),
        ("election.lead", "this server has begun to lead", ()),
        ("election.follow", "this server has begun to follow", ()),
        ("election.look", "this server looks for a leader", ()),
        ("discovery.dial", "this server is about to dial the leader it found", ()),
        ("discovery.promise.before", "an epoch is about to be promised", ()),
        ("discovery.promise.after", "an epoch is promised, on disk, and nobody was told", ()),
        ("discovery.adopt.before", "an epoch is about to be adopted", ()),
        ("discovery.adopt.after", "an epoch is adopted, on disk, and nobody was told", ()),
        ("discovery.belong", "the ensemble's id is about to be put on disk", ()),
        ("sync.cut.before", "what was never committed is about to be cut off", ()),
        ("sync.history_read", "segments are about to be read for a learner", ()),
        ("sync.tree.open", "a whole tree for a learner is about to be opened", ("EIO", "EMFILE")),
        ("sync.tree.begin", "a learner is about to be sent a whole tree", ()),
        ("sync.tree.rows", "some znodes are about to be sent to a learner", ()),
        ("sync.tree.end", "all znodes are sent to a learner, the end is not", ()),
        # --- connections ---
        ("peer.accept", "another server has called", _ACCEPTING),
        ("peer.dial", "another server is about to be called", _DIALLING),
        ("peer.hello", "another server has introduced itself, unanswered", ()),
        ("peer.opened", "another server is known, the connection counts", ()),
        ("peer.send", "bytes are about to be sent to another server", _TALKING),
        ("peer.receive", "bytes of another server are about to be received", _TALKING),
        ("client.accept", "a client has called", _ACCEPTING),
        ("client.before_answers", "answers are about to be sent that others' input or the disk made ready", ()),
    )
}
"""Every place, by name."""


Act = Callable[[Callable[[int], Exception]], None]
"""What is done at a place; it is given what makes its errors."""


class _Arm:
    """What is to happen at a place, and when."""

    def __init__(self, text: str, act: Act, first: int, last: int | None) -> None:
        self.act = act
        self._text = text
        self._first = first
        self._last = last
        self._count = 0
        self._was_told = False
        self._counting = threading.Lock()

    def is_due(self, name: str) -> bool:
        """Count once more; whether this time it strikes. The first time that is said."""
        with self._counting:
            self._count += 1
            if self._count < self._first or (self._last is not None and self._count > self._last):
                return False
            if not self._was_told:
                self._was_told = True
                logger.warning("failpoint %s: %s (reached for the %d. time)", name, self._text, self._count)
            return True


_armed: dict[str, list[_Arm]] = {}


def system_error(code: int) -> OSError:
    """The system's error of that number."""
    return OSError(code, os.strerror(code))


def hit(name: str, error_of: Callable[[int], Exception] = system_error) -> None:
    """Here is the place `name`; `error_of` makes what is raised here of an error's number."""
    if not _armed:
        return
    assert name in FAILPOINTS, f"{name} is no failpoint"
    for due in [arm for arm in _armed.get(name, ()) if arm.is_due(name)]:
        due.act(error_of)


def arm(text: str) -> list[str]:
    """Arm what `text` asks for, and nothing else any more; returns it item by item. Raises ConfigError."""
    items = [item.strip() for item in text.split(";") if item.strip()]
    armed: dict[str, list[_Arm]] = {}
    for item in items:
        name, made = _parsed(item)
        armed.setdefault(name, []).append(made)
    _armed.clear()
    _armed.update(armed)
    return items


def arm_from(environ: Mapping[str, str]) -> None:
    """Arm what the variable asks for, and say so in one line. Raises ConfigError."""
    items = arm(environ.get(VARIABLE, ""))
    if items:
        logger.warning("failpoints are armed, so this server will do harm to itself: %s", "; ".join(items))


def _parsed(item: str) -> tuple[str, _Arm]:
    match = _ARM.fullmatch(item)
    if match is None:
        raise _error(item, "write NAME=ACTION, like log.append.before_sync=delay(300)@5+")
    name, verb, argument = match["name"], match["verb"], match["argument"]
    failpoint = FAILPOINTS.get(name)
    if failpoint is None:
        raise _error(item, _near(name))
    first, last = _range(item, match["first"], match["rest"])
    if verb == "crash" and argument is None:
        return name, _Arm("crash", _crash, first, last)
    if verb == "delay" and argument and argument.isdecimal():
        return name, _Arm(f"delay({argument})", _delay(int(argument)), first, last)
    if verb == "fail" and argument:
        if argument not in failpoint.errors:
            can = f"one of {', '.join(failpoint.errors)}" if failpoint.errors else "nothing; use crash or delay(MS)"
            raise _error(item, f"what can fail there is {can}")
        return name, _Arm(f"fail({argument})", _fail(getattr(errno, argument)), first, last)
    raise _error(item, "the actions are crash, delay(MS) and fail(ERROR)")


def _range(item: str, first: str | None, rest: str | None) -> tuple[int, int | None]:
    if first is None:
        return 1, None
    if rest == "+":
        return int(first), None
    last = int(rest[1:]) if rest else int(first)
    if last < int(first):
        raise _error(item, f"it would begin at {first} and end before, at {last}")
    return int(first), last


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, FAILPOINTS, _NEAR_NAMES_MAX, 0.5)
    near = near or [other for other in FAILPOINTS if other.startswith(name.partition(".")[0])][:_NEAR_NAMES_MAX]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no failpoint {name}; {hint}`zkstore failpoints` lists all"


def _error(item: str, what: str) -> ConfigError:
    return ConfigError(f"{VARIABLE}: {item}: {what}")


# --- what an armed place does ---------------------------------------------------------------------


def _crash(error_of: Callable[[int], Exception]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _delay(delay_ms: int) -> Act:
    def act(error_of: Callable[[int], Exception]) -> None:
        time.sleep(delay_ms / 1000)

    return act


def _fail(code: int) -> Act:
    def act(error_of: Callable[[int], Exception]) -> None:
        raise error_of(code)

    return act
