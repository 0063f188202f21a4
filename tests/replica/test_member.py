"""Members together: what clients of any server of an ensemble may rely on."""

from __future__ import annotations

import pytest

from tests.replica.clients import Answer, Client, Ops, Told
from tests.replica.ensemble import Ensemble
from tests.replica.world import World
from zkstore.model import apply
from zkstore.model import zxid as zxids
from zkstore.model.acl import READ_ACL
from zkstore.model.tree import Tree
from zkstore.model.txns import ERROR, RECONFIG, ReconfigTxn
from zkstore.replica.learning import Learning
from zkstore.replica.member import Unread, alone
from zkstore.replica.reconfig import members_in
from zkstore.replica.replica import Replica
from zkstore.replica.role import ALONE
from zkstore.replica.settings import ReplicaSettings
from zkstore.wire import jute, segment
from zkstore.wire.messages import FORWARD, PROPOSE, SYNCED, Commit, Forward, Ping, Propose, Synced
from zkstore.wire.opcodes import Opcode
from zkstore.zab.effects import Adopt, Append, Belong, Effect, HangUp, Lead, Look, Note, Promise

MOVED = -118


@pytest.fixture
def ensemble() -> Ensemble:
    made = Ensemble(1, 2, 3)
    made.settle()
    return made


def names(client: Client, path: bytes) -> list[bytes]:
    return client.get_children(path).children


# --- writes ---------------------------------------------------------------------------------------


def test_a_write_through_any_server_is_seen_at_every_server(ensemble: Ensemble) -> None:
    clients = [node.client() for node in ensemble.nodes.values()]
    for number, client in enumerate(clients):
        assert client.create(b"/n%d" % number, b"x").code == 0
    for client in clients:
        assert names(client, b"/") == [b"n0", b"n1", b"n2", b"zookeeper"]
    ensemble.check()


def test_a_forwarded_write_is_answered_when_its_own_server_has_applied_it(ensemble: Ensemble) -> None:
    follower = ensemble.followers()[0]
    client = follower.client()
    ensemble.held += [Commit, Ping]
    client.send.create(b"/a", b"x")
    ensemble.turn()
    assert b"/a" in ensemble.leader().tree.records
    assert b"/a" not in follower.tree.records
    assert client.answers() == []
    ensemble.held.clear()
    ensemble.settle()
    ensemble.pass_time(1_000)
    (answer,) = client.answers()
    assert (answer.code, answer.path, answer.zxid) == (0, b"/a", follower.tree.zxid)


def test_the_answers_at_a_follower_are_those_of_a_server_alone(ensemble: Ensemble) -> None:
    alone = World(server_id=1)
    clients = [ensemble.followers()[0].client(), ensemble.leader().client(), alone.client()]
    results: list[list[tuple[int, int]]] = []
    for number, client in enumerate(clients):
        root = b"/%d" % number
        answers = [client.create(root)]
        answers += script(client, root)
        results.append([(answer.code, len(answer.body) - answer.body.count(root)) for answer in answers])
    assert results[0] == results[2]
    assert results[1] == results[2]
    ensemble.check()


def script(client: Client, root: bytes) -> list[Answer]:
    """Writes of every kind, good and bad."""
    ops = Ops
    a, b, e = root + b"/a", root + b"/b", root + b"/e"
    return [
        client.create(a, b"1"),
        client.create(a, b"1"),
        client.create(a + b"/b/c"),
        client.create2(b, None),
        client.create(e, flags=1),
        client.create(e + b"/x"),
        client.create(root + b"/s", flags=2),
        client.create_ttl(root + b"/t", 1_000),
        client.create_ttl(root + b"/u", -1),
        client.create_container(root + b"/c", flags=3),
        client.set_data(a, b"2", 7),
        client.set_data(a, b"2", 0),
        client.set_data(b"nonsense", b"2"),
        client.set_acl(b, READ_ACL),
        client.set_acl(b, ()),
        client.set_data(b, b"2"),
        client.multi(),
        client.multi(ops.check(a, 1), ops.set_data(a, b"3"), ops.delete(a), ops.create(a, b"4")),
        client.multi(ops.create(root + b"/m"), ops.delete(root + b"/none"), ops.check(a)),
        client.multi(ops.create(root + b"/m"), ops.create(b"")),
        answered(client, Opcode.MULTI, b"\0\0\0"),
        answered(client, Opcode.SET_DATA, b"\0\0\0"),
        answered(client, Opcode.CREATE, b"\0\0\0\x01"),
        answered(client, Opcode.RECONFIG, jute.NULL * 3 + jute.int64(-1)),
        client.delete(a, 9),
        client.delete(a),
        client.delete(b),
        client.delete(root),
    ]


