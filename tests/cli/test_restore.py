"""`zkstore backup` and `zkstore restore` as people use them, beside a live server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.interop.processes import ServerProcess
from zkstore.cli import backup, restore


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
    yield client
    for name in ("app", "copy"):
        client.delete(f"/{name}", recursive=True)
    client.stop()
    client.close()


@pytest.fixture
def saved(server: ServerProcess, client: KazooClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A backup of /app with three children and an ephemeral, made beside the running server."""
    client.create("/app", b"root")
    for number in range(3):
        client.create(f"/app/{number}", b"%d" % number)
    client.create("/app/mine", b"", ephemeral=True)
    file = tmp_path / "saved.zkb"
    assert backup.main([str(server.data_dir), str(file)]) == 0
    assert f"backed up to {file}: " in capsys.readouterr().out
    return file


def at(server: ServerProcess) -> list[str]:
    return ["--to", f"127.0.0.1:{server.port}"]


def test_a_subtree_comes_back_beside_what_is_there(
    server: ServerProcess, client: KazooClient, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore.main([str(saved), "--subtree", "/app", "--as", "/copy", *at(server)]) == 0
    assert client.get("/copy")[0] == b"root"
    assert {name: client.get(f"/copy/{name}")[0] for name in client.get_children("/copy")} == {
        "0": b"0",
        "1": b"1",
        "2": b"2",
    }
    assert capsys.readouterr().out.endswith(
        "at /copy: done: 4 create\nnote: 1 ephemerals were left out; they are their sessions'\n"
    )


def test_what_is_there_is_not_touched_unless_told(
    server: ServerProcess, client: KazooClient, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set("/app/1", b"later")
    assert restore.main([str(saved), "--subtree", "/app", *at(server)]) == 1
    assert "/app is on the server already" in capsys.readouterr().err
    assert client.get("/app/1")[0] == b"later"


def test_a_dry_run_shows_and_overwrite_makes_it_what_it_was(
    server: ServerProcess, client: KazooClient, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set("/app/1", b"later")
    client.delete("/app/2")
    client.create("/app/new", b"")
    arguments = [str(saved), "--subtree", "/app", *at(server), "--overwrite"]
    assert restore.main([*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:3] == ['set /app/1 "1" (is "later")', 'create /app/2 "2"', "delete /app/new"]
    assert "would be done: 1 create, 1 set, 1 delete" in shown[3]
    assert client.get("/app/1")[0] == b"later"
    assert restore.main(arguments) == 0
    assert client.get("/app/1")[0] == b"1"
    assert sorted(client.get_children("/app")) == ["0", "1", "2", "mine"]
    capsys.readouterr()
    assert restore.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == []


def test_bad_input_gets_one_line(
    server: ServerProcess, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        ([str(saved), "--subtree", "/none", *at(server)], "there is no /none at 0x"),
        ([str(saved), "--subtree", "/app", "--as", "/no/where", *at(server)], "/no, below which /no/where"),
        ([str(tmp_path / "nothing"), str(tmp_path / "new")], "there is no such file or directory"),
        ([str(saved), str(tmp_path)], "is not empty"),
        ([str(saved), "--at", "soon", str(tmp_path / "new")], "soon"),
        ([str(saved), "--at", "0x1", str(tmp_path / "new")], "cannot be seen any more"),
    ):
        assert restore.main(arguments) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("zkstore restore: ") and error.count("\n") == 1, error
    with pytest.raises(SystemExit):
        restore.main([str(saved)])


def test_a_file_is_replaced_only_by_force(
    server: ServerProcess, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup.main([str(server.data_dir), str(saved)]) == 1
    assert "there is a file already" in capsys.readouterr().err
    assert backup.main([str(server.data_dir), str(saved), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["znodes"] >= 5
