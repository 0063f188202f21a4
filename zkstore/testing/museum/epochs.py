"""Bugs of elections and epochs: promises, votes, and what a restart makes of them."""

from __future__ import annotations

from typing import Any

from zkstore.model.zxid import counter_of, epoch_of, make
from zkstore.testing.museum import focus
from zkstore.testing.museum.exhibit import Patches, exhibit
from zkstore.testing.world.hosts import PeerHost
from zkstore.wire.messages import LOOKING, OBSERVING, EpochAck, Vote
from zkstore.wire.segment import Segment
from zkstore.zab import discovery
from zkstore.zab.discovery import Discovery
from zkstore.zab.effects import Promise
from zkstore.zab.election import NOBODY, Candidate, Election
from zkstore.zab.leader import Leader
from zkstore.zab.learner import PROMISING, Learner
from zkstore.zab.peer import Peer
from zkstore.zab.pulse import Pulse


@exhibit(
    "an epoch is promised before the promise is on disk",
    origin="Raft libraries: a vote that is not persisted before it is sent; ZooKeeper before 335 (2011)",
    falls={"R2"},
    seeds_max=10,
)
def promised_in_memory(patches: Patches) -> None:
    """A server answered a candidate at once and wrote down afterwards whom it had promised to follow. After a crash it
    promised the same epoch to another, so that two could lead it."""

    def new_epoch(self: Learner, message: Any) -> str | None:
        wrong: str | None = original(self, message)
        if wrong is None and self.stage == PROMISING:
            self._ack_epoch()
        return wrong

    def done(self: Learner, effect: Any) -> None:
        if not isinstance(effect, Promise):
            finish(self, effect)

    original = patches.set(Learner, "_new_epoch", new_epoch)
    finish = patches.set(Learner, "done", done)


@exhibit(
    "a leader announces an epoch that is not on its own disk",
    origin="ZooKeeper 1291 (2011)",
    falls={"R2"},
    seeds_max=10,
)
def announced_in_memory(patches: Patches) -> None:
    """The leader named the new epoch to its followers and wrote its own promise later. After a crash it could name the
    same epoch again, for another history."""

    def gather(self: Discovery) -> None:
        original(self)
        if self.phase == discovery.PROMISING:
            self.promised()

    original = patches.set(Discovery, "gather", gather)
    promised = Discovery.promised
    patches.set(Discovery, "promised", lambda self: promised(self) if self.phase == discovery.PROMISING else None)


@exhibit(
    "a leader of an epoch below the promise is followed",
    origin="Raft libraries: messages of an older term are not refused",
    falls={"R2"},
    seeds_max=100,
    focus=focus.broken_promises,
)
def older_leader_followed(patches: Patches) -> None:
    """A server that had promised a later epoch still took its history from a leader of an earlier one. What it then
    acknowledged could be committed behind the back of the later leader."""

    def new_epoch(self: Learner, message: Any) -> str | None:
        core = self.core
        if message.epoch >= core.promised_epoch:
            wrong: str | None = original(self, message)
            return wrong
        self.epoch = message.epoch
        self.stage = PROMISING
        self._acked_epoch = core.adopted_epoch
        self._ack_epoch()
        return None

    def ask(self: Discovery, handle: Any) -> str | None:
        handle.join = handle.join._replace(promised_epoch=min(self.epoch, handle.join.promised_epoch))
        wrong: str | None = tell(self, handle)
        return wrong

    original = patches.set(Learner, "_new_epoch", new_epoch)
    tell = patches.set(Discovery, "ask", ask)


@exhibit(
    "votes are compared by zxid alone",
    origin="ZooKeeper 335 and 1081 (2011)",
    falls={"I4", "I14", "I5", "I16"},
    seeds_max=200,
    focus=focus.relay,
)
def votes_by_zxid(patches: Patches) -> None:
    """An election looked at the end of the log and not at the epoch whose history had been adopted. A server with an
    uncommitted tail of a dead epoch could win against those that had agreed to drop it."""

    def is_less(self: Candidate, other: Candidate) -> bool:
        return _without_epoch(self) < _without_epoch(other)

    def acked(self: Discovery, handle: Any, ack: EpochAck) -> None:
        if ack.adopted_epoch >= 0:
            ack = ack._replace(adopted_epoch=self._core.adopted_epoch)
        count(self, handle, ack)

    patches.set(Candidate, "__lt__", is_less)
    patches.set(Candidate, "__gt__", lambda self, other: is_less(other, self))
    count = patches.set(Discovery, "acked", acked)


