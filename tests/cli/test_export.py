from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.storage.histories import History
from zkstore.cli import export, import_, main
from zkstore.exchange.apache import layout
from zkstore.storage.store import CleanNote, Store


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def directory(tmp_path: Path, history: History) -> Path:
    """A data directory with a checkpoint and a log behind it."""
    root = tmp_path / "data"
    store = Store.open(root)
    store.recover()
    store.append(history.fill(40))
    history.checkpoint(store)
    store.append(history.fill(10))
    store.close(CleanNote(history.tree.zxid, history.tree.digest, 1))
    return root


def digest_of(root: Path) -> int:
    store = Store.open(root)
    tree = store.recover().tree
    store.close()
    return tree.digest


@pytest.mark.parametrize("is_stdout", [False, True])
def test_json_lines_come_back_as_they_were(
    tmp_path: Path, directory: Path, history: History, capfdbinary: pytest.CaptureFixture[bytes], is_stdout: bool
) -> None:
    file = tmp_path / "tree.jsonl"
    assert main.main(["export", "--format", "jsonl", str(directory), "-" if is_stdout else str(file)]) == 0
    shown = capfdbinary.readouterr().out
    if is_stdout:
        file.write_bytes(shown)
    else:
        assert shown.startswith(b"exported to ")
        assert b"as of zxid %#x" % history.tree.zxid in shown
    assert import_.main([str(file), str(tmp_path / "new")]) == 0
    assert digest_of(tmp_path / "new") == history.tree.digest


def test_what_goes_to_apache_comes_back_too(tmp_path: Path, directory: Path, history: History) -> None:
    assert export.main(["--format", "apache", str(directory), str(tmp_path / "apache")]) == 0
    assert [file.zxid for file in layout.find(tmp_path / "apache").snapshots] == [history.tree.zxid]
    assert import_.main([str(tmp_path / "apache"), str(tmp_path / "new")]) == 0
    store = Store.open(tmp_path / "new")
    tree = store.recover().tree
    assert tree.records == history.tree.records
    assert tree.sessions.keys() == history.tree.sessions.keys()
    store.close()


def test_the_past_is_exported_as_far_as_there_is_one(
    tmp_path: Path, directory: Path, history: History, capsys: pytest.CaptureFixture[str]
) -> None:
    zxid = history.tree.zxid - 5
    out = tmp_path / "past.jsonl"
    assert export.main(["--format", "jsonl", "--at", f"{zxid:#x}", "--json", str(directory), str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["zxid"] == f"{zxid:#x}"
    assert json.loads(out.read_text().splitlines()[0])["zxid"] == f"{zxid:#x}"
    later = f"{history.tree.zxid + 1:#x}"
    assert export.main(["--format", "jsonl", "--at", later, str(directory), str(tmp_path / "no")]) == 1
    assert capsys.readouterr().err.startswith("zkstore export: ")
    assert not (tmp_path / "no").exists()


def test_nothing_is_overwritten(tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    for arguments in (["apache", str(directory), str(tmp_path / "out")], ["jsonl", str(directory), str(tmp_path)]):
        assert export.main(["--format", *arguments]) == 1
        assert "nothing is ever overwritten" in capsys.readouterr().err
    assert (tmp_path / "out" / "mine").read_text() == "mine"


def test_a_snapshot_for_apache_cannot_go_to_stdout(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["--format", "apache", str(directory), "-"]) == 2
    assert "writes a directory; name one" in capsys.readouterr().err


def test_what_is_no_source_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["--format", "jsonl", str(tmp_path / "none"), str(tmp_path / "out")]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("zkstore export: ")
    assert shown.count("\n") == 1
