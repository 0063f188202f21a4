"""One server's part in agreement: it looks for a leader, and then leads or follows, for as long as that holds.

    looking     wait until the disk has done all that was asked of it, then elect; the election is a hint
    leading     `leader.Leader`, for the server that the election named
    following   `learner.Learner`, for all others; observers, too

A role ends with whatever makes it doubtful, and the server looks again. Nothing of a role outlives it but what it put
on the disk. Events go in as calls; after each, its owner takes `effects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zkstore import limits
from zkstore.model.zxid import epoch_of
from zkstore.wire.messages import REFUSAL, Join, LinkMessage, Refusal, Vote
from zkstore.wire.segment import Segment
from zkstore.zab.effects import DiskEffect, Look
from zkstore.zab.leader import Leader
from zkstore.zab.learner import Learner
from zkstore.zab.membership import Membership
from zkstore.zab.standing import Standing
from zkstore.zab.synchronisation import Claims

_RETRY_MS: Final = 50


class Peer(Standing):
    """See the module. All calls are cheap and none waits.

    The owner sets `now_ms` (a clock that never goes back) before each call, and calls `tick` when `next_due_ms` says,
    or every tenth of a tick. The state machine begins with the log's tail behind `DurableState.committed_zxid` learned:
    no effect tells it. Links that this server dials have negative numbers, counted down; those that `accepted` reports
    must have positive ones, none of them twice.
    """

    # --- the world's events -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin. What was found on the disk is looked at first."""
        core = self._core
        self._is_started = True
        if core.adopted_epoch > core.promised_epoch:
            core.stop(
                "I2", core.end[0], f"epoch {core.adopted_epoch} is adopted, but only {core.promised_epoch} promised"
            )
        elif core.committed_zxid > core.end[0]:
            core.stop("I16", core.committed_zxid, f"the log ends at {core.end[0]:#x}, before what is committed")
        core.effects.append(Look("the server starts"))
        self._go_on()

    def tick(self) -> None:
        """Time has passed."""
        core = self._core
        if core.is_stopped or not self._is_started:
            return
        if self._leader is not None:
            self._leader.tick()
        elif self._learner is not None:
            self._learner.tick()
        elif self._is_electing:
            self._election.tick(core.now_ms)
        for link, (since_ms, _) in list(self._waiting.items()):
            if core.now_ms - since_ms >= self.settings.init_ms:
                del self._waiting[link]
                core.hang_up(link, f"server {self.settings.server_id} has no leader yet")
        self._go_on()

    def heard(self, vote: Vote) -> None:
        """A vote has come in."""
        core = self._core
        # A server that is between two roles says nothing: what it said last is not true any more.
        if core.is_stopped or not (self._is_electing or not self._is_looking):
            return
        wrong = self._election.heard(vote, core.now_ms)
        if wrong is not None:
            core.note(wrong)
        if not self._is_looking:
            futile = self._election.futile()
            if futile is not None:
                core.leave(futile)
        self._go_on()

    def dialled(self, link: int, server_id: int) -> None:
        """A `Dial` has succeeded; `server_id` is who answered."""
        if self._learner is not None and not self._core.is_stopped:
            self._learner.dialled(link, server_id)
            self._go_on()

    def accepted(self, link: int) -> None:
        """Another server has dialled this one."""
        core = self._core
        if core.is_stopped:
            return
        if self._leader is not None:
            self._leader.accept(link)
        elif self._learner is not None:
            self._turn_away(link)
        elif len(self._waiting) < limits.WAITING_LINKS_MAX:
            # Its election may have ended before this server's: it waits for this one to find out that it leads.
            self._waiting[link] = (core.now_ms, None)
        else:
            core.hang_up(link, f"{limits.WAITING_LINKS_MAX} learners wait already")
        self._go_on()

    def received(self, link: int, message: LinkMessage) -> None:
        """A message has come in on a link."""
        core = self._core
        if core.is_stopped:
            return
        if self._learner is not None:
            self._learner.received(link, message)
        elif self._leader is not None:
            self._leader.received(link, message)
        elif link in self._waiting:
            since_ms, join = self._waiting[link]
            if join is None and isinstance(message, Join):
                self._waiting[link] = (since_ms, message)
            else:
                del self._waiting[link]
                core.hang_up(link, f"a learner sent {message!r:.60} where it has to wait for a leader")
        self._go_on()

    def broke(self, link: int) -> None:
        """A link is gone, or a `Dial` has failed."""
        if self._core.is_stopped:
            return
        self._waiting.pop(link, None)
        if self._learner is not None:
            self._learner.broke(link)
        elif self._leader is not None:
            self._leader.broke(link)
        self._go_on()

    def done(self, effect: DiskEffect) -> None:
        """The oldest disk effect that was asked for is on disk."""
        core = self._core
        if core.is_stopped:
            return
        core.finish(effect)
        if self._leader is not None:
            self._leader.done(effect)
        elif self._learner is not None:
            self._learner.done(effect)
        self._go_on()

    def failed(self, effect: DiskEffect, is_full: bool, text: str) -> None:
        """A disk effect has failed. Neither it nor any that was asked for after it is on disk, nor will be.

        The role ends: a server whose disk takes no writes neither leads, follows nor votes until `disk_ok`. A server
        alone goes on when the disk is only full: each proposal tries it anew.
        """
        core = self._core
        if core.is_stopped:
            return
        core.lose(effect)
        if is_full and self._leader is not None and self._leader.is_alone:
            # Nobody else knows of what is lost: it goes on from the log's end, and the zxids are given out again.
            self._leader.broadcast.clear()
            return
        self._is_disk_ok = False
        reason = f"the disk is full: {text}" if is_full else f"the disk fails: {text}"
        if self._is_looking:
            self._is_electing = False
            core.note(reason)
        core.leave(reason)
        self._go_on()

    def disk_ok(self) -> None:
        """The disk takes writes again."""
        core = self._core
        if core.is_stopped or self._is_disk_ok:
            return
        if core.history.end != core.durable:
            end = core.history.end
            core.stop(
                "I16",
                end[0],
                f"after a failure the log ends at {end[0]:#x}; it was reported up to {core.durable[0]:#x}",
            )
            return
        self._is_disk_ok = True
        self._go_on()

    def snapshot_sent(self, link: int, zxid: int, crc: int) -> None:
        """What `SendSnapshot` asked for has been sent in full: the tree at `zxid`, an end with that CRC."""
        if self._leader is not None and not self._core.is_stopped:
            self._leader.snapshot_sent(link, zxid, crc)
            self._go_on()

    # --- the state machine's ----------------------------------------------------------------------

    def config_logged(self, membership: Membership, zxid: int) -> None:
        """A segment that was learned (or that lay in the log's tail at the start) is a reconfiguration.

        From now on, both configurations decide. Not to be called for what `propose` was given.
        """
        self._core.config_logged(membership, zxid)
        self._go_on()

    def config_committed(self, membership: Membership) -> None:
        """A reconfiguration was applied, or came with a snapshot."""
        self._core.config_committed(membership)
        self._go_on()

    def propose(
        self, segment: Segment, claims: Mapping[int, Claims] | None = None, new_config: Membership | None = None
    ) -> None:
        """Propose the next segment; only while `can_propose`.

        Args:
            claims: by LINK, as `Relay` named it: tickets count per link, and one of an earlier link of the same server
                must not be claimed on a later one.
            new_config: the configuration that the segment's only txn makes, if it is a reconfiguration.
        """
        assert self._leader is not None, "only a leader proposes"
        self._leader.propose(segment, claims, new_config)
        if new_config is not None:
            self._go_on()

    def confirm(self) -> int:
        """Ask a quorum whether this server still leads (R17): `Confirmed` with this ticket or a later one says so."""
        assert self._leader is not None and self._leader.is_established, "only a leader is confirmed"
        ticket = self._leader.confirm()
        self._go_on()
        return ticket

    def hand_over(self, *, retires: bool = False) -> None:
        """If this server leads, let another one lead. `Look` says when that is done.

        If it `retires`, an orderly stop is near: it takes part in no election after that. Others would count its vote,
        and wait for a server that is gone.
        """
        self._is_retired = self._is_retired or retires
        if self._leader is not None and not self._core.is_stopped:
            self._leader.hand_over()
            self._go_on()

    def relay(self, link: int, message: LinkMessage) -> None:
        """Send what the state machine has to say on a link that `Relay` or `Follow` named; dropped if it is gone."""
        if self._leader is not None:
            self._leader.relay(link, message)
        elif self._learner is not None:
            self._learner.relay(link, message)

    # --- from role to role ------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Whatever follows from the event that was just dealt with."""
        core = self._core
        if self._is_established and core.leaving is None and core.config_changes == self._config_changes:
            # By far the most frequent case: nothing but votes to answer.
            if self._election.gossip:
                self._pass_gossip()
            return
        while not core.is_stopped and self._is_started:
            if core.leaving is not None:
                self._end_role(core.leaving)
            elif self._is_looking and not self._is_electing:
                is_ready = self._is_disk_ok and core.is_disk_idle and not self._is_retired
                if not is_ready or core.now_ms < self._retry_at_ms:
                    break
                self._elect()
            elif self._is_electing and self._election.decision is not None:
                self._take_role(self._election.decision.leader, self._election.decision.reason)
            else:
                break
        if core.config_changes != self._config_changes:
            self._config_changes = core.config_changes
            self._election.configure(core.config, core.pending[1] if core.pending else None)
        if not self._is_established and not core.is_stopped:
            role = self._leader or self._learner
            if role is not None and role.is_established:
                self._is_established = True
                self._failures = 0
                self._election.establish(role.epoch)
        self._pass_gossip()

    def _pass_gossip(self) -> None:
        self._core.effects += self._election.gossip
        self._election.gossip.clear()

    def _elect(self) -> None:
        """The disk is idle: the log on it is what this server stands for."""
        core = self._core
        epoch = epoch_of(core.durable[0])
        if epoch > core.promised_epoch:
            core.stop("I2", core.durable[0], f"the log is of epoch {epoch}, but only {core.promised_epoch} is promised")
        elif epoch > core.adopted_epoch:
            # A synchronisation broke off. What it brought was in order, so it is a beginning of that epoch's history.
            core.adopt(epoch)
        else:
            self._is_electing = True
            self._election.start(
                core.now_ms, core.adopted_epoch, core.durable[0], first_choice=self._first_choice, gone=self._gone
            )

    def _is_alone(self) -> bool:
        """Whether this server was never part of anything: it needs no epochs to agree with itself."""
        core = self._core
        return (
            self._may_be_alone
            and core.config.voters == {self.settings.server_id}
            and not core.config.observers
            and core.pending is None
            and core.promised_epoch == 0
            and core.ensemble_id is None
        )

    def _take_role(self, leader: int, reason: str) -> None:
        core = self._core
        self._is_electing = False
        waiting, self._waiting = self._waiting, {}
        if self._is_alone() and not waiting:
            core.note("this server is alone, and leads")
            self._leader = Leader(core)
            self._leader.begin_alone()
        elif leader == self.settings.server_id:
            core.note(f"this server wishes to lead: {reason}")
            self._leader = Leader(core)
            self._leader.begin()
            for link, (_, join) in waiting.items():
                self._leader.accept(link)
                if join is not None:
                    self._leader.received(link, join)
        else:
            core.note(f"this server wishes to follow server {leader}: {reason}")
            self._learner = Learner(core, leader, self._next_link)
            self._learner.begin()
            for link in waiting:
                self._turn_away(link)

    def _turn_away(self, link: int) -> None:
        """Somebody wants to follow this server, which follows another."""
        reason = f"server {self.settings.server_id} follows server {self.leader_id}"
        self._core.send(link, Refusal(REFUSAL, reason))
        self._core.hang_up(link, reason)

    def _end_role(self, reason: str) -> None:
        core = self._core
        core.leaving = None
        self._first_choice, core.first_choice = core.first_choice, None
        self._gone, core.gone = core.gone, frozenset()
        if self._leader is not None:
            self._may_be_alone = self._may_be_alone and not self._leader.is_alone
            self._leader.end(reason)
        elif self._learner is not None:
            self._next_link = self._learner.next_link
            self._learner.end()
        if not self._is_looking:
            core.effects.append(Look(reason))
            # The first failure costs no time; one after the other, as with a leader that refuses us, more each.
            self._failures = 0 if self._is_established else self._failures + 1
            pause_ms = _RETRY_MS * ((1 << min(self._failures - 1, 10)) - 1) if self._failures else 0
            self._retry_at_ms = core.now_ms + min(pause_ms, self.settings.tick_ms)
        self._leader = self._learner = None
        self._is_established = self._is_electing = False
