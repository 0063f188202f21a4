"""When a checkpoint is written, what is in it, and what happens where it cannot be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.storage.histories import History, create, same, set_data
from zkstore.errors import DamageError, DiskFullError
from zkstore.model.tree import Tree
from zkstore.server.checkpoints import Checkpoints
from zkstore.storage.store import Store

pytestmark = pytest.mark.trio

Fill = Callable[[int], None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "data", snapshots_kept=1)
    store.recover()
    yield store
    store.close()


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def fill(store: Store, history: History) -> Fill:
    """So many znodes more, in one segment, on disk and in the tree."""

    def fill(count: int) -> None:
        first = len(history.tree.records)
        segment = history.add(*(create(b"/n%d" % number) for number in range(first, first + count)), epoch=0)
        store.append([segment])

    return fill


def checkpoint_zxid(store: Store) -> int:
    mark = store.checkpoint.mark()
    return 0 if mark is None else mark.zxid


async def pass_time(clock: trio.testing.MockClock, seconds: float) -> None:
    """Time for the task that looks whether a checkpoint is due, and for all that it then does in threads."""
    clock.jump(seconds)
    mine = trio.CapacityLimiter(1)
    quiet = 0
    while quiet < 3:
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(lambda: None, limiter=mine)
        quiet = 0 if trio.to_thread.current_default_thread_limiter().borrowed_tokens else quiet + 1


async def test_a_checkpoint_is_written_once_enough_has_changed(
    mock_clock: trio.testing.MockClock, store: Store, history: History, fill: Fill, nursery: trio.Nursery
) -> None:
    checkpoints = Checkpoints(history.tree, store, checkpoint_txns=10)
    nursery.start_soon(checkpoints.run)
    await trio.testing.wait_all_tasks_blocked()
    fill(9)
    await pass_time(mock_clock, 1)
    assert checkpoint_zxid(store) == 0
    fill(1)
    await pass_time(mock_clock, 1)
    assert checkpoint_zxid(store) == history.tree.zxid == 10
    assert checkpoints.duration_ms.count == 1
    fill(9)
    await pass_time(mock_clock, 1)
    assert checkpoint_zxid(store) == 10
    nursery.cancel_scope.cancel()


async def test_what_was_replayed_at_the_start_counts_too(
    mock_clock: trio.testing.MockClock, store: Store, history: History, fill: Fill, nursery: trio.Nursery
) -> None:
    fill(10)
    nursery.start_soon(Checkpoints(history.tree, store, checkpoint_txns=10).run)
    await trio.testing.wait_all_tasks_blocked()
    await pass_time(mock_clock, 1)
    assert checkpoint_zxid(store) == 10
    nursery.cancel_scope.cancel()


async def test_a_checkpoint_is_the_tree_at_its_beginning_however_long_it_takes(
    store: Store, history: History, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(2000)
    at_begin = dict(history.tree.records)
    checkpoints = Checkpoints(history.tree, store, checkpoint_txns=1)
    put, puts = store.put_checkpoint, []

    def put_and_change(znodes: list[tuple[bytes, bytes | None]]) -> None:
        put(znodes)
        puts.append(len(znodes))
        store.append([history.add(set_data(b"/n%d" % (1999 - len(puts)), b"later", 1), epoch=0)])

    monkeypatch.setattr(store, "put_checkpoint", put_and_change)
    assert await checkpoints.write()
    assert len(puts) >= 8, "not in slices"
    loaded = store.checkpoint.load()
    assert loaded is not None
    tree, mark = loaded
    assert mark.zxid == 2000
    assert tree.records == at_begin
    monkeypatch.undo()
    assert await checkpoints.write()
    loaded = store.checkpoint.load()
    assert loaded is not None
    assert same(loaded[0], history.tree)


def newest_snapshot(store: Store) -> int:
    snapshot = store.snapshots.newest()
    return 0 if snapshot is None else snapshot.zxid


async def test_a_snapshot_is_copied_behind_the_first_checkpoint_and_then_now_and_again(
    mock_clock: trio.testing.MockClock, store: Store, history: History, fill: Fill
) -> None:
    checkpoints = Checkpoints(history.tree, store, checkpoint_txns=1, snapshot_every_s=60)
    newest = []
    for pause_s in (0, 30, 31):
        mock_clock.jump(pause_s)
        fill(5)
        assert await checkpoints.write()
        newest.append(newest_snapshot(store))
    assert newest == [5, 5, 15]


async def test_a_log_that_grows_fast_does_not_wait_for_the_next_snapshot(
    mock_clock: trio.testing.MockClock, store: Store, history: History, fill: Fill
) -> None:
    checkpoints = Checkpoints(history.tree, store, checkpoint_txns=1, history_bytes_max=8)
    newest = []
    for _ in range(2):
        fill(200)
        assert await checkpoints.write()
        newest.append(newest_snapshot(store))
    assert newest == [200, 400]


@pytest.mark.parametrize("step", ["begin_checkpoint", "put_checkpoint", "finish_checkpoint"])
async def test_without_space_there_is_no_checkpoint_and_a_later_one_has_it_all(
    store: Store,
    history: History,
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    fill(5)
    checkpoints = Checkpoints(history.tree, store, checkpoint_txns=1)

    def fail(*_: object) -> None:
        raise DiskFullError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(store, step, fail)
        assert not await checkpoints.write()
    assert "no checkpoint could be written" in caplog.text
    assert checkpoint_zxid(store) == 0
    fill(5)
    assert await checkpoints.write()
    loaded = store.checkpoint.load()
    assert loaded is not None
    assert same(loaded[0], history.tree)


async def test_a_failed_checkpoint_is_tried_again_after_a_while(
    mock_clock: trio.testing.MockClock,
    store: Store,
    history: History,
    fill: Fill,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[str] = []

    def fail() -> None:
        tries.append("to begin")
        raise DiskFullError("no space left")

    monkeypatch.setattr(store, "begin_checkpoint", fail)
    nursery.start_soon(Checkpoints(history.tree, store, checkpoint_txns=1).run)
    await trio.testing.wait_all_tasks_blocked()
    fill(5)
    await pass_time(mock_clock, 1)
    await pass_time(mock_clock, 5)
    assert len(tries) == 1
    await pass_time(mock_clock, 6)
    await pass_time(mock_clock, 1)
    assert len(tries) == 2
    nursery.cancel_scope.cancel()


async def test_a_checkpoint_that_is_cancelled_leaves_the_one_before(store: Store, history: History, fill: Fill) -> None:
    fill(5)
    checkpoints = Checkpoints(history.tree, store, checkpoint_txns=1)
    assert await checkpoints.write()
    fill(1000)
    with trio.CancelScope() as scope:
        scope.cancel()
        await checkpoints.write()
    assert scope.cancelled_caught
    assert checkpoint_zxid(store) == 5
    assert await checkpoints.write()
    loaded = store.checkpoint.load()
    assert loaded is not None
    assert same(loaded[0], history.tree)


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ("take_snapshot", DiskFullError("no space left"), "no snapshot could be copied"),
        ("purge", DamageError("the snapshot is unsound"), "history is not purged"),
    ],
)
async def test_trouble_with_history_does_not_spoil_the_checkpoint(
    store: Store,
    history: History,
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
    error: Exception,
    message: str,
) -> None:
    caplog.set_level(logging.INFO)
    fill(5)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(store, step, fail)
    assert await Checkpoints(history.tree, store, checkpoint_txns=1).write()
    assert checkpoint_zxid(store) == 5
    assert message in caplog.text


async def test_no_checkpoint_is_begun_while_another_tree_is_about_to_come(
    store: Store, history: History, fill: Fill
) -> None:
    checkpoints = Checkpoints(Tree.new(), store, checkpoint_txns=1)
    fill(3)
    checkpoints.hold()
    assert not await checkpoints.write()
    assert checkpoint_zxid(store) == 0
    checkpoints.go_on(history.tree)
    assert await checkpoints.write()
    assert checkpoint_zxid(store) == 3


async def test_a_snapshot_that_somebody_needs_now_is_made_now(store: Store, history: History, fill: Fill) -> None:
    checkpoints = Checkpoints(history.tree, store, checkpoint_txns=1)
    for _ in range(2):
        fill(3)
        assert await checkpoints.write()
    assert newest_snapshot(store) == 3
    fill(3)
    assert await checkpoints.write(with_snapshot=True)
    assert newest_snapshot(store) == 9
    assert not checkpoints.lock.locked()
