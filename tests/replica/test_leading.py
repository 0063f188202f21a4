"""The leader's role by itself: numbers, segments, claims, syncs; what learners say is put into its mouth."""

from __future__ import annotations

import pytest

from tests.replica.clients import SESSION_TIMEOUT_MS
from tests.replica.world import World
from zkstore.errors import PeerMessageError
from zkstore.model import zxid as zxids
from zkstore.model.acl import Identity
from zkstore.replica import leading as leading_
from zkstore.replica import sessions
from zkstore.replica.leading import Leading
from zkstore.wire import segment
from zkstore.wire.messages import (
    FORWARD,
    PONG,
    REVALIDATE,
    SYNC_REQUEST,
    Forward,
    LinkMessage,
    Pong,
    Revalidate,
    Revalidated,
    Synced,
    SyncRequest,
    Truncate,
)
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import CreateRequest, SetDataRequest
from zkstore.zab.membership import Membership

OPEN = ((31, "world", "anyone"),)
LINK, OTHER_LINK = 7, 8


class Others:
    """The rest of an ensemble: nobody is asked before the test says so."""

    def __init__(self) -> None:
        self.said: list[tuple[int, LinkMessage]] = []
        self.tickets = 0

    def relay(self, link: int, message: LinkMessage) -> None:
        self.said.append((link, message))

    def confirm(self) -> int:
        self.tickets += 1
        return self.tickets

    def is_supported(self, members: Membership) -> bool:
        return True


class Leader(World):
    """A world whose server leads an ensemble in an epoch of its own."""

    def __init__(self, epoch: int = 5) -> None:
        super().__init__()
        self.others = Others()
        self.leading = self.replica.lead(epoch, self.others)

    def hears(self, message: LinkMessage, *, link: int = LINK, server_id: int = 2) -> None:
        self.leading.take(link, server_id, message)

    def forward(self, ticket: int, session_id: int, opcode: int, body: bytes, **where: int) -> None:
        self.hears(Forward(FORWARD, ticket, session_id, 1, opcode, body, (("ip", "10.0.0.1"),)), **where)

    def session(self, session_id: int = 0x200) -> int:
        """A session that was opened at server 2."""
        body = sessions.pack_creation(SESSION_TIMEOUT_MS, b"p" * 16)
        self.forward(1, session_id, Opcode.CREATE_SESSION, body)
        self.run_disk()
        return session_id


@pytest.fixture
def leader() -> Leader:
    return Leader()


def create(path: bytes) -> bytes:
    return CreateRequest(path, b"x", OPEN, 0).encode()


# --- numbers --------------------------------------------------------------------------------------


def test_an_epoch_begins_with_its_own_first_zxid_behind_all_before(leader: Leader) -> None:
    leader.client()
    assert [(one.prev_zxid, one.first_zxid) for one in leader.segments] == [(0, zxids.make(5, 1))]
    leader.replica.look("the next epoch begins")
    leader.leading = leader.replica.lead(6, leader.others)
    leader.client().create(b"/a")
    last = leader.segments[-2:]
    assert [one.first_zxid for one in last] == [zxids.make(6, 1), zxids.make(6, 2)]
    assert last[0].prev_zxid == leader.segments[0].last_zxid
    leader.check_chain()


def test_the_counter_of_an_epoch_has_an_end_and_nothing_is_numbered_behind_it(
    leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading_, "_COUNTER_MAX", 3)
    leader.leading = leader.replica.lead(5, leader.others)
    client = leader.client()
    for number in range(5):
        client.send.create(b"/%d" % number)
    while leader.seal():
        pass
    assert [(one.first_zxid, one.last_zxid) for one in leader.sealed] == [(zxids.make(5, 2), zxids.make(5, 3))]
    assert leader.leading.open_count == 3
    assert leader.seal() is None


# --- requests from elsewhere ----------------------------------------------------------------------


def test_what_a_learner_waits_for_is_claimed_on_the_link_it_came_by(leader: Leader) -> None:
    session = leader.session()
    other = leader.session(0x300)
    leader.client().send.create(b"/mine")
    leader.forward(4, session, Opcode.CREATE, create(b"/a"))
    leader.forward(5, session, Opcode.SET_DATA, SetDataRequest(b"/none", b"", -1).encode())
    leader.forward(9, other, Opcode.DELETE, b"\0", link=OTHER_LINK)
    leader.seal()
    assert leader.leading.claims == {
        LINK: ((1, 4, 0, b""), (2, 5, -101, b"")),
        OTHER_LINK: ((3, 9, -5, b""),),
    }
    leader.run_disk()
    leader.client().create(b"/b")
    assert leader.leading.claims == {}


def test_a_forwarded_request_has_the_rights_of_its_client(leader: Leader) -> None:
    session = leader.session()
    acl = ((31, "ip", "10.0.0.1"),)
    leader.forward(2, session, Opcode.CREATE, CreateRequest(b"/mine", b"x", acl, 0).encode())
    leader.run_disk()
    client = leader.client()
    assert client.get_data(b"/mine").code == -102
    assert client.set_data(b"/mine", b"y").code == -102
    leader.forward(3, session, Opcode.SET_DATA, SetDataRequest(b"/mine", b"z", -1).encode())
    leader.seal()
    assert leader.leading.claims[LINK] == ((0, 3, 0, b""),)
    assert Identity("ip", "10.0.0.1") not in client.conversation.identities