def answered(client: Client, opcode: int, body: bytes) -> Answer:
    client.request(opcode, body)
    client.world.run_disk()
    (answer,) = client.answers()
    return answer


def test_requests_of_one_connection_are_answered_in_order_and_see_their_own_writes(ensemble: Ensemble) -> None:
    for node in ensemble.nodes.values():
        client, root = node.client(), b"/%d" % node.server_id
        sent = [client.send.create(root, b"0")]
        for number in range(1, 20):
            sent.append(client.send.get_data(root))
            if number % 5 == 0:
                sent.append(client.send.sync(root))
            sent.append(client.send.set_data(root, b"%d" % number))
            sent.append(client.send.set_data(root, b"-", 99))
        sent.append(client.send.get_data(root))
        ensemble.settle()
        answers = client.answers()
        assert [answer.xid for answer in answers] == sent
        reads = [answer.data for answer in answers if len(answer.body) > 72]
        assert reads == [b"%d" % number for number in range(20)]
        zxids = [answer.zxid for answer in answers]
        assert zxids == sorted(zxids)
    ensemble.check()


def test_watches_at_a_follower_tell_of_writes_elsewhere_before_its_reads_show_them(ensemble: Ensemble) -> None:
    one, other = (node.client() for node in ensemble.followers())
    one.exists(b"/a", watch=True)
    other.create(b"/a", b"x")
    one.send.get_data(b"/a")
    ensemble.settle()
    first, second = one.take()
    assert isinstance(first, Told)
    assert (first.type, first.path) == (1, b"/a")
    assert isinstance(second, Answer)
    assert second.data == b"x"


def test_a_client_that_has_seen_more_than_a_server_must_look_for_another(ensemble: Ensemble) -> None:
    behind, ahead = ensemble.followers()
    client = ahead.client()
    ensemble.cut(behind.server_id, ensemble.leader().server_id)
    seen = client.create(b"/a").zxid
    assert seen > behind.tree.zxid
    stranger = behind.stranger()
    stranger.greet(session_id=client.session_id, password=client.password, last_zxid_seen=seen)
    assert stranger.is_ended


# --- syncs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["leader", "follower"])
def test_a_read_behind_a_sync_sees_what_was_written_elsewhere(ensemble: Ensemble, where: str) -> None:
    node = ensemble.leader() if where == "leader" else ensemble.followers()[0]
    reader, writer = node.client(), ensemble.followers()[1].client()
    ensemble.held += [Commit, Ping] if where == "follower" else []
    writer.send.create(b"/a", b"x")
    ensemble.turn()
    reader.send.sync(b"/a")
    reader.send.get_data(b"/a")
    ensemble.turn()
    if where == "follower":
        assert reader.answers() == []
    ensemble.held.clear()
    ensemble.settle()
    ensemble.pass_time(1_000)
    sync, read = reader.answers()
    assert (sync.code, sync.path) == (0, b"/a")
    assert read.data == b"x"


def test_a_deposed_leader_that_does_not_know_it_yet_answers_no_sync(ensemble: Ensemble) -> None:
    deposed = ensemble.leader()
    client = deposed.client()
    ensemble.isolate(deposed.server_id)
    client.send.sync(b"/")
    client.send.exists(b"/")
    ensemble.turn()
    assert client.answers() == []
    ensemble.pass_time(12_000)
    assert client.is_ended
    assert client.answers() == []


@pytest.mark.parametrize("where", ["leader", "follower"])
def test_a_later_write_that_is_committed_confirms_a_sync_before_it(ensemble: Ensemble, where: str) -> None:
    """What a quorum has accepted behind a sync proves as much as what it says for the sync's own sake."""
    client = (ensemble.leader() if where == "leader" else ensemble.followers()[0]).client()
    ensemble.held += [Ping]
    sent = [client.send.create(b"/a"), client.send.sync(b"/"), client.send.exists(b"/b"), client.send.create(b"/b")]
    ensemble.turn()
    answers = client.answers()
    assert [answer.xid for answer in answers] == sent
    assert [answer.code for answer in answers] == [0, 0, -101, 0]
    ensemble.held.clear()
    client.send.sync()
    ensemble.pass_time(2_000)
    assert [answer.code for answer in client.answers()] == [0]


