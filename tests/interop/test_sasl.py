"""SASL DIGEST-MD5 with kazoo and with Apache's shell."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, KazooException
from kazoo.security import ACL, Id

from tests.interop.conftest import StartServer
from tests.interop.processes import ServerProcess, wait_until
from tests.interop.shells import Said, Shell, zkcli

pytestmark = pytest.mark.interop

SECRET = "it's a secret"
_MODULE = "org.apache.zookeeper.server.auth.DigestLoginModule required"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "jaas.conf"
    path.write_text(f'Server {{ {_MODULE} user_super="hero" user_bob="{SECRET}"; }};')
    return path


@pytest.fixture
def server(start_server: StartServer, users: Path) -> ServerProcess:
    return start_server("--sasl-users-file", str(users))


def kazoo(server: ServerProcess, password: str) -> KazooClient:
    options = {"mechanism": "DIGEST-MD5", "username": "bob", "password": password}
    return KazooClient(server.hosts, sasl_options=options)


def test_kazoo_logs_in(server: ServerProcess) -> None:
    client = kazoo(server, SECRET)
    client.start(20)
    client.create("/mine", b"x", acl=[ACL(31, Id("auth", ""))])
    assert client.get_acls("/mine")[0] == [ACL(31, Id("sasl", "bob"))]
    assert client.get("/mine")[0] == b"x"
    client.stop()
    client.close()


def test_kazoo_with_another_password_is_refused_and_no_secret_is_logged(server: ServerProcess) -> None:
    client = kazoo(server, "hunter2")
    client.start(20)
    with pytest.raises(AuthFailedError):
        client.get("/")
    client.stop()
    client.close()
    assert server.logged("authentication by sasl failed")
    for secret in (SECRET, "hunter2", "hero"):
        assert secret not in server.log_text()


def test_a_user_who_is_added_to_the_file_logs_in_and_one_who_is_taken_out_does_not(
    server: ServerProcess, users: Path
) -> None:
    users.write_text(f'Server {{ {_MODULE} user_bob="another secret"; }};')
    server.send(signal.SIGHUP)
    wait_until(lambda: server.logged("read the file of users anew"))
    client = kazoo(server, "another secret")
    client.start(20)
    assert client.exists("/") is not None
    client.stop()
    client.close()
    late = kazoo(server, SECRET)
    late.start(20)
    with pytest.raises(AuthFailedError):
        late.get("/")
    late.stop()
    late.close()
    assert "secret" not in server.log_text()


def apache(tmp_path: Path, server: ServerProcess, password: str, *lines: str) -> Said:
    zkcli()  # which skips where it is not installed
    path = tmp_path / "client.conf"
    path.write_text(f'Client {{ {_MODULE} username="bob" password="{password}"; }};')
    flags = f"CLIENT_JVMFLAGS=-Djava.security.auth.login.config={path}"
    return Shell("zkCli.sh", ["env", flags, "/usr/share/zookeeper/bin/zkCli.sh"]).run(server, *lines)


def test_zkcli_logs_in(tmp_path: Path, server: ServerProcess) -> None:
    said = apache(tmp_path, server, SECRET, "create /for-bob x sasl:bob:r", "get /for-bob", "whoami")
    assert "WatchedEvent state:SaslAuthenticated type:None path:null" in said.out
    assert {"x", "sasl: bob"} <= set(said.out)


def test_zkcli_with_another_password_is_refused(tmp_path: Path, server: ServerProcess) -> None:
    said = apache(tmp_path, server, "hunter2", "ls /")
    assert "WatchedEvent state:AuthFailed type:None path:null" in said.out


def test_who_does_not_log_in_is_turned_away_where_that_is_demanded(start_server: StartServer, users: Path) -> None:
    server = start_server("--sasl-users-file", str(users), "--require-sasl", "true")
    client = kazoo(server, SECRET)
    client.start(20)
    assert client.exists("/")
    client.stop()
    client.close()
    stranger = KazooClient(server.hosts, connection_retry={"max_tries": 1}, command_retry={"max_tries": 1})
    stranger.start(20)
    with pytest.raises(KazooException):
        stranger.get("/")
    stranger.stop()
    stranger.close()
