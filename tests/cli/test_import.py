from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.exchange.apache import written
from zkstore.cli import import_, main
from zkstore.errors import StorageError
from zkstore.exchange.apache import arrival, recovery
from zkstore.exchange.apache.layout import ApacheFiles
from zkstore.exchange.apache.recovery import Progress, Recovery
from zkstore.inspection.backup_file import MAGIC
from zkstore.storage.store import Store

SESSION = 0x0100000000000001


def bodies() -> list[bytes]:
    return [
        written.body(1, written.CREATE_SESSION, written.i32(30_000), session_id=SESSION),
        written.body(2, written.CREATE, written.create("/a", b"x", written.OPEN, 1), session_id=SESSION),
        written.body(3, written.CREATE, written.create("/e", b"", written.OPEN, 2, ephemeral=True), session_id=SESSION),
        written.body(4, written.CREATE, written.create("/orphan", b"", written.OPEN, 3, ephemeral=True), session_id=9),
    ]


def source(root: Path) -> Path:
    return written.place(root, {"snapshot.0": written.snapshot(), "log.1": written.log(bodies())})


def test_the_summary_says_what_came_from_where_and_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = source(tmp_path / "apache")
    (root / "myid").write_text("1")
    (root / "version-2" / "snapshot.2").write_bytes(b"ZK")
    assert main.main(["import", str(root), str(tmp_path / "new")]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines() == [
        f"imported into {tmp_path}/new: 6 znodes, 1 session, as of zxid 0x4",
        "from snapshot.0, log.1, 4 txns replayed",
        f"note: snapshot.2 is left out: {root}/version-2/snapshot.2: the file is cut: it ends at byte 2",
        "left out: ephemerals of sessions that are gone: /orphan",
        "left out: myid; put it there yourself if the new server is to have this number",
        f"start it with: zkstore serve --data-dir {tmp_path}/new",
    ]
    store = Store.open(tmp_path / "new")
    assert store.recover().tree.ephemerals == {SESSION: {b"/e": None}}
    store.close()


def test_the_summary_is_there_for_programs_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_.main([str(source(tmp_path / "apache")), str(tmp_path / "new"), "--json", "--up-to", "0x3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["znodes"], found["sessions"], found["zxid"], found["txns"]) == (6, 1, "0x3", 3)
    assert found["left_out"] == []


def test_a_member_of_an_ensemble_comes_with_its_epochs_and_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = source(tmp_path / "apache")
    (root / "version-2" / "currentEpoch").write_text("4")
    (root / "version-2" / "acceptedEpoch").write_text("5")
    assert import_.main([str(root), str(tmp_path / "new")]) == 0
    assert "note: the server was a member of an ensemble" in capsys.readouterr().out
    store = Store.open(tmp_path / "new")
    assert store.log.epochs == (5, 4)
    store.close()


def test_a_source_without_logs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = written.place(tmp_path / "apache", {"snapshot.0": written.snapshot()})
    assert import_.main([str(root), str(tmp_path / "new")]) == 0
    assert "if the server had a dataLogDir, import again with --log-directory" in capsys.readouterr().out


def test_logs_are_read_where_they_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written.place(tmp_path / "data", {"snapshot.0": written.snapshot()})
    written.place(tmp_path / "log", {"log.1": written.log(bodies())})
    arguments = [str(tmp_path / "data"), str(tmp_path / "new"), "--log-directory", str(tmp_path / "log")]
    assert import_.main(arguments) == 0
    assert "as of zxid 0x4" in capsys.readouterr().out


def test_a_configuration_may_be_named_in_place_of_its_directories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written.place(tmp_path / "data", {"snapshot.0": written.snapshot()})
    written.place(tmp_path / "log", {"log.1": written.log(bodies())})
    config = tmp_path / "zoo.cfg"
    config.write_text(f"tickTime=2000\ndataDir={tmp_path}/data\ndataLogDir={tmp_path}/log\n")
    assert import_.main([str(config), str(tmp_path / "new")]) == 0
    assert "as of zxid 0x4" in capsys.readouterr().out
    config.write_text("tickTime=2000\n")
    assert import_.main([str(config), str(tmp_path / "newer")]) == 1
    assert "zoo.cfg: this names no dataDir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        ({"log.1": b"ZKSN" + bytes(60)}, "log.1: this does not begin as a transaction log does"),
        ({"snapshot.0": b"ZKLG" + bytes(60)}, "snapshot.0: this does not begin as a snapshot does"),
        ({"snapshot.0": b""}, "snapshot.0: the file is cut"),
        ({"log.1": written.log([*bodies()[:2], *bodies()[3:]])}, "log.1: the txns 0x3 to 0x3 are missing before this"),
        ({"acceptedEpoch": b"?"}, "acceptedEpoch: this should hold the number of an epoch"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: dict[str, bytes], complaint: str
) -> None:
    root = written.place(source(tmp_path / "apache"), spoil)
    assert import_.main([str(root), str(tmp_path / "new")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("zkstore import: ")
    assert shown.err.count("\n") == 1
    assert complaint in shown.err
    assert not (tmp_path / "new").exists()


def test_what_there_is_already_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = source(tmp_path / "apache")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("")
    assert import_.main([str(root), str(tmp_path / "new")]) == 1
    assert "not empty (mine), and nothing is ever overwritten" in capsys.readouterr().err


def test_a_server_that_writes_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = source(tmp_path / "apache")
    recover = recovery.recover

    def busy(files: ApacheFiles, progress: Progress, **options: Any) -> Recovery:
        found = recover(files, progress, **options)
        written.place(root, {"log.5": b""})
        return found

    monkeypatch.setattr(recovery, "recover", busy)
    with pytest.raises(StorageError, match="the files changed while they were read"):
        arrival.import_directory(root, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_files_of_other_kinds_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content, complaint in (
        ("backup", MAGIC + b"1\n", "this is a backup of zkstore. Bring it back with `zkstore restore`"),
        ("snapshot.0", written.snapshot(), "this is one file of an Apache ZooKeeper server"),
        ("log.1", written.log([]), "this is one file of an Apache ZooKeeper server"),
        ("other", b"other", "the first line does not say"),
    ):
        (tmp_path / name).write_bytes(content)
        assert import_.main([str(tmp_path / name), str(tmp_path / "new")]) == 1
        assert complaint in capsys.readouterr().err


def test_options_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "tree.jsonl"
    lines.write_text('{"format": "zkstore tree", "version": 1, "zxid": "0x1"}\n')
    assert import_.main([str(lines), str(tmp_path / "new"), "--up-to", "1"]) == 1
    assert "Leave them out" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        import_.main([str(lines), str(tmp_path / "new"), "--up-to", "tomorrow"])
    assert caught.value.code == 2
    assert "'tomorrow' is no zxid; one looks like 0x10000002a" in capsys.readouterr().err
