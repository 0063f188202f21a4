"""What is done to files between two starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.histories import History
from zkstore.errors import DamageError
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.directory import locate
from zkstore.storage.log import Log
from zkstore.storage.store import Store
from zkstore.testing.sweeping import spoiling


def test_the_newest_commit_loses_its_reference_and_is_salvaged(tmp_path: Path) -> None:
    import shutil

    history = History()
    store = Store.open(tmp_path / "data")
    store.recover()
    store.append(history.fill(20))
    store.append(history.fill(1))
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    store.close()
    spoiling.lose_newest_meta(tmp_path / "killed")
    log = Log(locate(tmp_path / "killed").log)
    assert [segment.last_zxid for segment in log.salvaged] == [history.tree.zxid]
    log.close()


def test_a_spoilt_checkpoint_is_found(tmp_path: Path) -> None:
    history = History()
    store = Store.open(tmp_path)
    store.recover()
    store.append(history.fill(20))
    history.checkpoint(store)
    store.close()
    spoiling.spoil_checkpoint(tmp_path)
    with pytest.raises(DamageError):
        Checkpoint(locate(tmp_path).tree).load()


def test_a_tail_continues_the_log(tmp_path: Path) -> None:
    history = History()
    store = Store.open(tmp_path)
    store.recover()
    store.append(history.fill(20))
    store.close()
    spoiling.add_tail(tmp_path)
    log = Log(locate(tmp_path).log, read_only=True)
    assert log.end.zxid == history.tree.zxid + 1
    assert sum(1 for _ in log.read(0)) == 21
    log.close()
