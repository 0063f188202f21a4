"""`zkstore undo` against a live server: shown, compared, applied, and refused where somebody was there meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_acl

from tests.interop.processes import ServerProcess
from zkstore.cli import undo

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("live") / "data")
    server.start()
    yield server
    server.close()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[KazooClient]:
    client = KazooClient(f"127.0.0.1:{server.port}")
    client.start()
    client.create("/app", b"root")
    client.create("/app/a", b"1")
    client.create("/app/b/c", b"deep", makepath=True)
    yield client
    client.delete("/app", recursive=True)
    client.stop()
    client.close()


def to(server: ServerProcess) -> list[str]:
    return ["--to", f"127.0.0.1:{server.port}"]


def last_zxid(client: KazooClient) -> str:
    return hex(client.create("/mark", include_data=True)[1].czxid)


@pytest.fixture
def since(client: KazooClient) -> Iterator[str]:
    yield last_zxid(client)
    client.delete("/mark")


def disturb(client: KazooClient) -> None:
    client.set("/app/a", b"2")
    client.delete("/app/b", recursive=True)
    client.create("/app/new/er", b"x", makepath=True)
    client.set_acls("/app", [make_acl("world", "anyone", all=True), make_acl("ip", "127.0.0.1", read=True)])


def test_a_subtree_is_shown_and_taken_back(
    server: ServerProcess, client: KazooClient, since: str, capsys: Captured
) -> None:
    disturb(client)
    asked = [str(server.data_dir), "--subtree", "/app", "--since", since]
    assert undo.main(asked) == 0
    shown = capsys.readouterr().out
    assert "delete /app/new/er  (is x, version 0)\ndelete /app/new  (is empty, version 0)\n" in shown
    assert "create /app/b empty\ncreate /app/b/c deep\nset /app/a 1  (is 2, version 1)\nsetAcl /app " in shown
    assert "nothing was done" in shown
    assert client.get("/app/a")[0] == b"2"
    assert undo.main([*asked, *to(server), "--apply"]) == 0
    assert capsys.readouterr().out.endswith(f"back to {since}: 6 writes: done\n")
    assert client.get("/app/a")[0] == b"1"
    assert client.get("/app/b/c")[0] == b"deep"
    assert client.exists("/app/new") is None
    assert len(client.get_acls("/app")[0]) == 1


def test_one_txn_is_taken_back(server: ServerProcess, client: KazooClient, capsys: Captured) -> None:
    with client.transaction() as multi:
        multi.set_data("/app/a", b"multi")
        multi.create("/app/m", b"m")
    zxid = hex(client.exists("/app/m").czxid)
    client.set("/app/b/c", b"stays")
    assert undo.main([str(server.data_dir), "--txn", zxid, *to(server), "--apply", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [(step["do"], step["path"], step["version"]) for step in value["steps"]] == [
        ("delete", "/app/m", 0),
        ("set", "/app/a", 1),
    ]
    assert value["is_applied"] is True
    assert (client.get("/app/a")[0], client.get("/app/b/c")[0]) == (b"1", b"stays")
    assert client.exists("/app/m") is None


def test_a_txn_whose_znodes_were_changed_since_is_refused(
    server: ServerProcess, client: KazooClient, capsys: Captured
) -> None:
    zxid = hex(client.set("/app/a", b"2").mzxid)
    client.set("/app/a", b"3")
    for asked in (["--apply"], []):
        assert undo.main([str(server.data_dir), "--txn", zxid, *to(server), *asked]) == 1
        errors = capsys.readouterr().err
        assert "/app/a was changed: version 2, not 1; " in errors
    assert client.get("/app/a")[0] == b"3"
    zxid = hex(client.set("/app/a", b"4").mzxid)
    client.delete("/app/a")
    client.create("/app/a", b"anew")
    assert undo.main([str(server.data_dir), "--txn", zxid, *to(server), "--apply"]) == 1
    assert "/app/a is another one: created at " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["d"], ["d", "--txn", "1", "--since", "1"], ["d", "--since", "1"], ["d", "--txn", "1", "--apply"]],
)
def test_wrong_usage_exits_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        undo.main(arguments)
    assert stop.value.code == 2


def test_a_source_that_is_none_is_told(tmp_path: pytest.TempPathFactory, capsys: Captured) -> None:
    assert undo.main([f"{tmp_path}/nothing", "--txn", "1"]) == 1
    assert "nothing" in capsys.readouterr().err


def test_a_txn_is_named_by_its_zxid_alone(server: ServerProcess, capsys: Captured) -> None:
    assert undo.main([str(server.data_dir), "--txn", "2h ago"]) == 1
    assert "'2h ago' is no zxid; " in capsys.readouterr().err
