"""Learning from a leader, with a vote (follower) or without one (observer): the learner's side of Zab's phases 1 to 3.

    DIALLING     the leader's peer port; again, if it is not there yet
    JOINING      Join was sent
    PROMISING    the leader's epoch goes on this disk, before EpochAck
    SYNCING      EpochAck was sent; the leader brings this log to its own
    CUTTING      the log is being cut back; Position follows
    RECEIVING    a snapshot comes in
    INSTALLING   it replaces what was here; Position follows
    ADOPTING     NewLeader came: all of the history is here; the epoch goes on the disk behind it
    ADOPTED      NewLeaderAck was sent
    SERVING      UpToDate came; Follow was given, or will be once all up to its commit point is here

The leader's messages come in one order, and the disk does its work in one order. So whatever is appended after
NewLeader is on disk after the epoch that it belongs to.
"""

from __future__ import annotations

from typing import Final

from zkstore.errors import DamageError
from zkstore.model.zxid import counter_of, epoch_of
from zkstore.wire import segment as segments
from zkstore.wire.messages import (
    ACK,
    EPOCH_ACK,
    JOIN,
    LOST,
    NEW_LEADER_ACK,
    PONG,
    POSITION,
    VERSION,
    Ack,
    Commit,
    Enrol,
    EpochAck,
    HandOver,
    Join,
    LinkMessage,
    NewEpoch,
    NewLeader,
    NewLeaderAck,
    Ping,
    Pong,
    Position,
    Propose,
    Refusal,
    Revalidated,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotRows,
    Synced,
    Truncate,
    UpToDate,
)
from zkstore.wire.segment import Segment
from zkstore.zab.core import Core
from zkstore.zab.effects import (
    Adopt,
    Append,
    Belong,
    Cut,
    Dial,
    DiskEffect,
    Follow,
    Install,
    Learned,
    Promise,
    Relay,
    Send,
)
from zkstore.zab.history import BEGINNING, Point

DIALLING: Final = 0
JOINING: Final = 1
PROMISING: Final = 2
SYNCING: Final = 3
CUTTING: Final = 4
RECEIVING: Final = 5
INSTALLING: Final = 6
ADOPTING: Final = 7
ADOPTED: Final = 8
SERVING: Final = 9
_FEEDABLE: Final = frozenset({SYNCING, ADOPTING, ADOPTED, SERVING})
_DIAL_AGAIN_MS: Final = 50


