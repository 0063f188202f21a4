"""A disk that fills up under a server: writes are refused, all else goes on, and with space writes go on, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.exceptions import KazooException, SystemZookeeperError

from tests import small_disk as disks
from tests.interop.conftest import Connect, StartServer
from tests.interop.processes import wait_until

pytestmark = pytest.mark.interop

_BALLAST_BYTES = 8 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    with disks.small_disk(tmp_path, 24) as path:
        yield path


def test_writes_are_refused_while_the_disk_is_full_and_go_on_by_themselves(
    start_server: StartServer, connect: Connect, small_disk: Path, tmp_path: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(_BALLAST_BYTES))
    server = start_server("--tick-ms", "500", data_dir=small_disk / "data", log_file=tmp_path / "log")
    client = connect(server)
    client.create("/brief", b"still here", ephemeral=True)
    client.create("/full")
    acknowledged = 0
    with pytest.raises(SystemZookeeperError):
        for acknowledged in range(1000):
            client.create(f"/full/n{acknowledged:04}", bytes(100_000))
    assert acknowledged > 20
    for _ in range(3):  # reads, pings and refusals go on
        assert client.get("/brief")[0] == b"still here"
        assert client.exists(f"/full/n{acknowledged:04}") is None
        with pytest.raises(SystemZookeeperError):
            client.create("/large", bytes(500_000))
    assert len(server.logged("writes are refused until there is space")) == 1
    assert client.connected
    session = client.client_id
    ballast.unlink()

    def is_written() -> bool:
        try:
            client.create("/after", b"space")
        except SystemZookeeperError:
            return False
        return True

    wait_until(is_written)
    assert server.logged("the disk has space again")
    server.kill()
    server.start()
    assert client.retry(client.get, "/after")[0] == b"space"
    assert sorted(client.get_children("/full")) == [f"n{number:04}" for number in range(acknowledged)]
    assert client.client_id == session
    assert client.get("/brief")[0] == b"still here"


def test_a_server_on_a_full_disk_can_be_stopped_and_started(
    start_server: StartServer, connect: Connect, small_disk: Path, tmp_path: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(_BALLAST_BYTES))
    server = start_server(
        "--tick-ms", "500", "--checkpoint-txns", "20", data_dir=small_disk / "data", log_file=tmp_path / "log"
    )
    client = connect(server)
    client.create("/full")
    acknowledged = 0
    with pytest.raises(KazooException):
        for acknowledged in range(1000):
            client.create(f"/full/n{acknowledged:04}", bytes(100_000))
    assert server.stop() == 0
    client.stop()
    server.start()
    reader = server.port
    from tests.interop.raw import RawClient, greeting

    with RawClient(reader) as refused:
        refused.send(greeting())
        refused.receive_frame()  # a session is a write: it is refused until there is space
    ballast.unlink()
    again = connect(server)
    assert sorted(again.get_children("/full")) == [f"n{number:04}" for number in range(acknowledged)]
    again.create("/after")
