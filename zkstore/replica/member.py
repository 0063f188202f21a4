"""One server of an ensemble: its part in agreement and its replica of the state, in one pure piece.

A `Peer` decides what is agreed on, a `Replica` what that means; here they are put together, and neither knows the
other. Events go in as calls, effects come out: those of `zab.effects` that concern the network and the disk, the log
and people. Those that concern the state machine are carried out here. A server alone is a member, too.

    the world      dialled, accepted, received, broke, heard, done, failed, tick ...      as `Peer` takes them
    clients        `replica.converse(...)` gives a conversation, which is fed bytes; then `flush`
    the owner      after each of these takes `effects`, and the conversations in `replica.ready`
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from zkstore.errors import ConfigError, DamageError, InvariantError, PeerMessageError
from zkstore.model import zxid as zxids
from zkstore.model.tree import Tree
from zkstore.model.txns import ReconfigTxn
from zkstore.replica.leading import Leading
from zkstore.replica.learning import Learning
from zkstore.replica.read_only import ReadOnly
from zkstore.replica.reconfig import members_in
from zkstore.replica.replica import Replica
from zkstore.wire.messages import LinkMessage, Pong, Vote
from zkstore.wire.segment import Segment
from zkstore.zab import membership
from zkstore.zab.effects import (
    Committed,
    Confirmed,
    DiskEffect,
    Dropped,
    Effect,
    Fill,
    Follow,
    HangUp,
    Install,
    Lead,
    Learned,
    Look,
    Relay,
    Replaced,
    Send,
    Stop,
)
from zkstore.zab.history import History, Point
from zkstore.zab.membership import Membership
from zkstore.zab.peer import Peer
from zkstore.zab.settings import DurableState, PeerSettings

_STALL_MS: Final = 500
_STALLS_PER_TICK: Final = 4
"""A call of `tick` later than that was the server's own standstill, and not its clients' silence."""


class Unread:
    """The history of a server alone, as its peer sees it: nobody ever learns from it, so only its end counts."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    @property
    def start(self) -> Point:
        """All is in the tree."""
        return self._replica.tree.zxid, self._replica.applied_crc

    @property
    def end(self) -> Point:
        """What is on a disk of its own is committed at once."""
        return self.start

    def end_at_or_before(self, zxid: int) -> Point | None:
        """The end, if it is not behind `zxid`."""
        return self.end if self.end[0] <= zxid else None

    def read(self, after_zxid: int, bytes_max: int) -> list[Segment]:
        """Nothing."""
        return []


def alone(
    replica: Replica, *, promised_epoch: int = 0, adopted_epoch: int = 0, ensemble_id: bytes | None = None
) -> Member:
    """A server alone, which holds all that its log does: an ensemble of one, without a network.

    It needs no epochs, unless its data knows some: from other servers, or because the zxids of epoch 0 have run out.
    """
    settings = PeerSettings(replica.settings.server_id, replica.make_password(), tick_ms=replica.settings.tick_ms)
    members = Membership((membership.parse_member(settings.server_id, "localhost:2888:3888", "a server alone"),))
    zxid, crc = replica.learned_zxid, replica.learned_crc
    epoch = zxids.epoch_of(zxid)
    promised_epoch = max(promised_epoch, epoch)
    state = DurableState(promised_epoch, max(adopted_epoch, epoch), zxid, crc, zxid, ensemble_id)
    return Member(settings, members, state, Unread(replica), replica, names_members=False)


