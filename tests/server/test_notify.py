"""What the service manager hears, on a real socket."""

import logging
import socket
import sys
from pathlib import Path

import pytest

from zkstore.server.notify import ServiceManager


def listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.settimeout(5)
    listener.bind(address)
    return listener


def test_ready_status_and_stopping_are_datagrams_of_their_own(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with listen(address) as listener:
        manager = ServiceManager(address)
        manager.ready("serving on 127.0.0.1:2181")
        manager.status("catching up")
        manager.stopping()

        assert [listener.recv(4096) for _ in range(3)] == [
            b"READY=1\nSTATUS=serving on 127.0.0.1:2181",
            b"STATUS=catching up",
            b"STOPPING=1",
        ]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_at_sign_stands_for_the_abstract_namespace(tmp_path: Path) -> None:
    name = f"zkstore-test-{tmp_path}"
    with listen("\0" + name) as listener:
        ServiceManager("@" + name).stopping()

        assert listener.recv(4096) == b"STOPPING=1"


def test_a_status_stays_on_its_line(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with listen(address) as listener:
        ServiceManager(address).status("a\nREADY=1")

        assert listener.recv(4096) == b"STATUS=a READY=1"


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_manager_nothing_is_sent(address: str | None, caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager(address).ready("serving")

    assert caplog.records == []


def test_a_manager_that_is_gone_is_logged_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ServiceManager(str(tmp_path / "nobody")).ready("serving")

    assert "cannot tell the service manager READY=1" in caplog.text