def _without_epoch(candidate: Candidate) -> tuple[bool, int, int]:
    return candidate.adopted_epoch >= 0, candidate.last_zxid, candidate.leader


@exhibit(
    "a server with a log of a later epoch than it has adopted does not start",
    origin="ZooKeeper 1653, 2307",
    falls={"I2"},
    seeds_max=100,
    focus=focus.lagging,
)
def refuses_to_boot(patches: Patches) -> None:
    """Log and epoch were two files, and a crash between the two writes left the log ahead. The server refused to start
    with an inconsistent epoch, though what it had was the beginning of a sound history."""

    def elect(self: Peer) -> None:
        core = self._core
        if core.epoch_of_log() > core.adopted_epoch:
            core.stop("I2", core.durable[0], f"epoch {core.adopted_epoch} is adopted, and the log is of a later one")
        else:
            original(self)

    original = patches.set(Peer, "_elect", elect)


@exhibit(
    "a learner that has promised more than its leader is turned away for ever",
    origin="etcd 8501 (2017): a member with a higher term that nobody can follow any more",
    falls={"I21"},
    seeds_max=200,
    focus=focus.broken_promises,
)
def never_lets_in(patches: Patches) -> None:
    """A member with a higher term dropped whatever the others sent it, and they did not learn of that term. It could
    neither follow nor win, and stayed outside for as long as nobody else failed."""

    def ask(self: Discovery, handle: Any) -> str | None:
        join = handle.join
        if join.promised_epoch > self.epoch:
            return f"server {join.server_id} has promised epoch {join.promised_epoch}"
        wrong: str | None = original(self, handle)
        return wrong

    original = patches.set(Discovery, "ask", ask)


@exhibit(
    "a leader does not notice that it has lost its quorum",
    origin="Raft as published: only a message of its successor ends a leader",
    falls={"I21"},
    seeds_max=100,
)
def never_steps_down(patches: Patches) -> None:
    """A leader on the smaller side of a partition went on leading: nothing told it to stop but a message of its
    successor. Its clients waited for answers that could not come."""

    patches.set(Pulse, "alive", lambda self: self._core.config.voters | {self._core.server_id})


@exhibit(
    "who comes late compares more of a vote than its leader and epoch",
    origin="ZooKeeper 1732, 1805, 1818",
    falls={"I21"},
    seeds_max=100,
    focus=focus.rejoining,
)
def established_votes_differ(patches: Patches) -> None:
    """A server that joined an established ensemble wanted to hear the same vote from a quorum, round and all. Those who
    had joined at other times said other rounds, so it looked until the leader failed."""

    def consider(self: Election, leading: Vote) -> None:
        if self.state != LOOKING:
            return
        claim = leading._replace(sender=0, state=0)
        supporters = {sender for sender, vote in self._settled.items() if vote._replace(sender=0, state=0) == claim}
        if self._quorums.has_quorum(supporters):
            self._decide(self._candidate(leading), "a quorum follows it already")

    patches.set(Election, "_consider", consider)


@exhibit(
    "who comes late does not count itself",
    origin="zkstore, while it was built",
    falls={"I21"},
    seeds_max=200,
    focus=focus.growing,
)
def does_not_count_itself(patches: Patches) -> None:
    """A server that restarted under a pending reconfiguration wanted to hear a quorum of the old configuration behind
    the leader. That quorum needed itself, so it looked for ever."""

    def consider(self: Election, leading: Vote) -> None:
        voters = self._voters
        self._voters = voters - {self.server_id}
        original(self, leading)
        self._voters = voters

    original = patches.set(Election, "_consider", consider)


