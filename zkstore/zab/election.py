"""Fast leader election: which server should lead. A hint that makes agreement quick; safety never rests on it.

Every server that looks for a leader tells all voters whom it votes for, at first itself, and turns to whoever is
better: by the epoch whose history it has adopted, then the end of its log, then its id. In one round a server's vote
only ever gets better, so votes may be lost, doubled, overtaken or late: the best one heard of a sender counts, and all
servers that hear each other end at the same one (ensemble.md 5, R5).

While a reconfiguration is under way, servers differ in whom they know as a voter. So only the votes of those that a
server knows count with it, but they may be for anybody: whoever has the better log knows better (and discovery asks
again).

Two tables are kept apart (3537): votes of this round, and what servers that are not looking say of their leader. Those
are compared by leader and epoch only (1732, 1805, 1818): their rounds and zxids are from other times.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Final, NamedTuple

from zkstore.wire.messages import FOLLOWING, LEADING, LOOKING, OBSERVING, VOTE, Vote
from zkstore.zab.effects import Gossip
from zkstore.zab.membership import Membership
from zkstore.zab.quorums import Joint, Quorums

ROUND_MAX: Final = 1 << 60
"""Rounds count elections; a vote that names a later one is not believed: one bad message would use the numbers up."""


GUESTS_MAX: Final = 64
"""Servers that are no voters as far as we know, and are told our votes while we look; a newer configuration has few."""


class Candidate(NamedTuple):
    """Who should lead, and why; the larger one is the better. The zxid is the end of its log on disk (R6)."""

    adopted_epoch: int
    last_zxid: int
    leader: int


NOBODY: Final = Candidate(-1, 0, 0)
"""The vote of a server that must not stand and has not heard of anybody who may."""


@dataclass(frozen=True, slots=True)
class ElectionSettings:
    """Durations in milliseconds.

    Attributes:
        finalize_ms: how long a quorum that agrees waits for those voters that it has not heard agree, too.
        resend_min_ms, resend_max_ms: a vote is told again after the first, then twice as long, up to the second.
    """

    finalize_ms: int = 100
    resend_min_ms: int = 200
    resend_max_ms: int = 2_000


class Decision(NamedTuple):
    """Whom to follow (or to be: lead, if it is this server), and for the log why."""

    leader: int
    reason: str


class Election:
    """One server's votes. Call `configure`, then `start`; then `heard` and `tick` until there is a `decision`.

    It goes on answering others after that: keep calling `heard`. Its owner takes `gossip` and empties the list.

    Attributes:
        state: what this server says of itself in votes; LOOKING until the decision.
        round: which election this is; servers that agree share it.
        next_due_ms: when `tick` has something to do; None while it has not.
    """

    def __init__(self, server_id: int, settings: ElectionSettings) -> None:
        self.server_id = server_id
        self.gossip: list[Gossip] = []
        self.decision: Decision | None = None
        self.state = LOOKING
        self.round = 0
        self._settings = settings
        self._quorums: Quorums
        self._voters: frozenset[int] = frozenset()
        self._observers: frozenset[int] = frozenset()
        self._config_version = 0
        self._first = self._vote = NOBODY
        # Of this round: whom each voter votes for.
        self._votes: dict[int, Candidate] = {}
        # What voters that are not looking say; once this server is not looking either, what all of them said since.
        self._settled: dict[int, Vote] = {}
        # Who is no voter as far as we know: a newer configuration may count its vote, so it needs ours.
        self._guests: set[int] = set()
        # Those of them that stand: they know a configuration that we do not, so we do not know who all voters are.
        self._contenders: set[int] = set()
        # What was answered to whom last: two servers that cannot convince each other must not go on about it.
        self._answers: dict[int, tuple[Vote, Vote]] = {}
        self._gone: set[int] = set()
        self._is_established = False
        self._resend_ms = 0
        self._resend_due_ms: int | None = None
        self._finalize_due_ms: int | None = None

    @property
    def next_due_ms(self) -> int | None:
        """When `tick` has something to do."""
        dues = [due for due in (self._resend_due_ms, self._finalize_due_ms) if due is not None]
        return min(dues, default=None)

    # --- what the owner says ----------------------------------------------------------------------

    def configure(self, current: Membership, pending: Membership | None = None) -> None:
        """Whose votes count from now on; while a change is pending, quorums of both are needed. Before `start`, too."""
        self._quorums = Joint(current.quorums, pending.quorums) if pending else current.quorums
        self._voters = self._quorums.voters
        members = self._voters | current.observers | (pending.observers if pending else frozenset())
        self._observers = members - self._voters
        self._config_version = current.version
        self._guests.clear()
        self._contenders.clear()
        if self.state == LOOKING:
            self._votes = {sender: vote for sender, vote in self._votes.items() if sender in self._voters}
            self._finalize_due_ms = None

    def start(
        self,
        now_ms: int,
        adopted_epoch: int,
        last_zxid: int,
        *,
        may_stand: bool = True,
        first_choice: int | None = None,
        gone: Set[int] = frozenset(),
    ) -> None:
        """Look for a leader, in a new round.

        Args:
            adopted_epoch, last_zxid: what is on this server's disk.
            may_stand: False for one whose disk takes no writes: it votes for others only.
            first_choice: the server to vote for instead of oneself (a leader that retires has named it).
            gone: servers whose connection just broke; nobody waits for their votes, unless they speak again.
        """
        self.round += 1
        self.state, self.decision, self._is_established = LOOKING, None, False
        self._votes.clear()
        self._settled.clear()
        self._answers.clear()
        self._gone = set(gone)
        self._finalize_due_ms = None
        choice = self.server_id if first_choice is None or not self._may_lead(first_choice) else first_choice
        stands = (choice != self.server_id or may_stand) and self._may_lead(choice)
        self._first = Candidate(adopted_epoch, last_zxid, choice) if stands and self._is_voter else NOBODY
        self._turn_to(self._first)
        self._resend_ms = self._settings.resend_min_ms
        self._resend_due_ms = now_ms + self._staggered(self._resend_ms)
        self._count(now_ms)

    def heard(self, vote: Vote, now_ms: int) -> str | None:
        """A vote came in. Returns what is wrong with it, for the log, if something is."""
        if vote.sender == self.server_id:
            return "another server sends votes with this server's id; give each its own (myid)"
        if vote.round > ROUND_MAX:
            return f"server {vote.sender} names the impossible round {vote.round}; the vote is not counted"
        if self.state != LOOKING:
            if vote.sender in self._voters:
                self._settled[vote.sender] = vote
            if vote.state == LOOKING:
                self._tell([vote.sender])
        elif vote.sender in self._voters:
            self._gone.discard(vote.sender)
            if vote.state == LOOKING:
                self._heard_looking(vote, now_ms)
            else:
                # One that observes may have been given its vote since, or have lost it in a change that is news here.
                self._heard_settled(vote, now_ms)
        elif vote.sender in self._guests or len(self._guests) < GUESTS_MAX:
            self._guests.add(vote.sender)
            if vote.state == LEADING:
                self._heard_settled(vote, now_ms)
            elif vote.state == LOOKING and self._is_voter:
                if vote.leader == vote.sender and vote.adopted_epoch >= 0:
                    self._contenders.add(vote.sender)
                self._answer(vote)
        return None

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        if self._finalize_due_ms is not None and now_ms >= self._finalize_due_ms:
            self._decide(self._vote, f"a quorum agrees in round {self.round}")
        elif self._resend_due_ms is not None and now_ms >= self._resend_due_ms:
            self._tell(self._voters | self._guests)
            self._resend_ms = min(self._resend_ms * 2, self._settings.resend_max_ms)
            self._resend_due_ms = now_ms + self._staggered(self._resend_ms)

    def establish(self, epoch: int) -> None:
        """The decision has come true: the leader leads `epoch`, and this server leads it or is in step.

        Told to everybody at once, observers too: that is what those who look are waiting for.
        """
        assert self.decision is not None, "a server that looks is not established"
        self._is_established = True
        self._vote = Candidate(epoch, 0, self.decision.leader)
        self._tell(self._voters | self._observers)

    def futile(self) -> str | None:
        """Why it is in vain to wait for the decision to come true; None if it is not. To be asked after `heard`.

        A supporter, or the leader, that is heard looking in a later round or with another leader has changed its mind;
        waiting out the time limit for it would cost seconds (3109).
        """
        if self.decision is None or self._is_established:
            return None
        turned = {sender for sender, vote in self._settled.items() if self._has_turned(vote)}
        if self.state != LEADING:
            return f"server {self.decision.leader} does not lead" if self.decision.leader in turned else None
        if self._quorums.has_quorum(self._voters - turned):
            return None
        return f"supporters have turned away: {', '.join(map(str, sorted(turned)))}"

    # --- this round -------------------------------------------------------------------------------

    def _heard_looking(self, vote: Vote, now_ms: int) -> None:
        settled = self._settled.get(vote.sender)
        if settled is not None and settled.round != vote.round:
            # It looks again. One of the same round was only overtaken by what it said after it.
            del self._settled[vote.sender]
        if not self._is_voter:
            return
        theirs = self._candidate(vote)
        if vote.round < self.round:
            self._answer(vote)
            return
        if vote.round > self.round:
            self.round = vote.round
            self._votes.clear()
            self._turn_to(max(self._first, theirs))
        elif theirs < self._vote:
            self._answer(vote)
        self._take(vote.sender, theirs, now_ms)

    def _take(self, sender: int, theirs: Candidate, now_ms: int) -> None:
        """A voter's choice in this round."""
        if theirs > self._vote:
            self._turn_to(theirs)
        self._votes[sender] = max(self._votes.get(sender, NOBODY), theirs)
        self._count(now_ms)

    def _count(self, now_ms: int) -> None:
        """Whether this round is over: at once where all agree, a little later where a quorum does."""
        leader = self._vote.leader
        supporters = {s for s, theirs in self._votes.items() if theirs.leader == leader and theirs != NOBODY}
        if not self._quorums.has_quorum(supporters):
            self._finalize_due_ms = None
        elif supporters >= self._voters - self._gone and not self._contenders:
            self._decide(self._vote, f"all voters agree in round {self.round}")
        elif self._finalize_due_ms is None:
            self._finalize_due_ms = now_ms + self._settings.finalize_ms

    def _turn_to(self, candidate: Candidate) -> None:
        self._vote = candidate
        self._finalize_due_ms = None
        if self._is_voter:
            self._votes[self.server_id] = candidate
        self._tell(self._voters | self._guests)

    # --- those who have a leader ------------------------------------------------------------------

    def _heard_settled(self, vote: Vote, now_ms: int) -> None:
        if vote.sender in self._voters and self._is_stranger(vote.leader) and len(self._guests) < GUESTS_MAX:
            # A leader that this configuration does not know yet does not know either that this server looks.
            self._guests.add(vote.leader)
            self._tell([vote.leader])
        known = self._settled.get(vote.sender)
        if known is None or not (_is_same_choice(known, vote) and known.adopted_epoch > vote.adopted_epoch):
            self._settled[vote.sender] = vote
        for leading in list(self._settled.values()):
            if leading.state == LEADING and leading.sender == leading.leader != self.server_id:
                self._consider(leading)
        counts = self._is_voter and vote.sender in self._voters and vote.state != OBSERVING
        if self.state == LOOKING and counts and vote.round == self.round:
            self._take(vote.sender, self._candidate(vote), now_ms)

    def _consider(self, leading: Vote) -> None:
        """A server says that it leads: it does if a quorum says so, too, or would with this server in it."""
        claim = (leading.leader, leading.adopted_epoch)
        if self.state != LOOKING or leading.adopted_epoch < 0:
            return
        supporters = {sender for sender, vote in self._settled.items() if (vote.leader, vote.adopted_epoch) == claim}
        supporters |= {self.server_id} & self._voters
        if self._quorums.has_quorum(supporters):
            self.round = leading.round
            # Even if it has no weight here: they follow it by a configuration that is news to this server.
            established = Candidate(leading.adopted_epoch, leading.last_zxid, leading.leader)
            self._decide(established, "a quorum follows it already")

    def _has_turned(self, vote: Vote) -> bool:
        assert self.decision is not None
        if vote.state == LOOKING:
            # In one round votes only get better: a better one than we decided for came after it.
            return vote.round > self.round or (vote.round == self.round and self._candidate(vote) > self._vote)
        return vote.leader != self.decision.leader and vote.round >= self.round

    # --- what is said -----------------------------------------------------------------------------

    def _decide(self, candidate: Candidate, reason: str) -> None:
        self._vote = candidate
        self.decision = Decision(candidate.leader, reason)
        if candidate.leader == self.server_id:
            self.state = LEADING
        else:
            self.state = FOLLOWING if self._is_voter else OBSERVING
        self._settled.clear()
        self._finalize_due_ms = self._resend_due_ms = None
        self._tell(self._voters | self._guests)

    def _answer(self, vote: Vote) -> None:
        """Tell one that is behind, once: what it says again and again is answered when our vote is told again."""
        answer = (vote, self._own_vote())
        if self._answers.get(vote.sender) != answer:
            self._answers[vote.sender] = answer
            self._tell([vote.sender])

    def _tell(self, server_ids: Iterable[int]) -> None:
        vote = self._own_vote()
        self.gossip += [Gossip(to, vote) for to in sorted(server_ids) if to != self.server_id]

    def _own_vote(self) -> Vote:
        return Vote(
            VOTE,
            self.server_id,
            self.state,
            self.round,
            self._vote.leader,
            self._vote.adopted_epoch,
            self._vote.last_zxid,
            self._config_version,
        )

    def _candidate(self, vote: Vote) -> Candidate:
        """Whom a vote is for. One that we do not know as a voter, or that has no weight here, stands by a newer
        configuration: by ours, it would not stand."""
        if vote.adopted_epoch < 0:
            return NOBODY
        return Candidate(vote.adopted_epoch, vote.last_zxid, vote.leader)

    def _is_stranger(self, server_id: int) -> bool:
        return server_id not in self._voters and server_id not in self._guests and server_id != self.server_id

    def _may_lead(self, server_id: int) -> bool:
        return server_id in self._voters and self._quorums.weight(server_id) > 0

    @property
    def _is_voter(self) -> bool:
        return self.server_id in self._voters

    def _staggered(self, interval_ms: int) -> int:
        """Spread by id, so that servers that started together do not go on talking at the same instants (R7)."""
        return interval_ms + interval_ms * (self.server_id % 8) // 16


def _is_same_choice(one: Vote, other: Vote) -> bool:
    return (one.round, one.leader) == (other.round, other.leader)
