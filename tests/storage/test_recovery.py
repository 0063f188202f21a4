"""Recovery: the tree exactly as it was, or a refusal that names the place."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.histories import (
    History,
    create,
    delete,
    flip,
    flip_in_file,
    open_session,
    rewrite_segment,
    same,
    txn_lists,
)
from zkstore.errors import DamageError
from zkstore.model.tree import Tree
from zkstore.model.txns import Txn
from zkstore.storage.recovery import Recovered
from zkstore.storage.store import CleanNote, Store

EPOCH = 1 << 32


def recovered(root: Path) -> Recovered:
    """Open, recover, close."""
    store = Store.open(root)
    try:
        return store.recover()
    finally:
        store.close()


@pytest.fixture
def history() -> History:
    return History()


def grow(root: Path, history: History, *, snapshots: int = 0, checkpoint: bool = True) -> None:
    """A closed store: 5 segments before each snapshot, 5 before a checkpoint, and 5 behind all that."""
    store = Store.open(root)
    store.recover()
    store.append([history.add(open_session())])
    for _ in range(snapshots):
        store.append(history.fill(5))
        history.checkpoint(store)
        store.take_snapshot()
    if checkpoint:
        store.append(history.fill(5, b"in the checkpoint"))
        history.checkpoint(store)
    store.append(history.fill(5, b"behind it"))
    store.close()


def test_a_new_directory_gives_an_empty_tree(tmp_path: Path) -> None:
    found = recovered(tmp_path)
    assert same(found.tree, Tree.new())
    assert (found.last_segment, found.report.source) == (None, "nothing")


def test_a_log_alone_gives_the_tree(tmp_path: Path, history: History) -> None:
    grow(tmp_path, history, checkpoint=False)
    found = recovered(tmp_path)
    assert same(found.tree, history.tree)
    assert found.tree.digest == history.tree.digest
    assert found.last_segment == history.segments[-1]
    assert (found.report.source, found.report.segments, found.report.warnings) == ("log", 6, [])


def test_the_checkpoint_is_continued_by_the_log(tmp_path: Path, history: History) -> None:
    grow(tmp_path, history)
    found = recovered(tmp_path)
    assert same(found.tree, history.tree)
    assert (found.report.source, found.report.image_zxid, found.report.txns) == ("checkpoint", EPOCH + 6, 5)


def test_what_changed_since_the_checkpoint_is_in_the_next_one(tmp_path: Path, history: History) -> None:
    grow(tmp_path, history)
    store = Store.open(tmp_path)
    history.tree = store.recover().tree
    assert history.tree.dirty_count == 6  # five new znodes and the root
    history.checkpoint(store)
    store.close()
    found = recovered(tmp_path)
    assert same(found.tree, history.tree)
    assert found.report.segments == 0


@settings(max_examples=25, deadline=None)
@given(parts=txn_lists(), data=st.data())
def test_checkpoints_and_the_log_behind_them_equal_the_log_alone(parts: list[list[Txn]], data: st.DataObject) -> None:
    """Wherever checkpoints were taken, and even if the last one is lost, recovery arrives at the same tree."""
    cuts = data.draw(st.sets(st.integers(0, len(parts) - 1)), label="checkpoint after")
    history = History()
    with TemporaryDirectory() as folder:
        store = Store.open(Path(folder))
        store.recover()
        for number, txns in enumerate(parts):
            store.append([history.add(*txns)])
            if number in cuts:
                history.checkpoint(store)
        store.close()
        found = recovered(Path(folder))
        assert found.report.source == ("checkpoint" if cuts else "log")
        assert same(found.tree, history.tree)
        shutil.rmtree(Path(folder) / "tree", ignore_errors=True)
        alone = recovered(Path(folder))
        assert same(alone.tree, history.tree)
        assert found.tree.digest == alone.tree.digest == history.tree.digest


# --- what can be healed ----------------------------------------------------------------------------------------


def damage_tree(root: Path, how: str) -> None:
    if how == "missing":
        shutil.rmtree(root / "tree")
    elif how == "flipped bit":
        flip_in_file(root / "tree" / "data.mdb", b"in the checkpoint")
    else:
        (root / "tree" / "data.mdb").write_bytes(b"\0" * 8192)


@pytest.mark.parametrize("how", ["missing", "flipped bit", "zeroed"])
def test_an_unusable_checkpoint_is_replaced_by_a_snapshot_and_the_log(
    tmp_path: Path, history: History, how: str
) -> None:
    grow(tmp_path, history, snapshots=2)
    damage_tree(tmp_path, how)
    store = Store.open(tmp_path)
    found = store.recover()
    assert same(found.tree, history.tree)
    assert (found.report.source, found.report.image_zxid) == ("snapshot", EPOCH + 11)
    assert "nothing is lost" in found.report.warnings[-1]
    assert (tmp_path / "tree.damaged").exists() == (how != "missing")

    history.tree = found.tree
    store.append(history.fill(1))
    history.checkpoint(store)
    store.close()
    again = recovered(tmp_path)
    assert same(again.tree, history.tree)
    assert (again.report.source, again.report.warnings) == ("checkpoint", [])


@pytest.mark.parametrize("how", ["missing", "flipped bit", "zeroed"])
def test_an_unusable_checkpoint_without_snapshots_is_made_again_from_the_whole_log(
    tmp_path: Path, history: History, how: str
) -> None:
    grow(tmp_path, history)
    damage_tree(tmp_path, how)
    store = Store.open(tmp_path)
    found = store.recover()
    assert same(found.tree, history.tree)
    assert found.report.source == "log"
    history.tree = found.tree
    history.checkpoint(store)
    store.close()
    assert same(recovered(tmp_path).tree, history.tree)


def test_a_damaged_snapshot_is_passed_over_for_an_older_one(tmp_path: Path, history: History) -> None:
    grow(tmp_path, history, snapshots=3)
    damage_tree(tmp_path, "missing")
    newest = max((tmp_path / "snapshots").iterdir())
    (newest / "data.mdb").write_bytes(b"")
    found = recovered(tmp_path)
    assert same(found.tree, history.tree)
    assert found.report.image_zxid == EPOCH + 11
    assert any(newest.name in warning for warning in found.report.warnings)


# --- what cannot -------------------------------------------------------------------------------------------------


def refusal(root: Path) -> DamageError:
    with pytest.raises(DamageError) as caught:
        recovered(root)
    return caught.value


def test_without_any_way_back_recovery_refuses_and_says_why(tmp_path: Path, history: History) -> None:
    grow(tmp_path, history, snapshots=1)
    store = Store.open(tmp_path)
    store.log.drop_before(EPOCH + 10, at_most=100)
    store.close()
    damage_tree(tmp_path, "flipped bit")
    error = refusal(tmp_path)
    assert error.zxid == EPOCH + 11
    assert "No sound snapshot has an unbroken log behind it" in str(error)
    assert "zkstore verify" in str(error)
    assert (tmp_path / "tree").exists()


@pytest.mark.parametrize("number", [6, 8, 10])
def test_a_flipped_bit_behind_the_checkpoint_is_refused_by_zxid(tmp_path: Path, history: History, number: int) -> None:
    grow(tmp_path, history)
    rewrite_segment(tmp_path / "log", number, flip(history.segments[number].data, 70))
    error = refusal(tmp_path)
    assert error.zxid == history.segments[number].first_zxid
    assert str(tmp_path / "log") in str(error)


def test_damage_before_the_checkpoint_does_not_keep_a_server_from_starting(tmp_path: Path, history: History) -> None:
    grow(tmp_path, history)
    rewrite_segment(tmp_path / "log", 2, b"rubbish")
    assert same(recovered(tmp_path).tree, history.tree)


@pytest.mark.parametrize("number", [6, 8])
def test_a_hole_behind_the_checkpoint_is_refused(tmp_path: Path, history: History, number: int) -> None:
    grow(tmp_path, history)
    rewrite_segment(tmp_path / "log", number, None)
    assert "missing" in str(refusal(tmp_path))


def test_a_log_that_ends_before_the_checkpoint_is_refused(tmp_path: Path, history: History) -> None:
    grow(tmp_path, history)
    for number in range(10, 4, -1):
        rewrite_segment(tmp_path / "log", number, None)
    assert "ends at 0x100000005" in str(refusal(tmp_path))


def test_a_segment_whose_digest_differs_is_refused(tmp_path: Path, history: History) -> None:
    store = Store.open(tmp_path)
    store.recover()
    store.append(history.fill(3))
    store.append([history.add(create(b"/d"), wrong_digest=True)])
    store.close()
    error = refusal(tmp_path)
    assert "digest at 0x100000003" in str(error)
    assert error.zxid == EPOCH + 3


def test_a_txn_that_does_not_fit_the_tree_is_refused(tmp_path: Path, history: History) -> None:
    store = Store.open(tmp_path)
    store.recover()
    store.append(history.fill(2))
    history.tree.add(b"/ghost", b"/", history.tree.records[b"/n0"])
    history.tree.touched.clear()  # only this tree has the znode, and its digest does not know
    store.append([history.add(delete(b"/ghost"))])
    store.close()
    error = refusal(tmp_path)
    assert "does not fit" in str(error)
    assert error.zxid == EPOCH + 3


def test_a_checkpoint_of_another_history_is_refused(tmp_path: Path, history: History) -> None:
    grow(tmp_path / "one", history)
    other = History()
    store = Store.open(tmp_path / "two")
    store.append(other.fill(6))
    other.checkpoint(store)
    store.close()
    shutil.rmtree(tmp_path / "one" / "tree")
    shutil.copytree(tmp_path / "two" / "tree", tmp_path / "one" / "tree")
    assert "the tree is of" in str(refusal(tmp_path / "one"))


# --- the note of an orderly stop ------------------------------------------------------------------------------------


def test_an_orderly_stop_leaves_a_note_that_the_next_start_takes_away(tmp_path: Path, history: History) -> None:
    store = Store.open(tmp_path)
    store.recover()
    store.append(history.fill(3))
    store.close(CleanNote(history.tree.zxid, history.tree.digest, time_ms=1))
    assert (tmp_path / "clean").exists()
    recovered(tmp_path)
    assert not (tmp_path / "clean").exists()


def test_a_tail_lost_after_an_orderly_stop_is_found_at_every_start(tmp_path: Path, history: History) -> None:
    store = Store.open(tmp_path)
    store.recover()
    store.append(history.fill(3))
    store.close(CleanNote(history.tree.zxid, history.tree.digest, time_ms=1))
    rewrite_segment(tmp_path / "log", 2, None)
    for _ in range(2):
        assert "stopped in order at 0x100000003" in str(refusal(tmp_path))


def test_another_tree_than_the_one_stopped_with_is_found(tmp_path: Path, history: History) -> None:
    store = Store.open(tmp_path)
    store.recover()
    store.append(history.fill(3))
    store.close(CleanNote(history.tree.zxid, history.tree.digest ^ 1, time_ms=1))
    assert "not the one" in str(refusal(tmp_path))
