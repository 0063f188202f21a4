"""Verification: silent about what is sound, exact about what is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.storage.histories import History, flip, flip_in_file, rewrite_segment
from tests.storage.power import content, cut, without_meta
from zkstore.errors import DirectoryInUseError
from zkstore.storage.store import Store
from zkstore.storage.verify import Finding, verify

EPOCH = 1 << 32


@pytest.fixture
def history(tmp_path: Path) -> History:
    """What lies in `tmp_path`: 12 segments, snapshots after 3 and 6, a checkpoint after 9."""
    history = History()
    store = Store.open(tmp_path)
    store.recover()
    for number in range(4):
        store.append(history.fill(3, b"content of part %d" % number))
        if number < 3:
            history.checkpoint(store)
        if number < 2:
            store.take_snapshot()
    store.close()
    return history


def only(tmp_path: Path) -> Finding:
    (finding,) = verify(tmp_path).findings
    return finding


def test_a_sound_directory_has_no_findings(tmp_path: Path, history: History) -> None:
    assert verify(tmp_path) == (12, 12, 3, [], 0)
    store = Store.open(tmp_path)
    store.log.drop_before(EPOCH + 3, at_most=9)
    store.close()
    assert verify(tmp_path) == (9, 9, 3, [], 0)


def test_verifying_changes_nothing(tmp_path: Path, history: History) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.mdb")}
    verify(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.mdb")} == before


def test_a_segment_that_awaits_salvage_is_verified_and_no_damage(tmp_path: Path, history: History) -> None:
    store = Store.open(tmp_path)
    log = tmp_path / "log"
    before = content(log)
    store.append(history.fill(1))
    lost = cut(log, without_meta(before, content(log)))
    store.close()
    shutil.rmtree(log)
    lost.rename(log)
    assert verify(tmp_path) == (13, 13, 3, [], 1)
    Store.open(tmp_path).close()
    assert verify(tmp_path) == (13, 13, 3, [], 0)


def test_a_directory_in_use_is_not_verified(tmp_path: Path, history: History) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(DirectoryInUseError):
        verify(tmp_path)
    store.close()


@pytest.mark.parametrize("number", [0, 5, 11])
def test_a_damaged_segment_is_named_even_if_no_start_would_need_it(
    tmp_path: Path, history: History, number: int
) -> None:
    rewrite_segment(tmp_path / "log", number, flip(history.segments[number].data, 60))
    assert only(tmp_path)[:2] == (str(tmp_path / "log"), EPOCH + 1 + number)


def test_a_damaged_checkpoint_is_named(tmp_path: Path, history: History) -> None:
    flip_in_file(tmp_path / "tree" / "data.mdb", b"content of part 2")
    assert only(tmp_path)[:2] == (str(tmp_path / "tree"), EPOCH + 9)


def test_a_damaged_snapshot_is_named(tmp_path: Path, history: History) -> None:
    snapshot = tmp_path / "snapshots" / f"{EPOCH + 6:016x}"
    flip_in_file(snapshot / "data.mdb", b"content of part 1")
    assert only(tmp_path)[:2] == (str(snapshot / "data.mdb"), EPOCH + 6)


def test_an_image_that_the_log_does_not_lead_to_is_found(tmp_path: Path, history: History) -> None:
    other = History()
    store = Store.open(tmp_path / "other")
    store.append(other.fill(6))
    other.checkpoint(store)
    store.take_snapshot()
    store.close()
    name = f"snapshots/{EPOCH + 6:016x}"
    shutil.rmtree(tmp_path / name)
    shutil.copytree(tmp_path / "other" / name, tmp_path / name)
    finding = only(tmp_path)
    assert finding.zxid == EPOCH + 6
    assert "the log arrives at" in finding.message


def test_an_empty_directory_is_no_data_directory(tmp_path: Path) -> None:
    assert "no format file" in only(tmp_path).message
