"""What every role stands on: the disk as agreement sees it, the configuration, the commit point, and the effects.

Disk effects form one queue, whatever role asks for them: a role that ends leaves what it asked for behind, and it is
still carried out. So `end` is the log's end once the queue is done, and `durable` the end that is on disk now. No role
begins before the queue is empty: what an election or a promise says of the log is then on disk.
"""

from __future__ import annotations

from collections import deque

from zkstore.model.zxid import epoch_of
from zkstore.wire.messages import ENROLLED, LinkMessage
from zkstore.wire.segment import Segment
from zkstore.zab import enrolment
from zkstore.zab.effects import (
    Adopt,
    Append,
    Belong,
    Committed,
    Cut,
    DiskEffect,
    Dropped,
    Effect,
    HangUp,
    Install,
    InstallBegin,
    InstallRows,
    Note,
    Promise,
    Replaced,
    Send,
    Stop,
)
from zkstore.zab.history import BEGINNING, History, Point
from zkstore.zab.membership import Membership
from zkstore.zab.settings import DurableState, PeerSettings


class Core:
    """State that outlives roles.

    Attributes:
        effects: what the owner has not taken yet.
        promised_epoch, adopted_epoch, ensemble_id: on disk.
        enrolment: FRESH, LOST or ENROLLED, on disk.
        end: of the log, once all that was asked of the disk is done.
        durable: of the log on disk.
        known_committed: committed, as far as this server knows; never behind what a leader said.
        committed_zxid: up to here the state machine was told so: also on this server's own disk.
        config: the committed configuration.
        pending: (zxid, configuration) of a reconfiguration that is in the log and not known to be committed.
        leaving: why the present role is to end, once the event at hand is dealt with.
        first_choice: whom to vote for first then.
        gone: servers whose votes need not be waited for then.
    """

    def __init__(
        self, settings: PeerSettings, config: Membership, state: DurableState, history: History, now_ms: int
    ) -> None:
        self.settings = settings
        self.server_id = settings.server_id
        self.history = history
        self.now_ms = now_ms
        self.effects: list[Effect] = []
        self.promised_epoch = state.promised_epoch
        self.adopted_epoch = state.adopted_epoch
        self.ensemble_id = state.ensemble_id
        self.enrolment = enrolment.of_disk(state)
        self.end: Point = (state.last_zxid, state.last_crc)
        self.durable = self.end
        self.known_committed = self.committed_zxid = state.committed_zxid
        self.config = config
        self.pending: tuple[int, Membership] | None = None
        self.config_changes = 0
        self.leaving: str | None = None
        self.first_choice: int | None = None
        self.gone: frozenset[int] = frozenset()
        self.is_stopped = False
        self.backlog_bytes = 0
        self.disk_asked_ms = now_ms
        self._disk: deque[tuple[DiskEffect, Point | None, int]] = deque()
        self._ends: deque[int] = deque()

    # --- effects ----------------------------------------------------------------------------------

    def send(self, link: int, message: LinkMessage) -> None:
        """Send on a link."""
        self.effects.append(Send(link, message))

    def hang_up(self, link: int, reason: str) -> None:
        """Close a link."""
        self.effects.append(HangUp(link, reason))

    def note(self, text: str) -> None:
        """Tell whoever reads the log."""
        self.effects.append(Note(text))

    def stop(self, invariant: str, zxid: int, text: str) -> None:
        """An invariant is broken; nothing is done from here on."""
        if not self.is_stopped:
            self.is_stopped = True
            self.effects.append(Stop(invariant, zxid, text))

    def leave(self, reason: str, *, first_choice: int | None = None, gone: frozenset[int] = frozenset()) -> None:
        """End the present role; the first reason counts."""
        if self.leaving is None:
            self.leaving = reason
            self.first_choice = first_choice
            self.gone = gone

    # --- the disk ---------------------------------------------------------------------------------

    @property
    def is_disk_idle(self) -> bool:
        """Whether all that was asked of the disk is done."""
        return not self._disk

    def _ask(self, effect: DiskEffect, point: Point | None = None, size: int = 0) -> None:
        if not self._disk:
            self.disk_asked_ms = self.now_ms
        self._disk.append((effect, point, size))
        self.backlog_bytes += size
        self.effects.append(effect)

    def promise(self, epoch: int) -> None:
        """Never follow a leader of a lower epoch from when this is on disk."""
        assert epoch > self.promised_epoch, "promises only grow"
        self._ask(Promise(epoch))

    def adopt(self, epoch: int, *, enrols: bool = False) -> None:
        """The log, as it is when the queue has come here, continues this epoch's history; this server has a vote."""
        assert self.adopted_epoch <= epoch <= self.promised_epoch, "an epoch is promised before it is adopted"
        self._ask(Adopt(epoch, enrols))

    def belong(self, ensemble_id: bytes) -> None:
        """This server is of that ensemble."""
        self._ask(Belong(ensemble_id))

    def append(self, segment: Segment) -> None:
        """Put a segment behind the end; the caller has checked that it fits there."""
        self.end = (segment.last_zxid, segment.crc)
        self._ends.append(segment.last_zxid)
        self._ask(Append(segment), self.end, len(segment.data))

    def cut(self, point: Point) -> None:
        """Cut the log back to the end of a segment."""
        self.end = point
        while self._ends and self._ends[-1] > point[0]:
            self._ends.pop()
        self._ask(Cut(point[0]), point)

    def install_begin(self, zxid: int, crc: int, digest: int) -> None:
        """A snapshot is about to arrive."""
        self._ask(InstallBegin(zxid, crc, digest))

    def install_rows(self, rows: tuple[tuple[bytes, bytes], ...]) -> None:
        """A part of it."""
        self._ask(InstallRows(rows), size=sum(len(key) + len(value) for key, value in rows))

    def install(self, point: Point, sessions: tuple[tuple[int, int, bytes], ...]) -> None:
        """All of it is there. Tree and log begin anew at `point`."""
        self.end = point
        self._ends.clear()
        self._ask(Install(point[0], sessions), point)

    def finish(self, effect: DiskEffect) -> None:
        """The oldest effect that was asked for is on disk."""
        assert self._disk and self._disk[0][0] == effect, f"{effect!r:.60} is not what the disk was to do next"
        asked, point, size = self._disk.popleft()
        self.backlog_bytes -= size
        self.disk_asked_ms = self.now_ms
        if point is not None:
            self.durable = point
            if isinstance(asked, Append):
                if self.committed_zxid < self.known_committed:
                    self._tell_committed()
            elif isinstance(asked, Cut):
                self._drop(point[0])
            else:
                self.known_committed = self.committed_zxid = point[0]
                if self.pending:
                    # It lay in the log that is gone. Whether it was ever committed, the snapshot's tree says.
                    self.pending = None
                    self.config_changes += 1
                self.effects.append(Replaced(point[0]))
        elif isinstance(asked, Promise):
            self.promised_epoch = asked.epoch
        elif isinstance(asked, Adopt):
            self.adopted_epoch = asked.epoch
            if asked.enrols:
                self.enrolment = ENROLLED
        elif isinstance(asked, Belong):
            self.ensemble_id = asked.ensemble_id

    def lose(self, effect: DiskEffect) -> None:
        """The oldest effect that was asked for has failed: neither it nor anything behind it has happened or will."""
        assert self._disk and self._disk[0][0] == effect, f"{effect!r:.60} is not what the disk was to do next"
        was_appending = any(isinstance(effect, Append) for effect, _, _ in self._disk)
        self._disk.clear()
        self.backlog_bytes = 0
        self.end = self.durable
        self._ends.clear()  # `is_end` asks the history instead: it may hold what was to be cut
        if was_appending:
            self._drop(self.durable[0])

    def _drop(self, zxid: int) -> None:
        self.effects.append(Dropped(zxid))
        if self.pending and self.pending[0] > zxid:
            self.pending = None
            self.config_changes += 1

    @property
    def is_installing(self) -> bool:
        """Whether the disk is at work on a whole tree, which may take long."""
        return bool(self._disk) and isinstance(self._disk[0][0], InstallBegin | InstallRows | Install)

    # --- what is committed ------------------------------------------------------------------------

    def is_end(self, zxid: int) -> bool:
        """Whether a segment of this log ends there, or the log itself begins there."""
        ends = self._ends
        if ends and ends[0] <= zxid:
            return zxid in ends
        if zxid > self.durable[0]:
            return False
        point = self.history.end_at_or_before(zxid)
        return point is not None and point[0] == zxid

    def commit_to(self, zxid: int) -> None:
        """Everything up to `zxid`, the end of a segment in this log, is committed."""
        if zxid > self.known_committed:
            assert zxid <= self.end[0], "what is not in the log cannot be committed in it"
            self.known_committed = zxid
            if self.pending and self.pending[0] <= zxid:
                self.config = self.pending[1]
                self.pending = None
                self.config_changes += 1
            self._tell_committed()

    def _tell_committed(self) -> None:
        """The state machine gets what is on this disk, too: a checkpoint of it is then never ahead of the log."""
        zxid = min(self.known_committed, self.durable[0])
        if zxid > self.committed_zxid:
            self.committed_zxid = zxid
            ends = self._ends
            while ends and ends[0] <= zxid:
                ends.popleft()
            self.effects.append(Committed(zxid))

    # --- who decides ------------------------------------------------------------------------------

    def has_quorum(self, ids: set[int]) -> bool:
        """Whether these servers may decide: for the committed configuration, and for a pending one, too."""
        return self.config.has_quorum(ids) and (self.pending is None or self.pending[1].has_quorum(ids))

    @property
    def said_enrolment(self) -> int:
        """What this server tells others of its own past."""
        return enrolment.said(
            self.enrolment, is_of_ensemble=self.ensemble_id is not None, has_history=self.end != BEGINNING
        )

    @property
    def is_enrolled(self) -> bool:
        """Whether this server's promises and acknowledgements count."""
        return self.enrolment == ENROLLED

    @property
    def voters(self) -> frozenset[int]:
        """Who votes, in the committed and in a pending configuration."""
        return self.config.voters if self.pending is None else self.config.voters | self.pending[1].voters

    def is_voter(self, server_id: int) -> bool:
        """Whether the server votes in the committed or in a pending configuration."""
        return server_id in self.config.voters or (self.pending is not None and server_id in self.pending[1].voters)

    def weighs(self, server_id: int) -> bool:
        """Whether the server's acknowledgement adds to a quorum; one without weight is not elected either."""
        return self.config.weight(server_id) > 0 or (self.pending is not None and self.pending[1].weight(server_id) > 0)

    def is_member(self, server_id: int) -> bool:
        """Whether the committed or a pending configuration names the server."""
        configs = [self.config] if self.pending is None else [self.config, self.pending[1]]
        return any(server_id in config.voters or server_id in config.observers for config in configs)

    def config_logged(self, membership: Membership, zxid: int) -> None:
        """A reconfiguration is in the log: from now on both configurations decide."""
        if zxid <= self.known_committed:
            self.config_committed(membership)
            return
        if self.pending and self.pending[0] < zxid:
            # Its leader proposed this one, so the one before is committed: nobody needs the oldest any more.
            self.config = self.pending[1]
        self.pending = (zxid, membership)
        self.config_changes += 1

    def config_committed(self, membership: Membership) -> None:
        """A reconfiguration was applied, or came with a snapshot."""
        if membership.version >= self.config.version:
            self.config = membership
            if self.pending and self.pending[1].version <= membership.version:
                self.pending = None
            self.config_changes += 1

    def epoch_of_log(self) -> int:
        """The epoch of the last segment on disk."""
        return epoch_of(self.durable[0])