def test_a_session_with_an_id_that_is_taken_is_not_opened(leader: Leader) -> None:
    session = leader.session()
    leader.forward(2, session, Opcode.CREATE_SESSION, sessions.pack_creation(4_000, b"q" * 16))
    leader.seal()
    assert leader.leading.claims == {LINK: ((0, 2, -1, b""),)}
    leader.run_disk()
    assert leader.tree.sessions[session].password == b"p" * 16


def test_the_first_server_that_speaks_for_a_session_nobody_owns_owns_it(leader: Leader) -> None:
    session = leader.session()
    leader.leading.owners.clear()
    leader.forward(2, session, Opcode.CREATE, create(b"/a"), server_id=3)
    leader.forward(3, session, Opcode.CREATE, create(b"/b"), server_id=2)
    leader.seal()
    assert [code for _, _, code, _ in leader.leading.claims[LINK]] == [0, -118]


def test_whichever_server_heard_of_a_session_keeps_it_alive(leader: Leader) -> None:
    """Who owns it may be out of date, where a client changed servers twice while a Revalidate was under way."""
    session = leader.session()
    for server_id in (2, 3, 2):
        leader.pass_time(SESSION_TIMEOUT_MS * 3 // 4)
        leader.hears(Pong(PONG, 1, 0, (session, 0x999)), server_id=server_id)
        leader.run_disk()
        assert session in leader.tree.sessions
    for _ in range(4):
        leader.pass_time(SESSION_TIMEOUT_MS * 3 // 4)
        leader.hears(Pong(PONG, 1, 0, (0x999,)), server_id=2)
        leader.run_disk()
    assert session not in leader.tree.sessions


def test_a_session_that_comes_back_elsewhere_belongs_there(leader: Leader) -> None:
    session = leader.session()
    for ticket, password, granted_ms in ((1, b"p" * 16, 4_000), (2, b"x" * 16, 0)):
        leader.hears(Revalidate(REVALIDATE, ticket, session, 4_000, password), link=OTHER_LINK, server_id=3)
        link, answer = leader.others.said.pop()
        assert link == OTHER_LINK
        assert isinstance(answer, Revalidated)
        assert (answer.ticket, answer.timeout_ms) == (ticket, granted_ms)
    assert leader.leading.owners[session] == 3
    assert leader.replica.tracker.timeout_ms(session) == 4_000


@pytest.mark.parametrize(
    "message",
    [
        Truncate(5, 1),
        Forward(FORWARD, 1, 0x200, 1, Opcode.EXISTS, b"", ()),
        Forward(FORWARD, 1, 0x300, 1, Opcode.CREATE_SESSION, b"", ()),
    ],
)
def test_what_no_learner_would_say_is_refused(leader: Leader, message: LinkMessage) -> None:
    leader.session()
    with pytest.raises(PeerMessageError):
        leader.hears(message)
    assert not leader.leading.open_count


# --- syncs ----------------------------------------------------------------------------------------


def test_a_sync_waits_for_what_is_proposed_and_for_a_quorum(leader: Leader) -> None:
    client, other = leader.client(), leader.client()
    for applies_first in (True, False):
        other.send.set_data(b"/", b"x")
        client.send.sync(b"/")
        client.send.exists(b"/")
        ticket = leader.others.tickets
        steps = [leader.run_disk, lambda ticket=ticket: leader.leading.confirmed(ticket)]
        first, second = steps if applies_first else steps[::-1]
        first()
        assert client.answers() == []
        second()
        assert [answer.code for answer in client.answers()] == [0, 0]
        other.answers()


def test_one_confirmation_answers_every_sync_before_it(leader: Leader) -> None:
    clients = [leader.client() for _ in range(3)]
    for client in clients:
        client.send.sync(b"/")
    leader.hears(SyncRequest(SYNC_REQUEST, 44))
    for client in clients:
        client.send.sync(b"/")
    leader.leading.confirmed(5)
    assert [len(client.answers()) for client in clients] == [2, 1, 1]
    assert leader.others.said == [(LINK, Synced(24, 44, leader.tree.zxid))]
    leader.leading.confirmed(7)
    assert [len(client.answers()) for client in clients] == [0, 1, 1]


def test_a_sync_of_a_client_that_left_holds_nobody_up(leader: Leader) -> None:
    gone, client = leader.client(), leader.client()
    gone.send.sync(b"/")
    client.send.sync(b"/")
    gone.vanish()
    leader.leading.confirmed(2)
    assert [answer.code for answer in client.answers()] == [0]
    assert gone.output() == b""


def test_a_learners_sync_names_the_newest_zxid_there_is(leader: Leader) -> None:
    leader.hears(SyncRequest(SYNC_REQUEST, 1))
    leader.leading.confirmed(1)
    assert leader.others.said.pop() == (LINK, Synced(24, 1, 0))
    client = leader.client()
    client.send.create(b"/a")
    leader.hears(SyncRequest(SYNC_REQUEST, 2))
    leader.leading.confirmed(2)
    assert leader.others.said.pop() == (LINK, Synced(24, 2, zxids.make(5, 2)))
    assert leader.tree.zxid == zxids.make(5, 1)


def test_where_nobody_else_could_lead_a_learners_sync_is_answered_at_once(
    leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader.others, "confirm", lambda: 0)
    leader.hears(SyncRequest(SYNC_REQUEST, 1))
    assert leader.others.said == [(LINK, Synced(24, 1, 0))]


def test_a_leader_learns_nothing_but_its_own(leader: Leader) -> None:
    assert isinstance(leader.replica.role, Leading)
    leader.client().send.create(b"/a")
    sealed = leader.seal()
    assert sealed is not None
    assert [one.txn for one in leader.leading.claim(segment.txns(sealed), ())] == segment.txns(sealed)