# --- sessions -------------------------------------------------------------------------------------


def test_a_session_moves_with_its_client(ensemble: Ensemble) -> None:
    one, other = ensemble.followers()
    for here, there in ((one, other), (other, ensemble.leader()), (ensemble.leader(), one)):
        client = here.client()
        path = b"/e%x" % client.session_id
        assert client.create(path, flags=1).code == 0
        again = there.stranger().connect(session_id=client.session_id, password=client.password)
        assert (again.session_id, again.password) == (client.session_id, client.password)
        assert again.get_ephemerals().children == [path]
        assert again.set_data(path, b"x").code == 0


def test_a_write_by_the_server_that_a_session_has_left_fails_and_ends_the_connection(ensemble: Ensemble) -> None:
    one, other = ensemble.followers()
    client = one.client()
    again = other.stranger().connect(session_id=client.session_id, password=client.password)
    client.send.create(b"/a")
    client.send.exists(b"/")
    ensemble.settle()
    assert client.is_ended
    assert client.answers() == []
    assert "moved" in (client.conversation.end_reason or "")
    txn = segment.txns(ensemble.leader().disk.segments[-1])[-1]
    assert (txn[0], txn[1], txn[-1]) == (ERROR, client.session_id, MOVED)
    assert again.exists(b"/a").code == -101
    ensemble.check()


def test_a_session_that_leaves_the_leader_ends_its_connection_there(ensemble: Ensemble) -> None:
    client = ensemble.leader().client()
    ensemble.followers()[0].stranger().connect(session_id=client.session_id, password=client.password)
    assert client.is_ended


@pytest.mark.parametrize("where", ["leader", "follower"])
def test_a_session_is_not_given_to_who_does_not_know_its_password(ensemble: Ensemble, where: str) -> None:
    node = ensemble.leader() if where == "leader" else ensemble.followers()[0]
    client = ensemble.followers()[1].client()
    for changes in ({"password": b"x" * 16}, {"session_id": 0x1234}):
        thief = node.stranger()
        thief.greet(**{"session_id": client.session_id, "password": client.password, **changes})
        ensemble.settle()
        assert thief.greeted().timeout_ms == 0
        assert thief.is_ended
    assert client.create(b"/a").code == 0


@pytest.mark.parametrize("where", ["leader", "follower"])
def test_a_session_that_the_leader_has_not_applied_yet_is_not_refused(ensemble: Ensemble, where: str) -> None:
    leader, (follower, other) = ensemble.leader(), ensemble.followers()
    leader.is_slow = True
    client = follower.client()
    assert client.session_id
    assert client.session_id not in leader.tree.sessions
    returning = (leader if where == "leader" else other).stranger()
    returning.greet(session_id=client.session_id, password=client.password)
    ensemble.settle()
    assert returning.output() == b""
    leader.is_slow = False
    ensemble.take(leader)
    while leader.pending_disk:
        leader.step_disk()
    ensemble.settle()
    assert returning.greeted().session_id == client.session_id
    assert returning.create(b"/a").code == 0


def test_a_client_may_write_before_the_leader_has_applied_that_its_session_exists(ensemble: Ensemble) -> None:
    leader, follower = ensemble.leader(), ensemble.followers()[0]
    leader.is_slow = True
    client = follower.client()
    assert client.session_id not in leader.tree.sessions
    assert client.create(b"/a", flags=1).code == 0
    leader.is_slow = False
    ensemble.take(leader)
    while leader.pending_disk:
        leader.step_disk()
    ensemble.settle()
    assert list(leader.tree.ephemerals[client.session_id]) == [b"/a"]
    assert leader.leading.has_session(client.session_id)
    assert not leader.leading.opening
    ensemble.check()


def test_a_session_that_ends_before_the_leader_has_applied_that_it_exists_is_over(ensemble: Ensemble) -> None:
    leader, follower = ensemble.leader(), ensemble.followers()[0]
    leader.is_slow = True
    client = follower.client()
    client.close()
    late = Forward(FORWARD, 9, client.session_id, 1, Opcode.CREATE, b"", ())
    link = next(one.link for one in leader.peer.learners() if one.server_id == follower.server_id)
    leader.call("received", link, late)
    leader.is_slow = False
    ensemble.take(leader)
    leader.step_disk()
    assert client.session_id in leader.tree.sessions
    assert not leader.leading.has_session(client.session_id), "or its client could write behind its end"
    while leader.pending_disk:
        leader.step_disk()
    assert client.session_id not in leader.tree.sessions
    assert not leader.leading.opening


