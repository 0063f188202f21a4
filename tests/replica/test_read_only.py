"""A member without a leader that serves reads, to clients which ask for no more."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.ensemble import Ensemble, Host
from zkstore.errors import NotReadOnlyError
from zkstore.model.tree import Tree
from zkstore.replica.read_only import PATIENCE_MS, ReadOnly
from zkstore.wire.opcodes import Opcode

NOT_READ_ONLY = NotReadOnlyError.code
TIMEOUT_MS = 10_000


def left_alone(*, read_only_mode: bool = True) -> tuple[Ensemble, Host]:
    """An ensemble that has written /a, and one of its servers after it lost all the others."""
    ensemble = Ensemble(1, 2, 3, read_only_mode=read_only_mode)
    ensemble.settle()
    assert ensemble[1].client().create(b"/a", b"x").code == 0
    ensemble.settle()
    ensemble.isolate(1)
    ensemble.pass_time(20_000)
    return ensemble, ensemble[1]


@pytest.fixture
def ensemble() -> Ensemble:
    return left_alone()[0]


@pytest.fixture
def host(ensemble: Ensemble) -> Host:
    return ensemble[1]


def reader(host: Host) -> Client:
    client = host.stranger()
    client.greet(read_only=True, timeout_ms=TIMEOUT_MS)
    assert client.greeted().read_only is True
    return client


def test_a_member_without_a_leader_lets_a_client_read_that_asks_for_no_more(host: Host) -> None:
    client = reader(host)
    assert client.get_data(b"/a").data == b"x"
    assert host.tree.sessions.get(client.session_id) is None


def test_who_wants_to_write_is_sent_away(host: Host) -> None:
    client = host.stranger()
    client.greet()
    assert client.is_ended
    assert client.output() == b""


def test_nobody_is_served_where_it_is_not_switched_on() -> None:
    _, host = left_alone(read_only_mode=False)
    client = host.stranger()
    client.greet(read_only=True)
    assert client.is_ended


def test_a_leader_is_looked_for_before_the_mode_begins() -> None:
    ensemble = Ensemble(1, 2, 3, read_only_mode=True)
    ensemble.isolate(1)
    replica, began_ms = ensemble[1].replica, 0
    while not isinstance(replica.role, ReadOnly):
        ensemble.pass_time(100)
        if not began_ms and not replica.role.is_serving:
            began_ms = replica.now_ms
    assert replica.now_ms - began_ms >= PATIENCE_MS - 100
    assert any("read-only mode begins" in notice for notice in replica.notices)


def test_writes_and_syncs_are_refused_in_their_turn_among_the_answers(host: Host) -> None:
    client = reader(host)
    client.send.get_data(b"/a")
    client.send.create(b"/b")
    client.send.set_data(b"/a", b"y")
    client.send.get_data(b"/a")
    client.send.delete(b"/a")
    client.send.multi(client.world.ops.delete(b"/a"))
    client.send.sync(b"/")
    host.call("flush")
    answers = client.answers()
    assert [answer.xid for answer in answers] == [1, 2, 3, 4, 5, 6, 7]
    refused = [NOT_READ_ONLY, NOT_READ_ONLY]
    assert [answer.code for answer in answers] == [0, *refused, 0, *refused, NOT_READ_ONLY]
    assert {answer.zxid for answer in answers} == {host.tree.zxid}
    assert host.tree.records.keys() >= {b"/a"}


def test_a_session_of_the_mode_can_come_back_and_needs_its_password(host: Host) -> None:
    client = reader(host)
    client.vanish()
    again, thief = host.stranger(), host.stranger()
    again.greet(session_id=client.session_id, password=client.password, read_only=True)
    assert again.greeted().session_id == client.session_id
    thief.greet(session_id=client.session_id, password=bytes(16), read_only=True)
    assert thief.greeted().timeout_ms == 0


def test_a_session_of_the_ensemble_is_neither_granted_nor_said_to_be_gone(ensemble: Ensemble, host: Host) -> None:
    client = ensemble[2].client()
    stranger = host.stranger()
    stranger.greet(session_id=client.session_id, password=client.password, read_only=True)
    assert stranger.is_ended
    assert stranger.output() == b""


def test_a_session_of_the_mode_can_be_closed(host: Host) -> None:
    client = reader(host)
    client.send.close()
    host.call("flush")
    (answer,) = client.answers()
    assert answer.code == 0
    assert client.is_ended
    assert not host.replica.role.has_session(client.session_id)


def test_a_silent_session_of_the_mode_expires_and_one_in_touch_does_not(ensemble: Ensemble, host: Host) -> None:
    silent, lively = reader(host), reader(host)
    for _ in range(8):
        lively.request(Opcode.PING, b"", xid=-2)
        ensemble.pass_time(TIMEOUT_MS // 4)
    assert silent.is_ended
    assert not lively.is_ended


def test_looking_for_a_leader_anew_disturbs_nobody_who_reads(host: Host) -> None:
    client = reader(host)
    host.replica.look("no quorum took part")
    assert client.get_data(b"/a").data == b"x"


def test_the_mode_ends_when_a_tree_from_elsewhere_takes_the_place_of_this_one(host: Host) -> None:
    client, replica = reader(host), host.replica
    replica.replace(Tree.new(), 0)
    assert client.is_ended
    assert not replica.role.is_serving


def test_the_mode_ends_when_there_is_a_leader_again(ensemble: Ensemble, host: Host) -> None:
    client = reader(host)
    ensemble.heal()
    ensemble.pass_time(10_000)
    assert client.is_ended
    assert not host.replica.role.is_read_only
    assert host.client().create(b"/b").code == 0
    ensemble.settle()
    ensemble.check()
