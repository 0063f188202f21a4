"""Sessions that one server alone knows: what they can do, when they end, and how they become everybody's."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.ensemble import Ensemble, Host
from tests.replica.world import World
from zkstore.errors import (
    BadArgumentsError,
    EphemeralOnLocalSessionError,
    NoNodeError,
    PeerMessageError,
)
from zkstore.replica.throttle import TokenBucket
from zkstore.wire.messages import FORWARD_LOCAL, Forward
from zkstore.wire.opcodes import Opcode

TIMEOUT_MS = 10_000
EPHEMERAL = 1
REFUSED = EphemeralOnLocalSessionError.code
PLACES = ("leader", "follower", "observer")


def made(*, upgrading: bool = True, **settings: object) -> Ensemble:
    ensemble = Ensemble(1, 2, 3, observers=[4], local_sessions=True, local_sessions_upgrading=upgrading, **settings)
    ensemble.settle()
    return ensemble


@pytest.fixture
def ensemble() -> Ensemble:
    return made()


def at(ensemble: Ensemble, place: str) -> Host:
    if place == "observer":
        return ensemble[4]
    if place == "leader":
        return ensemble.leader()
    return next(host for host in ensemble.followers() if host.server_id != 4)


def back(host: Host, client: Client, password: bytes | None = None) -> Client:
    """The client's next connection, at this server, as far as the answer to its greeting."""
    again = host.stranger()
    again.greet(session_id=client.session_id, password=client.password if password is None else password)
    host.world.settle()
    return again


def is_global(ensemble: Ensemble, client: Client) -> bool:
    known = {client.session_id in host.tree.sessions for host in ensemble.nodes.values() if host.is_up}
    assert len(known) == 1
    return known.pop()


@pytest.mark.parametrize("place", PLACES)
def test_a_new_session_takes_no_txn_and_no_other_server_knows_it(ensemble: Ensemble, place: str) -> None:
    host, before = at(ensemble, place), ensemble.leader().tree.zxid
    client = host.client(timeout_ms=TIMEOUT_MS)

    assert ensemble.leader().tree.zxid == before
    assert not is_global(ensemble, client)
    assert [len(each.replica.local) for each in ensemble.nodes.values() if each is not host] == [0, 0, 0]
    assert client.session_id >> 56 == host.server_id


@pytest.mark.parametrize("place", PLACES)
def test_what_owns_nothing_can_be_written_and_read_and_watched(ensemble: Ensemble, place: str) -> None:
    host = at(ensemble, place)
    client, other = host.client(), host.client()

    assert other.exists(b"/a", watch=True).code == NoNodeError.code
    assert client.create(b"/a", b"x").code == 0
    assert other.events() == [(1, b"/a")]
    assert client.set_data(b"/a", b"y").code == 0
    assert client.multi(client.world.ops.create(b"/b"), client.world.ops.delete(b"/a")).code == 0
    assert client.create_container(b"/c").code == 0
    assert client.sync(b"/").code == 0
    assert client.get_data(b"/b").code == 0
    assert client.get_data(b"/a").code == NoNodeError.code
    assert not is_global(ensemble, client)
    ensemble.check()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["create", "create2", "sequential", "multi"])
def test_the_first_ephemeral_makes_the_session_known_to_all(ensemble: Ensemble, place: str, way: str) -> None:
    client = at(ensemble, place).client(timeout_ms=TIMEOUT_MS)
    before = ensemble.leader().tree.zxid
    if way == "multi":
        ops = client.world.ops
        asked = ops.create(b"/a"), ops.create(b"/a/e"), ops.create(b"/e", flags=EPHEMERAL, opcode=Opcode.CREATE2)
        assert client.multi(*asked).codes == [0, 0, 0]
    elif way == "create2":
        assert client.create2(b"/e", flags=EPHEMERAL).stat.ephemeral_owner == client.session_id
    else:
        assert client.create(b"/e", flags=3 if way == "sequential" else EPHEMERAL).code == 0
    ensemble.settle()

    assert ensemble.leader().tree.zxid == before + 2
    assert is_global(ensemble, client)
    assert [len(host.replica.local) for host in ensemble.nodes.values()] == [0] * 4
    assert ensemble.leader().tree.sessions[client.session_id].timeout_ms == TIMEOUT_MS
    assert len(ensemble.leader().tree.ephemerals[client.session_id]) == 1
    ensemble.check()