@exhibit(
    "an epoch whose predecessor's numbers ran out takes no proposals",
    origin="zkstore, while it was built",
    falls={"I21"},
    seeds_max=50,
    focus=focus.short_epochs,
)
def full_before_it_begins(patches: Patches) -> None:
    """A leader that had given out an epoch's last number asked for a new one, as it must since ZooKeeper 1277. The new
    one found the old one's last number at the end of its history, and took itself for exhausted, too."""

    def is_full(self: Leader) -> bool:
        core = self.core
        return counter_of(core.end[0]) >= core.settings.epoch_counter_max

    patches.set(Leader, "_is_epoch_full", property(is_full))


@exhibit(
    "the numbers of an epoch run over into the next one",
    origin="ZooKeeper 1277 (2012)",
    falls={"I13", "I2", "I3", "I8"},
    seeds_max=20,
    focus=focus.short_epochs,
)
def counter_overflows(patches: Patches) -> None:
    """A leader counted its transactions up without a look at how many numbers an epoch has. The one behind the last
    was the first of the next epoch, which nobody had agreed on and somebody else could be leading."""

    def next_zxid(self: PeerHost) -> int:
        end, epoch = self._end()[0], self.peer.epoch
        if epoch_of(end) < epoch:
            return make(epoch, 1)
        is_last = counter_of(end) >= self.peer.settings.epoch_counter_max
        return make(epoch_of(end) + 1, 1) if is_last else end + 1

    def propose(self: Leader, segment: Segment, claims: Any, new_config: Any) -> None:
        if epoch_of(segment.first_zxid) <= self.epoch:
            original(self, segment, claims, new_config)
            return
        self.broadcast.add(segment)
        self.core.append(segment)
        for handle in list(self._handles.values()):
            self._feed(handle)

    patches.set(Leader, "_is_epoch_full", property(lambda self: False))
    patches.set(PeerHost, "_next_zxid", next_zxid)
    original = patches.set(Leader, "propose", propose)


@exhibit(
    "established votes are looked up among those of this round",
    origin="ZooKeeper 3537 (2019)",
    falls={"I21"},
    seeds_max=100,
    focus=focus.rejoining,
)
def wrong_table(patches: Patches) -> None:
    """What servers say that have a leader was put down in one table and looked up in the other, which holds the votes
    of those that look. A server that came late found no quorum behind the leader there, and looked for ever."""

    def consider(self: Election, leading: Vote) -> None:
        settled = self._settled
        looking = {sender: vote for sender, vote in settled.items() if sender in self._votes}
        self._settled = {sender: vote for sender, vote in looking.items() if vote.round == self.round}
        original(self, leading)
        self._settled = settled

    original = patches.set(Election, "_consider", consider)


@exhibit(
    "votes pass each other while servers know different members",
    origin="zkstore, while it was built",
    falls={"I21"},
    seeds_max=200,
    focus=focus.growing,
)
def votes_pass_each_other(patches: Patches) -> None:
    """A server passed over votes for somebody whom its configuration did not know as a voter, though the others' newer
    one did. Each side voted on for its own candidate, in one round after the other, and nobody was elected."""

    def candidate(self: Election, vote: Vote) -> Candidate:
        return original(self, vote) if vote.leader in self._voters else NOBODY

    original = patches.set(Election, "_candidate", candidate)


@exhibit(
    "a voter that began as an observer is not believed",
    origin="zkstore, found by this simulator",
    falls={"I21"},
    seeds_max=200,
    focus=focus.growing,
)
def promoted_and_not_believed(patches: Patches) -> None:
    """A server that followed as an observer was made a voter, and went on calling itself an observer in what it said of
    its leader. A voter that started again, and needed that one for a quorum, passed it over and looked for ever."""

    def heard(self: Election, vote: Vote, now_ms: int) -> str | None:
        if vote.state == OBSERVING and self.state == LOOKING and vote.sender in self._voters:
            return None
        wrong: str | None = original(self, vote, now_ms)
        return wrong

    original = patches.set(Election, "heard", heard)


EXHIBITS = (
    promised_in_memory,
    announced_in_memory,
    older_leader_followed,
    votes_by_zxid,
    refuses_to_boot,
    never_lets_in,
    never_steps_down,
    established_votes_differ,
    does_not_count_itself,
    full_before_it_begins,
    counter_overflows,
    wrong_table,
    votes_pass_each_other,
    promoted_and_not_believed,
)
