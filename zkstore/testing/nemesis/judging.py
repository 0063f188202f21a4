"""What lies on the servers' disks is read and held against what the clients were told.

The logs are read when their servers have ended: of an ensemble at the end, of a server alone whenever it has been
ended, for it may drop its history. So when a segment was applied is known only by its txns' own times, which are those
of the wall clock of whoever led then, and by when a client was shown it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from zkstore.errors import StorageError
from zkstore.model.zxid import epoch_of
from zkstore.storage.directory import locate
from zkstore.storage.log import Log
from zkstore.storage.store import Store
from zkstore.storage.verify import verify
from zkstore.testing.checkers.check import Allowances, check
from zkstore.testing.checkers.history import WRITES, Call, Closing, History, Life
from zkstore.testing.checkers.verdict import Verdict
from zkstore.testing.nemesis.recording import Recording
from zkstore.testing.nemesis.servers import ClockStep
from zkstore.wire import segment as segments
from zkstore.wire.segment import Segment

_SHOWN_MARGIN_US: Final = 50_000
_SOUND: Final = (ClockStep(0, 0),)


class Shelf:
    """The logs as read so far, by server.

    Attributes:
        logs: each server's segments, oldest first.
        findings: what is wrong with them.
        damaged: servers that were damaged; what is damaged and nobody has needed since may still lie there.
        earlier: numbers of the logs that were put away.
        has_gap: a server has dropped history that had not been read, so nobody can judge what clients were told.
        dropped_zxid: the highest zxid up to which a log had been dropped when it was read.
    """

    def __init__(self) -> None:
        self.logs: dict[int, list[Segment]] = {}
        self.findings: list[str] = []
        self.dropped_zxid = 0
        self.has_gap = False
        self.earlier: list[int] = []
        self.damaged: set[int] = set()

    def take(self, server_id: int, directory: Path) -> None:
        """Read what is new in the log of a server that has no process. What was read before must still be there."""
        if not (locate(directory).log / "data.mdb").exists():
            return  # It was ended before it had made one.
        known = self.logs.setdefault(server_id, [])
        try:
            log = Log(locate(directory).log, read_only=True)
        except StorageError as error:
            if server_id not in self.damaged:
                self.findings.append(f"server {server_id}: {error}")
            return
        try:
            self.dropped_zxid = max(self.dropped_zxid, log.start.zxid)
            if not known:
                known += log.read(log.start.zxid)
                return
            last = known[-1]
            if log.end.zxid < last.last_zxid:
                self.findings.append(
                    f"server {server_id}: its log ends at {log.end.zxid:#x}; it had {last.last_zxid:#x} before"
                )
                return
            if log.start.zxid > last.last_zxid:
                self.has_gap = True
                return
            found = list(log.read(last.last_zxid))
            if found and (found[0].prev_zxid, found[0].prev_crc) != (last.last_zxid, last.crc):
                text = f"another history than it had before follows {found[0].prev_zxid:#x}"
                self.findings.append(f"server {server_id}: {text}")
                return
            known += found
        except StorageError as error:
            if server_id not in self.damaged:
                self.findings.append(f"server {server_id}: {error}")
        finally:
            log.close()

    def put_away(self, server_id: int) -> None:
        """Keep a server's log as that of an earlier life, under a number of its own: it is about to be damaged."""
        self.damaged.add(server_id)
        log = self.logs.pop(server_id, [])
        self.logs[-1 - len(self.earlier)] = log
        self.earlier.append(-1 - len(self.earlier))

    def trim(self, server_id: int) -> None:
        """Leave away what stands at the end of this log only.

        That may never have been agreed on: who does not belong any more, or has begun anew, is not told so.
        """
        agreed = {(one.first_zxid, one.crc) for other, log in self.logs.items() if other != server_id for one in log}
        log = self.logs.get(server_id, [])
        while log and (log[-1].first_zxid, log[-1].crc) not in agreed:
            log.pop()


