"""The disk is full: what was under way never happened, everybody is told, and life goes on."""

from __future__ import annotations

from tests.replica.clients import Client

SYSTEM_ERROR = -1


def test_every_write_under_way_is_told_and_none_is_applied(client: Client) -> None:
    other = client.world.client()
    client.create(b"/a", b"old")
    records, zxid = dict(client.world.tree.records), client.world.tree.zxid
    client.send.set_data(b"/a", b"new")
    client.world.seal()
    client.send.delete(b"/a")
    client.send.create(b"/a")
    other.send.create(b"/b")
    client.world.seal()
    other.send.delete(b"/none")
    client.world.lose()
    for who, count in ((client, 3), (other, 2)):
        answers = who.answers()
        assert [(answer.code, answer.zxid, answer.body) for answer in answers] == [(SYSTEM_ERROR, zxid, b"")] * count
        assert [answer.xid for answer in answers] == sorted(answer.xid for answer in answers)
        assert not who.is_ended
    assert client.world.tree.records == records
    assert client.world.tree.zxid == zxid
    assert not client.world.replica.has_outstanding


def test_reads_that_waited_are_answered_in_their_turn_from_what_is_committed(client: Client) -> None:
    client.create(b"/a", b"old")
    sent = [
        client.send.set_data(b"/a", b"1"),
        client.send.get_data(b"/a"),
        client.send.sync(b"/a"),
        client.send.set_data(b"/a", b"2"),
        client.send.get_data(b"/a"),
        client.send.sync(b"/a"),
        client.send.sync(b"/a"),
    ]
    client.world.seal()
    client.world.lose()
    answers = client.answers()
    assert [answer.xid for answer in answers] == sent
    assert [answer.code for answer in answers] == [SYSTEM_ERROR, 0, 0, SYSTEM_ERROR, 0, 0, 0]
    assert answers[1].data == answers[4].data == b"old"


def test_syncs_of_others_are_answered(client: Client) -> None:
    other = client.world.client()
    client.send.create(b"/a")
    other.send.sync(b"/")
    other.send.exists(b"/a")
    client.world.lose()
    assert [answer.code for answer in other.answers()] == [0, -101]
    client.answers()


def test_afterwards_zxids_and_the_chain_go_on_from_the_last_durable_segment(client: Client) -> None:
    client.create(b"/a")
    last = client.world.segments[-1]
    client.send.create(b"/lost")
    client.world.seal()
    client.send.create(b"/lost/too")
    client.world.seal()
    client.world.lose()
    client.answers()
    client.send.create(b"/b")
    sealed = client.world.seal()
    assert sealed is not None
    assert (sealed.prev_crc, sealed.prev_zxid, sealed.first_zxid) == (last.crc, last.last_zxid, last.last_zxid + 1)
    client.world.run_disk()
    (answer,) = client.answers()
    assert (answer.code, answer.zxid) == (0, last.last_zxid + 1)
    assert client.create(b"/lost").code == 0


def test_what_the_disk_had_finished_before_stays(client: Client) -> None:
    client.send.create(b"/a")
    client.world.seal()
    client.send.create(b"/b")
    client.world.seal()
    client.world.finish()
    client.world.lose()
    assert [answer.code for answer in client.answers()] == [0, SYSTEM_ERROR]
    assert b"/a" in client.world.tree.records
    assert client.create(b"/b").code == 0


def test_what_was_expected_is_forgotten(client: Client) -> None:
    client.create(b"/p")
    client.send.create(b"/p/s", flags=3)
    client.send.set_data(b"/p", b"x")
    client.world.lose()
    client.answers()
    assert client.create(b"/p/s", flags=2).path == b"/p/s0000000000"
    assert client.set_data(b"/p", b"x", version=0).code == 0
    assert client.close().code == 0


def test_a_client_that_was_joining_is_sent_away_and_may_try_again(client: Client) -> None:
    stranger = client.world.stranger()
    stranger.greet()
    client.world.seal()
    client.world.lose()
    assert stranger.is_ended
    assert stranger.output() == b""
    assert "disk is full" in (stranger.conversation.end_reason or "")
    assert client.world.client().session_id


def test_a_session_whose_close_was_lost_lives_on_and_expires_later(client: Client) -> None:
    client.create(b"/e", flags=1)
    client.send.close()
    client.world.lose()
    assert client.is_ended
    assert client.output() == b""
    assert client.reconnect().get_ephemerals().children == [b"/e"]
    client.world.pass_time(40_000)
    client.world.run_disk()
    assert client.session_id not in client.world.tree.sessions


def test_a_session_whose_expiry_was_lost_expires_again(client: Client) -> None:
    client.vanish()
    client.world.pass_time(40_000)
    client.world.lose()
    assert client.session_id in client.world.tree.sessions
    client.world.pass_time(40_000)
    client.world.run_disk()
    assert client.session_id not in client.world.tree.sessions


def test_a_client_that_left_is_told_nothing(client: Client) -> None:
    client.send.create(b"/a")
    client.send.sync(b"/")
    client.vanish()
    client.world.lose()
    assert client.output() == b""


def test_no_watch_fires_for_what_was_lost(client: Client) -> None:
    client.exists(b"/a", watch=True)
    client.send.create(b"/a")
    client.world.lose()
    assert client.events() == []
    client.answers()
    client.create(b"/a")
    assert client.events() == [(1, b"/a")]


# --- memory ---------------------------------------------------------------------------------------


def test_where_growth_is_refused_reads_and_deletes_go_on(client: Client) -> None:
    ops = client.world.ops
    client.create(b"/a", b"x")
    client.world.replica.refuses_growth = True
    refused = [
        client.create(b"/b"),
        client.create_ttl(b"/b", 1),
        client.set_data(b"/a"),
        client.multi(ops.create(b"/b")),
    ]
    assert [answer.code for answer in refused] == [SYSTEM_ERROR] * 4
    assert client.get_data(b"/a").data == b"x"
    assert client.multi(ops.check(b"/a"), ops.delete(b"/a")).codes == [0, 0]
    client.world.replica.refuses_growth = False
    assert client.create(b"/b").code == 0
