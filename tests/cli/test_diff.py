"""`zkstore diff` as it is typed: moments, directories, backups, and a live server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.inspection.directories import EPOCH, Made, make
from tests.interop.processes import ServerProcess
from zkstore.cli import backup, diff

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("diff") / "data")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("live") / "data")
    server.start()
    yield server
    server.close()


def test_two_moments_of_a_directory(made: Made, capsys: Captured) -> None:
    begin = str(EPOCH + 5)
    assert diff.main([str(made.root), "--from", begin, "--to", str(EPOCH + 0x23), "--data", "--path", "/app"]) == 1
    out = capsys.readouterr().out
    assert "~ /app/a  (data)\n    - text\n    + v4\n" in out
    assert "+ /app/null\n" in out
    assert "/app/eph" not in out
    assert diff.main([str(made.root), "--from", begin, "--path", "/app", "--ephemerals"]) == 1
    assert "+ /app/eph\n" in capsys.readouterr().out


def test_equal_trees_exit_with_zero(made: Made, tmp_path: Path, capsys: Captured) -> None:
    saved = tmp_path / "saved.zkb"
    assert backup.main([str(made.root), str(saved)]) == 0
    capsys.readouterr()
    assert diff.main([str(made.root), str(saved), "--stat", "--all"]) == 0
    found = capsys.readouterr()
    assert (found.out, "equal" in found.err) == ("", True)
    assert diff.main([f"{made.root}@{EPOCH + 5}", str(saved), "--path", "/app-b"]) == 0


def test_differences_as_json(made: Made, capsys: Captured) -> None:
    assert diff.main([f"{made.root}@0x100000005", f"{made.root}@0x100000020", "--path", "/app/a", "--json"]) == 1
    first, *rest = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["path"], first["change"], first["aspects"]) == ("/app/a", "changed", ["data"])
    assert (first["before"]["data"], first["after"]["data"]) == ("text", "v1")
    assert {each["change"] for each in rest} == {"added"}


def test_a_backup_beside_a_live_server(server: ServerProcess, tmp_path: Path, capsys: Captured) -> None:
    client = KazooClient(f"127.0.0.1:{server.port}")
    client.start()
    client.create("/live/a/b", b"1", makepath=True)
    client.create("/live/mine", b"", ephemeral=True)
    saved = tmp_path / "saved.zkb"
    assert backup.main([str(server.data_dir), str(saved)]) == 0
    place = f"127.0.0.1:{server.port}"
    capsys.readouterr()
    assert diff.main([str(saved), place]) == 0
    assert diff.main([str(saved), place, "--stat", "--path", "/live"]) == 0
    client.set("/live/a/b", b"2")
    client.create("/live/c", b"new")
    client.delete("/live/mine")
    capsys.readouterr()
    assert diff.main([str(saved), place, "--data", "--ephemerals"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "~ /live/a/b  (data)",
        "    - 1",
        "    + 2",
        "+ /live/c",
        "    + new",
        "- /live/mine",
    ]
    client.stop()
    client.close()


@pytest.mark.parametrize("arguments", [[], ["only-one"], ["a", "b", "--from", "1"], ["a", "--to", "1"]])
def test_wrong_usage_exits_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        diff.main(arguments)
    assert stop.value.code == 2


def test_what_cannot_be_compared_is_told_in_a_line(made: Made, tmp_path: Path, capsys: Captured) -> None:
    for arguments, words in (
        ([str(made.root), str(tmp_path / "nothing")], "nothing"),
        ([str(made.root), str(made.root), "--path", "/nowhere"], "there is no /nowhere in "),
        ([f"{made.root}@0x900000001", str(made.root)], "there is no 0x900000001 yet"),
        ([f"{made.root}@2001-01-01", str(made.root)], "lies before history"),
    ):
        assert diff.main(arguments) == 2
        errors = capsys.readouterr().err
        assert words in errors
        assert errors.count("\n") == 1
