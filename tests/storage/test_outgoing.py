"""A whole tree on its way to a learner."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.histories import History, flip, same
from zkstore.errors import DamageError
from zkstore.storage.image import Mark
from zkstore.storage.log import Link
from zkstore.storage.store import Store


@pytest.fixture
def history() -> History:
    return History()


def opened(root: Path) -> Store:
    store = Store.open(root)
    store.recover()
    return store


def snapshotted(root: Path, history: History) -> Store:
    store = opened(root)
    store.append(history.fill(1200))
    history.checkpoint(store)
    store.take_snapshot()
    return store


def test_a_tree_travels_row_by_row_into_another_store(tmp_path: Path, history: History) -> None:
    leader, learner = snapshotted(tmp_path / "leader", history), opened(tmp_path / "learner")
    outgoing = leader.open_outgoing()
    assert outgoing is not None
    incoming = learner.begin_incoming()
    rows = list(outgoing.rows())
    for at in range(0, len(rows), 100):
        incoming.put_for_good(rows[at : at + 100])
    zxid, digest, crc, _ = outgoing.mark
    incoming.finish(Mark(zxid, digest, crc, restarts_log=True), outgoing.sessions)
    outgoing.close()
    assert same(learner.install(incoming).tree, history.tree)
    assert learner.log.end == Link(zxid, crc)
    leader.close()
    learner.close()


def test_rows_that_were_put_for_good_count_for_nothing_without_a_mark(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    store.append(history.fill(3))
    incoming = store.begin_incoming()
    incoming.put_for_good([(b"/half", b"of a tree")])
    incoming.abandon()
    store.close()
    store = Store.open(tmp_path)
    assert same(store.recover().tree, history.tree)
    store.close()


def test_a_tree_that_arrives_for_good_may_outgrow_the_map(tmp_path: Path, history: History) -> None:
    store = Store.open(tmp_path, map_bytes=1 << 17)
    store.recover()
    history.fill(300, b"x" * 4000)
    incoming = store.begin_incoming()
    rows = list(history.tree.records.items())
    for at in range(0, len(rows), 10):
        incoming.put_for_good(rows[at : at + 10])
    mark = Mark(history.tree.zxid, history.tree.digest, history.segments[-1].crc, restarts_log=True)
    incoming.finish(mark, history.tree.sessions)
    assert same(store.install(incoming).tree, history.tree)
    store.close()


def test_several_are_sent_at_once_and_purging_takes_none_away(tmp_path: Path, history: History) -> None:
    store = snapshotted(tmp_path, history)
    first, second = store.open_outgoing(), store.open_outgoing()
    assert first is not None
    assert second is not None
    snapshot = store.snapshots.newest()
    assert snapshot is not None
    reading = first.rows()
    head = next(reading)
    store.snapshots.remove(snapshot.zxid)
    assert dict([head, *reading]) == dict(second.rows()) == history.tree.records
    first.close()
    assert dict(second.rows()) == history.tree.records
    second.close()
    store.close()
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_there_is_nothing_to_send_without_a_snapshot_that_the_log_continues(tmp_path: Path, history: History) -> None:
    store = opened(tmp_path)
    assert store.open_outgoing() is None
    store.append(history.fill(5))
    history.checkpoint(store)
    store.take_snapshot()
    store.append(history.fill(5))
    store.log.drop_before(history.tree.zxid, 100)
    assert store.open_outgoing() is None
    store.close()


def test_a_damaged_snapshot_is_not_sent(tmp_path: Path, history: History) -> None:
    store = snapshotted(tmp_path, history)
    snapshot = store.snapshots.newest()
    assert snapshot is not None
    file = snapshot.path / "data.mdb"
    file.write_bytes(flip(file.read_bytes(), 40_000))
    with pytest.raises(DamageError, match="checksum"):
        store.open_outgoing()
    store.close()
