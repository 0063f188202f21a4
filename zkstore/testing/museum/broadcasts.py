"""Bugs of broadcast and membership: who counts, when something is committed, and which numbers are given out."""

from __future__ import annotations

from typing import Any

from zkstore.testing.museum import focus
from zkstore.testing.museum.exhibit import Patches, exhibit
from zkstore.wire.segment import Segment
from zkstore.zab import broadcast
from zkstore.zab.broadcast import Broadcast
from zkstore.zab.core import Core
from zkstore.zab.effects import Append, Confirmed, Install
from zkstore.zab.leader import ACTIVE, SYNCING, Leader
from zkstore.zab.learner import Learner
from zkstore.zab.membership import Membership
from zkstore.zab.peer import Peer
from zkstore.zab.pulse import Pulse
from zkstore.zab.quorums import Majority, agreed_point

_MEMBERS = focus.plan("reconfigured under fire")


@exhibit(
    "observers count for the quorum",
    origin="ZooKeeper 2959",
    falls={"I1", "I18", "R17"},
    seeds_max=100,
    focus=focus.watched_by_observers,
)
def observers_counted(patches: Patches) -> None:
    """Acknowledgements of a new leader were counted whoever had sent them. With observers among them, a leader could
    begin its epoch, and commit, while most of the voters followed another."""

    def has_quorum(self: Core, ids: set[int]) -> bool:
        voters = self.config.voters
        return len(ids) * 2 > len(voters)

    def agreed(self: Broadcast, config: Membership) -> int:
        points = sorted(self.acked.values(), reverse=True)
        quorum = len(config.voters) // 2 + 1
        return points[quorum - 1] if len(points) >= quorum else 0

    patches.set(Core, "has_quorum", has_quorum)
    patches.set(Broadcast, "_agreed", agreed)


