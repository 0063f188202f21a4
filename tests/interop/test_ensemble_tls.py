"""Three server processes that speak TLS with each other, and whom they keep out."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.authority import Authority
from tests.interop.processes import ServerProcess, wait_until
from tests.interop.test_ensemble import free_ports

pytestmark = pytest.mark.interop

IDS = (1, 2, 3)
CLOSE_S = 15.0


class SecureEnsemble:
    """Three servers with certificates of one authority. What each is given may differ, and so may its certificate."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory / "tls")
        ports = free_ports(6)
        self.peer_ports = dict(zip(IDS, ports[:3], strict=True))
        self.lines = "\n".join(f"server.{n}=127.0.0.1:{ports[n - 1]}:{ports[n + 2]}" for n in IDS)
        self.servers = {n: self.server(n) for n in IDS}

    def server(self, number: int, *settings: str, certificate: Path | None = None) -> ServerProcess:
        """One that is not started."""
        config = self.directory / f"zoo-{number}.cfg"
        given = [
            "tickTime=200",
            "initLimit=25",
            "syncLimit=10",
            "4lw.commands.whitelist=*",
            *(settings or ("sslQuorum=true",)),
            f"ssl.quorum.keyStore.location={certificate or self.authority.server_file}",
            f"ssl.quorum.trustStore.location={self.authority.ca_file}",
        ]
        config.write_text("\n".join([*given, self.lines, ""]))
        return ServerProcess(self.directory / str(number), "--my-id", str(number), str(config))

    def start(self, *numbers: int) -> None:
        for number in numbers:
            self.servers[number].launch()
        for number in numbers:
            self.servers[number].wait_until_ready()

    def create(self, path: str) -> None:
        """By one server; seen at all that run."""
        running = [server for server in self.servers.values() if server.is_running and server.port]
        clients = [KazooClient(server.hosts) for server in running]
        try:
            for client in clients:
                client.start(timeout=20)
            clients[0].create(path)
            for client in clients:
                client.sync(path)
                assert client.exists(path) is not None
        finally:
            for client in clients:
                client.stop()
                client.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], SecureEnsemble]]:
    made: list[SecureEnsemble] = []

    def make_one() -> SecureEnsemble:
        made.append(SecureEnsemble(tmp_path))
        return made[-1]

    yield make_one
    for ensemble in made:
        for server in ensemble.servers.values():
            server.close()


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    connection.settimeout(CLOSE_S)
    try:
        return b"".join(iter(partial(connection.recv, 4096), b""))
    except (ssl.SSLError, ConnectionError):
        return b""


def test_servers_with_certificates_of_one_authority_are_an_ensemble_that_no_stranger_enters(
    make: Callable[[], SecureEnsemble],
) -> None:
    ensemble = make()
    ensemble.start(*IDS)
    ensemble.create("/sealed")
    first, port = ensemble.servers[1], ensemble.peer_ports[1]
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(b"\0\0\0\x05hello")
        until_closed(plain)
    wait_until(lambda: first.logged("is refused", "the other side does not speak TLS"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ensemble.authority.ca_file)
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                secure.sendall(b"\0\0\0\x05hello")
                assert until_closed(secure) == b""
        except ssl.SSLError:
            pass  # as soon as the handshake, by the version of TLS
    wait_until(lambda: first.logged("is refused", "shows no certificate"))
    ensemble.create("/still-sealed")


def test_a_certificate_of_another_authority_keeps_its_server_out(make: Callable[[], SecureEnsemble]) -> None:
    ensemble = make()
    other = Authority(ensemble.directory / "other")
    ensemble.servers[3] = ensemble.server(3, "sslQuorum=true", certificate=other.server_file)
    ensemble.start(1, 2)
    ensemble.servers[3].launch()
    wait_until(lambda: ensemble.servers[1].logged("certificate is not accepted"))
    wait_until(lambda: ensemble.servers[3].logged("no clients are served yet"))
    ensemble.create("/without-it")


def test_a_server_that_calls_itself_by_another_ones_id_is_refused_by_name(make: Callable[[], SecureEnsemble]) -> None:
    ensemble = make()
    ensemble.start(*IDS)
    ensemble.servers[3].stop()
    lines, ensemble.lines = ensemble.lines, ensemble.lines.replace("server.3=", "server.9=")
    stranger = ensemble.server(9)
    ensemble.servers[9] = stranger
    ensemble.lines = lines
    stranger.launch()
    wait_until(lambda: ensemble.servers[1].logged("server 9 is not a member of this ensemble"))
    ensemble.servers[9].close()
    ensemble.create("/without-it")


def test_an_ensemble_changes_to_tls_server_by_server(make: Callable[[], SecureEnsemble]) -> None:
    """As ZooKeeper's administrators do it: take both, then dial with TLS, then take only that."""
    ensemble = make()
    steps = (
        ("sslQuorum=false", "portUnification=true"),
        ("sslQuorum=true", "portUnification=true"),
        ("sslQuorum=true", "portUnification=false"),
    )
    ensemble.servers = {n: ensemble.server(n, *steps[0]) for n in IDS}
    ensemble.start(*IDS)
    ensemble.create("/plain")
    for step, settings in enumerate(steps[1:]):
        for number in IDS:
            ensemble.servers[number].stop()
            ensemble.server(number, *settings)  # writes its file anew
            ensemble.servers[number].start()
        ensemble.create(f"/step-{step}")
