"""Dialling: names resolved anew each time, addresses side by side, pauses that grow."""

from __future__ import annotations

import random
import socket
import threading
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from zkstore.net import peer_dials
from zkstore.net.listeners import listen
from zkstore.net.peer_dials import Dialler, Pause, SocketAddress

pytestmark = pytest.mark.trio


class Network:
    """Machines that answer after a while, refuse, or never answer; those not named refuse at once."""

    def __init__(self, **after_s: float) -> None:
        self._after_s = after_s
        self.is_too_late_to_cancel = False
        self.tried: list[tuple[float, str]] = []
        self.opened: list[socket.socket] = []

    async def connect(self, address: SocketAddress) -> socket.socket:
        host = address[1][0]
        self.tried.append((trio.current_time(), host))
        if host not in self._after_s:
            raise ConnectionRefusedError(111, "Connection refused")
        with trio.CancelScope(shield=self.is_too_late_to_cancel):
            await trio.sleep(self._after_s[host])
        self.opened.append(socket.socket())
        return self.opened[-1]


A, B = ("10.0.0.1", 2888), ("10.0.0.2", 2888)


async def test_the_address_that_answers_first_wins(autojump_clock: MockClock) -> None:
    network = Network(**{"10.0.0.1": 9.0, "10.0.0.2": 0.1})
    dialled = await Dialler([A, B], 2, network.connect).dial()
    assert (dialled.where, dialled.host) == (B, "10.0.0.2")
    assert network.tried == [(0, "10.0.0.1"), (0.25, "10.0.0.2")]
    dialled.socket.close()


async def test_of_two_that_answer_at_the_same_moment_one_is_closed(autojump_clock: MockClock) -> None:
    network = Network(**{"10.0.0.1": 0.5, "10.0.0.2": 0.25})
    network.is_too_late_to_cancel = True
    dialled = await Dialler([A, B], 2, network.connect).dial()
    [other] = [each for each in network.opened if each is not dialled.socket]
    assert other.fileno() < 0
    dialled.socket.close()


async def test_nobody_answers_in_time(autojump_clock: MockClock) -> None:
    with pytest.raises(OSError, match=r"^connection refused; no answer within 2 s$"):
        await Dialler([A, B], 2, Network(**{"10.0.0.2": 9.0}).connect).dial()
    assert trio.current_time() == 2


async def test_all_refuse(autojump_clock: MockClock) -> None:
    with pytest.raises(OSError, match=r"^connection refused$"):
        await Dialler([A, B], 2, Network().connect).dial()


async def test_a_dial_that_is_given_up_leaves_nothing_open(autojump_clock: MockClock) -> None:
    network = Network(**{"10.0.0.1": 9.0})
    with trio.move_on_after(1):
        await Dialler([A], 2, network.connect).dial()
    assert trio.current_time() == 1
    assert network.opened == []


async def test_a_name_is_resolved_anew_at_every_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen("127.0.0.1", 0, None)[0].socket
    port = listener.getsockname()[1]
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        if options.get("flags"):
            return real(host, port, **options)
        asked.append(host)
        return real(f"127.0.0.{len(asked)}", port, **options)

    monkeypatch.setattr(peer_dials.socket, "getaddrinfo", getaddrinfo)
    dialler = Dialler([("zk1.example.org", port)], 2)
    with listener:
        dialled = await dialler.dial()
        assert (dialled.where, dialled.host) == (("127.0.0.1", port), "zk1.example.org")
        dialled.socket.close()
        with pytest.raises(OSError, match="connection refused"):
            await dialler.dial()
    assert asked == ["zk1.example.org"] * 2


async def test_a_name_that_nobody_knows_is_complained_about(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(peer_dials.socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match=r"^zk1\.example\.org: name or service not known$"):
        await Dialler([("zk1.example.org", 2888)], 2).dial()


@pytest.mark.parametrize("host", ["", "a..b", "x" * 64 + ".org", "\0"])
async def test_a_name_that_cannot_be_one_is_no_more_than_an_error(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError):
        await Dialler([(host, 1)], 2).dial()


async def test_name_servers_that_hang_hold_up_no_other_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lesson 4220. Three dials of one server hang in its lookups; another server's name is looked up meanwhile."""
    answering = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        if host == "hangs.example.org" and not options.get("flags"):
            answering.wait(30)
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return real("127.0.0.1" if host == "works.example.org" and not options.get("flags") else host, port, **options)

    monkeypatch.setattr(peer_dials.socket, "getaddrinfo", getaddrinfo)
    listener = listen("127.0.0.1", 0, None)[0].socket
    hanging = Dialler([("hangs.example.org", 1)], 0.05)
    with listener:
        for _ in range(3):
            with pytest.raises(OSError, match=r"no answer within 0\.05 s"):
                await hanging.dial()
        dialled = await Dialler([("works.example.org", listener.getsockname()[1])], 5).dial()
        dialled.socket.close()
    answering.set()


async def test_pauses_grow_and_are_never_the_same_for_two_servers() -> None:
    one, two = Pause(random.Random(1)), Pause(random.Random(2))
    pauses = [one.next_s() for _ in range(10)]
    assert pauses != [two.next_s() for _ in range(10)]
    assert 0.03 < pauses[0] < 0.07
    assert all(1.5 <= pause <= 2.5 for pause in pauses[6:])
    one.reset()
    assert one.next_s() < 0.07