def test_a_deposed_leader_that_does_not_know_it_yet_refuses_no_session(ensemble: Ensemble) -> None:
    deposed = ensemble.leader()
    stranger, gone = deposed.stranger(), deposed.stranger()
    ensemble.isolate(deposed.server_id)
    stranger.greet(session_id=0x77, password=b"p" * 16)
    gone.greet(session_id=0x77, password=b"p" * 16)
    gone.vanish()
    ensemble.settle()
    assert stranger.output() == b""
    ensemble.pass_time(12_000)
    assert stranger.is_ended
    assert stranger.output() == gone.output() == b""


def test_clients_who_leave_while_they_wait_for_the_leader_are_forgotten(ensemble: Ensemble) -> None:
    follower = ensemble.followers()[0]
    client = follower.client()
    newcomer, returning = follower.stranger(), follower.stranger()
    newcomer.greet()
    returning.greet(session_id=client.session_id, password=client.password)
    for who in (newcomer, returning):
        who.vanish()
    ensemble.settle()
    assert newcomer.output() == returning.output() == b""
    assert not follower.replica.attached
    assert len(follower.tree.sessions) == 2


def test_pings_through_a_follower_keep_a_session_alive_and_silence_ends_it_everywhere(ensemble: Ensemble) -> None:
    follower = ensemble.followers()[0]
    alive, silent = follower.client(timeout_ms=4_000), follower.client(timeout_ms=4_000)
    for client in (alive, silent):
        client.create(b"/e%x" % client.session_id, flags=1)
    for _ in range(10):
        ensemble.pass_time(1_500)
        alive.request(Opcode.PING, b"")
    assert follower.tree.sessions.keys() == {alive.session_id}
    assert silent.is_ended
    assert not alive.is_ended
    ensemble.check()
    for node in ensemble.nodes.values():
        assert node.tree.ephemerals.keys() == {alive.session_id}


def test_only_the_leader_ends_sessions(ensemble: Ensemble) -> None:
    follower = ensemble.followers()[0]
    client = follower.client(timeout_ms=4_000)
    follower.replica.now_ms += 100_000
    follower.replica.tick()
    ensemble.turn()
    assert client.session_id in follower.tree.sessions
    assert not client.is_ended


def test_a_closed_session_ends_with_its_ephemerals_on_every_server(ensemble: Ensemble) -> None:
    client = ensemble.followers()[0].client()
    watching = ensemble.followers()[1].client()
    client.create(b"/e", flags=1)
    watching.exists(b"/e", watch=True)
    assert client.close().code == 0
    assert client.is_ended
    assert watching.events() == [(2, b"/e")]
    for node in ensemble.nodes.values():
        assert client.session_id not in node.tree.sessions
        assert b"/e" not in node.tree.records
    ensemble.check()


def test_a_request_of_a_session_that_has_expired_meanwhile_fails(ensemble: Ensemble) -> None:
    follower, leader = ensemble.followers()[0], ensemble.leader()
    client = follower.client()
    ensemble.held += [Propose]
    leader.replica.tracker.remove(client.session_id)
    ensemble.held.clear()
    assert client.create(b"/a").code == -112


def test_a_new_leader_gives_every_session_its_whole_timeout(ensemble: Ensemble) -> None:
    client = ensemble.followers()[0].client(timeout_ms=10_000)
    client.vanish()
    ensemble.pass_time(8_000)
    ensemble.crash(ensemble.leader().server_id)
    ensemble.pass_time(3_000)
    assert client.session_id in ensemble.leader().tree.sessions
    ensemble.pass_time(13_000)
    assert client.session_id not in ensemble.leader().tree.sessions


# --- leaders come and go --------------------------------------------------------------------------


