"""The reactor, turn by turn: what is received, what is sent, who is kept waiting and who is sent away."""

from __future__ import annotations

import errno
import logging
import socket
import struct
from typing import Any

import pytest

from tests.interop.raw import create, get_data, greeting, request, set_data
from tests.net.conftest import MakeWorld, World
from zkstore import limits
from zkstore.wire.opcodes import XID_NOTIFICATION, XID_PING, Opcode

# --- receiving and answering ----------------------------------------------------------------------


def test_a_request_is_answered_in_the_turn_in_which_it_comes(world: World) -> None:
    caller = world.join()
    caller.socket.sendall(get_data(7, b"/"))
    assert world.port.turn(may_wait=False)
    [reply] = caller.replies()
    assert (reply.xid, reply.code) == (7, 0)
    assert not world.port.turn(may_wait=False)


def test_a_request_in_pieces_is_answered_when_it_is_whole(world: World) -> None:
    caller = world.join()
    for byte in get_data(7, b"/"):
        assert caller.replies() == []
        caller.say(bytes([byte]))
    assert [reply.xid for reply in caller.replies()] == [7]


def test_writes_of_all_clients_in_one_turn_share_a_segment(world: World) -> None:
    callers = [world.join() for _ in range(5)]
    world.segment_sizes.clear()
    for number, caller in enumerate(callers):
        caller.socket.sendall(create(1, b"/n%d" % number))
    world.turn()
    assert world.segment_sizes == [5]
    assert [reply.code for caller in callers for reply in caller.replies()] == [0] * 5


def test_a_write_is_answered_when_the_disk_has_it_and_others_are_served_meanwhile(world: World) -> None:
    writer, reader = world.join(), world.join()
    world.holds_disk = True
    writer.say(create(1, b"/n") + get_data(2, b"/n"))
    reader.say(get_data(1, b"/n"))
    assert writer.replies() == []
    assert [reply.code for reply in reader.replies()] == [-101]
    world.finish_disk()
    assert [(reply.xid, reply.code) for reply in writer.replies()] == [(1, 0), (2, 0)]


