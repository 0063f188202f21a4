"""One server's replica of the state: the tree, what has been learned and awaits its commit, and everybody who is here.

What is the same on every server stands here; what differs is the role's affair (`role`): the leader makes segments of
what clients ask for, a learner forwards it and learns the segments. Either way they await their commit in one queue,
and are applied, and answered, by the same code (`commit`).

    expect() or learn()    a segment, of which nothing has happened yet
    commit_to(zxid)        a quorum has all up to there: apply it, watch events, answers
    drop_after(zxid)       what is behind there never happened, nor will it

The server sets `now_ms` (a clock that does not jump, for sessions and latencies) and `time_ms` (wall clock, for
txns) before each turn, and calls `tick` now and then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Final

from zkstore.errors import InvariantError
from zkstore.model import acl as acls
from zkstore.model.acl import OPEN_ACL, Acl, Identity
from zkstore.model.sessions import SessionTracker, first_session_id
from zkstore.model.tree import Tree
from zkstore.model.txns import Txn
from zkstore.model.watches import Watches
from zkstore.replica import sessions
from zkstore.replica.commit import Commits
from zkstore.replica.conversation import Conversation, Word
from zkstore.replica.figures import Figures
from zkstore.replica.leading import Leading
from zkstore.replica.learning import Learning
from zkstore.replica.listings import Listings
from zkstore.replica.local_sessions import LocalSessions
from zkstore.replica.outstanding import Outstanding
from zkstore.replica.proposal import Proposal
from zkstore.replica.read_only import PATIENCE_MS, ReadOnly
from zkstore.replica.recall import Recall
from zkstore.replica.reconfig import Reconfiguration
from zkstore.replica.role import ALONE, Claim, Ensemble, Idle, Role
from zkstore.replica.settings import ReplicaSettings
from zkstore.replica.throttled import Throttle, ThrottledConversation
from zkstore.replica.waiting import State, Syncs
from zkstore.wire import segment as segments
from zkstore.wire.records import ConnectRequest
from zkstore.wire.segment import Segment
from zkstore.zab.membership import Membership

_SIZE: Final = attrgetter("size")
_DIGEST_EVERY_TXNS: Final = 128
_DIGESTS_KEPT: Final = 1024
_NOTICES_MAX: Final = 20


class Replica:
    """One server's state, and everybody who talks to it.

    Attributes:
        tree: what is committed; reads see this and nothing else.
        role: what this server is in its ensemble; what a client's write does is up to it.
        outstanding: the tree as it will be once what the leader has proposed is applied; empty elsewhere.
        outstanding_bytes: clients' writes that are under way from this server.
        learned_zxid, learned_crc: where what has been learned or proposed ends; the tree, where nothing is under way.
        applied_crc: of the last segment applied.
        pending_count: txns that await their commit.
        next_session_id, make_password: for the next session.
        listings: children's names as they are answered.
        watches: who wants to be told of what.
        syncs: of clients here, that wait for something.
        tracker: live sessions and when they expire; on the leader only.
        local: sessions that only this server knows.
        attached: session id to the conversation that has it here.
        ready: conversations with bytes to send or to be closed, in order; the server empties it.
        conversations: all that have not ended, in order of arrival.
        remember: answers a request for history, now or later; set by a server that offers it.
        words: the four-letter words, set by the server.
        digests: (zxid, digest of the tree), the newest last; every 128 txns or so, at the ends of segments.
        notices: what the server should log; it empties the list.
        refuses_growth: set by the server when memory runs out: creates and new data get an error.
    """

    __slots__ = (  # more attributes than a dictionary of instances shares: 0.7 us of a segment
        "_commits",
        "_digest_due_zxid",
        "_idle_since_ms",
        "_joined",
        "_pending",
        "_recent",
        "_throttle",
        "applied_crc",
        "attached",
        "conversations",
        "digests",
        "figures",
        "frame_bytes_max",
        "learned_crc",
        "learned_zxid",
        "listings",
        "local",
        "make_password",
        "next_session_id",
        "notices",
        "now_ms",
        "outstanding",
        "outstanding_bytes",
        "pending_count",
        "ready",
        "refuses_growth",
        "remember",
        "role",
        "settings",
        "super_digest",
        "syncs",
        "time_ms",
        "tracker",
        "tree",
        "watches",
        "words",
    )

    def __init__(
        self,
        tree: Tree,
        settings: ReplicaSettings,
        *,
        now_ms: int,
        time_ms: int,
        last_crc: int,
        make_password: Callable[[], bytes],
    ) -> None:
        """Start from a recovered tree, idle; `last_crc` is of the segment that it ends with, 0 if there is none."""
        self.settings = settings
        self.now_ms = now_ms
        self.time_ms = time_ms
        self.frame_bytes_max = settings.frame_bytes_max
        self.super_digest = settings.super_digest
        self.watches: Watches[Conversation] = Watches()
        self.tracker = SessionTracker(settings.tick_ms)
        self.local = LocalSessions(self)
        self.attached: dict[int, Conversation] = {}
        self.conversations: dict[Conversation, None] = {}
        self.ready: dict[Conversation, None] = {}
        self.figures = Figures()
        self.remember: Callable[[Recall], None] | None = None
        self.words: dict[bytes, Word] = {}
        self.refuses_growth = False
        self.notices: list[str] = []
        self.make_password = make_password
        self.next_session_id = first_session_id(settings.server_id, time_ms)
        self.role: Role = Idle("the server is starting")
        self._idle_since_ms = now_ms
        self.outstanding_bytes = 0
        self.pending_count = 0
        self.syncs = Syncs()
        self._joined: list[Conversation] = []
        self._throttle = None if settings.requests is None else Throttle(self, settings.requests)
        self._pending: deque[tuple[Segment, list[Proposal]]] = deque()
        self._set_tree(tree, last_crc)

    def _set_tree(self, tree: Tree, crc: int) -> None:
        self.tree = tree
        self.learned_zxid = tree.zxid
        self.learned_crc = self.applied_crc = crc
        self.listings = Listings(tree)
        self.outstanding = Outstanding(tree)
        self.digests: deque[tuple[int, int]] = deque(maxlen=_DIGESTS_KEPT)
        self._keep_digest()
        self._recent: deque[tuple[int, int]] = deque([(tree.zxid, tree.digest)], maxlen=_DIGESTS_KEPT)
        self._commits = Commits(self)

    def notice(self, text: str) -> None:
        """Something that whoever runs the server should read; the server logs it. Bounded: more is dropped."""
        if len(self.notices) < _NOTICES_MAX:
            self.notices.append(text)

    @property
    def has_outstanding(self) -> bool:
        """Whether anything is under way."""
        return bool(self.role.open_count or self._pending)

    def allows(self, acl: tuple[Acl, ...], permission: int, identities: tuple[Identity, ...]) -> bool:
        """Whether one of the identities has one of the permissions."""
        return acl is OPEN_ACL or self.settings.skip_acl or acls.allows(acl, permission, identities)

    # --- roles ------------------------------------------------------------------------------------

    def lead(self, epoch: int = 0, ensemble: Ensemble = ALONE, members: Membership | None = None) -> Leading:
        """All that was learned is committed: propose. `epoch` 0 and no members are those of a server alone."""
        assert not self._pending, "a leader begins with what is committed"
        self._end_read_only()
        self.local.restart()
        reconfiguration = Reconfiguration(self, ensemble, members)
        self.role = leading = Leading(self, epoch, ensemble, reconfiguration)
        return leading

    def follow(self, ensemble: Ensemble, link: int) -> Learning:
        """In step with the leader at the other end of the link."""
        self._end_read_only()
        self.local.restart()
        self.role = learning = Learning(self, ensemble, link)
        return learning

    def look(self, reason: str) -> None:
        """Neither: end every conversation that has a session, or wants one. What was learned may yet be committed.

        A server in read-only mode stays in it: it has no leader, as before.
        """
        if not self.role.is_read_only:
            self._serve_nobody(reason)

    def _serve_nobody(self, reason: str) -> None:
        self.role = Idle(reason)
        self._idle_since_ms = self.now_ms
        ended = [conversation for conversation in self.conversations if conversation.state != State.GREETING]
        for conversation in ended:
            conversation.end(None)
        if ended:
            self.notice(f"{len(ended)} clients' connections closed: {reason}")
        for _, proposals in self._pending:
            for proposal in proposals:
                proposal.conversation = None
                proposal.size = 0
        self.outstanding.clear()
        self.outstanding_bytes = 0
        self.syncs.waiting.clear()
        self._joined.clear()
        self.tracker = SessionTracker(self.settings.tick_ms)

    def _end_read_only(self) -> None:
        if self.role.is_read_only:
            self._serve_nobody("read-only mode ends")
            if not self.settings.local_sessions:
                self.local.clear()

    def tick(self) -> None:
        """Time has passed."""
        self.role.tick()
        if self.local and self.role.is_serving:
            self.local.expire()
        self.let_in()
        if self.settings.read_only_mode and type(self.role) is Idle:
            idle_ms = self.now_ms - self._idle_since_ms
            if idle_ms >= max(PATIENCE_MS, self.settings.tick_ms):
                self.local.restart()
                self.role = ReadOnly(self, self.role.reason)
                self.notice(f"no leader for {idle_ms} ms: read-only mode begins")

    def postpone(self, by_ms: int) -> None:
        """The server itself stood still for so long and heard nobody: sessions get this much longer."""
        self.tracker.postpone(by_ms)
        self.local.tracker.postpone(by_ms)

    # --- conversations and sessions ---------------------------------------------------------------

    def converse(self, peer: tuple[str, int]) -> Conversation:
        """A client has connected from `peer`."""
        throttle = self._throttle
        conversation = Conversation(self, peer) if throttle is None else ThrottledConversation(self, peer, throttle)
        self.conversations[conversation] = None
        return conversation

    def make_nonce(self) -> str:
        """Something that nobody can guess, in letters and digits."""
        return self.make_password().hex()

    def leave(self, conversation: Conversation) -> None:
        """A conversation has ended; its session lives on until it expires."""
        self.conversations.pop(conversation, None)
        self.figures.sent += conversation.sent
        self.watches.drop(conversation)
        conversation.waiting.clear()
        if self.attached.get(conversation.session_id) is conversation:
            del self.attached[conversation.session_id]

    def touch(self, session_id: int) -> bool:
        """The session's client is alive; False if the session is not any more."""
        return self.role.touch(session_id)

    def connect(self, conversation: Conversation, request: ConnectRequest) -> None:
        """A client asks for a session, or for its own back."""
        sessions.connect(self, conversation, request)

    def admit(self, conversation: Conversation, session_id: int, timeout_ms: int, password: bytes) -> None:
        """The session, new or come back, is this conversation's."""
        self.attached[session_id] = conversation
        conversation.welcome(session_id, timeout_ms, password)
        self._joined.append(conversation)

    def resume_joined(self) -> None:
        """Go on with what clients sent behind their ConnectRequest."""
        while self._joined:
            conversation = self._joined.pop()
            if conversation.has_input:
                conversation.receive(b"")

    def let_in(self) -> None:
        """Less may be under way than before: let requests in that wait for it."""
        if self._throttle is not None:
            self._throttle.advance()

    # --- segments ---------------------------------------------------------------------------------

    def expect(self, segment: Segment, proposals: list[Proposal]) -> None:
        """A segment of the role's own making follows what was learned before."""
        self._pending.append((segment, proposals))
        self.pending_count += len(proposals)
        self.learned_zxid = segment.last_zxid
        self.learned_crc = segment.crc

    def learn(self, segment: Segment, claims: tuple[Claim, ...] = ()) -> list[Txn]:
        """A segment from the leader, or from the log: it follows what was learned before; gives its txns.

        Raises InvariantError and DamageError where it does not, or cannot be understood.
        """
        if (segment.prev_zxid, segment.prev_crc) != (self.learned_zxid, self.learned_crc):
            raise InvariantError(
                "I8",
                segment.first_zxid,
                f"the segment continues {segment.prev_zxid:#x}, crc {segment.prev_crc:08x}; what was learned ends at"
                f" {self.learned_zxid:#x}, crc {self.learned_crc:08x}",
            )
        txns = segments.txns(segment)
        self.expect(segment, self.role.claim(txns, claims))
        return txns

    def drop_after(self, zxid: int) -> None:
        """What was learned behind `zxid`, the end of a segment, was never committed."""
        if zxid < self.tree.zxid:
            raise InvariantError("I14", self.tree.zxid, f"committed, and to be cut off at {zxid:#x}")
        while self._pending and self._pending[-1][0].last_zxid > zxid:
            _, proposals = self._pending.pop()
            self.pending_count -= len(proposals)
        self._end_at_last()

    def forget_pending(self) -> list[Proposal]:
        """Nothing that awaits its commit will ever have it: the proposals, in order."""
        lost = [proposal for _, proposals in self._pending for proposal in proposals]
        self._pending.clear()
        self.pending_count = 0
        self._end_at_last()
        return lost

    def _end_at_last(self) -> None:
        if self._pending:
            last = self._pending[-1][0]
            self.learned_zxid, self.learned_crc = last.last_zxid, last.crc
        else:
            self.learned_zxid, self.learned_crc = self.tree.zxid, self.applied_crc

    def replace(self, tree: Tree, crc: int) -> None:
        """Another tree takes the place of all that is here: a snapshot, which ends with a segment of that CRC."""
        self._end_read_only()
        assert not self.role.is_serving, "the tree is replaced under clients' feet"
        self._pending.clear()
        self.pending_count = 0
        self._set_tree(tree, crc)

    def commit_to(self, zxid: int) -> None:
        """Everything up to `zxid`, which ends a segment, is on a quorum's disks: apply it and answer.

        Raises InvariantError where the digest that a segment names is not this tree's.
        """
        tree, pending, syncs, recent = self.tree, self._pending, self.syncs, self._recent
        commits = self._commits
        while pending and pending[0][0].last_zxid <= zxid:
            segment, proposals = pending[0]
            while recent[0][0] < segment.digest_zxid and len(recent) > 1:
                recent.popleft()  # Segments name later and later ends.
            if recent[0][0] == segment.digest_zxid and recent[0][1] != segment.digest:
                text = f"the tree's digest is {recent[0][1]:016x}, the leader's was {segment.digest:016x}"
                raise InvariantError("I15", segment.digest_zxid, text)
            pending.popleft()
            self.pending_count -= len(proposals)
            self.outstanding_bytes -= sum(map(_SIZE, proposals))
            self.applied_crc = segment.crc
            if syncs.waiting:
                for number, proposal in enumerate(proposals, segment.first_zxid):
                    syncs.answer_before(proposal, number)
                    commits.commit(proposal, number)
            else:
                commits.commit_all(proposals, segment.first_zxid)
            tree.seal()
            recent.append((tree.zxid, tree.digest))
            if tree.zxid >= self._digest_due_zxid:
                self._keep_digest()
        if syncs.waiting:
            syncs.answer_due(tree.zxid)
        assert pending or not len(self.outstanding) or self.role.open_count, "prospects outlive what they were made of"
        if self._throttle is not None:
            self._throttle.advance()
        if self._joined:
            self.resume_joined()

    def _keep_digest(self) -> None:
        """Keep a digest now and then, so that people can compare servers (the word `hash`)."""
        self.digests.append((self.tree.zxid, self.tree.digest))
        self._digest_due_zxid = (self.tree.zxid // _DIGEST_EVERY_TXNS + 1) * _DIGEST_EVERY_TXNS