class Learner:
    """This server follows `leader`, or wishes to.

    Attributes:
        epoch: the leader's, once it was named.
        link: the one to the leader; None while it is not dialled.
        stage: one of the above.
        is_serving: Follow was given.
    """

    def __init__(self, core: Core, leader: int, first_link: int) -> None:
        self.core = core
        self.leader = leader
        self.epoch = 0
        self.link: int | None = None
        self.stage = DIALLING
        self.is_serving = False
        self.next_link = first_link
        self._began_ms = self._heard_ms = core.now_ms
        self._dial_at_ms: int | None = None
        self._dials = 0
        self._acked_epoch = -1
        self._arriving: Point = (0, 0)
        self._serve_from_zxid = 0

    # --- the link ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Dial the leader."""
        self._dial()

    def _dial(self) -> None:
        self._dial_at_ms = None
        self._dials += 1
        self.link = self.next_link
        self.next_link -= 1
        self.core.effects.append(Dial(self.link, self.leader))

    def dialled(self, link: int, server_id: int) -> None:
        """The leader's peer port has answered."""
        core = self.core
        if link != self.link or self.stage != DIALLING:
            return  # a dial that was given up meanwhile
        if server_id != self.leader:
            self._hang_up(f"server {server_id} answered where server {self.leader} was dialled")
            return
        self.stage = JOINING
        self._heard_ms = core.now_ms
        version = core.config.version
        ensemble_id = core.ensemble_id or b""
        join = Join(JOIN, VERSION, core.server_id, ensemble_id, core.promised_epoch, version, core.said_enrolment)
        core.send(link, join)

    def broke(self, link: int) -> None:
        """The link is gone. One that never stood is dialled again for a tick: the leader may be starting."""
        if link != self.link:
            return
        self.link = None
        if self.stage == DIALLING:
            self._dial_at_ms = self.core.now_ms + _DIAL_AGAIN_MS * self._dials
        else:
            reason = f"the link to the leader, server {self.leader}, broke"
            self.core.leave(reason, gone=frozenset({self.leader}))

    def _hang_up(self, reason: str) -> None:
        """End the link and the role."""
        if self.link is not None:
            self.core.hang_up(self.link, reason)
            self.link = None
        self.core.leave(reason)

    def end(self) -> None:
        """The role ends."""
        if self.link is not None:
            self.core.hang_up(self.link, "this server does not follow any more")
            self.link = None

    @property
    def is_established(self) -> bool:
        """Whether `Follow` was given."""
        return self.is_serving

    @property
    def next_due_ms(self) -> int | None:
        """When `tick` has something to do at the latest."""
        settings = self.core.settings
        if self._dial_at_ms is not None:
            return self._dial_at_ms
        if self.stage == DIALLING:
            return self._began_ms + settings.tick_ms
        silent_ms = self._heard_ms + settings.sync_ms
        return min(silent_ms, self._began_ms + settings.init_ms) if self.stage < SYNCING else silent_ms

    def tick(self) -> None:
        """Time has passed."""
        core, settings = self.core, self.core.settings
        if self.stage == DIALLING and core.now_ms - self._began_ms >= settings.tick_ms:
            self._hang_up(f"server {self.leader} could not be reached within {settings.tick_ms} ms")
        elif self.stage < SYNCING and core.now_ms - self._began_ms >= settings.init_ms:
            self._hang_up(f"server {self.leader} named no epoch within {settings.init_ms} ms")
        elif self.stage > DIALLING and core.now_ms - self._heard_ms >= settings.sync_ms:
            self._hang_up(f"the leader, server {self.leader}, was silent for {settings.sync_ms} ms")
        elif self._dial_at_ms is not None and core.now_ms >= self._dial_at_ms:
            self._dial()

    # --- messages ---------------------------------------------------------------------------------

    def received(self, link: int, message: LinkMessage) -> None:
        """A message from the leader. What has no place at this point ends the link and the role."""
        if link != self.link or self.stage == DIALLING:
            return  # of an earlier link
        self._heard_ms = self.core.now_ms
        wrong = self._take(message)
        if wrong is not None:
            self.core.note(wrong)
            self._hang_up(wrong)

    def _take(self, message: LinkMessage) -> str | None:
        """Deal with a message; returns why the link has to end, or None."""
        core = self.core
        match message:
            case Propose():
                return self._proposed(message)
            case Commit():
                return self._committed(message.zxid)
            case Ping():
                return self._pinged(message)
            case NewEpoch() if self.stage == JOINING:
                return self._new_epoch(message)
            case Truncate() if self.stage == SYNCING:
                return self._truncate(message)
            case SnapshotBegin() | SnapshotRows() | SnapshotEnd():
                return self._snapshot(message)
            case NewLeader() if self.stage == SYNCING:
                return self._new_leader(message)
            case UpToDate() if self.stage == ADOPTED and message.epoch == self.epoch:
                return self._up_to_date(message)
            case Enrol() if self.stage == SERVING and message.epoch == self.epoch:
                if not core.is_enrolled:
                    core.note(f"this server has a vote from now on: server {self.leader} has brought it in step")
                    core.adopt(self.epoch, enrols=True)
                return None
            case Revalidated() | Synced() if self.is_serving:
                core.effects.append(Relay(link=self.link or 0, server_id=self.leader, message=message))
                return None
            case HandOver() if self.stage == SERVING:
                reason = f"server {self.leader} hands leadership to server {message.designated}"
                # It is about to stop, or has no vote any more: nobody waits for what it says.
                core.leave(reason, first_choice=message.designated, gone=frozenset({self.leader}))
                return None
            case Refusal():
                self._hang_up(f"server {self.leader}: {message.reason}")
                return None
            case _:
                return self._illegal(message)

    def _illegal(self, message: LinkMessage) -> str:
        return f"server {self.leader} sent {message!r:.120}, which has no place at this point (stage {self.stage})"

    def _reply(self, message: LinkMessage) -> None:
        if self.link is not None:
            self.core.send(self.link, message)

    # --- discovery --------------------------------------------------------------------------------

    def _new_epoch(self, message: NewEpoch) -> str | None:
        core = self.core
        if message.epoch < core.promised_epoch:
            return f"server {self.leader} wants epoch {message.epoch}; {core.promised_epoch} is promised to another"
        if core.ensemble_id != message.ensemble_id:
            # Before anything was logged there is nothing to mix up: that id came from a leader that got nowhere.
            has_history = (core.adopted_epoch > 0 and core.end != BEGINNING) or core.enrolment == LOST
            if core.ensemble_id is not None and has_history:
                return (
                    f"server {self.leader} belongs to ensemble {message.ensemble_id.hex()}, this one to"
                    f" {core.ensemble_id.hex()}: point it at its own ensemble, or empty its data directory"
                )
            core.belong(message.ensemble_id)
        self.epoch = message.epoch
        self.stage = PROMISING
        if message.epoch > core.promised_epoch:
            self._acked_epoch = core.adopted_epoch
            core.promise(message.epoch)
        elif core.is_disk_idle:
            self._ack_epoch()
        return None

    def _ack_epoch(self) -> None:
        """All of it is on disk: the promise, and the log that is reported."""
        assert self.core.durable == self.core.end, "no role begins before the disk is idle"
        self.stage = SYNCING
        self._reply(EpochAck(EPOCH_ACK, self.epoch, self._acked_epoch, *self.core.durable))

    # --- synchronisation --------------------------------------------------------------------------

    def _truncate(self, message: Truncate) -> str | None:
        core = self.core
        if message.zxid >= core.end[0] or not core.is_disk_idle:
            return self._illegal(message)
        point = core.history.end_at_or_before(message.zxid)
        if message.zxid < core.known_committed or point is None or point[0] < core.known_committed:
            core.stop(
                "I14",
                message.zxid,
                f"leader {self.leader} of epoch {self.epoch} wants the log cut back to {message.zxid:#x}, but all up to"
                f" {core.known_committed:#x} is committed here",
            )
            return None
        self.stage = CUTTING
        core.cut(point)
        return None

    def _snapshot(self, message: SnapshotBegin | SnapshotRows | SnapshotEnd) -> str | None:
        core = self.core
        if isinstance(message, SnapshotBegin) and self.stage == SYNCING:
            if message.zxid < core.known_committed:
                core.stop(
                    "I4",
                    message.zxid,
                    f"leader {self.leader} of epoch {self.epoch} sends a snapshot of {message.zxid:#x}, but everything"
                    f" up to {core.known_committed:#x} is committed here",
                )
                return None
            self.stage = RECEIVING
            self._arriving = (message.zxid, message.crc)
            core.install_begin(message.zxid, message.crc, message.digest)
        elif isinstance(message, SnapshotRows) and self.stage == RECEIVING:
            core.install_rows(message.rows)
        elif isinstance(message, SnapshotEnd) and self.stage == RECEIVING:
            self.stage = INSTALLING
            core.install(self._arriving, message.sessions)
        else:
            return self._illegal(message)
        return None

    def _proposed(self, message: Propose) -> str | None:
        core = self.core
        if self.stage not in _FEEDABLE:
            return self._illegal(message)
        try:
            segment = segments.decode(message.segment)
        except DamageError as error:
            return f"server {self.leader} sent a segment that is damaged: {error}"
        wrong = self._check(segment)
        if wrong is not None:
            return wrong
        core.append(segment)
        core.effects.append(Learned(segment, message.claims))
        return self._committed(message.committed_zxid)

    def _check(self, segment: Segment) -> str | None:
        """Why the segment does not continue this log, or None."""
        end, first = self.core.end, segment.first_zxid
        if (segment.prev_zxid, segment.prev_crc) != end:
            return (
                f"server {self.leader} sent the segment behind {segment.prev_zxid:#x} (CRC {segment.prev_crc:#x});"
                f" the log ends at {end[0]:#x} (CRC {end[1]:#x})"
            )
        epoch = epoch_of(first)
        follows = first == end[0] + 1 or (epoch > epoch_of(end[0]) and counter_of(first) == 1)
        if not follows or epoch_of(segment.last_zxid) != epoch:
            return f"server {self.leader} sent zxids {first:#x} to {segment.last_zxid:#x} behind {end[0]:#x}: a hole"
        if (epoch == self.epoch) != (self.stage >= ADOPTING) or epoch > self.epoch:
            return f"server {self.leader} of epoch {self.epoch} sent zxid {first:#x} at stage {self.stage}"
        return None

    def _new_leader(self, message: NewLeader) -> str | None:
        core = self.core
        if message.epoch != self.epoch:
            return self._illegal(message)
        if (message.last_zxid, message.last_crc) != core.end:
            return (
                f"server {self.leader} says that all up to {message.last_zxid:#x} (CRC {message.last_crc:#x}) was sent;"
                f" the log ends at {core.end[0]:#x} (CRC {core.end[1]:#x})"
            )
        self.stage = ADOPTING
        core.adopt(self.epoch)
        return None

    # --- broadcast --------------------------------------------------------------------------------

    def _up_to_date(self, message: UpToDate) -> str | None:
        self.stage = SERVING
        self._serve_from_zxid = message.committed_zxid
        wrong = self._committed(message.committed_zxid)
        if wrong is None:
            self._serve()
        return wrong

    def _serve(self) -> None:
        """Follow, once everything that was committed when UpToDate was sent is here."""
        core = self.core
        if self.stage == SERVING and not self.is_serving and core.committed_zxid >= self._serve_from_zxid:
            self.is_serving = True
            assert self.link is not None
            core.effects.append(Follow(self.epoch, self.leader, self.link, core.is_voter(core.server_id)))

    def _committed(self, zxid: int) -> str | None:
        """What the leader has committed, and has sent here."""
        core = self.core
        if zxid <= core.known_committed:
            return None
        if self.stage not in _FEEDABLE or not core.is_end(zxid):
            return f"server {self.leader} says that {zxid:#x} is committed; no segment here ends there"
        core.commit_to(zxid)
        self._serve()
        return None

    def _pinged(self, message: Ping) -> str | None:
        wrong = self._committed(message.committed_zxid)
        if wrong is None:
            self._reply(Pong(PONG, message.probe, self.core.committed_zxid, ()))
        return wrong

    def done(self, effect: DiskEffect) -> None:
        """Something is on disk that this role asked for."""
        core = self.core
        match effect:
            case Append():
                self._ack(core.durable[0])
                self._serve()
            case Promise():
                self._ack_epoch()
            case Belong() if self.stage == PROMISING and core.promised_epoch == self.epoch:
                self._ack_epoch()
            case Cut() if self.stage == CUTTING:
                self.stage = SYNCING
                self._reply(Position(POSITION, *core.durable))
            case Install() if self.stage == INSTALLING:
                self.stage = SYNCING
                self._reply(Position(POSITION, *core.durable))
            case Adopt() if self.stage == ADOPTING:
                self.stage = ADOPTED
                self._reply(NewLeaderAck(NEW_LEADER_ACK, self.epoch))

    def _ack(self, zxid: int) -> None:
        """Acknowledgements are cumulative: one that has not been taken yet is replaced."""
        effects = self.core.effects
        last = effects[-1] if effects else None
        if isinstance(last, Send) and last.link == self.link and isinstance(last.message, Ack):
            effects.pop()
        self._reply(Ack(ACK, zxid))

    # --- for owners -------------------------------------------------------------------------------

    def relay(self, link: int, message: LinkMessage) -> None:
        """Send what the state machine has to say, if the link still stands."""
        if link == self.link and self.is_serving:
            self.core.send(link, message)