def test_a_change_of_leader_ends_all_connections_but_no_session(ensemble: Ensemble) -> None:
    clients = [node.client() for node in ensemble.nodes.values()]
    for client in clients:
        client.create(b"/e%x" % client.session_id, flags=1)
    old = ensemble.leader()
    ensemble.crash(old.server_id)
    ensemble.pass_time(1_000)
    new = ensemble.leader()
    assert new is not old
    for client in clients:
        if client.world is not old:
            assert client.is_ended
        again = new.stranger().connect(session_id=client.session_id, password=client.password)
        assert again.get_ephemerals().children == [b"/e%x" % client.session_id]
    assert new.client().create(b"/a").code == 0
    ensemble.start(old.server_id)
    ensemble.pass_time(2_000)
    ensemble.check()


def test_what_a_leader_proposed_and_a_quorum_has_is_committed_by_the_next_one(ensemble: Ensemble) -> None:
    old = ensemble.leader()
    client = old.client()
    ensemble.held += [Commit, Ping]
    client.send.create(b"/a", b"x")
    old.is_slow = True
    ensemble.flush()
    old.pending_disk.clear()
    ensemble.deliver()
    ensemble.held.clear()
    ensemble.crash(old.server_id)
    ensemble.pass_time(1_000)
    for node in ensemble.followers():
        assert b"/a" in node.tree.records
    assert client.answers() == []


def test_what_only_a_lost_leader_had_never_happened(ensemble: Ensemble) -> None:
    old = ensemble.leader()
    client = old.client()
    ensemble.isolate(old.server_id)
    client.send.create(b"/lost")
    client.send.exists(b"/lost")
    ensemble.flush()
    ensemble.pass_time(12_000)
    assert client.is_ended
    assert client.answers() == []
    assert ensemble.leader().client().create(b"/kept").code == 0
    ensemble.heal()
    ensemble.pass_time(5_000)
    assert b"/lost" not in old.tree.records
    ensemble.check()


def test_the_zxids_of_a_new_epoch_begin_anew(ensemble: Ensemble) -> None:
    epoch = ensemble.leader().peer.epoch
    ensemble.crash(ensemble.leader().server_id)
    ensemble.pass_time(1_000)
    leader = ensemble.leader()
    assert leader.peer.epoch > epoch
    client = leader.client()
    assert leader.tree.zxid == (leader.peer.epoch << 32) + 1
    assert client.create(b"/a").zxid == (leader.peer.epoch << 32) + 2


def test_a_server_without_a_quorum_serves_nobody_but_answers_words(ensemble: Ensemble) -> None:
    node = ensemble.followers()[0]
    ensemble.isolate(node.server_id)
    ensemble.pass_time(12_000)
    node.replica.words[b"ruok"] = lambda conversation, rest: b"imok"
    stranger, asking, returning = node.stranger(), node.stranger(), node.stranger()
    stranger.greet()
    returning.greet(session_id=1)
    asking.receive(b"ruok")
    for refused in (stranger, returning):
        assert refused.is_ended
        assert "no sessions are served" in (refused.conversation.end_reason or "")
        assert refused.output() == b""
    assert asking.output() == b"imok"


def test_a_leader_whose_disk_fails_tells_no_client_what_it_cannot_know(ensemble: Ensemble) -> None:
    leader = ensemble.leader()
    client = leader.client()
    leader.is_slow = True
    client.send.create(b"/a", b"x")
    leader.call("flush")
    leader.fail_disk()
    assert client.is_ended
    assert client.answers() == []
    ensemble.pass_time(3_000)
    assert ensemble.leader() is not leader
    leader.is_slow = False
    leader.call("disk_ok")
    ensemble.pass_time(3_000)
    ensemble.check()


def test_leadership_is_handed_over_in_order(ensemble: Ensemble) -> None:
    leader = ensemble.leader()
    client = leader.client()
    client.create(b"/a")
    leader.call("hand_over")
    ensemble.pass_time(1_000)
    assert ensemble.leader() is not leader
    assert ensemble.leader().client().create(b"/b").code == 0
    ensemble.check()


def test_a_server_that_was_away_for_long_takes_up_the_whole_story(ensemble: Ensemble) -> None:
    away = ensemble.followers()[0]
    ensemble.crash(away.server_id)
    client = ensemble.leader().client()
    for number in range(50):
        client.create(b"/n%d" % number, flags=1)
    ensemble.start(away.server_id)
    ensemble.pass_time(2_000)
    ensemble.check()
    assert away.client().set_data(b"/n7", b"x").code == 0
    assert client.get_data(b"/n7").data == b"x"


