"""One connection: what is wrong with it shows when it is received from, and nowhere else."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from zkstore import limits
from zkstore.errors import ProtocolError
from zkstore.net.peer_connection import IN, OUT, PeerConnection, PeerGoneError, Stage, tune
from zkstore.net.peer_frames import FrameReader
from zkstore.wire import messages
from zkstore.wire.messages import ACK, PROPOSE, Ack, Propose


@pytest.fixture
def pair() -> Iterator[tuple[PeerConnection, socket.socket]]:
    """A connection, and the plain socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, where = listening.accept()
    tune(ours, limits.PEER_SILENCE_TIMEOUT_MS)
    with ours, theirs:
        yield PeerConnection(ours, where, is_dialled=True, tls=None), theirs


def test_all_that_was_queued_goes_out_in_one_piece(pair: tuple[PeerConnection, socket.socket]) -> None:
    connection, theirs = pair
    sent = [Ack(ACK, zxid) for zxid in range(100)]
    for message in sent:
        connection.queue(message)
    assert connection.unsent_bytes > 0
    connection.flush()
    assert (connection.unsent_bytes, connection.wanted) == (0, IN)
    assert list(FrameReader(100).read(theirs.recv(1 << 16))) == [messages.encode(message) for message in sent]


def test_what_the_system_does_not_take_waits(pair: tuple[PeerConnection, socket.socket]) -> None:
    connection, theirs = pair
    large = Propose(PROPOSE, bytes(8_000_000), 0, ())
    for _ in range(2):
        connection.queue(large)
    reader, found = FrameReader(1 << 30), 0
    while found < 2:
        connection.flush()
        if found == 0:
            assert connection.wanted == IN | OUT
        found += len(list(reader.read(theirs.recv(1 << 20))))
    assert connection.wanted == IN


def test_nothing_to_be_received_is_nothing(pair: tuple[PeerConnection, socket.socket]) -> None:
    connection, _ = pair
    assert list(connection.receive()) == []


def test_a_reset_shows_in_receive_and_not_in_flush(pair: tuple[PeerConnection, socket.socket]) -> None:
    connection, theirs = pair
    connection.queue(Ack(ACK, 1))
    connection.flush()
    select.select([theirs], [], [], 1)
    theirs.close()  # With a message in it that was not read: a reset.
    select.select([connection.socket], [], [], 1)
    for _ in range(3):
        connection.queue(Ack(ACK, 2))
        connection.flush()
    assert connection.unsent_bytes == 0
    with pytest.raises(PeerGoneError):
        list(connection.receive())


def test_a_failed_connection_takes_and_gives_nothing(pair: tuple[PeerConnection, socket.socket]) -> None:
    connection, theirs = pair
    theirs.sendall(b"\0\0\0\1x")
    connection.queue(Ack(ACK, 1))
    connection.fail("it lies")
    connection.fail("it lies again")
    connection.queue(Ack(ACK, 2))
    connection.flush()
    assert connection.is_over
    assert theirs.recv(100) == b""
    with pytest.raises(PeerGoneError, match=r"^it lies$"):
        list(connection.receive())


def test_the_last_words_go_out_and_what_comes_then_is_thrown_away(pair: tuple[PeerConnection, socket.socket]) -> None:
    connection, theirs = pair
    connection.queue(Ack(ACK, 1))
    connection.end(5.0)
    assert (connection.stage, connection.deadline_s) == (Stage.ENDING, 5.0)
    assert len(list(FrameReader(100).read(theirs.recv(100)))) == 1
    assert theirs.recv(100) == b""
    theirs.sendall(b"any bytes")
    select.select([connection.socket], [], [], 1)
    assert list(connection.receive()) == []
    theirs.close()
    select.select([connection.socket], [], [], 1)
    with pytest.raises(PeerGoneError, match="the other side has closed it"):
        list(connection.receive())


def test_votes_are_counted_by_the_second(pair: tuple[PeerConnection, socket.socket]) -> None:
    connection, _ = pair
    for now_s in (7.0, 8.5):
        for _ in range(limits.PEER_VOTES_PER_SECOND_MAX):
            connection.count_vote(now_s)
    with pytest.raises(ProtocolError, match="a flood"):
        connection.count_vote(9.4)


def test_a_dead_machine_is_noticed_without_heartbeats(pair: tuple[PeerConnection, socket.socket]) -> None:
    ours = pair[0].socket
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == limits.PEER_SILENCE_TIMEOUT_MS
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    idle_s, interval_s, probes = (
        ours.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert (idle_s + interval_s * probes) * 1000 <= limits.PEER_SILENCE_TIMEOUT_MS
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