def test_more_requests_than_may_wait_are_all_carried_out_without_a_tick(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAITING_REQUESTS_MAX", 16)  # looked at for every eighth request
    caller = world.join()
    world.holds_disk = True
    caller.say(b"".join(create(number, b"/n%d" % number) for number in range(35)))
    sizes = []
    while world.replica.has_outstanding:
        sizes.append(world.replica.role.outstanding_count)
        world.finish_disk()
        world.turn()
    assert sizes == [16, 16, 3]
    assert [reply.xid for reply in caller.replies()] == list(range(35))


# --- clients that are slow to read ----------------------------------------------------------------


def test_an_answer_that_does_not_fit_is_sent_as_the_client_reads(world: World) -> None:
    data = bytes(range(256)) * 1500
    world.make(b"/large", data)
    caller = world.join(receive_buffer=8192)
    caller.say(b"".join(get_data(number, b"/large") for number in range(12)))
    [connection] = world.port.connections.values()
    assert connection.conversation.out_bytes > 0
    replies = caller.replies()
    assert [reply.xid for reply in replies] == list(range(12))
    assert all(reply.body[4 : 4 + len(data)] == data for reply in replies)
    assert connection.conversation.out_bytes == 0


def test_a_client_that_does_not_read_is_not_read_either(world: World) -> None:
    world.make(b"/large", bytes(500_000))
    caller, other = world.join(receive_buffer=8192), world.join()
    caller.say(b"".join(get_data(number, b"/large") for number in range(1000)))
    waiting = max(connection.conversation.out_bytes for connection in world.port.connections.values())
    assert waiting < 3 << 20
    other.say(request(XID_PING, Opcode.PING))
    assert [reply.xid for reply in other.replies()] == [XID_PING]
    assert not world.port.turn(may_wait=False), "the port is busy with a client that it can do nothing for"


def test_a_client_that_does_not_read_its_watch_events_is_cut_off(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(limits, "UNSENT_BYTES_MAX", 200_000)
    watcher, writer = world.join(receive_buffer=4096), world.join()
    add_watch = struct.pack(">i", 1) + b"/" + struct.pack(">i", 1)  # persistent, recursive
    watcher.say(request(1, Opcode.ADD_WATCH, add_watch))
    name = b"/" + b"n" * 1000
    writer.say(create(1, name))
    for xid in range(20_000):
        if len(world.replica.conversations) == 1:
            break
        writer.say(set_data(xid, name, b""))
        writer.replies()
    else:
        pytest.fail("20 MB of events were kept")
    assert world.replica.watches.watch_count == 0
    watcher.frames()
    world.turn()
    assert sum("wait for a client that does not read them" in record.message for record in caplog.records) == 1
    writer.say(request(XID_PING, Opcode.PING))
    assert [reply.xid for reply in writer.replies()] == [XID_PING]


def test_an_ended_conversation_whose_last_answers_are_not_read_is_given_up(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.make(b"/large", bytes(500_000))
    caller = world.join(receive_buffer=8192)
    caller.say(b"".join(get_data(number, b"/large") for number in range(100)))
    world.pass_time(25_000)  # its session expires
    assert world.replica.tree.sessions == {} or caller.session_id not in world.replica.tree.sessions
    world.pass_time(3_000)
    assert world.port.connections == {}
    assert sum("bytes of answers were not read" in record.message for record in caplog.records) == 1


def test_a_slow_reader_keeps_its_session_as_long_as_it_reads(world: World) -> None:
    world.make(b"/large", bytes(500_000))
    caller = world.join(receive_buffer=8192)
    caller.say(b"".join(get_data(number, b"/large") for number in range(200)))
    for _ in range(6):
        world.pass_time(8_000)
        for _ in range(200):
            caller.read(1 << 16)
            world.turn()
    assert caller.session_id in world.replica.tree.sessions


# --- accepting ------------------------------------------------------------------------------------


def test_everybody_in_the_queue_is_accepted(world: World) -> None:
    sockets = [socket.create_connection(world.address) for _ in range(150)]
    world.turn()
    assert len(world.port.connections) == 150
    for one in sockets:
        one.close()
    world.turn()
    assert world.port.connections == {}
    assert not world.replica.conversations


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"connections_per_address_max": 2}, "2 connections from this address (maxClientCnxns)"),
        ({"connections_max": 2}, "2 connections in all (maxCnxns)"),
        ({"descriptors_max": 2}, "2 connections in all; the limit on open files (ulimit -n) leaves room for no more"),
    ],
)
def test_one_too_many_is_refused_until_another_leaves(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture, bounds: dict[str, int], reason: str
) -> None:
    world = make_world(**bounds)
    first, second = world.join(), world.join()
    refused = world.call()
    assert refused.is_hung_up_on
    host, port = refused.socket.getsockname()
    assert caplog.messages == [f"connection from {host}:{port} refused: {reason}"]
    assert world.replica.figures.connections_rejected == 1
    first.hang_up()
    world.join()
    second.say(request(XID_PING, Opcode.PING))
    assert len(second.replies()) == 1


