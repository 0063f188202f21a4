"""Sessions: what keeps them alive, what ends them, and what goes with them."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore import limits
from zkstore.replica import sessions
from zkstore.wire.opcodes import XID_PING, Opcode


def test_a_silent_session_expires_with_its_ephemerals_under_one_zxid(client: Client) -> None:
    world = client.world
    for path in (b"/e", b"/f"):
        client.create(path, flags=1)
    client.create(b"/stays")
    zxid = world.tree.zxid
    world.pass_time(30_000)
    assert world.seal() is None
    world.pass_time(2_001)
    world.run_disk()
    assert client.session_id not in world.tree.sessions
    assert world.tree.zxid == zxid + 1
    assert [path for path in (b"/e", b"/f", b"/stays") if path in world.tree.records] == [b"/stays"]
    assert client.is_ended
    assert client.output() == b""
    assert world.replica.figures.sessions_expired == 1


def test_pings_and_requests_keep_a_session_alive(client: Client) -> None:
    for _ in range(6):
        client.world.pass_time(20_000)
        client.request(Opcode.PING, b"", xid=XID_PING)
        client.world.pass_time(20_000)
        client.send.exists(b"/")
    client.world.run_disk()
    assert len(client.answers()) == 12
    assert client.session_id in client.world.tree.sessions


def test_a_reconnect_keeps_a_session_and_its_ephemerals_alive(client: Client) -> None:
    client.create(b"/e", flags=1)
    client.vanish()
    client.world.pass_time(29_000)
    again = client.reconnect()
    client.world.pass_time(29_000)
    assert again.exists(b"/e").code == 0


def test_a_disconnect_ends_nothing(client: Client) -> None:
    client.create(b"/e", flags=1)
    client.vanish()
    client.world.pass_time(10_000)
    assert client.world.seal() is None
    assert b"/e" in client.world.tree.records


def test_the_timeout_of_the_current_connection_holds(client: Client) -> None:
    client.reconnect(timeout_ms=4_000)
    client.world.pass_time(7_000)
    client.world.run_disk()
    assert client.session_id not in client.world.tree.sessions


def test_from_its_expiry_on_a_sessions_requests_are_dropped(client: Client) -> None:
    client.world.pass_time(40_000)
    client.send.create(b"/never")
    client.send.exists(b"/")
    client.world.run_disk()
    assert client.output() == b""
    assert b"/never" not in client.world.tree.records


def test_an_expired_session_cannot_be_taken_up_again(client: Client) -> None:
    client.world.pass_time(40_000)
    again = client.world.stranger()
    again.greet(session_id=client.session_id, password=client.password)
    client.world.run_disk()
    assert again.greeted().session_id == 0
    again = client.world.stranger()
    again.greet(session_id=client.session_id, password=client.password)
    assert again.greeted().session_id == 0


def test_creates_under_way_when_their_session_ends_are_deleted_too(client: Client) -> None:
    client.create(b"/old", flags=1)
    client.send.create(b"/new", flags=1)
    client.send.create(b"/stays")
    client.send.delete(b"/old")
    client.send.close()
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0, 0, 0, 0]
    records = client.world.tree.records
    assert [path in records for path in (b"/old", b"/new", b"/stays")] == [False, False, True]
    assert not client.world.tree.ephemerals


def test_an_ephemeral_deleted_and_made_anew_by_another_survives(client: Client) -> None:
    other = client.world.client()
    client.create(b"/lock", flags=1)
    other.send.delete(b"/lock")
    other.send.create(b"/lock", flags=1)
    client.send.close()
    client.world.run_disk()
    assert client.world.tree.ephemerals == {other.session_id: {b"/lock": None}}


def test_a_lock_goes_over_within_one_segment(client: Client) -> None:
    other = client.world.client()
    client.create(b"/lock", b"mine", flags=1)
    other.send.create(b"/lock", b"too early", flags=1)
    client.send.close()
    other.send.create(b"/lock", b"theirs", flags=1)
    client.world.seal()
    assert len(client.world.sealed) == 1
    client.world.finish()
    assert [answer.code for answer in other.answers()] == [-110, 0]
    stat = client.world.tree.stat(b"/lock")
    assert (stat.ephemeral_owner, stat.czxid) == (other.session_id, client.world.tree.zxid)


def test_ephemerals_stay_when_their_session_only_deletes_their_neighbours(client: Client) -> None:
    client.create(b"/p")
    client.create(b"/p/a", flags=1)
    client.create(b"/p/b", flags=1)
    client.delete(b"/p/a")
    assert client.world.tree.ephemerals == {client.session_id: {b"/p/b": None}}
    client.close()
    assert client.world.tree.stat(b"/p").cversion == 4
    assert client.world.tree.stat(b"/p").num_children == 0


def test_a_session_may_be_ended_by_the_server(client: Client) -> None:
    client.create(b"/e", flags=1)
    sessions.close(client.world.leading, client.session_id)
    client.world.run_disk()
    assert client.is_ended
    assert b"/e" not in client.world.tree.records


def test_ending_a_session_twice_is_harmless(client: Client) -> None:
    client.create(b"/e", flags=1)
    client.send.close()
    sessions.close(client.world.leading, client.session_id)
    sessions.close(client.world.leading, 0x1234)
    client.world.run_disk()
    assert len(client.answers()) == 1
    assert not client.world.tree.sessions


def test_many_sessions_expire_over_several_ticks(world: World) -> None:
    for _ in range(600):
        world.client().vanish()
    world.replica.now_ms += 40_000
    world.replica.tick()
    first = world.replica.role.outstanding_count
    while world.replica.tracker.next_due_ms is not None:
        world.replica.tick()
    world.run_disk()
    assert 0 < first < 600
    assert not world.tree.sessions


def test_sessions_of_a_recovered_tree_start_with_their_whole_timeout(client: Client, make_world: type[World]) -> None:
    client.create(b"/e", flags=1)
    recovered = make_world(client.world.check_chain(), last_crc=client.world.segments[-1].crc)
    assert client.session_id in recovered.replica.tracker
    again = recovered.client(session_id=client.session_id, password=client.password)
    assert again.get_ephemerals().children == [b"/e"]
    again.vanish()
    recovered.pass_time(40_000)
    recovered.run_disk()
    assert b"/e" not in recovered.tree.records


def test_a_recovered_server_makes_ids_that_no_living_session_has(client: Client, make_world: type[World]) -> None:
    recovered = make_world(client.world.check_chain(), last_crc=client.world.segments[-1].crc)
    assert recovered.client().session_id != client.session_id


def test_what_a_session_owns_beyond_one_record_is_deleted_before_it_ends(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CLOSE_SESSION_BYTES_MAX", 10)
    for number in range(6):
        client.create(b"/e-%d" % number, flags=1)
    before = client.world.tree.zxid
    client.request(Opcode.CLOSE_SESSION, b"")
    client.world.run_disk()
    tree = client.world.tree
    assert tree.zxid == before + 5, "four are deleted, for two fit into ten bytes; then the session ends"
    assert client.session_id not in tree.sessions and client.session_id not in tree.ephemerals
    assert not [path for path in tree.records if path.startswith(b"/e-")]


def test_an_expiring_session_with_50000_long_ephemerals_makes_no_segment_that_others_refuse(client: Client) -> None:
    world = client.world
    for number in range(50_000):
        client.send.create(b"/" + b"%05d" % number + b"x" * 1_500, flags=1)
        if number % 2_000 == 1_999:
            world.run_disk()
            client.answers()
    assert len(world.tree.ephemerals[client.session_id]) == 50_000
    logged = len(world.segments)
    world.pass_time(60_000)
    world.run_disk()
    assert client.session_id not in world.tree.sessions and client.session_id not in world.tree.ephemerals
    sizes = [len(segment.data) for segment in world.segments[logged:]]
    assert sum(sizes) > 64 << 20 and max(sizes) < limits.SEGMENT_BYTES_MAX + 2 * limits.FRAME_BYTES_MAX
