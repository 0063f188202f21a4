"""The door for other servers: listening, pausing without descriptors, and room for strangers."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator

import pytest

from tests.net.peers import Ensemble, Server, vote
from zkstore import limits
from zkstore.net.listeners import Encryption, Listener, listen
from zkstore.net.peer_connection import PeerConnection
from zkstore.net.peer_port import PeerPort


class Exhausted(socket.socket):
    """Listens in a process that has no descriptors left."""

    complaint = errno.EMFILE

    def accept(self) -> tuple[socket.socket, object]:
        raise OSError(self.complaint, "Too many open files")


@pytest.fixture
def epoll() -> Iterator[select.epoll]:
    with select.epoll() as epoll:
        yield epoll


def test_without_descriptors_it_pauses_and_then_goes_on(epoll: select.epoll, caplog: pytest.LogCaptureFixture) -> None:
    listening = Exhausted()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    port = PeerPort(epoll)
    port.listen_on([Listener(listening)])
    with socket.create_connection(listening.getsockname()):
        assert epoll.poll(0) == [(listening.fileno(), select.EPOLLIN)]
        assert list(port.accept(listening.fileno())) == []
        assert epoll.poll(0) == []
        [line] = caplog.messages
        assert "Too many open files; raise the limit on open files (ulimit -n)" in line
        for now_s in (10.0, 10.4):
            port.tick(now_s)
            assert epoll.poll(0) == []
        port.tick(10.5)
        assert epoll.poll(0) == [(listening.fileno(), select.EPOLLIN)]
        assert list(port.accept(listening.fileno())) == []
        assert len(caplog.messages) == 1, "it is told again at once"
    port.close()


def test_a_caller_who_is_gone_before_being_accepted_is_passed_over(
    epoll: select.epoll, caplog: pytest.LogCaptureFixture
) -> None:
    listening = Exhausted()
    listening.complaint = errno.ECONNABORTED
    port = PeerPort(epoll)
    port.listen_on([Listener(listening)])
    assert list(port.accept(listening.fileno())) == []
    assert caplog.messages == []
    port.close()


def test_callers_come_with_their_address_and_what_they_are_to_speak(epoll: select.epoll) -> None:
    listeners = listen("127.0.0.1", 0, None, Encryption.EITHER)
    port = PeerPort(epoll)
    port.listen_on(listeners)
    descriptor = listeners[0].socket.fileno()
    with socket.create_connection(listeners[0].socket.getsockname()) as caller:
        [(accepted, where, encryption)] = port.accept(descriptor)
        assert (where, encryption) == (caller.getsockname(), Encryption.EITHER)
        accepted.close()
    port.close()
    assert list(port.accept(descriptor)) == []


def test_the_oldest_of_the_busiest_address_makes_way(epoll: select.epoll) -> None:
    port = PeerPort(epoll)
    with socket.socket() as any_socket:

        def stranger(host: str) -> PeerConnection:
            return PeerConnection(any_socket, (host, 1), is_dialled=False, tls=None)

        lone = stranger("10.0.0.1")
        assert port.admit(lone) is None
        crowd = [stranger("10.0.0.2") for _ in range(limits.PEER_STRANGERS_MAX)]
        assert [port.admit(each) for each in crowd] == [None] * (len(crowd) - 1) + [crowd[0]]
        port.forget(crowd[0])
        port.forget(crowd[1])
        assert port.admit(stranger("10.0.0.3")) is None


@pytest.mark.trio
async def test_a_server_may_move_to_another_port_and_keeps_its_connections(three: Ensemble) -> None:
    moved = listen("127.0.0.1", 0, None)
    three[1].port.listen_on(moved)
    accepted = await three.link(1, 2)
    late = Server(4)
    late.port.set_members({1: [moved[0].socket.getsockname()]})
    three[1].port.greeting.admits = lambda server_id: server_id == 4
    await three.start(late)
    three.tell(4, 1, vote(4))
    three.tell(2, 1, vote(2))
    await three.settle()
    assert sorted(three[1].votes) == [vote(2), vote(4)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(three[1].address)
    assert three[2].port.is_open(accepted)
