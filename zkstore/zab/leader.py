"""Leading: from the wish to lead to the end of the epoch (the leader's side of Zab's phases 1 to 3).

    DISCOVERING  an epoch is found that a quorum promises (`discovery`), and adopted on this disk
    SYNCING      learners are brought to its initial history; a quorum of NewLeaderAcks commits it
    ACTIVE       the epoch is established: proposals

What learners have acknowledged was on their disks, so it counts on when a link breaks and is made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zkstore import limits
from zkstore.model.zxid import counter_of, epoch_of, make
from zkstore.wire.messages import (
    ENROL,
    ENROLLED,
    HAND_OVER,
    REFUSAL,
    UP_TO_DATE,
    VERSION,
    Ack,
    Enrol,
    EpochAck,
    Forward,
    HandOver,
    Join,
    LinkMessage,
    NewLeaderAck,
    Pong,
    Position,
    Refusal,
    Revalidate,
    SyncRequest,
    UpToDate,
)
from zkstore.wire.segment import Segment
from zkstore.zab.broadcast import Broadcast
from zkstore.zab.core import Core
from zkstore.zab.discovery import GATHERING, Discovery
from zkstore.zab.effects import Adopt, Append, DiskEffect, Fill, Lead, Promise, Relay
from zkstore.zab.membership import Membership
from zkstore.zab.pulse import Pulse
from zkstore.zab.synchronisation import (
    ASKED,
    FEEDING,
    INSTALLING,
    JOINED,
    PLACED,
    SNAPSHOT,
    TRUNCATING,
    WAITING,
    Claims,
    Handle,
    Synchronisation,
)

DISCOVERING: Final = 0
SYNCING: Final = 1
ACTIVE: Final = 2


class Leader:
    """This server leads, or wishes to.

    Attributes:
        phase: one of the above.
        broadcast: what is in flight.
        is_closing: leadership is being handed over.
        is_alone: there is nobody to agree with, and no epoch.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.phase = DISCOVERING
        self.broadcast = Broadcast(core)
        self.is_closing = False
        self.is_alone = False
        self._closing_until_ms = 0
        self._began_ms = self._progress_ms = core.now_ms
        self._handles: dict[int, Handle] = {}
        self._link_of: dict[int, int] = {}
        self._adopted: set[int] = set()
        self._sync: Synchronisation | None = None
        self._discovery = Discovery(core, self._handles)
        self._pulse = Pulse(core, self._handles)

    # --- beginning --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Wait for learners; a quorum of itself goes on at once."""
        self._discovery.gather()

    def begin_alone(self) -> None:
        """A server that was never anything but alone leads in epoch 0: there is nobody to agree with."""
        self.is_alone = True
        self.phase = ACTIVE
        self._establish()

    def _establish(self) -> None:
        """The epoch is this server's."""
        core = self.core
        if not core.is_enrolled and not self.is_alone:
            core.adopt(self.epoch, enrols=True)  # The quorum that has adopted the epoch is one without it, or of all.
        self.broadcast.acked[core.server_id] = core.durable[0]
        core.commit_to(core.end[0])
        core.effects.append(Lead(self.epoch))

    @property
    def epoch(self) -> int:
        """Chosen in discovery; 0 before, and for a server alone."""
        return self._discovery.epoch

    @property
    def is_established(self) -> bool:
        """Whether the epoch is this server's."""
        return self.phase == ACTIVE

    @property
    def next_due_ms(self) -> int | None:
        """When `tick` has something to do at the latest."""
        return None if self.is_alone else self._pulse.due_ms

    # --- links ------------------------------------------------------------------------------------

    def accept(self, link: int) -> None:
        """A learner has dialled this server."""
        assert link not in self._handles, f"link {link} stands already"
        if len(self._handles) >= limits.LEARNERS_MAX:
            self._refuse(link, f"server {self.core.server_id} has {limits.LEARNERS_MAX} learners, which is the most")
            return
        self._handles[link] = Handle(link, self.core.now_ms)

    def broke(self, link: int) -> None:
        """A link is gone. Its server still counts as alive for a tick: it may be dialling anew."""
        handle = self._handles.pop(link, None)
        if handle is not None and self._link_of.get(handle.server_id) == link:
            del self._link_of[handle.server_id]
            if handle.has_vote:
                self._pulse.lost(handle.server_id)

    def _drop(self, handle: Handle, reason: str) -> None:
        self.broke(handle.link)
        self.core.hang_up(handle.link, reason)

    def _refuse(self, link: int, reason: str) -> None:
        self.core.send(link, Refusal(REFUSAL, reason))
        self.core.hang_up(link, reason)

    def end(self, reason: str) -> None:
        """The role ends: every learner is told."""
        for link in self._handles:
            self._refuse(link, reason)
        self._handles.clear()

    def received(self, link: int, message: LinkMessage) -> None:
        """A message from a learner. Raises nothing: what has no place here ends the link."""
        handle = self._handles.get(link)
        if handle is None:
            return  # sent before it knew that the link was hung up
        handle.heard_ms = self.core.now_ms
        if handle.has_vote:
            self._pulse.heard(handle.server_id)
        wrong = self._take(handle, message)
        if wrong is not None and link in self._handles:
            self._drop(handle, wrong)

    def _take(self, handle: Handle, message: LinkMessage) -> str | None:
        """Deal with a message; returns why the link has to end, or None."""
        match message:
            case Ack():
                return self._acked(handle, message)
            case Pong():
                return self._ponged(handle, message)
            case Join():
                return self._joined(handle, message)
            case EpochAck():
                return self._epoch_acked(handle, message)
            case Position():
                return self._positioned(handle, message)
            case NewLeaderAck():
                return self._new_leader_acked(handle, message)
            case Forward() | Revalidate() | SyncRequest() if handle.is_up_to_date:
                self.core.effects.append(Relay(handle.link, handle.server_id, message))
                return None
            case _:
                return self._illegal(handle, message)

    def _illegal(self, handle: Handle, message: LinkMessage) -> str:
        reason = f"server {handle.server_id} sent {message!r:.120}, which has no place at stage {handle.stage}"
        self.core.note(reason)
        return reason

    # --- discovery --------------------------------------------------------------------------------

    def _joined(self, handle: Handle, join: Join) -> str | None:
        core = self.core
        if handle.stage != WAITING:
            return self._illegal(handle, join)
        reason = None
        if join.version != VERSION:
            reason = f"server {join.server_id} speaks version {join.version} between servers; this one speaks {VERSION}"
        elif join.server_id == core.server_id:
            reason = f"another server calls itself {core.server_id}; give it an id of its own"
        elif join.config_version > max(core.config.version, core.pending[1].version if core.pending else 0):
            reason = f"server {join.server_id} knows a configuration (version {join.config_version:#x}) that is newer"
        if reason is not None:
            core.note(reason)
            core.send(handle.link, Refusal(REFUSAL, reason))
            return reason
        if self.is_alone:
            core.leave(f"server {join.server_id} wants to join, so epochs begin")
            return None
        former = self._link_of.get(join.server_id)
        if former is not None:
            self._drop(self._handles[former], f"server {join.server_id} has dialled anew")
        handle.join = join
        handle.server_id = join.server_id
        handle.stage = JOINED
        handle.has_vote = handle.is_enrolled = join.enrolment == ENROLLED
        self._link_of[join.server_id] = handle.link
        if handle.has_vote:
            self._pulse.heard(join.server_id)
        elif self.phase != ACTIVE and self._discovery.needs(join.server_id):
            core.leave(f"server {join.server_id} has come anew, without a vote, and this epoch needs it")
            return None
        else:
            handle.enrol_above = core.end[0]
        if self._discovery.phase == GATHERING:
            self._discovery.gather()
            return None
        return self._discovery.ask(handle)

    def _epoch_acked(self, handle: Handle, ack: EpochAck) -> str | None:
        if handle.stage != ASKED or ack.epoch != self.epoch:
            return self._illegal(handle, ack)
        self._progress_ms = self.core.now_ms
        self._discovery.acked(handle, ack)
        return self._sync.place(handle, handle.point) if self._sync is not None else None

    # --- synchronisation --------------------------------------------------------------------------

    def _own_adopted(self) -> None:
        """The epoch is adopted on this disk, so its initial history is settled."""
        core = self.core
        self.phase = SYNCING
        self._progress_ms = core.now_ms
        if self._discovery.has_own_vote:
            self._adopted.add(core.server_id)
        self._sync = Synchronisation(core, self.broadcast, self.epoch, core.end)
        for handle in [handle for handle in self._handles.values() if handle.stage == PLACED]:
            wrong = self._sync.place(handle, handle.point)
            if wrong is not None:
                self._drop(handle, wrong)
        self._activate()

    def _positioned(self, handle: Handle, position: Position) -> str | None:
        point = (position.last_zxid, position.last_crc)
        if self._sync is None or handle.stage not in (TRUNCATING, SNAPSHOT, INSTALLING):
            return self._illegal(handle, position)
        if handle.stage == TRUNCATING and point[0] >= handle.point[0]:
            return self._illegal(handle, position)  # each round goes down, or it would go on for ever
        self._progress_ms = self.core.now_ms
        return self._sync.place(handle, point)

    def snapshot_sent(self, link: int, zxid: int, crc: int) -> None:
        """The snapshot has gone out in full."""
        handle = self._handles.get(link)
        if handle is None or handle.stage != SNAPSHOT:
            return  # the link is gone, or the learner was quicker than the report
        self._progress_ms = self.core.now_ms
        handle.stage = INSTALLING
        assert self._sync is not None
        if not self._sync.knows((zxid, crc)):
            self._drop(handle, f"the log was purged behind the snapshot at {zxid:#x} while it was sent; join anew")

    def _new_leader_acked(self, handle: Handle, ack: NewLeaderAck) -> str | None:
        if handle.new_leader is None or handle.has_adopted or ack.epoch != self.epoch:
            return self._illegal(handle, ack)
        self._progress_ms = self.core.now_ms
        handle.has_adopted = True
        handle.ack(handle.new_leader[0])
        if handle.has_vote:
            self._adopted.add(handle.server_id)
        self._count(handle)
        if self.phase == ACTIVE:
            self._commit()  # What it came back with may be what a quorum was waited for; nothing else may ever come.
            self._welcome(handle)
            return self._sync.feed(handle) if self._sync is not None else None
        self._activate()
        return None

    def _activate(self) -> None:
        """A quorum has adopted the epoch: its initial history is committed."""
        core = self.core
        if self.phase != SYNCING or not core.has_quorum(self._adopted):
            return
        self.phase = ACTIVE
        self._establish()
        for handle in list(self._handles.values()):
            if handle.has_adopted:
                self._welcome(handle)
            self._feed(handle)
        self._config_may_have_changed()

    def _welcome(self, handle: Handle) -> None:
        handle.is_up_to_date = True
        committed = min(self.core.known_committed, handle.committed_limit)
        handle.told_committed = max(handle.told_committed, committed)
        self.core.send(handle.link, UpToDate(UP_TO_DATE, self.epoch, committed))
        self._enrol(handle)

    def _enrol(self, handle: Handle) -> None:
        """Give a learner in step its vote, if a quorum of others holds something that was begun after it had joined."""
        core, join = self.core, handle.join
        if join is None or handle.is_enrolled or not handle.is_up_to_date:
            return
        if core.known_committed > handle.enrol_above:
            handle.is_enrolled = handle.has_vote = True
            self._pulse.heard(handle.server_id)
            core.send(handle.link, Enrol(ENROL, self.epoch))
            self._count(handle)
        elif core.end[0] <= handle.enrol_above:
            core.effects.append(Fill())

    # --- broadcast --------------------------------------------------------------------------------

    @property
    def can_propose(self) -> bool:
        """Whether there is room for another segment now."""
        return (
            self.phase == ACTIVE
            and not self.is_closing
            and self.broadcast.has_room
            and (self.is_alone or not self._is_epoch_full)
        )

    def propose(self, segment: Segment, claims: Mapping[int, Claims] | None, new_config: Membership | None) -> None:
        """Log a segment, and send it to every voter that has got everything before it."""
        core = self.core
        assert self.phase == ACTIVE and not self.is_closing, "only an established leader proposes"
        assert (segment.prev_zxid, segment.prev_crc) == core.end, "a proposal follows the one before"
        first = core.end[0] + 1 if epoch_of(core.end[0]) == self.epoch or self.is_alone else make(self.epoch, 1)
        assert segment.first_zxid == first, f"the next zxid is {first:#x}, not {segment.first_zxid:#x}"
        if new_config is not None:
            assert core.pending is None, "one reconfiguration at a time"
            assert segment.first_zxid == segment.last_zxid, "a reconfiguration stands alone in its segment"
            core.config_logged(new_config, segment.last_zxid)
        self.broadcast.add(segment)
        core.append(segment)
        if claims:
            for link, answers in claims.items():
                if link in self._handles:
                    self._handles[link].claims[segment.last_zxid] = answers
        if self._handles:
            for handle in list(self._handles.values()):
                self._feed(handle)

    def _feed(self, handle: Handle) -> None:
        if self._sync is not None and handle.stage == FEEDING:
            wrong = self._sync.feed(handle)
            if wrong is not None:
                self._drop(handle, wrong)

    def _acked(self, handle: Handle, ack: Ack) -> str | None:
        # SNAPSHOT and INSTALLING: it was fed before the log was purged under it, and its disk goes on.
        if handle.stage not in (FEEDING, SNAPSHOT, INSTALLING) or ack.zxid > handle.sent[0]:
            return self._illegal(handle, ack)
        if handle.new_leader is not None and not handle.has_adopted and ack.zxid > handle.new_leader[0]:
            return self._illegal(handle, ack)  # of this epoch, which it has not adopted
        self._progress_ms = self.core.now_ms
        handle.ack(ack.zxid)
        self._count(handle)
        self._commit()
        return self._sync.feed(handle) if self._sync is not None and handle.link in self._handles else None

    def _count(self, handle: Handle) -> None:
        """What it has on disk counts once it has adopted the epoch, and has a vote."""
        if handle.has_adopted and handle.has_vote:
            before = self.broadcast.acked.get(handle.server_id, 0)
            self.broadcast.acked[handle.server_id] = max(before, handle.acked_zxid)

    def _commit(self) -> None:
        """Commit what a quorum has; a configuration that comes into force may commit more."""
        core = self.core
        if self.phase != ACTIVE:
            return
        before, config = core.known_committed, core.config
        zxid = self.broadcast.committed_end()
        while zxid is not None:
            decided_by = core.config
            core.commit_to(zxid)
            zxid = self.broadcast.committed_end() if core.config is not decided_by else None
        self.broadcast.trim()
        if core.known_committed > before and self._handles:
            for handle in list(self._handles.values()):
                self._feed(handle)
                if not handle.is_enrolled:
                    self._enrol(handle)
        if core.config is not config:
            self._config_may_have_changed()
        if self.is_closing:
            self._close()

    def done(self, effect: DiskEffect) -> None:
        """Something is on disk that this role asked for."""
        if isinstance(effect, Append):
            self.broadcast.acked[self.core.server_id] = self.core.durable[0]
            self._commit()
        elif isinstance(effect, Promise):
            self._discovery.promised()
        elif isinstance(effect, Adopt) and self.phase == DISCOVERING:
            self._own_adopted()

    def _config_may_have_changed(self) -> None:
        core = self.core
        if core.pending is None and core.server_id not in core.config.voters and not self.is_alone:
            self.hand_over()

    # --- the leader's life ------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed."""
        core = self.core
        if self.is_alone:
            self._check_counter()
            return
        if core.now_ms >= self._pulse.due_ms:
            self._pulse.ping()
        self._drop_silent()
        if self.phase < SYNCING:
            if core.now_ms - self._began_ms >= core.settings.init_ms:
                reasons = [f"no quorum took part in discovery within {core.settings.init_ms} ms"]
                core.leave("; ".join(filter(None, [*reasons, self._discovery.obstacle()])))
            else:
                self._discovery.gather()
            return
        alive = self._pulse.alive()
        if not core.has_quorum(alive):
            core.leave(f"only servers {sorted(alive)} were heard of within {core.settings.sync_ms} ms: no quorum")
        elif not core.is_disk_idle and core.now_ms - core.disk_asked_ms >= core.settings.sync_ms:
            core.leave(f"the disk has finished nothing for {core.settings.sync_ms} ms")
        elif self.phase == SYNCING and not self._makes_progress():
            core.leave(f"no quorum adopted epoch {self.epoch}; no progress for {core.settings.init_ms} ms")
        elif self.is_closing and core.now_ms >= self._closing_until_ms:
            core.leave("leadership ends, though nobody was ready to take it over")
        else:
            self._check_counter()

    def _makes_progress(self) -> bool:
        """A snapshot on its way counts: how long it takes is the link's and the tree's business."""
        return self.core.now_ms - self._progress_ms < self.core.settings.init_ms or any(
            handle.stage in (SNAPSHOT, INSTALLING) for handle in self._handles.values()
        )

    @property
    def _is_epoch_full(self) -> bool:
        """The numbers that count are this epoch's: the history may well end with the last ones of the epoch before."""
        zxid = self.core.end[0]
        is_own = self.is_alone or epoch_of(zxid) == self.epoch
        return is_own and counter_of(zxid) >= self.core.settings.epoch_counter_max

    def _check_counter(self) -> None:
        core = self.core
        if self.phase == ACTIVE and self._is_epoch_full and core.known_committed == core.end[0] == core.durable[0]:
            core.leave(f"the zxids of epoch {self.epoch} run out; a new epoch has to begin")

    def _drop_silent(self) -> None:
        core = self.core
        for handle in list(self._handles.values()):
            if core.now_ms - handle.heard_ms >= core.settings.sync_ms:
                self._drop(handle, f"server {handle.server_id} was silent for {core.settings.sync_ms} ms")

    def _ponged(self, handle: Handle, pong: Pong) -> str | None:
        if handle.stage == WAITING or not self._pulse.takes(pong.probe):
            return self._illegal(handle, pong)
        if handle.has_adopted and handle.has_vote:
            self._pulse.echoed(handle.server_id, pong.probe)
        if handle.is_up_to_date:
            self.core.effects.append(Relay(handle.link, handle.server_id, pong))
        return None

    def confirm(self) -> int:
        """Ask a quorum whether this server still leads."""
        return self._pulse.confirm()

    def hand_over(self) -> None:
        """Stop proposing; when nothing is in flight any more, let another server lead."""
        if not self.is_closing:
            self.is_closing = True
            self._closing_until_ms = self.core.now_ms + self.core.settings.sync_ms
            self._close()

    def _close(self) -> None:
        core = self.core
        if core.leaving is not None:
            return
        if self.phase != ACTIVE:
            core.leave("leadership was to be handed over before it began")
            return
        if len(self.broadcast):
            return
        others = core.config.voters - {core.server_id}
        ready = [server_id for server_id in sorted(others) if self._is_ready(server_id)]
        if others and not ready:
            return
        if ready:
            for handle in self._handles.values():
                if handle.is_up_to_date:
                    core.send(handle.link, HandOver(HAND_OVER, ready[0]))
        core.leave("leadership was handed over" if ready else "leading ends", first_choice=ready[0] if ready else None)

    def _is_ready(self, server_id: int) -> bool:
        handle = self._handles.get(self._link_of.get(server_id, 0))
        return (
            handle is not None
            and handle.is_up_to_date
            and handle.has_vote
            and self.core.config.weight(server_id) > 0
            and self.broadcast.acked.get(server_id, 0) >= self.core.end[0]
        )

    # --- for owners -------------------------------------------------------------------------------

    def relay(self, link: int, message: LinkMessage) -> None:
        """Send what the state machine has to say, if the link still stands."""
        if link in self._handles:
            self.core.send(link, message)

    def handles(self) -> list[Handle]:
        """Those that have joined."""
        return [handle for handle in self._handles.values() if handle.join is not None]
