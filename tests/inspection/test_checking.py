"""Checking without a lock: silent about what is sound, and each kind of damage found."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from tests.inspection.directories import Made, make
from tests.storage.histories import flip, flip_in_file, rewrite_segment
from zkstore.inspection.checking import Checked, check
from zkstore.inspection.source import open_source
from zkstore.model import record as records_
from zkstore.storage.store import Store


def ignored(count: int) -> None:
    assert count >= 0


def checked(root: Path) -> Checked:
    with open_source(root) as source:
        return check(source, ignored)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path / "data")


def only(root: Path) -> str:
    findings = checked(root).findings
    assert findings
    return " | ".join(findings)


def test_a_sound_directory_has_no_findings(made: Made) -> None:
    found = checked(made.root)
    assert found.findings == []
    assert (found.segments, found.txns) == (len(made.history.segments), len(made.states) - 1)
    assert (found.images, found.files) == (3, 4)


def test_a_purged_directory_and_one_in_use_are_sound(tmp_path: Path) -> None:
    made = make(tmp_path / "purged", purges=True)
    assert checked(made.root).findings == []
    store = Store.open(made.root)
    store.recover()
    assert checked(made.root).findings == []
    store.close()


def test_a_single_snapshot_is_checked(made: Made) -> None:
    path = next((made.root / "snapshots").iterdir())
    assert checked(path).findings == []
    flip_in_file(path / "data.mdb", b"beside")
    assert "checksum" in only(path)


@pytest.mark.parametrize("number", [0, 10, 20])
def test_a_damaged_segment_is_found(made: Made, number: int) -> None:
    segment = made.history.segments[number]
    rewrite_segment(made.root / "log", number, flip(segment.data, 60))
    with open_source(made.root) as source:
        found = check(source, ignored)
    assert any(f"{segment.first_zxid:#x}" in finding for finding in found.findings)


def test_a_missing_segment_is_found(made: Made) -> None:
    rewrite_segment(made.root / "log", 12, None)
    assert "segments are missing between" in only(made.root)


def test_a_damaged_checkpoint_is_found(made: Made) -> None:
    flip_in_file(made.root / "tree" / "data.mdb", b"content 60")
    assert "the checkpoint is damaged" in only(made.root)


def test_a_lost_end_of_the_log_is_found(made: Made) -> None:
    rewrite_segment(made.root / "log", len(made.history.segments) - 1, None)
    assert "the server stopped in order at" in only(made.root)


def edit(root: Path, path: bytes, record: bytes | None) -> None:
    """Change one znode of the checkpoint, behind everybody's back."""
    env = lmdb.open(str(root / "tree"), max_dbs=4)
    with env.begin(write=True, db=env.open_db(b"znodes")) as batch:
        if record is None:
            batch.delete(path)
        else:
            batch.put(path, record)
    env.close()


def test_a_tree_that_is_none_is_found(made: Made) -> None:
    records = made.history.tree.records
    edit(made.root, b"/many/010", None)
    assert "of b'/many', 1 children are missing" in only(made.root)
    edit(made.root, b"/many/010", records[b"/many/010"])
    edit(made.root, b"/many/none/child", records[b"/many/010"])
    assert "b'/many/none' has 1 children more than it counts" in only(made.root)
    edit(made.root, b"/many/none/child", None)
    stat = records_.stat_of(records[b"/many/010"])
    edit(made.root, b"/many/010", records_.make(b"x", stat._replace(ephemeral_owner=99)))
    assert "belongs to a session that is gone, 0x63" in only(made.root)
    assert "says" in only(made.root)
    edit(made.root, b"/many/010", b"short")
    assert "the record of /many/010" in only(made.root)