class Member:
    """A peer and a replica.

    Attributes:
        effects: what the owner is to do, in order; it empties the list.
        peer, replica: to be read, and the replica's conversations to be fed.
        members: the configuration that is committed.
        is_stopped: a Stop was among the effects, and nothing is taken any more.
    """

    def __init__(
        self,
        settings: PeerSettings,
        members: Membership,
        state: DurableState,
        history: History,
        replica: Replica,
        tail: Iterable[Segment] = (),
        *,
        names_members: bool = True,
    ) -> None:
        """`replica` holds the tree as of `state.committed_zxid`; `tail` is what the log holds behind it, not known to
        be committed. `members` are those that the server was started with: they count until the tree names others,
        which the first leader of all has it do if it `names_members`. Of a server alone only it itself counts, also
        where the tree names those of an ensemble that its data comes from.

        Raises InvariantError, DamageError and ConfigError where these do not fit each other.
        """
        self.replica = replica
        self.members = (members_in(replica.tree) if names_members else None) or members
        self.peer = Peer(settings, self.members, state, history, replica.now_ms)
        self.effects: list[Effect] = []
        self.is_stopped = False
        self._is_alone = False
        self._names_members = names_members
        self._leading: Leading | None = None
        self._installed: tuple[Tree, int] | None = None
        self._changes: deque[tuple[int, Membership]] = deque()
        self._last_tick_ms = replica.now_ms
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Learned: self._learned,
            Committed: self._committed,
            Dropped: self._dropped,
            Replaced: self._replaced,
            Lead: self._lead,
            Follow: self._follow,
            Look: self._look,
            Relay: self._relay,
            Fill: self._fill,
            Confirmed: self._confirmed,
            Send: self._send,
            Stop: self._stop,
        }
        for segment in tail:
            self._learn(segment, ())

    # --- the world's events -----------------------------------------------------------------------

    def set_clocks(self, now_ms: int, time_ms: int) -> None:
        """The time, before any other call: a clock that never goes back, and the wall's."""
        self.peer.now_ms = self.replica.now_ms = now_ms
        self.replica.time_ms = time_ms

    def start(self) -> None:
        """Begin."""
        self.peer.start()
        self._carry_out()

    def tick(self) -> None:
        """Time has passed; about every tenth of a tick."""
        replica = self.replica
        gap_ms = replica.now_ms - self._last_tick_ms
        self._last_tick_ms = replica.now_ms
        if gap_ms > max(_STALL_MS, replica.settings.tick_ms // _STALLS_PER_TICK):
            replica.notice(f"the server stood still for {gap_ms} ms; sessions get this much longer")
            replica.postpone(gap_ms)
        self.peer.tick()
        self._carry_out()
        if not self.is_stopped:
            replica.tick()

    def heard(self, vote: Vote) -> None:
        """Gossip."""
        self.peer.heard(vote)
        self._carry_out()

    def dialled(self, link: int, server_id: int) -> None:
        """A Dial has succeeded."""
        self.peer.dialled(link, server_id)
        self._carry_out()

    def accepted(self, link: int) -> None:
        """Another server has opened a link."""
        self.peer.accepted(link)
        self._carry_out()

    def received(self, link: int, message: LinkMessage) -> None:
        """A message on a link."""
        self.peer.received(link, message)
        self._carry_out()

    def broke(self, link: int) -> None:
        """A link is gone, or a Dial has failed."""
        self.peer.broke(link)
        self._carry_out()

    def done(self, effect: DiskEffect) -> None:
        """A disk effect is on disk. An Install is reported by `installed`."""
        self.peer.done(effect)
        self._carry_out()

    def installed(self, effect: Install, tree: Tree, crc: int) -> None:
        """An Install is on disk: its tree, as of the end of a segment with that CRC."""
        self._installed = tree, crc
        self.peer.done(effect)
        self._carry_out()

    def failed(self, effect: DiskEffect, is_full: bool, text: str) -> None:
        """A disk effect, and with it every one asked for after it, has not been carried out and never will be."""
        self.peer.failed(effect, is_full, text)
        self._carry_out()

    def disk_ok(self) -> None:
        """The disk takes writes again."""
        self.peer.disk_ok()
        self._carry_out()

    def snapshot_sent(self, link: int, zxid: int, crc: int) -> None:
        """A SendSnapshot was carried out."""
        self.peer.snapshot_sent(link, zxid, crc)
        self._carry_out()

    def hand_over(self, *, retires: bool = False) -> None:
        """Stop leading, in order; if it `retires`, because this server is about to stop."""
        self.peer.hand_over(retires=retires)
        self._carry_out()

    # --- clients' requests ------------------------------------------------------------------------

    def flush(self, *, is_sealing: bool = True) -> None:
        """After conversations were fed: send what is for others, and, if `is_sealing`, propose what this leader was
        asked for."""
        self._carry_out()
        if self._leading is None:
            if isinstance(self.replica.role, ReadOnly):
                self.replica.role.answer()
            return
        while is_sealing and self.propose_next():
            pass

    def propose_next(self) -> bool:
        """Propose one segment; False where there is none, this server does not lead, or too much is in flight."""
        leading = self._leading
        if leading is None or not leading.open_count or not self.peer.can_propose:
            return False
        segment = leading.next_segment()
        if segment is None:
            return False
        brings = leading.brings
        if brings is not None:
            self._changes.append((segment.last_zxid, brings))
        self.peer.propose(segment, leading.claims, brings)
        self._carry_out()
        return True

    # --- what roles ask of the others: `role.Ensemble` --------------------------------------------

    def relay(self, link: int, message: LinkMessage) -> None:
        """Send a message on a link; nothing happens if it is gone."""
        self.peer.relay(link, message)

    def confirm(self) -> int:
        """Have a quorum confirm that this server leads; 0 where that goes without saying."""
        return 0 if self._is_alone else self.peer.confirm()

    def is_supported(self, members: Membership) -> bool:
        """Whether a quorum of these members is in step with this leader."""
        learners = self.peer.learners()
        in_step = {learner.server_id for learner in learners if learner.is_up_to_date and learner.is_enrolled}
        return members.has_quorum(in_step | {self.replica.settings.server_id})

    # --- effects ----------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        """Do what concerns the state machine, leave the rest to the owner; until the peer asks for nothing more."""
        peer, handlers = self.peer, self._handlers
        while effects := peer.effects:
            peer.effects = []
            if self.is_stopped:
                return
            for effect in effects:
                handle = handlers.get(type(effect))
                if handle is None:
                    self.effects.append(effect)
                    continue
                try:
                    handle(effect)
                except InvariantError as error:
                    self._stop(Stop(error.invariant, error.zxid, error.text))
                    return

    def _learned(self, effect: Learned) -> None:
        self._learn(effect.segment, effect.claims)

    def _learn(self, segment: Segment, claims: tuple[tuple[int, int, int, bytes], ...]) -> None:
        try:
            txns = self.replica.learn(segment, claims)
            for txn in txns:
                if isinstance(txn, ReconfigTxn):
                    changed = membership.parse(txn.data, f"the change of members at {segment.last_zxid:#x}")
                    self._changes.append((segment.last_zxid, changed))
                    self.peer.config_logged(changed, segment.last_zxid)
        except (DamageError, ConfigError) as error:
            raise InvariantError("I6", segment.first_zxid, str(error)) from error

    def _committed(self, effect: Committed) -> None:
        self.replica.commit_to(effect.zxid)
        while self._changes and self._changes[0][0] <= effect.zxid:
            _, self.members = self._changes.popleft()
            self.peer.config_committed(self.members)

    def _dropped(self, effect: Dropped) -> None:
        if self._leading is not None and self._is_alone:
            self._leading.lose_proposals()
        else:
            self.replica.drop_after(effect.zxid)
        while self._changes and self._changes[-1][0] > effect.zxid:
            self._changes.pop()

    def _replaced(self, effect: Replaced) -> None:
        assert self._installed is not None, "a snapshot was installed, but nobody gave its tree"
        tree, crc = self._installed
        self._installed = None
        self.replica.replace(tree, crc)
        self._changes.clear()
        named = members_in(tree)
        if named is not None:
            self.members = named
            self.peer.config_committed(named)

    def _lead(self, effect: Lead) -> None:
        """Epoch 0 is that of a server alone: what it loses, nobody else has."""
        self._is_alone = not effect.epoch
        has_members = self._names_members and not self._is_alone
        self._leading = self.replica.lead(effect.epoch, self, self.members if has_members else None)
        self.effects.append(effect)

    def _follow(self, effect: Follow) -> None:
        self.replica.follow(self, effect.link)
        self.effects.append(effect)

    def _look(self, effect: Look) -> None:
        self._is_alone = False
        self._leading = None
        self.replica.look(effect.reason)
        self.effects.append(effect)

    def _relay(self, effect: Relay) -> None:
        role = self.replica.role
        try:
            if self._leading is not None:
                self._leading.take(effect.link, effect.server_id, effect.message)
            elif isinstance(role, Learning):
                role.take(effect.message)
        except PeerMessageError as error:
            self.effects.append(HangUp(effect.link, f"server {effect.server_id}: {error}"))
            self.peer.broke(effect.link)

    def _send(self, effect: Send) -> None:
        """A Pong takes along which clients were heard of here; the peer knows no sessions."""
        message, role = effect.message, self.replica.role
        if type(message) is Pong and isinstance(role, Learning):
            effect = Send(effect.link, message._replace(touched=role.take_touched()))
        self.effects.append(effect)

    def _fill(self, effect: Fill) -> None:
        if self._leading is not None:
            self._leading.fill()

    def _confirmed(self, effect: Confirmed) -> None:
        if self._leading is not None:
            self._leading.confirmed(effect.ticket)

    def _stop(self, effect: Stop) -> None:
        self.is_stopped = True
        self._leading = None
        self.effects.append(effect)
        self.replica.look(f"this server stops: {effect.text}")
