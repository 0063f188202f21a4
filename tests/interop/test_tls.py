"""TLS, with other projects' clients and with our own shell."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import ACL, Id

from tests.authority import Authority, parts
from tests.interop.conftest import StartServer
from tests.interop.processes import ENVIRONMENT, ServerProcess, run_zkstore, wait_until
from tests.interop.shells import zkcli

pytestmark = pytest.mark.interop

SLOW_S: Final = 20.0

# Debian's zookeeper.jar names all that its client needs but two of netty's parts.
_JARS: Final = ":".join(f"/usr/share/java/{name}.jar" for name in ("zookeeper", "netty-resolver", "netty-codec"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


class SecureServer:
    """A server with both ports."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.port = int(process.ready_line.split(" with TLS at ")[1].split(",")[0].rpartition(":")[2])
        self.hosts = f"localhost:{self.port}"

    def certificate(self) -> str:
        """What it shows now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), SLOW_S) as plain, context.wrap_socket(plain) as secure:
            shown = secure.getpeercert(binary_form=True)
        assert shown is not None
        return ssl.DER_cert_to_PEM_cert(shown)


@pytest.fixture
def start_secure(start_server: StartServer, authority: Authority) -> Callable[..., SecureServer]:
    def start(*flags: str) -> SecureServer:
        files = ["--tls-certificate-file", str(authority.server_file), "--tls-ca-file", str(authority.ca_file)]
        ports = ["--secure-client-host", "127.0.0.1", "--secure-client-port", "0"]
        return SecureServer(start_server(*ports, *files, *flags))

    return start


@pytest.fixture
def secure(start_secure: Callable[..., SecureServer]) -> SecureServer:
    return start_secure()


def kazoo(server: SecureServer, authority: Authority, certificate: Path | None) -> KazooClient:
    file = certificate and str(certificate)
    return KazooClient(server.hosts, use_ssl=True, ca=str(authority.ca_file), certfile=file, keyfile=file)


@contextlib.contextmanager
def started(*clients: KazooClient) -> Iterator[None]:
    try:
        for client in clients:
            client.start(SLOW_S)
        yield
    finally:
        for client in clients:
            client.stop()
            client.close()


def test_kazoo_comes_in_by_a_certificate_and_is_who_it_says(secure: SecureServer, authority: Authority) -> None:
    client = kazoo(secure, authority, authority.client("alice"))
    with started(client):
        client.create("/mine", bytes(800_000), acl=[ACL(31, Id("auth", ""))])
        data, stat = client.get("/mine")
        assert (data, stat.dataLength) == (bytes(800_000), 800_000)
        ([entry], _) = client.get_acls("/mine")
        assert entry.id.scheme == "x509"
        assert entry.id.id.startswith("CN=alice,OU=")
        seen: list[object] = []
        client.get("/mine", watch=seen.append)
        client.set("/mine", b"")
        wait_until(lambda: seen)


def test_kazoo_without_a_certificate_does_not_come_in(secure: SecureServer, authority: Authority) -> None:
    client = kazoo(secure, authority, None)
    with pytest.raises(KazooTimeoutError):
        client.start(2)
    client.stop()
    client.close()
    assert secure.process.logged("the client shows no certificate")


def test_plain_clients_see_the_same_tree_and_not_what_is_kept_from_them(
    secure: SecureServer, authority: Authority
) -> None:
    client, plain = kazoo(secure, authority, authority.client("alice")), KazooClient(secure.process.hosts)
    with started(client, plain):
        client.create("/mine", b"x", acl=[ACL(31, Id("auth", ""))])
        assert "mine" in plain.get_children("/")
        with pytest.raises(NoAuthError):
            plain.get("/mine")


def test_zkcli_comes_in(secure: SecureServer, authority: Authority) -> None:
    zkcli()  # which skips where Java's shell is not installed
    flags = [
        "-Dzookeeper.client.secure=true",
        "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty",
        f"-Dzookeeper.ssl.keyStore.location={authority.client('alice')}",
        f"-Dzookeeper.ssl.trustStore.location={authority.ca_file}",
    ]
    said = subprocess.run(
        ["java", "-cp", _JARS, *flags, "org.apache.zookeeper.ZooKeeperMain", "-server", secure.hosts],
        input="create /a hello\nget /a\nwhoami\nquit\n",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "hello" in said.stdout.splitlines()
    assert "x509: CN=alice,OU=" in said.stdout


def test_our_shell_comes_in_by_flags_or_by_a_file_of_properties(
    secure: SecureServer, authority: Authority, tmp_path: Path
) -> None:
    certificate = authority.client("alice")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    key_text, chain_text = parts(certificate.read_bytes())
    key.write_bytes(key_text)
    chain.write_bytes(chain_text)
    configuration = tmp_path / "client.properties"
    configuration.write_text(
        f"zookeeper.client.secure=true\nzookeeper.ssl.keyStore.location={certificate}\n"
        f"zookeeper.ssl.trustStore.location={authority.ca_file}\n"
    )
    for options in (
        ["--ca", str(authority.ca_file), "--cert", str(certificate)],
        ["--ca", str(authority.ca_file), "--cert", str(chain), "--key", str(key)],
        ["-client-configuration", str(configuration)],
    ):
        said = run_zkstore("shell", *options, "-server", secure.hosts, "whoami")
        assert (said.returncode, said.stderr) == (0, "")
        assert "x509: CN=alice,OU=" in said.stdout
    said = run_zkstore("shell", "--tls", "-timeout", "1000", "-server", secure.hosts, "whoami")
    assert said.returncode == 1
    assert "certificate verify failed" in said.stderr


def test_a_new_certificate_is_shown_after_a_signal(secure: SecureServer, authority: Authority) -> None:
    alice = kazoo(secure, authority, authority.client("alice"))
    with started(alice):
        before = secure.certificate()
        authority.server("next").replace(authority.server_file)
        secure.process.send(signal.SIGHUP)
        wait_until(lambda: secure.certificate() != before)
        after = secure.certificate()
        authority.server_file.write_text("not a certificate")
        secure.process.send(signal.SIGHUP)
        wait_until(lambda: secure.process.logged("the TLS files do not fit"))
        assert secure.certificate() == after
        assert alice.get("/")[0] == b""


def test_one_port_may_serve_both(start_server: StartServer, authority: Authority) -> None:
    server = start_server(
        *(
            "--port-unification",
            "true",
            "--tls-client-auth",
            "none",
            "--tls-certificate-file",
            str(authority.server_file),
        )
    )
    for options in ([], ["--ca", str(authority.ca_file)]):
        said = run_zkstore("shell", *options, "-server", f"localhost:{server.port}", "ls", "/")
        assert (said.returncode, said.stdout) == (0, "[zookeeper]\n")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--secure-client-port", "0"], "TLS needs ssl.keyStore.location"),
        (["--enforce-auth", "true"], "enforce.auth.enabled=true needs enforce.auth.schemes"),
        (["--require-sasl", "true"], "nobody can prove an identity of scheme sasl here"),
    ],
)
def test_a_server_that_could_not_keep_its_word_does_not_start(tmp_path: Path, flags: list[str], complaint: str) -> None:
    said = run_zkstore("serve", "--data-dir", str(tmp_path / "data"), "--client-port", "0", *flags)
    assert (said.returncode, said.stdout) == (2, "")
    assert complaint in said.stderr
    assert not (tmp_path / "data").exists()
