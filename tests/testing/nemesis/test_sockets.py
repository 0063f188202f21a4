"""Real time and real connections for the simulator's clients."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from zkstore.testing.nemesis.sockets import Sockets

PATIENCE_US = 5_000_000


class Listening:
    """An ear that remembers."""

    def __init__(self) -> None:
        self.data = b""
        self.closed_count = 0

    def received(self, data: bytes) -> None:
        self.data += data

    def closed(self) -> None:
        self.closed_count += 1


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        yield listening


@pytest.fixture
def sockets(server: socket.socket) -> Iterator[Sockets]:
    world = Sockets({1: server.getsockname()})
    yield world
    world.close()


def run_until_told(sockets: Sockets, ear: Listening, size: int = 0) -> None:
    until_us = sockets.now_us + PATIENCE_US
    while sockets.now_us < until_us and not ear.closed_count and (not size or len(ear.data) < size):
        sockets.run(sockets.now_us + 10_000)


def test_bytes_go_there_and_back_whether_the_connection_stands_yet_or_not(
    sockets: Sockets, server: socket.socket
) -> None:
    ear = Listening()
    wire = sockets.connect(1, ear)
    wire.send(b"early")
    accepted, _ = server.accept()
    with accepted:
        accepted.settimeout(5)
        sockets.run(sockets.now_us + 20_000)
        wire.send(b", late")
        assert accepted.recv(len(b"early, late"), socket.MSG_WAITALL) == b"early, late"
        accepted.sendall(b"answer")
        run_until_told(sockets, ear, 6)
    assert ear.data == b"answer"


def test_a_client_is_told_of_the_end_once(sockets: Sockets, server: socket.socket) -> None:
    ear = Listening()
    sockets.connect(1, ear)
    server.accept()[0].close()
    run_until_told(sockets, ear)
    sockets.run(sockets.now_us + 20_000)
    assert ear.closed_count == 1


def test_a_client_is_told_that_nobody_listens(sockets: Sockets, server: socket.socket) -> None:
    server.close()
    ear = Listening()
    sockets.connect(1, ear)
    run_until_told(sockets, ear)
    assert ear.closed_count == 1


def test_who_closes_is_told_nothing(sockets: Sockets, server: socket.socket) -> None:
    ear = Listening()
    wire = sockets.connect(1, ear)
    accepted, _ = server.accept()
    sockets.run(sockets.now_us + 20_000)
    wire.send(b"last")
    wire.close()
    with accepted:
        accepted.settimeout(5)
        assert accepted.recv(100) == b"last"
        assert accepted.recv(100) == b""
    sockets.run(sockets.now_us + 20_000)
    assert ear.closed_count == 0


def test_what_is_due_first_is_called_first(sockets: Sockets) -> None:
    called: list[str] = []
    now_us = sockets.now_us
    sockets.call_at(now_us + 2_000, lambda: called.append("second"))
    sockets.call_at(now_us + 1_000, lambda: called.append("first"))
    sockets.call_at(now_us + PATIENCE_US, lambda: called.append("never"))
    sockets.run(now_us + 20_000)
    assert called == ["first", "second"]
