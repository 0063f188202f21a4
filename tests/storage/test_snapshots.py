"""Snapshots: complete in themselves, named by zxid, never half there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.histories import History, flip_in_file, same
from zkstore.errors import DamageError, DiskFullError
from zkstore.storage import image
from zkstore.storage import snapshots as snapshots_
from zkstore.storage.snapshots import Snapshots
from zkstore.storage.store import Store

EPOCH = 1 << 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "data")
    store.recover()
    return store


def snap(store: Store, history: History, count: int, data: bytes = b"data") -> None:
    """Some more history, a checkpoint and a snapshot."""
    store.append(history.fill(count, data))
    history.checkpoint(store)
    store.take_snapshot()


def test_a_snapshot_holds_the_tree_of_its_zxid(store: Store) -> None:
    history = History()
    snap(store, history, 3)
    frozen = dict(history.tree.records)
    snap(store, history, 2)
    oldest, newest = store.snapshots.all()
    assert (oldest.zxid, newest.zxid) == (EPOCH + 3, EPOCH + 5)
    assert oldest.path.name == "0000000100000003"
    assert snapshots_.load(oldest)[0].records == frozen
    assert same(snapshots_.load(newest)[0], history.tree)
    assert store.snapshots.newest() == newest
    store.close()


def test_there_is_none_before_the_first_checkpoint(store: Store) -> None:
    assert store.take_snapshot() is None
    assert (store.snapshots.all(), store.snapshots.newest()) == ([], None)
    store.close()


def test_the_same_zxid_is_copied_once(store: Store) -> None:
    snap(store, History(), 3)
    first = store.snapshots.all()
    assert store.take_snapshot() == first[0]
    assert store.snapshots.all() == first
    store.close()


def test_a_removed_snapshot_is_gone(store: Store) -> None:
    history = History()
    snap(store, history, 1)
    snap(store, history, 1)
    store.snapshots.remove(EPOCH + 1)
    assert [snapshot.zxid for snapshot in store.snapshots.all()] == [EPOCH + 2]
    assert len(list(store.snapshots.path.iterdir())) == 1
    store.close()


def test_what_a_crash_left_is_neither_seen_nor_kept(store: Store) -> None:
    draft = store.directory.snapshots / ".draft"
    draft.mkdir(parents=True)
    (draft / "data.mdb").write_bytes(b"half")
    assert store.snapshots.all() == []
    snap(store, History(), 1)
    assert not draft.exists()
    store.close()


def test_a_changed_bit_is_found(store: Store) -> None:
    snap(store, History(), 1, data=b"precious content")
    (snapshot,) = store.snapshots.all()
    flip_in_file(snapshot.path / "data.mdb", b"precious content")
    with pytest.raises(DamageError, match="checksum") as caught:
        snapshots_.load(snapshot)
    assert caught.value.zxid == snapshot.zxid
    store.close()


def test_a_snapshot_under_a_wrong_name_is_found(store: Store) -> None:
    snap(store, History(), 1)
    (snapshot,) = store.snapshots.all()
    snapshot.path.rename(snapshot.path.with_name(f"{99:016x}"))
    with pytest.raises(DamageError, match="name"):
        snapshots_.load(store.snapshots.all()[0])
    store.close()


def test_a_missing_checksum_is_damage(store: Store) -> None:
    snap(store, History(), 1)
    (snapshot,) = store.snapshots.all()
    (snapshot.path / "checksum").unlink()
    with pytest.raises(DamageError, match="cannot be read"):
        snapshots_.check(snapshot)
    store.close()


def test_a_full_disk_leaves_no_half_snapshot(store: Store, small_disk: Path) -> None:
    snap(store, History(), 4, bytes(900_000))
    full = Snapshots(small_disk / "snapshots")
    with pytest.raises(DiskFullError):
        full.take(store.checkpoint, EPOCH + 4)
    assert list(full.path.iterdir()) == []
    store.close()


def test_a_snapshot_can_be_walked_by_several_at_once(store: Store) -> None:
    history = History()
    snap(store, history, 30)
    (snapshot,) = store.snapshots.all()
    env = snapshots_.open_image(snapshot.path)
    one, other = image.znodes(env), image.znodes(env)
    both = list(zip(one, other, strict=True))
    assert dict(znode for znode, _ in both) == dict(znode for _, znode in both) == history.tree.records
    assert image.sessions(env) == history.tree.sessions
    env.close()
    store.close()
