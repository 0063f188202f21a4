"""The end of a run: what lies on the servers' disks is read and held against what the clients were told.

The logs are read when all servers have ended, so when a segment was applied is known only by its txns' own times,
which are those of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from zkstore.errors import StorageError
from zkstore.storage.directory import locate
from zkstore.storage.log import Log
from zkstore.storage.store import Store
from zkstore.storage.verify import verify
from zkstore.testing.checkers.check import Allowances, check
from zkstore.testing.checkers.history import WRITES, Closing, History, Life
from zkstore.testing.checkers.verdict import Verdict
from zkstore.wire import segment as segments
from zkstore.wire.segment import Segment

_HEARD_MARGIN_US: Final = 50_000


def judge(
    history: History, directories: Mapping[int, Path], began_ms: float, allowances: Allowances
) -> tuple[Verdict, list[str]]:
    """The checkers' verdict, and what is wrong with the directories themselves. No server may run any more."""
    findings: list[str] = []
    logs: dict[int, list[Segment]] = {}
    for server_id, directory in directories.items():
        try:
            found = verify(directory)
            findings += [f"server {server_id}, on disk: {finding.message}" for finding in found.findings]
            logs[server_id] = _read(locate(directory).log)
        except StorageError as error:
            findings.append(f"server {server_id}: {error}")
    # Whoever has the whole of history comes first: others may have got a tree instead of its beginning.
    for server_id in sorted(logs, key=lambda each: logs[each][0].prev_zxid if logs[each] else 1 << 63):
        _tell(history, server_id, logs[server_id], began_ms)
    history.closings[:] = [_as_known_then(closing, history) for closing in history.closings]
    for server_id in logs:
        try:
            history.final(server_id, *_final(directories[server_id]))
        except StorageError as error:
            findings.append(f"server {server_id} does not start again: {error}")
    return check(history, allowances), findings


def _read(path: Path) -> list[Segment]:
    log = Log(path, read_only=True)
    try:
        return list(log.read(log.start.zxid))
    finally:
        log.close()


def _tell(history: History, server_id: int, log: list[Segment], began_ms: float) -> None:
    for segment in log:
        time_ms = max(txn.time_ms for txn in segments.txns(segment))
        history.applied(server_id, segment, int((time_ms - began_ms) * 1000))
        if segment.digest_zxid:
            history.digest(server_id, segment.digest_zxid, segment.digest)


def _final(directory: Path) -> tuple[int, int]:
    """The zxid and digest of the tree that a start would arrive at."""
    store = Store.open(directory)
    try:
        tree = store.recover().tree
        return tree.zxid, tree.digest
    finally:
        store.close()


def _as_known_then(closing: Closing, history: History) -> Closing:
    """What its client had been told when a session ended: at the end of the run that is known of every request."""
    life: Life = history.lives[closing.session_id]
    until_us = closing.applied_us - _HEARD_MARGIN_US
    leader_us, heard_us = -1, -1
    for channel in life.channels:
        for call in channel.calls:
            if 0 <= call.returned_us <= until_us:
                if call.opcode in WRITES:
                    leader_us = max(leader_us, call.called_us)
                if call.called_us <= until_us - history.report_us:
                    heard_us = max(heard_us, call.called_us)
    return closing._replace(leader_us=leader_us, heard_us=heard_us)