def test_a_server_that_is_too_far_behind_gets_the_whole_tree(ensemble: Ensemble) -> None:
    away, leader = ensemble.followers()[0], ensemble.leader()
    ensemble.crash(away.server_id)
    client = leader.client()
    for number in range(5):
        client.create(b"/n%d" % number, flags=1)
    for node in ensemble.nodes.values():
        if node is not away:
            node.disk.purge(node.tree.zxid)
    client.create(b"/behind")
    ensemble.start(away.server_id)
    ensemble.pass_time(2_000)
    assert away.disk.start[0] > 0
    ensemble.check()
    assert away.client().get_data(b"/behind").code == 0
    assert away.replica.applied_crc == leader.replica.applied_crc
    ensemble.crash(away.server_id)
    ensemble.start(away.server_id)
    ensemble.pass_time(2_000)
    ensemble.check()


def test_observers_serve_clients_too() -> None:
    ensemble = Ensemble(1, 2, 3, observers=[4])
    ensemble.settle()
    client = ensemble[4].client()
    assert client.create(b"/a", b"x", flags=1).code == 0
    assert client.get_data(b"/a").data == b"x"
    assert client.sync().code == 0
    assert client.set_data(b"/a", b"y", 7).code == -103
    ensemble.check()


# --- what must not be -----------------------------------------------------------------------------


def test_a_server_whose_tree_differs_stops_and_says_where(ensemble: Ensemble) -> None:
    follower, client = ensemble.followers()[0], ensemble.leader().client()
    there = follower.client()
    client.create(b"/a")
    good = follower.tree.zxid
    follower.tree.touched[b"/a"] = follower.tree.records[b"/a"]
    follower.tree.records[b"/a"] += b"rot"
    client.create(b"/b")
    client.create(b"/c")
    client.create(b"/d")
    (stop,) = follower.stops
    assert stop.invariant == "I15"
    assert stop.zxid > good
    assert follower.member.is_stopped
    assert there.is_ended
    assert "no sessions are served: this server stops" in refusal(follower.stranger())
    client.create(b"/e")
    assert b"/e" not in follower.tree.records
    assert ensemble.followers()[1].tree.digest == ensemble.leader().tree.digest


def refusal(stranger: Client) -> str:
    stranger.greet()
    assert stranger.is_ended
    return stranger.conversation.end_reason or ""


def test_a_learner_that_says_what_none_would_is_hung_up_on(ensemble: Ensemble) -> None:
    leader = ensemble.leader()
    client = ensemble.followers()[0].client()
    for message in (
        Forward(FORWARD, 1, client.session_id, 1, Opcode.GET_DATA, b"", ()),
        Forward(FORWARD, 1, 77, 1, Opcode.CREATE_SESSION, b"short", ()),
    ):
        link = next(one.link for one in leader.peer.learners())
        leader.story.clear()
        leader.call("received", link, message)
        assert [effect.link for effect in leader.story if isinstance(effect, HangUp)] == [link]
        ensemble.pass_time(1_000)
    ensemble.check()


def test_a_leader_that_answers_what_was_not_asked_is_hung_up_on(ensemble: Ensemble) -> None:
    follower = ensemble.followers()[0]
    client = follower.client()
    role = follower.replica.role
    assert isinstance(role, Learning)
    follower.call("received", role._link, Synced(SYNCED, 99, 1))
    assert client.is_ended
    ensemble.pass_time(1_000)
    ensemble.check()


def test_a_claim_for_what_was_not_asked_stops_a_server(ensemble: Ensemble) -> None:
    leader, follower = ensemble.leader(), ensemble.followers()[0]
    client = leader.client()
    client.send.create(b"/a")
    segment_ = leader.leading.next_segment()
    assert segment_ is not None
    role = follower.replica.role
    assert isinstance(role, Learning)
    claims = ((0, 7, 0, b""),)
    follower.call("received", role._link, Propose(PROPOSE, segment_.data, follower.tree.zxid, claims))
    (stop,) = follower.stops
    assert stop.invariant == "I19"


def test_a_segment_that_cannot_be_understood_stops_a_server(ensemble: Ensemble) -> None:
    follower = ensemble.followers()[0]
    role = follower.replica.role
    assert isinstance(role, Learning)
    strange = segment.encode(
        [(99, 0, 0, 0)],  # type: ignore[list-item]
        prev_zxid=follower.tree.zxid,
        first_zxid=follower.tree.zxid + 1,
        digest_zxid=0,
        digest=0,
        prev_crc=follower.replica.applied_crc,
    )
    follower.call("received", role._link, Propose(PROPOSE, strange.data, follower.tree.zxid, ()))
    (stop,) = follower.stops
    assert stop.invariant == "I6"


