"""The disk of a member: effects in order, commits that are shared, failures, and trees that arrive."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.storage.histories import History, create
from zkstore.errors import DiskFullError, StorageError
from zkstore.model.tree import Tree
from zkstore.server.disk import Disk, Probe, Report, Task
from zkstore.storage.log import Epochs
from zkstore.storage.store import Store
from zkstore.wire.segment import Segment
from zkstore.zab.effects import Adopt, Append, Belong, Cut, Install, InstallBegin, InstallRows, Promise


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    store.recover()
    yield store
    store.close()


@pytest.fixture
def disk(store: Store) -> Iterator[Disk]:
    disk = Disk(store, threading.Lock())
    yield disk
    disk.close()


@pytest.fixture
def history() -> History:
    history = History()
    for name in (b"/a", b"/b", b"/c", b"/d"):
        history.add(create(name))
    return history


def finish(disk: Disk, count: int) -> list[Report]:
    """The next reports, as many."""
    reports: list[Report] = []
    while len(reports) < count:
        assert select.select([disk.descriptor], [], [], 10)[0], "the disk never reports"
        reports += disk.take()
    return reports


def test_effects_are_done_and_reported_in_the_order_in_which_they_came(
    store: Store, disk: Disk, history: History
) -> None:
    first, second, third, _ = history.segments
    tasks: list[Task] = [Promise(7), Belong(b"e" * 16), Append(first), Append(second), Append(third)]
    tasks += [Cut(second.last_zxid), Adopt(7)]
    disk.submit(tasks)
    assert disk.is_busy
    reports = finish(disk, len(tasks))
    assert [report.effect for report in reports] == tasks
    assert not any(report.error for report in reports)
    assert not disk.is_busy
    assert store.log.epochs == Epochs(7, 7)
    assert store.log.ensemble_id == b"e" * 16
    assert store.log.end == (second.last_zxid, second.crc)


def test_segments_that_wait_share_one_commit(
    store: Store, disk: Disk, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, gate, commits = store.append, threading.Event(), []

    def append_slowly(segments: Sequence[Segment]) -> None:
        assert gate.wait(10)
        commits.append(len(segments))
        append(segments)

    monkeypatch.setattr(store, "append", append_slowly)
    first, *others = history.segments
    disk.submit([Promise(3)])
    finish(disk, 1)
    disk.submit([Append(first)])
    while disk._queue.qsize():
        pass
    disk.submit([Append(segment) for segment in others])
    gate.set()
    finish(disk, 4)
    assert commits == [1, 3]


def test_what_follows_a_failure_is_forgotten_until_it_was_taken(
    store: Store, disk: Disk, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = history.segments
    append = store.append

    def refuse(segments: Sequence[Segment]) -> None:
        raise DiskFullError("no space left")

    monkeypatch.setattr(store, "append", refuse)
    disk.submit([Append(first), Promise(3)])
    [report] = finish(disk, 1)
    assert report.effect == Append(first)
    assert isinstance(report.error, DiskFullError)
    assert not report.is_fatal
    disk.submit([Append(second)])
    disk.forget()
    assert not disk.is_busy
    monkeypatch.setattr(store, "append", append)
    disk.submit([Probe(), Append(first)])
    assert [report.error for report in finish(disk, 2)] == [None, None]
    assert store.log.epochs == Epochs(0, 0)
    assert store.log.end == (first.last_zxid, first.crc)


def test_a_log_that_fails_for_another_reason_cannot_be_trusted(disk: Disk, history: History) -> None:
    disk.submit([Append(history.segments[2])])
    [report] = finish(disk, 1)
    assert report.is_fatal
    assert isinstance(report.error, StorageError)


def arriving(tree: Tree, digest: int) -> list[Task]:
    rows = tuple(tree.records.items())
    return [InstallBegin(1 << 34, 77, digest), InstallRows(rows[:2]), InstallRows(rows[2:]), Install(1 << 34, ())]


def test_a_tree_that_arrives_takes_the_place_of_all_that_was_there(store: Store, disk: Disk, history: History) -> None:
    disk.submit([Append(history.segments[0]), *arriving(history.tree, history.tree.digest)])
    reports = finish(disk, 5)
    assert not any(report.error for report in reports)
    recovered = reports[-1].recovered
    assert recovered is not None
    assert recovered.tree.records == history.tree.records
    assert recovered.tree.zxid == 1 << 34
    assert store.log.start == store.log.end == (1 << 34, 77)


def test_a_tree_that_does_not_fit_its_digest_replaces_nothing(store: Store, disk: Disk, history: History) -> None:
    first = history.segments[0]
    disk.submit([Append(first), *arriving(history.tree, history.tree.digest ^ 1)])
    *others, report = finish(disk, 5)
    assert not any(other.error for other in others)
    assert isinstance(report.error, StorageError)
    assert not report.is_fatal
    assert store.log.end == (first.last_zxid, first.crc)
    disk.forget()
    disk.submit(arriving(history.tree, history.tree.digest))
    assert not any(report.error for report in finish(disk, 4))


def test_an_arriving_tree_waits_for_the_checkpoint_that_is_being_written(store: Store, history: History) -> None:
    lock = threading.Lock()
    disk = Disk(store, lock)
    with lock:
        disk.submit(arriving(history.tree, history.tree.digest))
        finish(disk, 3)
        assert not select.select([disk.descriptor], [], [], 0.2)[0]
        assert store.log.end == (0, 0)
    assert finish(disk, 1)[0].error is None
    disk.close()
