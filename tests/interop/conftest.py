"""Fixtures of the tests that drive a real server process with real clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from tests.interop.processes import ServerProcess
from tests.interop.raw import RawClient, create

Connect = Callable[..., KazooClient]
StartServer = Callable[..., ServerProcess]

TICK_MS = "200"  # sessions live for 0.4 s at least and 4 s at most


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers with flags of the test's own."""
    servers: list[ServerProcess] = []

    def start(*flags: str, data_dir: Path | None = None, **options: Any) -> ServerProcess:
        server = ServerProcess(data_dir or tmp_path / "data", *flags, **options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server for this test alone: it may be killed."""
    return start_server("--tick-ms", TICK_MS, "--four-letter-words", "*")


@pytest.fixture(scope="session")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as it is, but for znodes under names of their own."""
    directory = tmp_path_factory.mktemp("lasting-server")
    server = ServerProcess(
        directory / "data", "--tick-ms", TICK_MS, "--four-letter-words", "*", "--connections-per-address-max", "0"
    )
    server.start()
    yield server
    server.close()


@pytest.fixture
def root(request: pytest.FixtureRequest, lasting_server: ServerProcess) -> str:
    """A znode of this test's own on the lasting server."""
    path = f"/{request.node.name}".replace("[", "-").replace("]", "")
    with RawClient(lasting_server.port) as client:
        client.hello()
        assert client.ask(create(1, path.encode())).code == 0
    return path


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make connected kazoo clients; all of them are stopped when the test ends."""
    clients: list[KazooClient] = []

    def make(server: ServerProcess, path: str = "", **options: Any) -> KazooClient:
        retry = KazooRetry(max_tries=-1, delay=0.02, backoff=1, max_jitter=0.1)
        client = KazooClient(server.hosts + path, timeout=4.0, connection_retry=retry, **options)
        clients.append(client)
        client.start(timeout=20)
        return client

    yield make
    for client in clients:
        client.stop()
        client.close()
