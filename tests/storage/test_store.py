"""The store: the whole life of a data directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.storage.histories import History, create, same
from tests.storage.power import content, without_meta
from zkstore.errors import DamageError, DirectoryUnusableError, DiskFullError, StorageError
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.image import Mark
from zkstore.storage.log import Link
from zkstore.storage.store import CleanNote, Store

EPOCH = 1 << 32


@pytest.fixture
def history() -> History:
    return History()


def opened(root: Path, *, log_directory: Path | None = None) -> Store:
    store = Store.open(root, log_directory=log_directory)
    store.recover()
    return store


def test_a_server_s_life(tmp_path: Path, history: History) -> None:
    """Start, write, checkpoint, snapshot, purge, stop, and start again where it was."""
    store = opened(tmp_path)
    for _ in range(3):
        store.append(history.fill(4))
        history.checkpoint(store)
        store.take_snapshot()
        store.purge()
    store.append(history.fill(2))
    store.close()
    store = Store.open(tmp_path)
    assert same(store.recover().tree, history.tree)
    store.append(history.fill(1))
    store.close()


def test_what_a_power_cut_left_behind_the_log_is_told_once(tmp_path: Path, history: History) -> None:
    root, after = tmp_path / "data", tmp_path / "after"
    store = opened(root)
    store.append(history.fill(3))
    before = content(root / "log")
    store.append(history.fill(2))
    image = without_meta(before, content(root / "log"))
    shutil.copytree(root, after, ignore=shutil.ignore_patterns("lock.mdb", "lock", "data.mdb"))
    for path in root.rglob("data.mdb"):
        (after / path.relative_to(root)).write_bytes(image if path.parent.name == "log" else path.read_bytes())
    store.close()
    store = Store.open(after)
    recovered = store.recover()
    assert same(recovered.tree, history.tree)
    salvaged = history.segments[3:]
    [warning] = recovered.report.warnings
    assert f"the log's end ({salvaged[0].first_zxid:#x} to {salvaged[-1].last_zxid:#x})" in warning
    store.close()
    store = Store.open(after)
    assert store.recover().report.warnings == []
    store.close()


def test_an_abandoned_checkpoint_is_made_up_for_by_the_next(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    store.append(history.fill(4))
    capture = history.tree.begin_capture()
    store.begin_checkpoint()
    store.put_checkpoint(capture.take(2))
    store.abandon_checkpoint()
    history.tree.abandon_capture()
    history.checkpoint(store)
    store.close()
    store = Store.open(tmp_path)
    found = store.recover()
    assert same(found.tree, history.tree)
    assert found.report.segments == 0
    store.close()


def test_closing_in_the_middle_of_a_checkpoint_abandons_it(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    store.append(history.fill(1))
    store.begin_checkpoint()
    store.put_checkpoint([(b"/stray", b"")])
    store.close()
    store = Store.open(tmp_path)
    assert same(store.recover().tree, history.tree)
    store.close()


def test_a_checkpoint_between_segment_ends_is_our_own_mistake(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    store.append([history.add(create(b"/a"), create(b"/b"))])
    store.begin_checkpoint()
    with pytest.raises(AssertionError, match="no segment"):
        store.finish_checkpoint(EPOCH + 1, 0, {})
    store.close()


def test_the_past_can_be_seen(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    pasts = {}
    for _ in range(6):
        store.append(history.fill(3))
        pasts[history.tree.zxid] = dict(history.tree.records)
        if len(pasts) in (2, 4):
            history.checkpoint(store)
            store.take_snapshot()
    for zxid, records in pasts.items():
        assert store.tree_at(zxid).records == records
    store.log.drop_before(EPOCH + 6, at_most=100)
    assert store.tree_at(EPOCH + 9).records == pasts[EPOCH + 9]
    with pytest.raises(StorageError, match="does not reach back"):
        store.tree_at(EPOCH + 3)
    store.close()


def test_sizes_add_up(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path / "data", log_directory=tmp_path / "logs")
    store.append(history.fill(50, bytes(1_000)))
    history.checkpoint(store)
    store.take_snapshot()
    sizes = store.sizes()
    assert 50_000 < sizes.log_used_bytes <= sizes.log_file_bytes
    assert sizes.tree_bytes > 50_000
    assert sizes.snapshots_bytes > 50_000
    assert sizes.total_bytes >= sizes.log_file_bytes + sizes.tree_bytes + sizes.snapshots_bytes
    store.close()


# --- the log's own directory ----------------------------------------------------------------------------------------


def test_the_log_may_lie_elsewhere(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path / "data", log_directory=tmp_path / "logs")
    store.append(history.fill(3))
    store.close()
    assert not (tmp_path / "data" / "log").exists()
    store = Store.open(tmp_path / "data", log_directory=tmp_path / "logs")
    assert same(store.recover().tree, history.tree)
    store.close()


def test_a_forgotten_log_directory_is_noticed(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path / "data", log_directory=tmp_path / "logs")
    store.append(history.fill(3))
    store.close()
    with pytest.raises(DamageError, match="dataLogDir"):
        Store.open(tmp_path / "data")
    with pytest.raises(DamageError, match="dataLogDir"):
        Store.open(tmp_path / "data", log_directory=tmp_path / "other")


def test_a_log_left_in_the_data_directory_is_noticed(tmp_path: Path) -> None:
    opened(tmp_path / "data").close()
    with pytest.raises(DirectoryUnusableError, match="there is a log here"):
        Store.open(tmp_path / "data", log_directory=tmp_path / "logs")


def test_another_server_s_log_is_refused(tmp_path: Path, history: History) -> None:
    for name in ("one", "two"):
        opened(tmp_path / name / "data", log_directory=tmp_path / name / "logs").close()
    with pytest.raises(DamageError, match="another data directory"):
        Store.open(tmp_path / "one" / "data", log_directory=tmp_path / "two" / "logs")
    store = opened(tmp_path / "two" / "data", log_directory=tmp_path / "two" / "logs")
    store.append(history.fill(1))
    store.close()
    with pytest.raises(DamageError, match="another data directory"):
        Store.open(tmp_path / "new", log_directory=tmp_path / "two" / "logs")


def test_making_a_directory_may_be_interrupted_before_its_format_file(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "format").unlink()
    store = Store.open(tmp_path)
    assert store.is_new
    store.close()


# --- cutting, and a tree from elsewhere -------------------------------------------------------------------------------


def test_a_cut_takes_the_tree_back(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    store.append(history.fill(3))
    history.checkpoint(store)
    store.append(history.fill(2))
    there = dict(history.tree.records)
    at = history.tree.zxid
    store.append(history.fill(2))
    found = store.truncate_after(at)
    assert (found.tree.records, found.tree.zxid) == (there, at)
    with pytest.raises(StorageError, match="the checkpoint is of"):
        store.truncate_after(EPOCH + 2)
    store.close()


def leader_with(count: int) -> History:
    leader = History()
    leader.fill(count, b"the leader's")
    return leader


def send(leader: History, incoming: Checkpoint) -> Mark:
    incoming.put(list(leader.tree.records.items()))
    mark = Mark(leader.tree.zxid, leader.tree.digest, leader.segments[-1].crc, restarts_log=True)
    incoming.finish(mark, leader.tree.sessions)
    return mark


@pytest.mark.parametrize("leader_count", [2, 9])
def test_a_tree_from_elsewhere_replaces_what_was_here(tmp_path: Path, history: History, leader_count: int) -> None:
    store = opened(tmp_path)
    store.append(history.fill(5))
    history.checkpoint(store)
    store.take_snapshot()
    leader = leader_with(leader_count)
    incoming = store.begin_incoming()
    mark = send(leader, incoming)
    found = store.install(incoming)
    assert same(found.tree, leader.tree)
    assert store.log.end == store.log.start == Link(mark.zxid, mark.crc)
    assert store.snapshots.all() == []

    store.append(leader.fill(2))
    store.close()
    store = Store.open(tmp_path)
    assert same(store.recover().tree, leader.tree)
    store.close()


def test_a_tree_that_arrived_by_half_is_forgotten(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    store.append(history.fill(5))
    incoming = store.begin_incoming()
    incoming.put([(b"/half", b"")])
    incoming.abandon()
    store.close()
    store = Store.open(tmp_path)
    assert same(store.recover().tree, history.tree)
    assert not store.directory.incoming.exists()
    store.close()


@pytest.mark.parametrize("moment", ["old one aside", "new one in place", "old one removed"])
def test_a_crash_while_a_tree_is_put_in_place_is_made_good(tmp_path: Path, history: History, moment: str) -> None:
    store = opened(tmp_path)
    store.append(history.fill(5))
    history.checkpoint(store)
    leader = leader_with(3)
    send(leader, store.begin_incoming())
    store.close()
    (tmp_path / "tree").rename(tmp_path / ".tree.doomed")
    if moment != "old one aside":
        (tmp_path / "tree.incoming").rename(tmp_path / "tree")
    if moment == "old one removed":
        shutil.rmtree(tmp_path / ".tree.doomed")
    store = Store.open(tmp_path)
    assert same(store.recover().tree, leader.tree)
    store.append(leader.fill(1))
    store.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["format", "lock", "log", "tree"]


def test_a_store_opens_and_closes_on_a_full_disk(small_disk: Path, history: History) -> None:
    store = opened(small_disk / "data")
    store.append(history.fill(3))
    store.close()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    store = Store.open(small_disk / "data")
    assert same(store.recover().tree, history.tree)
    segment = history.add(create(b"/big", bytes(600_000)))
    with pytest.raises(DiskFullError):
        store.append([segment])
    store.close()
    ballast.unlink()
    store = opened(small_disk / "data")
    store.append([segment])
    store.close()


# --- what is known to be committed ------------------------------------------------------------------------


def test_a_member_recovers_what_is_known_to_be_committed_and_the_tail_behind_it(
    tmp_path: Path, history: History
) -> None:
    store = opened(tmp_path)
    store.append(history.fill(4))
    store.close()
    store = Store.open(tmp_path)
    recovered = store.recover(committed_only=True)
    newest = history.segments[-1]
    assert recovered.tree.zxid == newest.digest_zxid == newest.prev_zxid
    assert recovered.last_segment == newest
    assert store.tail(recovered) == [newest]
    store.close()


def test_what_a_checkpoint_or_an_orderly_stop_vouches_for_is_committed(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    store.append(history.fill(4))
    history.checkpoint(store)
    store.close()
    store = Store.open(tmp_path)
    recovered = store.recover(committed_only=True)
    assert same(recovered.tree, history.tree)
    assert store.tail(recovered) == []
    store.append(history.fill(2))
    store.close(CleanNote(history.tree.zxid, history.tree.digest, 0))
    store = Store.open(tmp_path)
    assert same(store.recover(committed_only=True).tree, history.tree)
    store.close()


def test_damage_that_cannot_be_healed_comes_with_the_command_that_brings_the_newest_sound_snapshot_back(
    tmp_path: Path,
) -> None:
    history = History()
    store = Store.open(tmp_path)
    store.recover()
    for _ in range(2):
        store.append(history.fill(20))
        history.checkpoint(store)
        store.take_snapshot()
    store.close()
    older, newest = store.snapshots.all()
    with (newest.path / "data.mdb").open("r+b") as spoilt:
        spoilt.write(b"spoilt")
    (tmp_path / "log" / "generation").unlink()
    with pytest.raises(DamageError) as refused:
        Store.open(tmp_path)
    assert f"`zkstore restore {older.path} NEWDIR` makes a new directory" in str(refused.value)
    assert f"ends at zxid {older.zxid:#x}" in str(refused.value)
