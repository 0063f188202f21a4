"""History's budget: the oldest goes first, and never the last way back."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.storage.histories import History as LogHistory
from tests.storage.histories import same
from zkstore.storage.retention import DropLog, DropSnapshot, History, next_drop
from zkstore.storage.store import Store

EPOCH = 1 << 32


def drop(snapshots: list[tuple[int, int]], start: int, log_bytes: int, budget: int, kept: int = 9) -> object:
    history = History(snapshots, log_start_zxid=start, log_bytes=log_bytes, checkpoint_zxid=100)
    return next_drop(history, history_bytes_max=budget, snapshots_kept=kept)


def test_within_the_budget_everything_stays() -> None:
    assert drop([(10, 5), (50, 5)], start=0, log_bytes=90, budget=100) is None


def test_over_the_budget_the_log_before_the_oldest_snapshot_goes_first() -> None:
    assert drop([(10, 5), (50, 5)], start=0, log_bytes=90, budget=99) == DropLog(10)


def test_then_the_oldest_snapshot_goes_and_the_log_up_to_the_next() -> None:
    assert drop([(10, 5), (50, 5)], start=10, log_bytes=90, budget=99) == DropSnapshot(10)
    assert drop([(50, 5)], start=10, log_bytes=90, budget=80) == DropLog(50)


def test_the_newest_snapshot_and_the_log_behind_it_stay_whatever_the_budget() -> None:
    assert drop([(50, 5)], start=50, log_bytes=90, budget=0) is None


def test_without_a_snapshot_the_log_is_the_only_way_back_and_stays() -> None:
    assert drop([], start=0, log_bytes=90, budget=0) is None


def test_the_log_behind_the_checkpoint_stays_even_if_a_snapshot_is_newer() -> None:
    assert drop([(150, 5)], start=0, log_bytes=90, budget=0) == DropLog(100)
    assert drop([(150, 5)], start=100, log_bytes=90, budget=0) is None


def test_snapshots_beyond_the_number_wanted_go_though_there_is_room() -> None:
    assert drop([(10, 5), (50, 5), (90, 5)], start=0, log_bytes=0, budget=100, kept=2) == DropSnapshot(10)
    assert drop([(50, 5), (90, 5)], start=0, log_bytes=0, budget=100, kept=2) is None
    assert drop([(90, 5)], start=0, log_bytes=0, budget=100, kept=0) is None


@given(
    zxids=st.lists(st.integers(1, 100), min_size=1, max_size=6, unique=True).map(sorted),
    start=st.integers(0, 100),
    budget=st.integers(0, 60),
    kept=st.integers(0, 6),
)
def test_planning_ends_with_a_way_back(zxids: list[int], start: int, budget: int, kept: int) -> None:
    """Followed to its end, the plan keeps the newest snapshot and an unbroken log from there."""
    start = min(start, zxids[0])
    snapshots = [(zxid, 7) for zxid in zxids]
    for _ in range(20):
        step = drop(snapshots, start, log_bytes=100 - start, budget=budget, kept=kept)
        if isinstance(step, DropSnapshot):
            snapshots = [snapshot for snapshot in snapshots if snapshot[0] != step.zxid]
        elif isinstance(step, DropLog):
            assert start < step.zxid <= zxids[-1]
            start = step.zxid
        else:
            break
    assert step is None
    assert snapshots[-1][0] == zxids[-1]
    assert start <= snapshots[0][0]


def grown(root: Path, history_bytes_max: int, snapshots_kept: int = 9) -> tuple[Store, LogHistory]:
    """A store with 5 snapshots and 100 segments between any two."""
    store = Store.open(root, history_bytes_max=history_bytes_max, snapshots_kept=snapshots_kept)
    store.recover()
    history = LogHistory()
    for _ in range(5):
        store.append(history.fill(100, bytes(200)))
        history.checkpoint(store)
        store.take_snapshot()
    store.append(history.fill(10))
    return store, history


def test_purging_comes_down_to_the_budget_in_steps(tmp_path: Path) -> None:
    store, _ = grown(tmp_path, history_bytes_max=650_000)
    before = store.sizes()
    assert before.log_used_bytes + before.snapshots_bytes > 650_000
    assert store.purge(steps_max=1)
    assert not store.purge()
    after = store.sizes()
    assert after.log_used_bytes + after.snapshots_bytes <= 650_000
    assert len(store.snapshots.all()) > 1
    store.close()


def test_after_the_hardest_purge_both_ways_back_still_work(tmp_path: Path) -> None:
    store, history = grown(tmp_path, history_bytes_max=0)
    assert not store.purge()
    assert [snapshot.zxid for snapshot in store.snapshots.all()] == [EPOCH + 500]
    assert store.log.start.zxid == EPOCH + 500
    assert same(store.tree_at(EPOCH + 510), history.tree)
    store.close()
    store = Store.open(tmp_path)
    assert same(store.recover().tree, history.tree)
    store.close()
