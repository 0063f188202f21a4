"""The order in which things are told over one connection, looked at on the wire: clients' threads would blur it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

import pytest

from tests.interop.processes import ServerProcess
from tests.interop.raw import RawClient, create, get_data, set_data
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import XID_NOTIFICATION
from zkstore.wire.responses import DataResponse

pytestmark = pytest.mark.interop

_CHANGES: Final = 300


@pytest.fixture
def path(lasting_server: ServerProcess, root: str) -> bytes:
    """A znode whose data counts its versions."""
    made = f"{root}/v".encode()
    with RawClient(lasting_server.port) as client:
        client.hello()
        assert client.ask(create(1, made, b"0")).code == 0
    return made


@pytest.fixture
def changes(lasting_server: ServerProcess, path: bytes) -> Iterator[threading.Thread]:
    """Another client that changes it all the time, some changes in flight at once."""

    def change() -> None:
        with RawClient(lasting_server.port) as other:
            other.hello()
            for first in range(1, _CHANGES, 3):
                other.send(b"".join(set_data(number, path, b"%d" % number) for number in range(first, first + 3)))
                for _ in range(3):
                    assert other.reply() is not None

    thread = threading.Thread(target=change)
    yield thread
    thread.join()


def test_a_watch_event_comes_before_the_answer_that_shows_the_change(
    lasting_server: ServerProcess, path: bytes, changes: threading.Thread
) -> None:
    with RawClient(lasting_server.port) as client:
        client.hello()
        changes.start()
        seen, told, watched = 0, True, -1
        while seen < _CHANGES:
            client.send(get_data(1, path, watch=True) + get_data(2, path) * 3)
            for _ in range(4):
                reply = client.reply()
                while reply is not None and reply.xid == XID_NOTIFICATION:
                    assert not told, "a watch fired twice"
                    told = True
                    reply = client.reply()
                assert reply is not None
                value = int(DataResponse.decode(Reader(reply.body)).data or b"")
                assert value >= seen, "an answer shows less than the one before"
                assert told or value == watched, f"{value} is shown, and the watch on {watched} has not been told"
                seen = value
                if reply.xid == 1 and told:
                    told, watched = False, value


def test_a_writer_that_watches_is_told_before_its_write_is_answered(lasting_server: ServerProcess, path: bytes) -> None:
    with RawClient(lasting_server.port) as client:
        client.hello()
        for number in range(1, 100):
            client.send(get_data(1, path, watch=True) + set_data(2, path, b"%d" % number) + get_data(3, path))
            assert [reply.xid for _ in range(4) if (reply := client.reply())] == [1, XID_NOTIFICATION, 2, 3]