def test_of_many_refusals_one_a_second_is_logged_and_the_others_are_counted(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(connections_max=1)
    world.join()
    for _ in range(5):
        assert world.call().is_hung_up_on
    assert len(caplog.messages) == 1
    world.pass_time(1_500)
    assert caplog.messages[1:] == ["4 more connections refused: 1 connections in all (maxCnxns)"]
    assert world.replica.figures.connections_rejected == 5
    world.pass_time(2_000)
    assert world.call().is_hung_up_on
    assert len(caplog.messages) == 3


def test_of_many_greetings_that_fail_alike_one_a_second_is_logged(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = make_world()
    for _ in range(3):
        world.call().say(greeting(last_zxid=99))
    joined = world.join()
    joined.say(b"\0\0\0\1")
    assert [message.partition("closed: ")[2] for message in caplog.messages] == [
        "the client has seen zxid 0x63, this server only 0x0: it must look for another server",
        "a frame of 1 bytes is too short for a request",
    ]
    world.pass_time(1_500)
    assert caplog.messages[2].startswith("2 more connections without a session closed: the client has seen zxid 0x63")


class Exhausted(socket.socket):
    """A listener on a system that has no descriptors left."""

    is_exhausted = True

    def accept(self) -> tuple[socket.socket, Any]:
        if self.is_exhausted:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_without_descriptors_accepting_pauses_and_those_inside_are_served(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Exhausted()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    world = make_world(listener)
    listener.is_exhausted = False
    inside = world.join()
    listener.is_exhausted = True
    waiting = world.call()
    waiting.say(greeting())
    assert "raise the limit on open files (ulimit -n)" in caplog.text
    inside.say(request(XID_PING, Opcode.PING))
    assert len(inside.replies()) == 1
    assert waiting.frames() == []
    for _ in range(5):
        world.pass_time(1_000)
        world.turn()
    assert caplog.text.count("cannot accept connections") == 1, "it is told again and again"
    assert not world.port.turn(may_wait=False), "the port spins over a client that it cannot accept"
    listener.is_exhausted = False
    world.pass_time(1_000)
    world.turn()
    assert len(waiting.frames()) == 1


# --- the end of connections -----------------------------------------------------------------------


def test_who_does_not_say_hello_in_time_is_sent_away(make_world: MakeWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = make_world(handshake_timeout_ms=3_000)
    silent, joined = world.call(), world.join()
    silent.say(b"\x00\x00")
    world.pass_time(2_900)
    assert not silent.is_hung_up_on
    world.pass_time(700)
    assert silent.is_hung_up_on
    assert not joined.is_hung_up_on
    host, port = silent.socket.getsockname()
    assert caplog.messages == [f"connection from {host}:{port} closed: no ConnectRequest within 3000 ms of connecting"]


def test_a_client_that_hangs_up_leaves_its_session_and_takes_its_watches(world: World) -> None:
    caller = world.join()
    caller.say(get_data(1, b"/", watch=True))
    assert world.replica.watches.watch_count == 1
    caller.hang_up()
    assert world.port.connections == {}
    assert world.replica.watches.watch_count == 0
    assert caller.session_id in world.replica.tree.sessions


def test_a_reset_connection_is_logged_and_forgotten(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caller = world.join()
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.hang_up()
    assert world.port.connections == {}
    assert "connection lost: Connection reset by peer" in caplog.text


def test_a_client_that_vanished_before_its_write_was_durable_does_no_harm(world: World) -> None:
    caller = world.join()
    world.holds_disk = True
    caller.say(create(1, b"/n"))
    caller.hang_up()
    world.finish_disk()
    assert b"/n" in world.replica.tree.records


def test_the_last_answer_is_followed_by_a_shut_down_and_the_socket_stays_until_the_client_has_read(
    world: World,
) -> None:
    world.replica.words[b"ruok"] = lambda conversation, following: b"imok"
    caller = world.call()
    caller.say(b"ruok")
    assert caller.read() == b"imok"
    assert caller.is_hung_up_on
    assert len(world.port.connections) == 1
    caller.say(b"whatever still comes is thrown away")
    caller.hang_up()
    assert world.port.connections == {}


def test_a_client_that_never_closes_after_the_last_answer_is_dropped(world: World) -> None:
    world.replica.words[b"ruok"] = lambda conversation, following: b"imok"
    caller = world.call()
    caller.say(b"ruok")
    world.pass_time(1_900)
    assert len(world.port.connections) == 1
    world.pass_time(700)
    assert world.port.connections == {}


def test_a_half_closed_client_gets_the_answer_to_its_word(world: World) -> None:
    world.replica.words[b"ruok"] = lambda conversation, following: b"imok"
    caller = world.call()
    caller.socket.sendall(b"ruok")
    caller.socket.shutdown(socket.SHUT_WR)
    world.turn()
    assert caller.read() == b"imok"
    assert world.port.connections == {}


def test_a_broken_frame_ends_the_connection_with_one_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caller = world.join()
    caller.say(struct.pack(">i", -5))
    assert caller.is_hung_up_on
    host, port = caller.socket.getsockname()
    assert caplog.messages == [
        f"connection from {host}:{port} (session {caller.session_id:#x}) closed:"
        " a frame of -5 bytes: this is not the ZooKeeper protocol"
    ]


def test_a_session_that_comes_back_closes_the_older_connection(world: World) -> None:
    old, new = world.join(), world.call()
    new.say(greeting(session_id=old.session_id, password=b"p" * 16))
    assert old.is_hung_up_on
    assert len(new.frames()) == 1


def test_an_event_reaches_a_client_that_asked_nothing(world: World) -> None:
    watcher, writer = world.join(), world.join()
    watcher.say(get_data(1, b"/", watch=True))
    watcher.replies()
    writer.say(set_data(1, b"/", b"new"))
    assert [reply.xid for reply in watcher.replies()] == [XID_NOTIFICATION]


def test_nobody_new_gets_in_after_accepting_stopped_and_all_are_closed_at_the_end(world: World) -> None:
    caller = world.join()
    world.port.stop_accepting()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(world.address)
    caller.say(request(XID_PING, Opcode.PING))
    assert len(caller.replies()) == 1
    world.port.close()
    assert caller.socket.recv(1) == b""
