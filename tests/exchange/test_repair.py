"""Damaged directories: what comes out is a tree that was, of the newest zxid that can be proven; the rest is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.inspection.directories import Made, make
from zkstore.errors import DirectoryUnusableError, StorageError
from zkstore.exchange.repair import repair
from zkstore.inspection.source import open_source
from zkstore.wire import segment as segments_


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("repair") / "data")


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.root, tmp_path / "copy"))


def flip(file: Path, wanted: bytes, *, all_of_them: bool = False) -> None:
    content = bytearray(file.read_bytes())
    at = content.find(wanted)
    assert at >= 0
    while at >= 0:
        content[at] ^= 1
        at = content.find(wanted, at + 1) if all_of_them else -1
    file.write_bytes(content)


def znodes_in(root: Path) -> dict[bytes, bytes]:
    with open_source(root) as source:
        found = dict(source.view().znodes())
        assert not source.damage
        return found


def test_a_sound_directory_is_saved_whole(made: Made, copy: Path, tmp_path: Path) -> None:
    with open_source(copy) as source:
        done = repair(source, tmp_path / "new")
    assert done.landed.zxid == made.end
    assert (done.left_out.first_zxid, done.left_out.damage) == (0, [])
    assert znodes_in(tmp_path / "new") == made.states[made.end]


def test_a_damaged_segment_ends_what_is_saved(made: Made, copy: Path, tmp_path: Path) -> None:
    bad = made.history.segments[-3]
    flip(copy / "log" / "data.mdb", bad.data[60:], all_of_them=True)
    with open_source(copy) as source:
        done = repair(source, tmp_path / "new")
    assert done.landed.zxid == bad.first_zxid - 1
    assert znodes_in(tmp_path / "new") == made.states[done.landed.zxid]
    left = done.left_out
    assert (left.first_zxid, left.last_zxid) == (bad.first_zxid, made.end)
    behind = [txn for segment in made.history.segments[-2:] for txn in segments_.txns(segment)]
    assert (left.segments, left.txns) == (2, len(behind))
    assert b"/new/deep" in left.paths
    assert left.damage


def test_a_damaged_checkpoint_costs_nothing_where_log_and_snapshot_are_sound(
    made: Made, copy: Path, tmp_path: Path
) -> None:
    flip(copy / "tree" / "data.mdb", b"content 77", all_of_them=True)
    with open_source(copy) as source:
        done = repair(source, tmp_path / "new")
    assert done.landed.zxid == made.end
    assert znodes_in(tmp_path / "new") == made.states[made.end]


def test_without_a_sound_log_the_newest_sound_image_is_saved(made: Made, copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "tree")
    (copy / "log" / "data.mdb").write_bytes(b"\0" * 9000)
    with open_source(copy) as source:
        newest = max(image.zxid for image in source.facts.snapshots)
        done = repair(source, tmp_path / "new")
    assert done.landed.zxid == newest
    assert not done.left_out.is_all
    assert done.left_out.last_zxid == made.end  # which the note of the orderly stop tells
    assert znodes_in(tmp_path / "new") == made.states[newest]


def test_where_nothing_is_sound_nothing_is_made(copy: Path, tmp_path: Path) -> None:
    (copy / "log" / "data.mdb").write_bytes(b"\0" * 9000)
    for file in (copy / "tree" / "data.mdb", *(copy / "snapshots").glob("*/data.mdb")):
        flip(file, b"beside", all_of_them=True)
    with open_source(copy) as source, pytest.raises(StorageError, match="no tree in here is sound"):
        repair(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_directory_that_is_not_empty_is_refused(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with open_source(copy) as source, pytest.raises(DirectoryUnusableError, match="not empty"):
        repair(source, tmp_path)


def test_a_page_of_the_log_that_is_lost_does_not_keep_the_checkpoint_from_being_saved(
    made: Made, copy: Path, tmp_path: Path
) -> None:
    file = copy / "log" / "data.mdb"
    content = bytearray(file.read_bytes())
    for at in range(2 * 4096, len(content) - 4096, 4096):
        content[at : at + 4096] = bytes(4096)
    file.write_bytes(content)
    with open_source(copy) as source:
        done = repair(source, tmp_path / "new")
    assert znodes_in(tmp_path / "new") == made.states[done.landed.zxid]
    assert done.left_out.last_zxid == made.end
    assert done.left_out.damage