def test_a_server_that_stood_still_expires_nobody_for_it(ensemble: Ensemble) -> None:
    leader = ensemble.leader()
    client = leader.client(timeout_ms=4_000)
    ensemble.now_ms += 8_000
    leader.call("tick")
    ensemble.settle()
    assert "the server stood still for 8000 ms; sessions get this much longer" in leader.replica.notices
    assert client.session_id in leader.tree.sessions
    assert not client.is_ended


# --- a server alone -------------------------------------------------------------------------------


class Lone:
    """A server alone, with a disk that does at once what it is asked for."""

    ops = Ops

    def __init__(self, tree: Tree | None = None) -> None:
        self.replica = Replica(
            tree or Tree.new(), ReplicaSettings(), now_ms=0, time_ms=0, last_crc=0, make_password=lambda: bytes(16)
        )
        self.member = alone(self.replica)
        self.member.start()

    def take(self) -> list[Effect]:
        effects, self.member.effects = self.member.effects, []
        return effects

    def run_disk(self) -> None:
        self.member.flush()
        while effects := self.take():
            for effect in effects:
                if isinstance(effect, Append | Promise | Adopt | Belong):
                    self.member.done(effect)
            self.member.flush()

    def client(self) -> Client:
        self.run_disk()
        return Client(self, "127.0.0.1", 1).connect()  # type: ignore[arg-type]


def test_a_server_alone_is_a_member_without_a_network() -> None:
    lone = Lone()
    assert [type(effect) for effect in lone.take()] == [Look, Note, Lead]
    client = lone.client()
    assert client.create(b"/a", b"x").zxid == 2
    assert client.sync().code == 0
    assert client.get_data(b"/a").data == b"x"
    assert lone.member.peer.epoch == 0
    assert not lone.member.propose_next()
    lone.member.tick()
    assert lone.take() == []


def test_a_server_alone_whose_disk_is_full_tells_its_clients_and_goes_on() -> None:
    lone = Lone()
    client = lone.client()
    client.send.create(b"/a")
    lone.member.flush()
    client.send.create(b"/b")
    lone.member.propose_next()
    client.send.create(b"/c")
    first, second = lone.take()
    assert isinstance(first, Append)
    assert isinstance(second, Append)
    lone.member.failed(first, True, "no space")
    assert [answer.code for answer in client.answers()] == [-1, -1, -1]
    assert client.create(b"/d").zxid == 2
    assert not client.is_ended


def test_nobody_learns_from_a_server_alone() -> None:
    lone = Lone()
    lone.client()
    unread = Unread(lone.replica)
    assert unread.start == unread.end == (1, lone.replica.applied_crc)
    assert unread.end_at_or_before(0) is None
    assert unread.end_at_or_before(5) == unread.end
    assert unread.read(0, 100) == []
    with pytest.raises(AssertionError, match="no other server"):
        ALONE.relay(1, Synced(SYNCED, 1, 1))
    assert ALONE.confirm() == 0
    assert not ALONE.is_supported(lone.member.members)


def test_a_server_alone_whose_data_knows_epochs_begins_a_new_one() -> None:
    tree = Tree.new()
    tree.zxid = zxids.make(5, 9)
    lone = Lone(tree)
    client = lone.client()
    assert client.create(b"/a").zxid == zxids.make(6, 2)
    assert client.sync().code == 0
    assert lone.member.peer.promised_epoch == lone.member.peer.adopted_epoch == 6
    assert lone.member.peer.ensemble_id == bytes(16)
    assert members_in(lone.replica.tree) is None


def test_a_server_alone_counts_only_itself_though_its_data_names_an_ensemble() -> None:
    tree = Tree.new()
    lines = "\n".join(f"server.{n}=10.0.0.{n}:2888:3888:participant" for n in (4, 5, 6)) + "\nversion=100000000"
    apply.apply_segment(tree, zxids.make(1, 1), [ReconfigTxn(RECONFIG, 0, 0, 1_000, lines.encode())])
    assert members_in(tree) is not None
    lone = Lone(tree)
    client = lone.client()
    assert client.create(b"/a").zxid == zxids.make(2, 2)
    assert client.sync().code == 0
