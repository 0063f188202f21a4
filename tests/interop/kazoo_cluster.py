"""A pytest plugin that runs kazoo's own tests on servers of our choice: `-p tests.interop.kazoo_cluster`.

kazoo's harness makes its servers from `kazoo.testing.common.ZookeeperCluster`. This module takes the place of
`kazoo.testing.common` before anything of kazoo's tests is imported, and has a cluster of that name and shape, so that
the tests themselves run unchanged. A cluster of one is a server that stands alone; a larger one is an ensemble.

Two variables direct it: ZKSTORE_KAZOO_SERVER names the server, `zkstore` or `apache`; ZKSTORE_KAZOO_REPORT a file for
the outcome of every test, as JSON: {"test_client.py::TestClient::test_x": "passed" | "failed" | "skipped", ...}.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.interop.processes import START_S, ServerProcess, wait_until
from tools import contestants

SERVER_VARIABLE: Final = "ZKSTORE_KAZOO_SERVER"
REPORT_VARIABLE: Final = "ZKSTORE_KAZOO_REPORT"

# The part of kazoo's zoo.cfg that is the same for every server.
_SETTINGS: Final = (
    "tickTime=2000",
    "maxClientCnxns=0",
    "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
    "readonlymode.enabled=true",
)

# And what more it has for an ensemble, in ticks.
_ENSEMBLE_SETTINGS: Final = ("initLimit=4", "syncLimit=2")

# Apache serves TLS through Netty, and Debian's zookeeper.jar names only some of Netty's parts.
_MORE_CLASSES: Final = (
    "/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:/usr/share/java/slf4j-simple.jar"
)


class _Certificates:
    """A certificate authority of this run, the servers' certificate and the clients', all as PEM."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.authority = authority.cert_pem.bytes()
        self.server_key, self.server_chain = self._issue(authority, "127.0.0.1", "localhost")
        self.client_key, self.client_chain = self._issue(authority, "client.example.org")

    @staticmethod
    def _issue(authority: trustme.CA, *names: str) -> tuple[bytes, bytes]:
        issued = authority.issue_cert(*names)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        # Apache reads no key in another envelope.
        envelope = serialization.PrivateFormat.PKCS8
        pem = key.private_bytes(serialization.Encoding.PEM, envelope, serialization.NoEncryption())
        return pem, b"".join(blob.bytes() for blob in issued.cert_chain_pems)


class _Ports(NamedTuple):
    """Where one server listens."""

    client: int
    secure_client: int
    quorum: int
    election: int


def _free_ports(servers: int) -> list[_Ports]:
    """Ports of so many servers, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(servers * len(_Ports._fields))]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        numbers = iter([each.getsockname()[1] for each in sockets])
    return [_Ports(*itertools.islice(numbers, len(_Ports._fields))) for _ in range(servers)]


class _Process(Protocol):
    """What a server's process is started and stopped by."""

    port: int

    def launch(self) -> None: ...
    def wait_until_ready(self) -> None: ...
    def stop(self) -> int: ...
    def close(self) -> None: ...
    def log_text(self) -> str: ...


class _Apache:
    """Debian's Apache ZooKeeper, for the comparison: the same calls as `ServerProcess` has."""

    def __init__(self, home: Path, config: Path, jaas: Path, port: int) -> None:
        contestant = contestants.apache()
        assert contestant is not None, "Apache ZooKeeper is not here; install Debian's package zookeeper"
        self.port = port
        self._home = home
        self._config = config
        # A JVM would take its character set from the locale, and kazoo sends digests of UTF-8. The read-only mode is
        # one of the few settings that zoo.cfg cannot hold.
        options = f"-Dfile.encoding=UTF-8 -Djava.security.auth.login.config={jaas} -Dreadonlymode.enabled=true"
        self._environment = {**os.environ, "JAVA_TOOL_OPTIONS": options}
        self._command = [f"{part}:{_MORE_CLASSES}" if part.endswith(".jar") else part for part in contestant.command]
        self._settings = {
            **contestant.settings,
            "dataDir": str(home / "data"),
            "clientPort": str(self.port),
            "clientPortAddress": "127.0.0.1",
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start, and do not wait."""
        own = "".join(f"{key}={value}\n" for key, value in self._settings.items())
        config = self._home / "apache.cfg"
        config.write_text(self._config.read_text() + own)
        with (self._home / "apache.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, str(config)], cwd=self._home, env=self._environment, stdout=log, stderr=log
            )

    def wait_until_ready(self) -> None:
        """Wait until it serves."""
        wait_until(self._serves, within_s=START_S)

    def _serves(self) -> bool:
        try:
            return b"Mode:" in contestants.four_letter_word(("127.0.0.1", self.port), b"srvr")
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM, and wait; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait()

    def close(self) -> None:
        """Leave no process behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log_text(self) -> str:
        """All that it wrote, over all starts."""
        log = self._home / "apache.log"
        return log.read_text(errors="replace") if log.exists() else ""


class ManagedZooKeeper:
    """One server as kazoo's tests handle it: it keeps its ports over stops, and its data until it is destroyed."""

    host: Final = "127.0.0.1"

    def __init__(
        self, server_id: int, ports: _Ports, settings: tuple[str, ...], jaas_config: str, certificates: _Certificates
    ) -> None:
        self.running = False
        self.client_port, self.secure_client_port = ports.client, ports.secure_client
        self._server_id = server_id
        self._home = home = Path(tempfile.mkdtemp(prefix="kazoo-server-"))
        config, jaas, server, authority = (home / name for name in ("zoo.cfg", "jaas.conf", "server.pem", "ca.pem"))
        lines = [
            *settings,
            f"secureClientPort={self.secure_client_port}",
            f"secureClientPortAddress={self.host}",
            f"ssl.keyStore.location={server}",
            f"ssl.trustStore.location={authority}",
        ]
        if jaas_config:
            lines.append(f"java.security.auth.login.config={jaas}")
        self._files = {
            config: "".join(f"{line}\n" for line in lines).encode(),
            jaas: jaas_config.encode(),
            server: certificates.server_key + certificates.server_chain,
            authority: certificates.authority,
        }
        self._process: _Process
        if os.environ.get(SERVER_VARIABLE, "zkstore") == "apache":
            self._process = _Apache(home, config, jaas, self.client_port)
        else:
            self._process = ServerProcess(home / "data", str(config))
            self._process.port = self.client_port

    def run(self) -> None:
        """Start the server, on the data it has, and do not wait: a member of an ensemble needs others to serve."""
        if self.running:
            return
        data = self._home / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "myid").write_text(f"{self._server_id}\n")
        for path, content in self._files.items():
            path.write_bytes(content)
        self._process.launch()
        self.running = True

    def wait_until_ready(self) -> None:
        """Wait until the server that was run serves."""
        self._process.wait_until_ready()

    def stop(self) -> None:
        """Stop the server in order, and keep its data."""
        if not self.running:
            return
        self._process.stop()
        self.running = False

    def reset(self) -> None:
        """Stop the server and forget its data."""
        self.stop()
        shutil.rmtree(self._home / "data", ignore_errors=True)

    def destroy(self) -> None:
        """Stop the server and forget all of it; it may be run again, at the same port."""
        try:
            self.stop()
        finally:
            self._process.close()
            shutil.rmtree(self._home, ignore_errors=True)

    @property
    def address(self) -> str:
        """As clients want it."""
        return f"{self.host}:{self.client_port}"

    @property
    def secure_address(self) -> str:
        """As clients of TLS want it."""
        return f"{self.host}:{self.secure_client_port}"

    def get_logs(self, num_lines: int = 100) -> list[str]:
        """The end of the server's log."""
        return self._process.log_text().splitlines()[-num_lines:]


