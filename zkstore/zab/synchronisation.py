"""How a leader brings one learner's log to its own: a common point first, then everything behind it (Zab's phase 2).

    what the learner's log ends with                     what the leader does
    an end of a segment in the leader's log              feed it from there (DIFF)
    a zxid that is no such end, or is behind the end     Truncate to the last end before it, and look again (TRUNC)
    a zxid before the leader's log begins                send a snapshot, then feed it (SNAP)
    such an end, with another CRC                        refuse: two histories of one zxid, which nobody may mend

A learner is fed by a cursor, within a window that its acknowledgements open. What it has not got is read from the log
when its turn comes, so a slow learner costs a place in the log and no queue.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from zkstore.wire.messages import (
    COMMIT,
    NEW_LEADER,
    PROPOSE,
    REFUSAL,
    TRUNCATE,
    Commit,
    Join,
    NewLeader,
    Propose,
    Refusal,
    Truncate,
)
from zkstore.wire.segment import Segment
from zkstore.zab.broadcast import Broadcast
from zkstore.zab.core import Core
from zkstore.zab.effects import SendSnapshot
from zkstore.zab.history import Point

Claims = tuple[tuple[int, int, int, bytes], ...]
_READ_BYTES: Final = 1 << 20

WAITING: Final = 0  # for its Join
JOINED: Final = 1  # no epoch to tell it yet
ASKED: Final = 2  # NewEpoch sent
PLACED: Final = 3  # EpochAck received
TRUNCATING: Final = 4  # Truncate sent, Position awaited
SNAPSHOT: Final = 5  # the snapshot is on its way
INSTALLING: Final = 6  # sent, Position awaited
FEEDING: Final = 7  # past the common point

BEFORE_ALL: Final = -1


class Handle:
    """What a leader knows of one learner's link.

    Attributes:
        stage: one of the above.
        point: the end of its log, as it said when it was PLACED or since.
        sent: the end of the last segment that it was sent.
        told_committed: the commit point that it was told last.
        acked_zxid: up to here it has everything on disk.
        new_leader: the point that NewLeader named; None before.
        has_adopted: NewLeaderAck received.
        is_up_to_date: UpToDate sent.
        has_vote: its promises and acknowledgements count, if it is a voter.
        is_enrolled: it knows, on its disk or by what was sent to it, that it has a vote.
        enrol_above: it has a vote once something behind this zxid is committed; BEFORE_ALL if it joined before the
            epoch was chosen.
        claims: end of a segment to the claims that go with it.
    """

    def __init__(self, link: int, now_ms: int) -> None:
        self.link = link
        self.server_id = -1
        self.join: Join | None = None
        self.stage = WAITING
        self.heard_ms = now_ms
        self.point: Point = (0, 0)
        self.sent: Point = (0, 0)
        self.told_committed = 0
        self.acked_zxid = 0
        self.new_leader: Point | None = None
        self.has_adopted = False
        self.is_up_to_date = False
        self.has_vote = False
        self.is_enrolled = False
        self.enrol_above = BEFORE_ALL
        self.probe = 0
        self.claims: dict[int, Claims] = {}
        self.unacked: deque[tuple[int, int]] = deque()
        self.unacked_bytes = 0

    def ack(self, zxid: int) -> None:
        """It has everything up to `zxid` on disk."""
        self.acked_zxid = max(self.acked_zxid, zxid)
        while self.unacked and self.unacked[0][0] <= zxid:
            self.unacked_bytes -= self.unacked.popleft()[1]

    @property
    def committed_limit(self) -> int:
        """How much of what is committed it may be told of: not more than it was sent."""
        return self.sent[0] if self.stage == FEEDING else 0


class Synchronisation:
    """Feeds learners; `initial` is the end of the history that the leader began its epoch with."""

    def __init__(self, core: Core, broadcast: Broadcast, epoch: int, initial: Point) -> None:
        self._core = core
        self._broadcast = broadcast
        self._epoch = epoch
        self._initial = initial

    def place(self, handle: Handle, point: Point) -> str | None:
        """The learner's log ends at `point`, on its disk. Returns why it cannot be served, or None."""
        core = self._core
        zxid, crc = handle.point = point
        found = self._end_at_or_before(zxid)
        if found is None:
            handle.stage = SNAPSHOT
            core.effects.append(SendSnapshot(handle.link))
        elif found == point:
            handle.stage = FEEDING
            handle.sent = point
            handle.unacked.clear()
            handle.unacked_bytes = 0
            handle.ack(zxid)
            return self.feed(handle)
        elif found[0] == zxid:
            reason = (
                f"the log of server {handle.server_id} and that of its leader {core.server_id} differ at zxid {zxid:#x}"
                f" (CRC {crc:#x} and {found[1]:#x}): find out which is right, then empty the other's data directory"
            )
            core.note(reason)
            core.send(handle.link, Refusal(REFUSAL, reason))
            return reason
        else:
            handle.stage = TRUNCATING
            core.send(handle.link, Truncate(TRUNCATE, found[0]))
        return None

    def _end_at_or_before(self, zxid: int) -> Point | None:
        """In the log or, behind what is on disk, in flight: a learner's disk may be quicker than the leader's."""
        if zxid > self._core.durable[0]:
            found = self._broadcast.end_at_or_before(zxid)
            if found is not None:
                return found
        return self._core.history.end_at_or_before(zxid)

    def knows(self, point: Point) -> bool:
        """Whether this is a point of the leader's own history."""
        return self._end_at_or_before(point[0]) == point

    def feed(self, handle: Handle) -> str | None:
        """Send the learner what it lacks and its window allows. Returns why it cannot be served, or None."""
        if handle.stage != FEEDING:
            return None
        core = self._core
        limit = core.end[0] if core.is_voter(handle.server_id) else core.known_committed
        window = core.settings.window_bytes
        self._announce(handle)
        while handle.sent[0] < limit and handle.unacked_bytes < window:
            segments = self._next_segments(handle.sent[0])
            if not segments or (segments[0].prev_zxid, segments[0].prev_crc) != handle.sent:
                return self._fall_back(handle)
            for segment in segments:
                if segment.last_zxid > limit or handle.unacked_bytes >= window:
                    break
                self._send(handle, segment)
        committed = min(core.known_committed, handle.sent[0])
        if committed > handle.told_committed:
            handle.told_committed = committed
            core.send(handle.link, Commit(COMMIT, committed))
        return None

    def _next_segments(self, zxid: int) -> list[Segment]:
        segment = self._broadcast.after(zxid)
        return [segment] if segment is not None else self._core.history.read(zxid, _READ_BYTES)

    def _send(self, handle: Handle, segment: Segment) -> None:
        handle.sent = (segment.last_zxid, segment.crc)
        handle.told_committed = max(handle.told_committed, min(self._core.known_committed, segment.last_zxid))
        size = len(segment.data)
        handle.unacked.append((segment.last_zxid, size))
        handle.unacked_bytes += size
        claims = handle.claims.pop(segment.last_zxid, ())
        self._core.send(handle.link, Propose(PROPOSE, segment.data, handle.told_committed, claims))
        self._announce(handle)

    def _announce(self, handle: Handle) -> None:
        """NewLeader stands behind everything of the initial history and before anything of this epoch."""
        if handle.new_leader is None and handle.sent[0] >= self._initial[0]:
            handle.new_leader = handle.sent
            self._core.send(handle.link, NewLeader(NEW_LEADER, self._epoch, *handle.sent))

    def _fall_back(self, handle: Handle) -> str | None:
        """What comes next for this learner has been purged from the log."""
        if handle.new_leader is not None:
            return f"server {handle.server_id} fell behind the beginning of the log; it has to join anew"
        handle.stage = SNAPSHOT
        self._core.effects.append(SendSnapshot(handle.link))
        return None
