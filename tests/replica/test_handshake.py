"""ConnectRequests: sessions made, taken up again and refused."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore.replica.waiting import State


@pytest.mark.parametrize(("asked_ms", "granted_ms"), [(30_000, 30_000), (1, 4_000), (-5, 4_000), (1 << 30, 40_000)])
def test_the_timeout_is_kept_within_bounds(world: World, asked_ms: int, granted_ms: int) -> None:
    assert world.client(timeout_ms=asked_ms).timeout_ms == granted_ms


def test_every_session_has_its_own_id_password_and_zxid(world: World) -> None:
    first, second = world.client(), world.client()
    assert first.session_id != second.session_id
    assert first.password != second.password
    assert world.tree.zxid == 2
    assert world.tree.sessions[first.session_id] == (30_000, first.password)


def test_the_answer_waits_for_the_disk(world: World) -> None:
    stranger = world.stranger()
    stranger.greet()
    assert stranger.conversation.state == State.JOINING
    world.seal()
    assert stranger.frames() == []
    world.finish()
    assert stranger.greeted().session_id


def test_requests_behind_the_connect_request_wait_for_the_session_and_run_in_order(world: World) -> None:
    stranger = world.stranger()
    stranger.greet()
    stranger.send.create(b"/a", b"1")
    stranger.send.get_data(b"/a")
    assert world.replica.role.outstanding_count == 1
    world.run_disk()
    connected, created, read = stranger.frames()
    assert len(connected) == 37
    assert created.endswith(b"/a")
    assert read[16:].startswith(b"\0\0\0\1" + b"1")


def test_requests_behind_a_reconnect_run_at_once(client: Client) -> None:
    client.create(b"/a", b"1")
    again = client.world.stranger()
    again.conversation.receive(b"")
    again.greet(session_id=client.session_id, password=client.password)
    assert again.greeted().session_id == client.session_id
    assert again.get_data(b"/a").data == b"1"


def test_a_handshake_and_a_request_in_one_receive_after_a_reconnect(client: Client) -> None:
    """Both frames arrive at once, and nothing has to come behind them for the second to be answered."""
    recorder = client.world.stranger()
    frames: list[bytes] = []
    again = client.world.stranger()
    again.receive = frames.append
    again.greet(session_id=client.session_id, password=client.password)
    again.send.exists(b"/")
    recorder.conversation.receive(b"".join(frames))
    assert [len(frame) for frame in recorder.frames()] == [37, 16 + 68]


def test_a_reconnect_takes_the_session_over_and_ends_the_old_connection_silently(client: Client) -> None:
    again = client.reconnect()
    assert (again.session_id, again.password) == (client.session_id, client.password)
    assert client.is_ended
    assert client.conversation.end_reason is None
    assert client.output() == b""
    assert client.world.replica.attached == {again.session_id: again.conversation}


def test_a_reconnect_writes_nothing_keeps_ephemerals_and_forgets_watches_and_identities(client: Client) -> None:
    client.create(b"/e", flags=1)
    client.get_data(b"/e", watch=True)
    client.add_auth("digest", b"user:secret")
    zxid = client.world.tree.zxid
    again = client.reconnect()
    assert client.world.tree.zxid == zxid
    assert again.get_ephemerals().children == [b"/e"]
    again.set_data(b"/e", b"x")
    assert again.events() == []
    assert again.who_am_i().identities == {("ip", "127.0.0.1")}


def test_a_reconnect_may_change_the_timeout(client: Client) -> None:
    assert client.reconnect(timeout_ms=5_000).timeout_ms == 5_000


@pytest.mark.parametrize("password", [bytes(16), b"short", b"", None])
def test_a_wrong_password_is_refused_and_the_old_connection_ended_all_the_same(
    client: Client, password: bytes | None
) -> None:
    stranger = client.world.stranger()
    stranger.greet(session_id=client.session_id, password=password)
    response = stranger.greeted()
    assert (response.timeout_ms, response.session_id, response.password) == (0, 0, bytes(16))
    assert stranger.is_ended
    assert client.is_ended
    assert not client.reconnect().is_ended


def test_an_unknown_session_is_refused(world: World) -> None:
    stranger = world.stranger()
    stranger.greet(session_id=0x1234)
    assert stranger.greeted().timeout_ms == 0
    assert stranger.is_ended


def test_a_session_that_is_closing_is_refused_once_it_is_closed(client: Client) -> None:
    client.send.close()
    stranger = client.world.stranger()
    stranger.greet(session_id=client.session_id, password=client.password)
    assert stranger.output() == b""
    client.world.run_disk()
    assert stranger.greeted().session_id == 0
    assert stranger.is_ended


def test_a_session_whose_close_is_lost_is_given_back(client: Client) -> None:
    client.send.close()
    stranger = client.world.stranger()
    stranger.greet(session_id=client.session_id, password=client.password)
    client.world.lose()
    assert stranger.greeted().session_id == client.session_id
    assert stranger.exists(b"/").code == 0


@pytest.mark.parametrize("is_new", [True, False])
def test_a_client_from_the_future_is_sent_elsewhere_without_an_answer(client: Client, is_new: bool) -> None:
    stranger = client.world.stranger()
    identity = {} if is_new else {"session_id": client.session_id, "password": client.password}
    stranger.greet(last_zxid_seen=client.world.tree.zxid + 1, **identity)
    assert stranger.output() == b""
    assert stranger.is_ended
    assert "zxid 0x2" in (stranger.conversation.end_reason or "")
    assert not client.is_ended


def test_a_client_that_has_seen_everything_is_welcome(client: Client) -> None:
    assert client.reconnect(last_zxid_seen=client.world.tree.zxid).session_id == client.session_id


def test_a_null_password_does_for_a_new_session(world: World) -> None:
    assert world.client(password=None).session_id


def test_a_client_that_leaves_while_its_session_is_made_leaves_a_session_that_expires(world: World) -> None:
    stranger = world.stranger()
    stranger.greet()
    stranger.vanish()
    world.run_disk()
    assert len(world.tree.sessions) == 1
    world.pass_time(40_000)
    world.run_disk()
    assert not world.tree.sessions


@pytest.mark.parametrize(
    "handshake", [b"\0\0\0\0", b"\0\0\0\x04\0\0\0\0", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_connect_request_ends_the_conversation_with_a_reason(world: World, handshake: bytes) -> None:
    stranger = world.stranger()
    stranger.receive(handshake)
    assert stranger.output() == b""
    assert stranger.is_ended
    assert stranger.conversation.end_reason
    assert not world.replica.conversations


def test_while_a_session_is_made_a_client_cannot_fill_the_memory(world: World) -> None:
    stranger = world.stranger()
    stranger.greet()
    assert not stranger.conversation.is_blocked
    for _ in range(10):
        stranger.receive(bytes(1 << 16))
    assert stranger.conversation.is_blocked


def test_four_letter_words_are_answered_in_place_of_a_handshake(world: World) -> None:
    world.replica.words[b"ruok"] = lambda conversation, rest: b"imok"
    stranger = world.stranger()
    for byte in b"ruok\n":
        stranger.receive(bytes([byte]))
    assert stranger.output() == b"imok"
    assert stranger.is_ended


def test_a_word_may_wait_for_its_argument(world: World) -> None:
    world.replica.words[b"stmk"] = lambda conversation, rest: rest[:8] if len(rest) >= 8 else None
    stranger = world.stranger()
    stranger.receive(b"stmk")
    stranger.receive(b"1234")
    assert not stranger.is_ended
    stranger.receive(b"5678")
    assert stranger.output() == b"12345678"
