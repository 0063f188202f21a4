"""A server that limits what it takes on, with kazoo and with many connections."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.interop.conftest import Connect, StartServer
from tests.interop.processes import wait_until

pytestmark = pytest.mark.interop


def throttling(directory: Path, *lines: str) -> str:
    """A zoo.cfg's path."""
    path = directory / "zoo.cfg"
    path.write_text("\n".join(["tickTime=200", "4lw.commands.whitelist=*", *lines, ""]))
    return str(path)


def figure(client: KazooClient, name: str) -> int:
    """Of the word mntr."""
    lines = [line.split("\t") for line in client.command(b"mntr").splitlines()]
    return next(int(value) for key, value in lines if key == name)


def test_with_few_requests_under_way_all_are_carried_out_in_order(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    server = start_server(throttling(tmp_path, "request_throttle_max_requests=3"))
    clients = [connect(server) for _ in range(4)]
    clients[0].create("/n")
    asked = [
        [client.create_async(f"/n/{number}-", sequence=True) for _ in range(200)]
        for number, client in enumerate(clients)
    ]
    for created in asked:
        numbers = [int(result.get(timeout=20)[-10:]) for result in created]
        assert numbers == sorted(numbers)
    assert len(clients[0].get_children("/n")) == 800
    assert figure(clients[0], "zk_request_throttle_wait_count") > 0
    assert figure(clients[0], "zk_throttled_ops") == 0


def is_turned_away(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_of_many_connections_too_many_few_are_logged_and_all_are_counted(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    server = start_server(throttling(tmp_path, "maxClientCnxns=2"))
    client = connect(server)
    here = ("127.0.0.1", server.port)
    with socket.create_connection(here):
        for _ in range(100):
            with socket.create_connection(here) as further:
                assert is_turned_away(further)

    def told() -> int:
        further = [int(line.split()[0]) for line in server.logged(" more connections refused: ")]
        return len(server.logged("connection from", " refused: ")) + sum(further)

    wait_until(lambda: told() == 100)
    assert len(server.logged("refused")) < 20
    assert client.connected