@exhibit(
    "half of the voters commit",
    origin="Raft libraries: the median of an even number of members",
    falls={"I18"},
    seeds_max=100,
    focus=_MEMBERS,
)
def half_commits(patches: Patches) -> None:
    """The commit point was found by sorting what every member has and taking the middle one. Of four members that is
    what two of them have."""

    def agreed_point(quorums: Any, points: dict[int, int]) -> int | None:
        voters = quorums.voters
        reached = sorted((points.get(server_id, 0) for server_id in voters), reverse=True)
        return reached[(len(reached) - 1) // 2] or None

    patches.set(broadcast, "agreed_point", agreed_point)


@exhibit(
    "the leader counts itself before its disk has it",
    origin="etcd 14370 (2022)",
    falls={"I18"},
    seeds_max=20,
)
def leader_counts_early(patches: Patches) -> None:
    """The leader's own vote for an entry was counted as soon as it was proposed, and its log was written beside. What
    one other server had was taken for what a quorum has."""

    def propose(self: Leader, segment: Segment, *arguments: Any) -> None:
        original(self, segment, *arguments)
        self.broadcast.acked[self.core.server_id] = segment.last_zxid

    original = patches.set(Leader, "propose", propose)


@exhibit(
    "a follower applies what it has logged",
    origin="ZooKeeper 2926 (2018)",
    falls={"I18"},
    seeds_max=20,
)
def applied_when_logged(patches: Patches) -> None:
    """A follower changed its state when a proposal came, and not when it was committed. Clients were shown, and
    sessions were given, what the next leader knew nothing of."""

    def done(self: Learner, effect: Any) -> None:
        original(self, effect)
        if isinstance(effect, Append):
            self.core.commit_to(self.core.durable[0])

    original = patches.set(Learner, "done", done)


@exhibit(
    "entries of earlier epochs are committed by counting",
    origin="Raft (2014): figure 8 of the paper, a bug in many implementations",
    falls={"I18", "I4", "I14"},
    seeds_max=50,
    focus=focus.relay,
)
def committed_by_counting(patches: Patches) -> None:
    """A new leader took an entry of an earlier term for committed once a majority had it. A server with a later term
    and without the entry could still be elected, and replace it."""

    def own_adopted(self: Leader) -> None:
        original(self)
        self.broadcast.acked.setdefault(self.core.server_id, self.core.durable[0])
        _count_all(self)

    def acked(self: Leader, handle: Any, ack: Any) -> str | None:
        wrong: str | None = take(self, handle, ack)
        if wrong is None and self.phase == SYNCING:
            self.broadcast.acked[handle.server_id] = handle.acked_zxid
            _count_all(self)
        return wrong

    original = patches.set(Leader, "_own_adopted", own_adopted)
    take = patches.set(Leader, "_acked", acked)


def _count_all(leader: Leader) -> None:
    core = leader.core
    zxid = min(leader.broadcast.agreed_zxid(), core.durable[0])
    point = core.history.end_at_or_before(zxid)
    if point is not None:
        core.commit_to(point[0])


@exhibit(
    "a reconfiguration is decided by the new members alone",
    origin="Raft (2015): changes of one server at a time",
    falls={"I18", "I1", "I4"},
    seeds_max=100,
    focus=focus.growing,
)
def no_joint_quorum(patches: Patches) -> None:
    """From the moment that it stood in the log, only the new configuration was asked. Old and new leader could each
    have a majority of what they took for the members."""

    def agreed_zxid(self: Broadcast) -> int:
        pending = self._core.pending
        return self._agreed(pending[1] if pending else self._core.config)

    patches.set(
        Core, "has_quorum", lambda self, ids: (self.pending[1] if self.pending else self.config).has_quorum(ids)
    )
    patches.set(Broadcast, "agreed_zxid", agreed_zxid)


@exhibit(
    "a reconfiguration is not learned from the log",
    origin="ZooKeeper 2865, 3829",
    falls={"I18", "I1", "I4", "I21"},
    seeds_max=200,
    focus=focus.growing,
)
def config_beside_the_log(patches: Patches) -> None:
    """The members stood in a file beside the log, and a server that led next looked at its file only. What the log's
    tail had changed, it did not know when it committed that tail."""

    patches.set(Peer, "config_logged", lambda self, membership, zxid: None)


@exhibit(
    "a leader whose disk takes no writes goes on",
    origin="ZooKeeper 2247 (2016)",
    falls={"I3", "I8"},
    seeds_max=100,
    focus=focus.plan("full disks"),
)
def leads_on_a_full_disk(patches: Patches) -> None:
    """The leader's log could not be written, and it went on leading. What its followers had got meanwhile was numbered
    again for something else."""

    def failed(self: Peer, effect: Any, is_full: bool, text: str) -> None:
        leader = self._leader
        if leader is not None and is_full and isinstance(effect, Append):
            leader.is_alone, was_alone = True, leader.is_alone
            original(self, effect, is_full, text)
            leader.is_alone = was_alone
            self._core.disk_asked_ms = self._core.now_ms
        else:
            original(self, effect, is_full, text)

    original = patches.set(Peer, "failed", failed)


@exhibit(
    "a leader that was deposed confirms itself",
    origin="ZooKeeper 1675; etcd 741 (2014)",
    falls={"R17"},
    seeds_max=100,
    focus=focus.plan("paused leader", "isolated leader with a tail", "asymmetric"),
)
def confirms_itself(patches: Patches) -> None:
    """A leader answered syncs and reads out of what it knew. Cut off, and with a successor that it had not heard of, it
    answered what was long out of date."""

    def confirm(self: Pulse) -> int:
        self._ticket = self._asked_ticket = self._asked_ticket + 1
        self._core.effects.append(Confirmed(self._ticket))
        return self._ticket

    patches.set(Pulse, "confirm", confirm)


@exhibit(
    "heads are counted where weights decide",
    origin="ZooKeeper's hierarchical quorums, counted as majorities",
    falls={"I18", "I1", "I4"},
    seeds_max=50,
    focus=focus.weighing,
)
def heads_counted(patches: Patches) -> None:
    """Groups and weights were read, shown, and not asked when it came to count: any majority decided. Two majorities
    meet in some server, but none of them need be a quorum of those who have the weight."""

    def has_quorum(self: Core, ids: set[int]) -> bool:
        configs = [self.config] if self.pending is None else [self.config, self.pending[1]]
        return all(Majority(config.voters).has_quorum(ids) for config in configs)

    def agreed(self: Broadcast, config: Membership) -> int:
        return agreed_point(Majority(config.voters), self.acked) or 0

    patches.set(Core, "has_quorum", has_quorum)
    patches.set(Broadcast, "_agreed", agreed)


@exhibit(
    "what makes a quorum complete is not looked at",
    origin="zkstore, found by this simulator",
    falls={"I21"},
    seeds_max=100,
    focus=focus.broken_links,
)
def completed_and_not_seen(patches: Patches) -> None:
    """A learner came back with what only its leader had, and with that a quorum had it. The leader looked whether
    something could be committed when an acknowledgement came, and this one had come with the learner's new link."""

    def new_leader_acked(self: Leader, handle: Any, ack: Any) -> str | None:
        busy.append(self.phase == ACTIVE)
        wrong: str | None = original(self, handle, ack)
        busy.pop()
        return wrong

    def commit(self: Leader) -> None:
        if not busy or not busy[-1]:
            decide(self)

    busy: list[bool] = []
    original = patches.set(Leader, "_new_leader_acked", new_leader_acked)
    decide = patches.set(Leader, "_commit", commit)


@exhibit(
    "a reconfiguration outlives the log that it lay in",
    origin="zkstore, found by this simulator",
    falls={"I18", "I1", "I4", "I13", "I21"},
    seeds_max=200,
    focus=focus.changes_and_snapshots,
)
def pending_after_a_snapshot(patches: Patches) -> None:
    """A server with an uncommitted reconfiguration at the end of its log was sent a snapshot instead, and went on
    taking the change for pending. It came into force with the next commit, though it had never been decided."""

    def finish(self: Core, effect: Any) -> None:
        pending = self.pending
        original(self, effect)
        if isinstance(effect, Install) and pending is not None:
            self.pending = pending

    original = patches.set(Core, "finish", finish)


EXHIBITS = (
    observers_counted,
    half_commits,
    leader_counts_early,
    applied_when_logged,
    committed_by_counting,
    no_joint_quorum,
    config_beside_the_log,
    leads_on_a_full_disk,
    confirms_itself,
    heads_counted,
    completed_and_not_seen,
    pending_after_a_snapshot,
)