class ZookeeperCluster:
    """What kazoo's harness starts. The tests take single servers out of it by index."""

    def __init__(
        self,
        *,
        size: int,
        configuration_entries: list[str],
        java_system_properties: list[str],
        jaas_config: str | None,
        **_: Any,
    ) -> None:
        """`configuration_entries` are lines of a zoo.cfg; `java_system_properties` (-Dkey=value) become such lines.

        Where Apache is installed, which ports it would take and which servers observe is of no concern here.
        """
        ports = _free_ports(size)
        properties = [option.removeprefix("-Dzookeeper.") for option in java_system_properties]
        settings = (*_SETTINGS, *configuration_entries, *properties)
        if size > 1:
            settings += _ENSEMBLE_SETTINGS
            settings += tuple(f"server.{n}=127.0.0.1:{own.quorum}:{own.election}" for n, own in enumerate(ports, 1))
        self._certificates = _Certificates()
        self._servers = [
            ManagedZooKeeper(n, own, settings, jaas_config or "", self._certificates) for n, own in enumerate(ports, 1)
        ]

    def __getitem__(self, index: int) -> ManagedZooKeeper:
        return self._servers[index]

    def __iter__(self) -> Iterator[ManagedZooKeeper]:
        return iter(self._servers)

    def start(self) -> None:
        """Start the servers that do not run, and wait until these serve."""
        started = [server for server in self if not server.running]
        for server in started:
            server.run()
        for server in started:
            server.wait_until_ready()

    def stop(self) -> None:
        """Stop all servers; the cluster is empty from then on."""
        for server in self:
            server.stop()
        self._servers = []

    def terminate(self) -> None:
        """Stop all servers and forget their data; they may be started again."""
        for server in self:
            server.destroy()

    def reset(self) -> None:
        """Stop all servers and forget their data."""
        for server in self:
            server.reset()

    def get_logs(self) -> list[str]:
        """The ends of all logs."""
        return [line for server in self for line in server.get_logs()]

    def get_ssl_client_configuration(self) -> dict[str, bytes]:
        """What a client of the secure port needs, as PEM."""
        certificates = self._certificates
        return {
            "client_key": certificates.client_key,
            "client_cert": certificates.client_chain,
            "ca_cert": certificates.authority,
        }


_outcomes: dict[str, str] = {}


def test_name(nodeid: str) -> str:
    """The name of a test in lists: its file's name, wherever kazoo is installed, its class and its function."""
    return nodeid[nodeid[: nodeid.index("::")].rfind("/") + 1 :]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the outcome: the worst of setting up, running and tearing down."""
    name = test_name(report.nodeid)
    if report.failed or (report.skipped and _outcomes.get(name) != "failed"):
        _outcomes[name] = report.outcome
    else:
        _outcomes.setdefault(name, report.outcome)


def pytest_sessionfinish() -> None:
    """Write the report."""
    path = os.environ.get(REPORT_VARIABLE)
    if path:
        Path(path).write_text(json.dumps(_outcomes, indent=1, sort_keys=True))


sys.modules["kazoo.testing.common"] = sys.modules[__name__]