@pytest.mark.parametrize("place", PLACES)
def test_the_order_of_a_connections_requests_holds_across_the_upgrade(ensemble: Ensemble, place: str) -> None:
    host = at(ensemble, place)
    client = host.client()
    client.send.create(b"/a")
    client.send.get_data(b"/e")
    client.send.create(b"/e", flags=EPHEMERAL)
    client.send.sync(b"/")
    client.send.get_data(b"/e")
    client.send.delete(b"/a")
    client.send.create(b"/f", flags=EPHEMERAL)
    client.send.close()
    ensemble.settle()

    answers = client.answers()
    assert [answer.xid for answer in answers] == list(range(1, 9))
    assert [answer.code for answer in answers] == [0, NoNodeError.code, 0, 0, 0, 0, 0, 0]
    assert client.is_ended
    assert not is_global(ensemble, client)
    assert not ensemble.leader().tree.ephemerals
    assert not ensemble.leader().leading.opening
    ensemble.pass_time(1_000)
    ensemble.check()


@pytest.mark.parametrize("place", PLACES)
def test_without_upgrading_an_ephemeral_is_refused_and_nothing_else(place: str) -> None:
    ensemble = made(upgrading=False)
    client = at(ensemble, place).client()

    assert client.create(b"/e", flags=EPHEMERAL).code == REFUSED
    assert client.create2(b"/none/e", flags=EPHEMERAL).code == REFUSED
    assert client.create(b"bad", flags=3).code == REFUSED
    assert client.create(b"/e", flags=77).code == BadArgumentsError.code
    ops = client.world.ops
    asked = ops.create(b"/a"), ops.create(b"/e", flags=EPHEMERAL), ops.create(b"/b")
    assert client.multi(*asked).codes == [0, REFUSED, -2]
    assert client.create(b"/a").code == 0
    assert not is_global(ensemble, client)
    ensemble.check()


@pytest.mark.parametrize("place", PLACES)
def test_a_failed_create_of_an_ephemeral_upgrades_as_well(ensemble: Ensemble, place: str) -> None:
    client = at(ensemble, place).client()
    assert client.create(b"/none/e", flags=EPHEMERAL).code == NoNodeError.code
    ensemble.settle()
    assert is_global(ensemble, client)


@pytest.mark.parametrize("place", PLACES)
def test_a_client_that_comes_back_to_its_server_finds_its_session(ensemble: Ensemble, place: str) -> None:
    host = at(ensemble, place)
    client = host.client()
    client.vanish()
    again = back(host, client)
    assert again.greeted().session_id == client.session_id
    assert again.create(b"/a").code == 0


@pytest.mark.parametrize("place", PLACES)
def test_whoever_has_not_the_password_is_refused(ensemble: Ensemble, place: str) -> None:
    host = at(ensemble, place)
    client = host.client()
    assert back(host, client, password=bytes(16)).greeted().timeout_ms == 0
    assert client.is_ended  # as in ZooKeeper, the other connection ends before the password is looked at
    assert back(host, client).greeted().timeout_ms > 0


@pytest.mark.parametrize("place", PLACES)
def test_another_server_does_not_know_the_session(ensemble: Ensemble, place: str) -> None:
    host = at(ensemble, place)
    client = host.client()
    for other in ensemble.nodes.values():
        if other is not host:
            refused = back(other, client)
            assert refused.greeted().timeout_ms == 0
            assert refused.is_ended
    assert back(host, client).greeted().timeout_ms > 0


@pytest.mark.parametrize("place", PLACES)
def test_an_upgraded_session_moves_as_any_other(ensemble: Ensemble, place: str) -> None:
    host = at(ensemble, place)
    client = host.client()
    assert client.create(b"/e", flags=EPHEMERAL).code == 0
    for other in ensemble.nodes.values():
        moved = back(other, client)
        assert moved.greeted().session_id == client.session_id
        assert moved.set_data(b"/e", b"at %d" % other.server_id).code == 0
    ensemble.check()


