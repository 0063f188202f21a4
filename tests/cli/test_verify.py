"""`zkstore verify` as people and scripts see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.storage.histories import History, create
from zkstore.cli import verify
from zkstore.storage.store import Store


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    store = Store.open(tmp_path / "data")
    store.recover()
    store.append([History().add(create(b"/a"), create(b"/b"), epoch=0)])
    store.close()
    return tmp_path / "data"


def test_a_sound_directory_is_said_to_be_well(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(directory)]) == 0
    assert capsys.readouterr().out.startswith("all is well: 1 segments with 2 txns")


def test_damage_is_listed_and_told_by_the_exit_code(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = directory / "log" / "data.mdb"
    content = bytearray(log.read_bytes())
    at = content.index(b"zkS\x01") + 60
    content[at] ^= 1
    log.write_bytes(content)
    assert verify.main([str(directory), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["zxid"] == 1
    assert "log" in finding["message"]


def test_a_directory_in_use_is_not_read(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(directory)
    assert verify.main([str(directory)]) == 1
    assert str(directory) in capsys.readouterr().err
    store.close()


def test_what_is_no_directory_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_what_is_right_is_saved_into_a_new_directory(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    assert verify.main([str(directory), "--repair-to", str(new)]) == 0
    out = capsys.readouterr().out
    assert f"saved into {new}: " in out
    assert out.endswith(f"nothing was left out\nstart it with: zkstore serve --data-dir {new}\n")
    assert verify.main([str(new)]) == 0
    capsys.readouterr()
    assert verify.main([str(directory), "--repair-to", str(new)]) == 1
    assert "this directory is not empty" in capsys.readouterr().err


def test_damage_names_the_command_that_saves_what_is_right_and_that_tells_what_it_left_out(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = directory / "log" / "data.mdb"
    content = bytearray(log.read_bytes())
    content[content.index(b"zkS\x01") + 60] ^= 1
    log.write_bytes(content)
    assert verify.main([str(directory)]) == 1
    assert f"zkstore verify {directory} --repair-to NEWDIR" in capsys.readouterr().out
    assert verify.main([str(directory), "--repair-to", str(tmp_path / "new"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["left_out"]["damage"]


def test_a_directory_in_use_is_not_repaired(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(directory)
    assert verify.main([str(directory), "--repair-to", str(tmp_path / "new")]) == 1
    assert "Stop the server first" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    store.close()
