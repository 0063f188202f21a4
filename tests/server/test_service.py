"""One server inside the test's own process: start, serve, stop, and what its clock and its memory do to it."""

from __future__ import annotations

import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from pytest_trio import trio_fixture

from tests.interop.raw import Reply, create, get_data, greeting, request
from zkstore.errors import ConfigError, DiskFullError, StorageError
from zkstore.server import memory, service
from zkstore.server.config import Config
from zkstore.server.service import Service, open_service
from zkstore.storage.store import Store
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import DeleteRequest

pytestmark = pytest.mark.trio

Join = Callable[..., Awaitable["Client"]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data_dir=tmp_path / "data", client_host="127.0.0.1", client_port=0, tick_ms=2_000)


class Client:
    """One connection with a session."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = b""

    async def frame(self) -> bytes:
        while len(self._received) < 4 or len(self._received) < 4 + struct.unpack_from(">i", self._received)[0]:
            data = await self._stream.receive_some(65536)
            if not data:
                raise EOFError
            self._received += data
        end = 4 + struct.unpack_from(">i", self._received)[0]
        frame, self._received = self._received[4:end], self._received[end:]
        return frame

    async def say(self, sent: bytes) -> None:
        await self._stream.send_all(sent)

    async def close(self) -> None:
        await self._stream.aclose()

    async def ask(self, sent: bytes) -> Reply:
        await self.say(sent)
        frame = await self.frame()
        return Reply(*struct.unpack_from(">iqi", frame), frame[16:])


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Service]:
    """A service that serves; stopped in order at the end."""
    with trio.fail_after(30):
        async with open_service(config, lambda view: {}) as server, trio.open_nursery() as nursery:
            await nursery.start(server.run)
            yield server
            server.stop()


@trio_fixture
async def join() -> AsyncIterator[Join]:
    """Connect and begin a session; the sockets are closed when the test ends."""
    clients: list[Client] = []

    async def join(server: Service, timeout_ms: int = 10_000) -> Client:
        client = Client(await trio.open_tcp_stream(*server.address))
        clients.append(client)
        await client.say(greeting(timeout_ms))
        await client.frame()
        return client

    yield join
    for client in clients:
        await client.close()


async def until(holds: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not holds():
            await trio.sleep(0.01)


async def test_what_was_written_is_there_after_an_orderly_stop(config: Config, join: Join) -> None:
    async with running(config) as server:
        client = await join(server)
        assert (await client.ask(create(1, b"/a", b"data"))).code == 0
    assert server.clean_note is not None
    assert server.clean_note.zxid == 2
    async with running(config) as again:
        assert again.replica.tree.digest == server.clean_note.digest
        client = await join(again)
        reply = await client.ask(get_data(1, b"/a"))
        assert reply.body[4:8] == b"data"


async def test_the_checkpoint_of_an_orderly_stop_spares_the_replay(
    config: Config, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(config) as server:
        client = await join(server)
        await client.ask(create(1, b"/a"))
    async with running(config):
        pass
    assert "and 0 txns of the log" in caplog.text


async def test_clients_are_hung_up_on_at_a_stop(config: Config, join: Join) -> None:
    async with running(config) as server:
        client = await join(server)
    with pytest.raises(EOFError):
        await client.frame()


async def test_a_port_in_use_is_a_setting_that_makes_no_sense_and_the_directory_is_free_again(
    config: Config, tmp_path: Path
) -> None:
    async with running(config) as server:
        taken = Config(data_dir=tmp_path / "other", client_host="127.0.0.1", client_port=server.address[1])
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:.*Choose another clientPort"):
            async with open_service(taken, lambda view: {}):
                pytest.fail("it listens on a port that is taken")
    Store.open(tmp_path / "other").close()


async def test_a_disk_that_cannot_be_trusted_ends_the_server(
    config: Config, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Store, segments: object) -> None:
        raise StorageError("the disk is on fire")

    with pytest.raises(ExceptionGroup) as caught:
        async with running(config) as server:
            monkeypatch.setattr(Store, "append", fail)
            with pytest.raises(EOFError):
                await join(server)
    assert caught.group_contains(StorageError, match="on fire")
    assert server.clean_note is None


async def test_without_space_for_the_note_it_still_stops_in_order(
    config: Config, join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close = Store.close

    def close_without_note(self: Store, note: object = None) -> None:
        close(self)
        raise DiskFullError("no space left")

    async with running(config) as server:
        await join(server)
        monkeypatch.setattr(Store, "close", close_without_note)
    assert "no note of the orderly stop could be left" in caplog.text
    monkeypatch.undo()
    async with running(config):
        pass


async def test_a_standstill_of_the_server_costs_no_session(
    config: Config, join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    offset_ms, now_ms = 0, service._now_ms
    monkeypatch.setattr(service, "_now_ms", lambda: now_ms() + offset_ms)
    async with running(config) as server:
        await join(server, timeout_ms=4_000)
        offset_ms = 60_000
        await until(lambda: "the server stood still" in caplog.text)
        assert len(server.replica.tree.sessions) == 1
        ticks = server.replica.now_ms
        await until(lambda: server.replica.now_ms > ticks + 200)
        assert len(server.replica.tree.sessions) == 1
        for _ in range(16):  # Time that passes in small steps is the client's own silence.
            offset_ms += 400
            ticks = server.replica.now_ms
            await until(lambda ticks=ticks: server.replica.now_ms > ticks)
        await until(lambda: not server.replica.tree.sessions)


async def test_writes_that_grow_the_tree_are_refused_while_memory_is_tight(
    config: Config, join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    used = 0
    monkeypatch.setattr(memory, "resident_bytes", lambda: used)
    monkeypatch.setattr(memory, "default_limit_bytes", lambda: 1 << 30)
    async with running(config) as server:
        client = await join(server)
        assert (await client.ask(create(1, b"/a"))).code == 0
        used = 2 << 30
        await until(lambda: server.replica.refuses_growth)
        assert (await client.ask(create(2, b"/b"))).code == -1
        assert (await client.ask(get_data(3, b"/a"))).code == 0
        assert (await client.ask(request(4, Opcode.DELETE, DeleteRequest(b"/a", -1).encode()))).code == 0
        used = 0
        await until(lambda: not server.replica.refuses_growth)
        assert (await client.ask(create(5, b"/b"))).code == 0
    assert "memory: 2048 MiB of 1024 MiB; writes that grow the tree are refused" in caplog.text


async def test_a_stop_waits_for_what_is_under_way(config: Config, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(config) as server:
        client = await join(server)
        await client.say(b"".join(create(xid, b"/n%d" % xid) for xid in range(3000)))
        await until(lambda: server.replica.tree.zxid > 1)
    answered = 0
    with pytest.raises(EOFError):
        while True:
            await client.frame()
            answered += 1
    assert answered == len([path for path in server.replica.tree.records if path.startswith(b"/n")])
