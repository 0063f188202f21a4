"""Sockets that listen."""

from __future__ import annotations

import socket

import pytest

from zkstore.net.listeners import listen


def test_port_0_picks_a_free_one() -> None:
    [listener] = listen("127.0.0.1", 0, None)
    with listener.socket as listening:
        host, port = listening.getsockname()
        assert host == "127.0.0.1"
        assert port > 0
        socket.create_connection((host, port)).close()


def test_a_port_that_is_taken_cannot_be_listened_on() -> None:
    [listener] = listen("127.0.0.1", 0, 5)
    with listener.socket as listening, pytest.raises(OSError, match="Address already in use"):
        listen("127.0.0.1", listening.getsockname()[1], None)


def test_a_host_that_nobody_knows_cannot_be_listened_on() -> None:
    with pytest.raises(OSError):
        listen("no-such-host.invalid", 0, None)
