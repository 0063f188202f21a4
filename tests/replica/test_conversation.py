"""One connection: frames, the order of answers, reads behind writes, syncs, what is malformed."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore import limits
from zkstore.replica.waiting import State
from zkstore.wire import jute
from zkstore.wire.opcodes import XID_PING, Opcode
from zkstore.wire.records import AuthPacket
from zkstore.wire.responses import event_frame

NEVER_A_CLIENTS = {Opcode.NOTIFICATION, Opcode.CHECK, Opcode.DELETE_CONTAINER, Opcode.ERROR, Opcode.CREATE_SESSION}
ENDED_BY_A_BAD_BODY = {Opcode.AUTH, Opcode.SASL}
WITHOUT_BODY = {Opcode.PING, Opcode.WHO_AM_I, Opcode.CLOSE_SESSION} | ENDED_BY_A_BAD_BODY | NEVER_A_CLIENTS


# --- order ----------------------------------------------------------------------------------------


def test_reads_behind_own_writes_wait_and_see_exactly_their_state(client: Client) -> None:
    client.create(b"/a", b"0")
    sent = [
        client.send.set_data(b"/a", b"1"),
        client.send.get_data(b"/a"),
        client.send.set_data(b"/a", b"2"),
        client.send.get_data(b"/a"),
        client.send.get_data(b"/a"),
    ]
    assert client.answers() == []
    client.world.run_disk()
    first, read_1, second, read_2, read_2_again = answers = client.answers()
    assert [answer.xid for answer in answers] == sent
    assert (read_1.data, read_1.zxid, read_1.stat) == (b"1", first.zxid, first.stat)
    assert (read_2.data, read_2.zxid, read_2.stat) == (b"2", second.zxid, second.stat)
    assert read_2_again.data == b"2"


def test_other_connections_do_not_wait_and_see_what_is_committed(client: Client) -> None:
    other = client.world.client()
    client.create(b"/a", b"old")
    client.send.set_data(b"/a", b"new")
    client.world.seal()
    other.send.get_data(b"/a")
    (answer,) = other.answers()
    assert answer.data == b"old"
    client.world.finish()
    assert other.get_data(b"/a").data == b"new"


def test_a_failed_write_is_answered_in_its_turn_and_takes_a_zxid(client: Client) -> None:
    client.send.create(b"/a")
    client.send.create(b"/a")
    client.send.create(b"/b")
    client.world.run_disk()
    created, failed, next_created = client.answers()
    assert [created.code, failed.code, next_created.code] == [0, -110, 0]
    assert [created.zxid, failed.zxid, next_created.zxid] == [2, 3, 4]
    assert client.stat(b"/b").czxid == 4


def test_answers_to_reads_carry_the_last_applied_zxid(client: Client) -> None:
    client.create(b"/a")
    for answer in (client.get_data(b"/a"), client.get_data(b"/none"), client.exists(b"/a"), client.who_am_i()):
        assert answer.zxid == 2


def test_writes_are_applied_as_far_as_the_disk_has_come(client: Client) -> None:
    client.send.create(b"/a")
    client.world.seal()
    client.send.create(b"/b")
    client.world.seal()
    client.world.finish()
    assert [answer.path for answer in client.answers()] == [b"/a"]
    client.world.finish()
    assert [answer.path for answer in client.answers()] == [b"/b"]


def test_one_report_of_the_disk_may_cover_several_segments(client: Client) -> None:
    client.send.create(b"/a")
    client.world.seal()
    client.send.create(b"/b")
    last = client.world.seal()
    assert last is not None
    client.world.replica.commit_to(last.last_zxid)
    client.world.segments += client.world.sealed
    client.world.sealed.clear()
    assert [answer.path for answer in client.answers()] == [b"/a", b"/b"]


# --- pings and syncs ------------------------------------------------------------------------------


def test_a_ping_does_not_wait_for_the_disk(client: Client) -> None:
    client.send.create(b"/a")
    client.request(Opcode.PING, b"", xid=XID_PING)
    (answer,) = client.answers()
    assert answer == (XID_PING, 1, 0, b"")


@pytest.mark.parametrize("path", [b"/none", b"", None, b"not a path"])
def test_sync_echoes_any_path(client: Client, path: bytes | None) -> None:
    answer = client.sync(path)
    assert (answer.code, answer.path) == (0, path)


def test_sync_waits_for_what_others_have_under_way(client: Client) -> None:
    other = client.world.client()
    client.create(b"/a", b"old")
    client.send.set_data(b"/a", b"new")
    other.send.sync(b"/a")
    other.send.get_data(b"/a")
    client.world.seal()
    assert other.answers() == []
    client.world.finish()
    synced, read = other.answers()
    assert (synced.zxid, read.data) == (3 + 1, b"new")


def test_a_sync_between_two_writes_of_one_segment_is_answered_between_them(client: Client) -> None:
    client.send.create(b"/a", b"1")
    client.send.sync(b"/a")
    client.send.get_data(b"/a")
    client.send.set_data(b"/a", b"2")
    client.send.sync(b"/a")
    client.world.run_disk()
    created, synced, read, changed, synced_again = client.answers()
    assert (created.zxid, synced.zxid, read.zxid, read.data) == (2, 2, 2, b"1")
    assert (changed.zxid, synced_again.zxid) == (3, 3)


def test_a_sync_does_not_wait_for_what_came_later(client: Client) -> None:
    other = client.world.client()
    client.send.create(b"/a")
    other.send.sync(b"/a")
    client.world.seal()
    client.send.create(b"/b")
    client.world.finish()
    assert len(other.answers()) == 1
    client.world.run_disk()


def test_a_sync_of_a_client_that_left_harms_nobody(client: Client) -> None:
    other = client.world.client()
    client.send.create(b"/a")
    other.send.sync(b"/a")
    other.vanish()
    client.world.run_disk()
    assert len(client.answers()) == 1
    assert other.output() == b""


# --- what is malformed ----------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [*sorted(NEVER_A_CLIENTS), 10, 23, 99, 108, 1 << 30])
def test_an_unknown_opcode_is_answered_and_the_connection_goes_on(client: Client, opcode: int) -> None:
    xid = client.request(opcode, b"")
    (answer,) = client.answers()
    assert answer == (xid, -1, -6, b"")
    assert client.exists(b"/").code == 0


@pytest.mark.parametrize(
    "opcode",
    sorted(set(Opcode) - WITHOUT_BODY),
)
@pytest.mark.parametrize("body", [b"", b"\0\0\0\x7fcut", b"\xff\xff\xff\xfe", b"\x7f\xff\xff\xff"])
def test_a_malformed_body_is_answered_and_the_connection_goes_on(client: Client, opcode: int, body: bytes) -> None:
    xid = client.request(opcode, body)
    client.world.run_disk()
    (answer,) = client.answers()
    assert (answer.xid, answer.code, answer.body) == (xid, -5, b"")
    assert client.exists(b"/").code == 0


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (Opcode.GET_DATA, jute.NULL + b"\0"),
        (Opcode.EXISTS, jute.NULL + b"\1"),
        (Opcode.GET_CHILDREN, jute.NULL + b"\0"),
        (Opcode.GET_ACL, jute.NULL),
        (Opcode.GET_ALL_CHILDREN_NUMBER, jute.NULL),
        (Opcode.DELETE, jute.NULL + jute.int32(-1)),
        (Opcode.CREATE, jute.NULL + jute.NULL + jute.NULL + jute.int32(0)),
        (Opcode.ADD_WATCH, jute.NULL + jute.int32(0)),
        (Opcode.ADD_WATCH, jute.buffer(b"/a") + jute.int32(2)),
        (Opcode.REMOVE_WATCHES, jute.buffer(b"/a") + jute.int32(6)),
        (Opcode.CHECK_WATCHES, jute.NULL + jute.int32(0)),
        (Opcode.SET_WATCHES, jute.int64(0) + jute.NULL * 3),
    ],
)
def test_nulls_and_numbers_out_of_range_are_marshalling_errors(client: Client, opcode: int, body: bytes) -> None:
    client.request(opcode, body)
    client.world.run_disk()
    (answer,) = client.answers()
    assert answer.code == -5


@pytest.mark.parametrize(
    ("opcode", "body", "code"),
    [
        (Opcode.SET_DATA, jute.NULL + jute.NULL + jute.int32(-1), -8),
        (Opcode.SET_ACL, jute.NULL + jute.NULL + jute.int32(-1), -8),
        (Opcode.CHECK_WATCHES, jute.NULL + jute.int32(1), -121),
        (Opcode.REMOVE_WATCHES, jute.NULL + jute.int32(3), -121),
    ],
)
def test_a_null_path_is_a_bad_one_or_one_that_nobody_watches(
    client: Client, opcode: int, body: bytes, code: int
) -> None:
    client.request(opcode, body)
    client.world.run_disk()
    (answer,) = client.answers()
    assert answer.code == code


def test_a_reconfig_is_refused_and_takes_a_zxid(client: Client) -> None:
    before = client.exists(b"/").zxid
    xid = client.request(Opcode.RECONFIG, jute.NULL * 3 + jute.int64(-1))
    client.world.run_disk()
    assert client.answers() == [(xid, before + 1, -123, b"")]


def test_an_auth_packet_s_xid_comes_back(client: Client) -> None:
    client.request(Opcode.AUTH, AuthPacket(0, "digest", b"user:secret").encode(), xid=77)
    assert client.answers() == [(77, 0, 0, b"")]


@pytest.mark.parametrize("opcode", sorted(ENDED_BY_A_BAD_BODY))
@pytest.mark.parametrize("body", [b"", b"\0\0", b"\0\0\0\x05abc"])
def test_a_malformed_packet_of_a_login_ends_the_conversation_without_an_answer(
    client: Client, opcode: int, body: bytes
) -> None:
    client.request(opcode, body)
    assert client.is_ended
    assert client.output() == b""


@pytest.mark.parametrize("token", [b"", b"token"])
def test_a_sasl_token_gets_a_null_one_at_once_because_nobody_can_log_in(client: Client, token: bytes) -> None:
    client.send.create(b"/a")
    xid = client.request(Opcode.SASL, jute.buffer(token))
    assert client.answers() == [(xid, 0, 0, jute.NULL)]
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0]


def test_a_client_that_answers_a_null_token_with_another_is_hung_up_on(client: Client) -> None:
    client.request(Opcode.SASL, jute.buffer(b""))
    assert len(client.answers()) == 1
    client.request(Opcode.SASL, jute.buffer(b""))
    assert client.is_ended
    assert client.output() == b""


def test_a_sasl_packet_without_a_token_ends_the_conversation(client: Client) -> None:
    client.request(Opcode.SASL, jute.NULL)
    assert client.is_ended
    assert client.output() == b""


def test_bytes_behind_the_last_field_are_ignored(client: Client) -> None:
    client.request(Opcode.EXISTS, jute.buffer(b"/") + b"\0" + b"more")
    client.request(Opcode.GET_DATA, jute.buffer(b"/") + b"\0" + b"more")
    assert [answer.code for answer in client.answers()] == [0, 0]


@pytest.mark.parametrize("length", [-1, -(1 << 31), 0, 7, limits.FRAME_BYTES_MAX + 1, (1 << 31) - 1])
def test_a_frame_of_impossible_length_ends_the_conversation_with_a_reason(client: Client, length: int) -> None:
    client.receive(jute.int32(length))
    assert client.is_ended
    assert str(length) in (client.conversation.end_reason or "")
    assert client.output() == b""


def test_what_came_before_an_impossible_frame_is_answered(client: Client) -> None:
    client.send.exists(b"/")
    client.receive(jute.int32(-1))
    assert len(client.answers()) == 1


def test_the_largest_frame_is_still_served(client: Client) -> None:
    overhead = 8 + 4 + len(b"/a") + 4 + 4
    client.create(b"/a")
    assert client.set_data(b"/a", bytes(limits.FRAME_BYTES_MAX - overhead)).code == 0


def test_the_largest_frame_may_be_set(make_world: type[World]) -> None:
    small = make_world(frame_bytes_max=64).client()
    small.receive(jute.int32(64))
    assert not small.is_ended
    small.receive(bytes(64) + jute.int32(65))
    assert small.is_ended


# --- ends -----------------------------------------------------------------------------------------


def test_closing_is_answered_and_what_follows_it_is_dropped(client: Client) -> None:
    client.send.close()
    client.send.create(b"/never")
    assert client.conversation.state == State.LEAVING
    client.world.run_disk()
    (answer,) = client.answers()
    assert (answer.zxid, answer.code, answer.body) == (2, 0, b"")
    assert client.is_ended
    assert client.conversation.end_reason is None
    assert b"/never" not in client.world.tree.records


def test_reads_before_the_close_are_answered_before_it(client: Client) -> None:
    client.send.create(b"/a")
    client.send.get_data(b"/a")
    client.send.close()
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0, 0, 0]


def test_a_connection_that_is_lost_forgets_its_answers_but_not_its_writes(client: Client) -> None:
    client.send.create(b"/a")
    client.send.get_data(b"/a")
    client.vanish()
    client.world.run_disk()
    assert client.output() == b""
    assert b"/a" in client.world.tree.records
    assert not client.world.replica.conversations
    assert client.session_id in client.world.tree.sessions


def test_whoever_has_bytes_to_send_is_ready(client: Client) -> None:
    other = client.world.client()
    client.get_data(b"/", watch=True)
    client.world.replica.ready.clear()
    other.send.set_data(b"/", b"x")
    assert list(client.world.replica.ready) == []
    client.world.run_disk()
    assert list(client.world.replica.ready) == [client.conversation, other.conversation]


def test_a_slow_reader_of_answers_is_not_read(client: Client) -> None:
    client.create(b"/a", bytes(1 << 19))
    request = jute.buffer(jute.int32(1) + jute.int32(Opcode.GET_DATA) + jute.buffer(b"/a") + b"\0")
    client.receive(request * 4)
    conversation = client.conversation
    assert conversation.is_blocked
    answered = len(client.answers())
    assert answered == 2
    while conversation.is_blocked or conversation.has_input:
        answered += len(client.answers())
        client.receive(b"")
    assert answered + len(client.answers()) == 4


def test_a_slow_reader_of_events_is_cut_off(world: World) -> None:
    watcher = world.client()
    watcher.add_watch(b"/", 1)
    path = b"/" + bytes([97]) * 1_000_000
    conversation = watcher.conversation
    for _ in range(limits.UNSENT_BYTES_MAX // len(path) + 2):
        conversation.tell(event_frame(3, path, 1))
    assert watcher.is_ended
    assert "does not read" in (conversation.end_reason or "")
    assert conversation.out == []
    assert not world.replica.watches.has(b"/", conversation, 3)


def test_reads_behind_a_write_cannot_fill_the_memory(client: Client) -> None:
    client.create(b"/big", bytes(1_000_000))
    client.send.create(b"/a")
    for _ in range(1_000):
        client.send.get_data(b"/big")
    client.world.run_disk()
    assert client.conversation.out_bytes <= limits.UNSENT_BYTES_MAX + (2 << 20)


# --- figures --------------------------------------------------------------------------------------


def test_a_conversation_counts_what_it_receives_and_sends(client: Client) -> None:
    conversation = client.conversation
    client.create(b"/a")
    client.world.replica.now_ms += 7
    client.get_data(b"/a")
    assert (conversation.received, conversation.sent) == (3, 3)
    assert (conversation.last_opcode, conversation.last_xid, conversation.last_zxid) == (Opcode.GET_DATA, 2, 2)
    conversation.reset_statistics()
    assert (conversation.received, conversation.sent, conversation.last_zxid) == (0, 0, -1)


def test_latency_is_from_reading_to_the_answer(client: Client) -> None:
    client.send.create(b"/a")
    client.world.replica.now_ms += 25
    client.world.run_disk()
    conversation, figures = client.conversation, client.world.replica.figures
    assert (conversation.last_latency_ms, conversation.latency_max_ms, conversation.latency_total_ms) == (25, 25, 25)
    assert (figures.update_count, figures.update_total_ms, figures.latency_max_ms) == (1, 25, 25)
    assert figures.proposals == 2
    figures.reset()
    assert (figures.update_count, figures.update_total_ms, figures.latency_max_ms, figures.proposals) == (0, 0, 0, 0)