@pytest.mark.parametrize("place", PLACES)
def test_a_silent_session_expires_and_one_in_touch_does_not_and_the_leader_hears_of_neither(
    ensemble: Ensemble, place: str
) -> None:
    host, before = at(ensemble, place), ensemble.leader().tree.zxid
    silent, lively = host.client(timeout_ms=TIMEOUT_MS), host.client(timeout_ms=TIMEOUT_MS)
    for _ in range(8):
        lively.request(Opcode.PING, b"", xid=-2)
        ensemble.pass_time(TIMEOUT_MS // 4)
    assert silent.is_ended
    assert not lively.is_ended
    assert back(host, silent).greeted().timeout_ms == 0
    assert ensemble.leader().tree.zxid == before
    assert host.replica.figures.sessions_expired == 1


def test_no_session_expires_before_its_time(ensemble: Ensemble) -> None:
    host = at(ensemble, "follower")
    client = host.client(timeout_ms=TIMEOUT_MS)
    ensemble.pass_time(TIMEOUT_MS - 100)
    assert not client.is_ended


@pytest.mark.parametrize("place", PLACES)
def test_closing_takes_no_txn_and_is_answered_in_its_turn(ensemble: Ensemble, place: str) -> None:
    host = at(ensemble, place)
    client, idle = host.client(), host.client()
    idle.send.close()
    assert [answer.code for answer in idle.answers()] == [0]
    before = ensemble.leader().tree.zxid
    client.send.create(b"/a")
    client.send.close()
    client.send.create(b"/b")
    ensemble.settle()
    assert [(answer.xid, answer.code) for answer in client.answers()] == [(1, 0), (2, 0)]
    assert client.is_ended and idle.is_ended
    assert ensemble.leader().tree.zxid == before + 1
    assert back(host, client).greeted().timeout_ms == 0
    assert len(host.replica.local) == 0


@pytest.mark.parametrize("place", PLACES)
def test_a_request_under_way_when_the_session_expires_happens_and_harms_nobody(ensemble: Ensemble, place: str) -> None:
    host = at(ensemble, place)
    client = host.client(timeout_ms=TIMEOUT_MS)
    client.send.create(b"/a")
    host.replica.now_ms += 3 * TIMEOUT_MS
    host.replica.local.expire()
    assert client.is_ended
    ensemble.settle()
    assert host.client().get_data(b"/a").code == 0
    ensemble.check()


@pytest.mark.parametrize("place", PLACES)
def test_a_client_that_leaves_in_the_middle_of_its_upgrade_finds_its_session_and_its_ephemeral(
    ensemble: Ensemble, place: str
) -> None:
    host = at(ensemble, place)
    client = host.client(timeout_ms=TIMEOUT_MS)
    client.send.create(b"/e", flags=EPHEMERAL)
    client.vanish()
    again = host.stranger()
    again.greet(session_id=client.session_id, password=client.password, timeout_ms=TIMEOUT_MS)
    ensemble.settle()
    assert again.greeted().session_id == client.session_id
    assert again.get_data(b"/e").code == 0
    again.vanish()
    ensemble.pass_time(3 * TIMEOUT_MS)
    assert not ensemble.leader().tree.ephemerals
    ensemble.check()


def test_an_upgrade_that_expires_before_it_is_applied_leaves_nothing_behind(ensemble: Ensemble) -> None:
    host = ensemble.leader()
    client = host.client(timeout_ms=TIMEOUT_MS)
    client.send.create(b"/e", flags=EPHEMERAL)
    host.replica.now_ms += 3 * TIMEOUT_MS
    host.leading.tick()
    ensemble.settle()
    assert client.is_ended
    assert not is_global(ensemble, client)
    assert not host.tree.ephemerals and not host.replica.has_outstanding
    assert host.client().exists(b"/e").code == NoNodeError.code
    ensemble.check()


def test_a_session_outlives_a_change_of_leaders_at_its_server_with_its_whole_timeout(ensemble: Ensemble) -> None:
    host = at(ensemble, "follower")
    client = host.client(timeout_ms=TIMEOUT_MS)
    old = ensemble.leader()
    ensemble.crash(old.server_id)
    ensemble.pass_time(2 * TIMEOUT_MS)
    assert client.is_ended
    assert ensemble.leader() is not old
    assert len(host.replica.local) == 0  # since it was silent for too long while the new leader led

    later = host.client(timeout_ms=TIMEOUT_MS)
    host.replica.look("it is to be so")
    assert later.is_ended
    host.replica.now_ms += 3 * TIMEOUT_MS
    host.replica.tick()
    assert later.session_id in host.replica.local  # nobody could come back meanwhile
    host.replica.follow(host.member, 1)
    host.replica.tick()
    again = host.stranger()
    again.greet(session_id=later.session_id, password=later.password)
    assert again.greeted().session_id == later.session_id


def test_writes_go_on_under_another_leader(ensemble: Ensemble) -> None:
    host = at(ensemble, "observer")
    client = host.client(timeout_ms=TIMEOUT_MS)
    assert client.create(b"/a").code == 0
    ensemble.crash(ensemble.leader().server_id)
    ensemble.pass_time(TIMEOUT_MS // 2)
    assert client.is_ended
    again = back(host, client)
    assert again.greeted().session_id == client.session_id
    assert again.set_data(b"/a", b"y").code == 0
    assert again.create(b"/e", flags=EPHEMERAL).code == 0
    assert is_global(ensemble, client)


def test_a_restart_forgets_the_sessions_and_gives_new_ones_other_ids(ensemble: Ensemble) -> None:
    host = at(ensemble, "follower")
    client = host.client(timeout_ms=TIMEOUT_MS)
    ensemble.crash(host.server_id)
    ensemble.pass_time(200)
    host.boot()
    ensemble.pass_time(5_000)
    assert back(host, client).greeted().timeout_ms == 0
    assert host.client().session_id != client.session_id


def test_two_new_sessions_never_share_an_id_though_one_is_local(ensemble: Ensemble) -> None:
    host = at(ensemble, "follower")
    client, other = host.client(), host.client()
    assert client.create(b"/e", flags=EPHEMERAL).code == 0
    ensemble.settle()
    host.replica.next_session_id = min(client.session_id, other.session_id)
    assert host.client().session_id not in (client.session_id, other.session_id)


def test_a_server_without_the_setting_leads_those_with_it() -> None:
    ensemble = Ensemble(1, 2, 3)
    leader = ensemble.leader()
    host = next(host for host in ensemble.followers())
    host.replica_settings |= {"local_sessions": True, "local_sessions_upgrading": True}
    ensemble.crash(host.server_id)
    ensemble.pass_time(200)
    host.boot()
    ensemble.pass_time(5_000)
    assert ensemble.leader() is leader

    client = host.client()
    assert client.create(b"/a").code == 0
    assert not is_global(ensemble, client)
    assert client.create(b"/e", flags=EPHEMERAL).code == 0
    assert is_global(ensemble, client)
    assert leader.client().session_id in leader.tree.sessions


def test_a_client_that_only_reads_keeps_its_session_through_the_time_without_a_leader() -> None:
    ensemble = made(read_only_mode=True)
    host = at(ensemble, "follower")
    client = host.client()
    ensemble.isolate(host.server_id)
    ensemble.pass_time(20_000)
    assert host.replica.role.is_read_only
    again = host.stranger()
    again.greet(session_id=client.session_id, password=client.password, read_only=True)
    greeted = again.greeted()
    assert (greeted.session_id, greeted.read_only) == (client.session_id, True)
    again.send.create(b"/e", flags=EPHEMERAL)
    host.call("flush")
    assert [answer.code for answer in again.answers()] == [-119]

    ensemble.heal()
    ensemble.pass_time(5_000)
    assert not host.replica.role.is_read_only
    third = back(host, client)
    assert third.greeted().session_id == client.session_id
    assert third.create(b"/e", flags=EPHEMERAL).code == 0


def test_sessions_of_the_read_only_mode_alone_end_with_it() -> None:
    ensemble = Ensemble(1, 2, 3, read_only_mode=True)
    ensemble.isolate(1)
    ensemble.pass_time(20_000)
    client = ensemble[1].stranger()
    client.greet(read_only=True)
    assert client.greeted().session_id
    assert len(ensemble[1].replica.local) == 1
    ensemble.heal()
    ensemble.pass_time(5_000)
    assert len(ensemble[1].replica.local) == 0


def test_the_end_of_a_session_that_only_a_learner_knows_is_none_of_the_leaders_business(ensemble: Ensemble) -> None:
    with pytest.raises(PeerMessageError, match="only the learner knows"):
        ensemble.leader().leading.take(1, 2, Forward(FORWARD_LOCAL, 1, 7, 1, Opcode.CLOSE_SESSION, b"", ()))


def test_a_stall_of_the_server_costs_no_session_its_life(ensemble: Ensemble) -> None:
    host = at(ensemble, "leader")
    client = host.client(timeout_ms=TIMEOUT_MS)
    host.replica.postpone(5 * TIMEOUT_MS)
    host.replica.now_ms += 5 * TIMEOUT_MS
    host.replica.tick()
    assert not client.is_ended


def test_a_lost_upgrade_leaves_no_session_that_cannot_end() -> None:
    world = World(local_sessions=True, local_sessions_upgrading=True)
    client = world.client()
    client.send.create(b"/e", flags=EPHEMERAL)
    assert client.session_id in world.replica.tracker
    world.lose()
    assert client.is_ended
    assert client.session_id not in world.replica.tracker
    assert not world.tree.sessions


def test_a_new_session_takes_the_tokens_of_a_local_one() -> None:
    bucket = TokenBucket(2, 1_000, 1, new_weight=3, renewed_weight=2, local_weight=1)
    assert [bucket.take(0, is_local=True) for _ in range(7)] == [True] * 6 + [False]
    bucket = TokenBucket(2, 1_000, 1, new_weight=3, renewed_weight=2, local_weight=1)
    assert [bucket.take(0, is_renewed=True, is_local=True) for _ in range(4)] == [True] * 3 + [False]
