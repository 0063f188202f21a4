"""An Apache server's directory becomes one of ours: find, recover, settle, convert, land. Reading comes first."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zkstore.errors import StorageError
from zkstore.exchange.apache import conversion, layout, recovery
from zkstore.exchange.apache.layout import ApacheFiles
from zkstore.exchange.apache.recovery import Progress, Recovery
from zkstore.exchange.landing import Landed, land, refuse_unless_empty
from zkstore.storage.image import collector_paused
from zkstore.storage.log import Epochs


class Imported(NamedTuple):
    """What is in the new directory, and what it was made of; the recovery's tree is used up."""

    landed: Landed
    files: ApacheFiles
    recovery: Recovery
    left_out: list[str]


def import_directory(
    source: Path,
    target: Path,
    *,
    log_directory: Path | None = None,
    up_to_zxid: int | None = None,
    ignores_digests: bool = False,
    progress: Progress = lambda _: None,
) -> Imported:
    """Make `target` a data directory with the state that an Apache server has in `source`.

    Raises StorageError: no such directory, damage, a server that is still writing; nothing is written then.
    """
    refuse_unless_empty(target)
    files = layout.find(source, log_directory)
    before = files.fingerprint()
    found = recovery.recover(files, progress, up_to_zxid=up_to_zxid, ignores_digests=ignores_digests)
    settled = conversion.settle(found.tree, found.zxid)
    again = layout.find(source, log_directory)
    if again[:2] != files[:2] or again.fingerprint() != before:
        raise StorageError(
            "the files changed while they were read",
            where=source,
            advice="Stop the server that uses this directory, or name a copy of it",
        )
    epochs = Epochs(files.accepted_epoch or 0, files.current_epoch or 0)
    sessions = conversion.sessions(found.tree)
    with collector_paused():
        landed = land(target, conversion.records(found.tree, progress), sessions, found.zxid, epochs, progress)
    return Imported(landed, files, found, _left_out(files, settled))


def _left_out(files: ApacheFiles, settled: conversion.Settled) -> list[str]:
    left_out = []
    if settled.orphans:
        names = ", ".join(path.decode(errors="replace") for path in settled.orphans[:3])
        more = f" and {len(settled.orphans) - 3} more" if len(settled.orphans) > 3 else ""
        left_out.append(f"ephemerals of sessions that are gone: {names}{more}")
    if settled.old_members:
        left_out.append(
            "the members of the old ensemble in /zookeeper/config; the new server's configuration names its"
        )
    if files.has_server_id:
        left_out.append("myid; put it there yourself if the new server is to have this number")
    return left_out