class Clocks(NamedTuple):
    """What the servers' wall clocks said.

    Attributes:
        began_ms: the time of day when the run began, milliseconds since 1970.
        leaders: server id by the epoch that it led; a server alone is number 1 in any.
        steps: how each server's clock was moved.
    """

    began_ms: float
    leaders: Mapping[int, int]
    steps: Mapping[int, Sequence[ClockStep]]


class _Times:
    """When segments were applied."""

    def __init__(self, history: History, clocks: Clocks) -> None:
        self._clocks = clocks
        shown: list[tuple[int, int]] = []
        for channel in history.channels:
            for item in channel.received:
                shown.append((item.zxid, item.returned_us if isinstance(item, Call) else item.told_us))
        shown.sort()
        self._zxids = [zxid for zxid, _ in shown]
        self._times_us = [time_us for _, time_us in shown]
        for index in range(len(shown) - 2, -1, -1):
            self._times_us[index] = min(self._times_us[index], self._times_us[index + 1])
        self._ended_us = history.ended_us

    def of(self, segment: Segment) -> int:
        """Before anybody was shown it; and when its leader's clock says."""
        index = bisect_left(self._zxids, segment.first_zxid)
        shown_us = self._times_us[index] if index < len(self._zxids) else self._ended_us
        clocks = self._clocks
        said_us = int((max(txn.time_ms for txn in segments.txns(segment)) - clocks.began_ms) * 1000)
        steps = clocks.steps.get(clocks.leaders.get(epoch_of(segment.first_zxid), 1), _SOUND)
        ends_us = [step.time_us for step in steps[1:]] + [self._ended_us]
        possible = [
            said_us - step.offset_us
            for step, end_us in zip(steps, ends_us, strict=True)
            if step.time_us - _SHOWN_MARGIN_US <= said_us - step.offset_us <= end_us + _SHOWN_MARGIN_US
        ]
        return max((time_us for time_us in possible if time_us <= shown_us + _SHOWN_MARGIN_US), default=shown_us)


def judge(
    history: History, shelf: Shelf, directories: Mapping[int, Path], clocks: Clocks, allowances: Allowances
) -> tuple[Verdict, list[str]]:
    """The checkers' verdict, and what is wrong with the directories themselves. No server may run any more.

    `directories` are those of the members; `shelf` has the logs of all servers.
    """
    findings = list(shelf.findings)
    for server_id, directory in directories.items():
        if server_id in shelf.damaged:
            continue
        try:
            found = verify(directory)
            findings += [f"server {server_id}, on disk: {finding.message}" for finding in found.findings]
        except StorageError as error:
            findings.append(f"server {server_id}: {error}")
    for number in shelf.earlier:
        shelf.trim(number)
    logs, times = shelf.logs, _Times(history, clocks)
    # Whoever has the whole of history comes first: others may have got a tree instead of its beginning.
    for server_id in sorted(logs, key=lambda each: logs[each][0].prev_zxid if logs[each] else 1 << 63):
        _tell(history, server_id, logs[server_id], times)
    if isinstance(history, Recording):
        history.judge_moves(_SHOWN_MARGIN_US)
    history.closings[:] = [_as_known_then(closing, history) for closing in history.closings]
    for server_id, directory in directories.items():
        try:
            history.final(server_id, *_final(directory))
        except StorageError as error:
            findings.append(f"server {server_id} does not start again: {error}")
    return check(history, allowances), findings


def _tell(history: History, server_id: int, log: list[Segment], times: _Times) -> None:
    for segment in log:
        history.applied(server_id, segment, times.of(segment))
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
    """What its client had been told when a session ended: at the end of the run that is known of every request.

    What was answered at a later zxid was answered later, whatever the clocks say.
    """
    life: Life = history.lives[closing.session_id]
    until_us = closing.applied_us - _SHOWN_MARGIN_US
    leader_us, heard_us = -1, -1
    for channel in life.channels:
        for call in channel.calls:
            if 0 <= call.returned_us <= until_us and call.zxid < closing.zxid:
                if call.opcode in WRITES:
                    leader_us = max(leader_us, call.called_us)
                if call.called_us <= until_us - history.report_us:
                    heard_us = max(heard_us, call.called_us)
    return closing._replace(leader_us=leader_us, heard_us=heard_us)
