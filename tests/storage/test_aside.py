"""Damaged data goes out of the way, whole, and whatever crash comes in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.histories import History, create, flip, rewrite_segment
from zkstore.errors import DamageError, StorageError
from zkstore.storage import aside
from zkstore.storage.directory import DataDirectory, locate
from zkstore.storage.log import Epochs
from zkstore.storage.store import Store
from zkstore.wire.messages import ENROLLED, FRESH, LOST

ID = b"i" * 16


def make_data(root: Path, log_root: Path | None = None) -> DataDirectory:
    """A server's data that was in an ensemble, with a hole in the log."""
    store = Store.open(root, log_directory=log_root)
    store.recover()
    history = History()
    store.append([history.add(create(b"/a")), history.add(create(b"/b")), history.add(create(b"/c"))])
    store.log.set_ensemble_id(ID)
    store.log.set_epochs(Epochs(7, 6), enrols=True)
    store.close()
    directory = locate(root, log_root)
    rewrite_segment(directory.log, 1, flip(history.segments[1].data, 50))
    return directory


def begin_anew(directory: DataDirectory) -> Path:
    """As a member of an ensemble does it at its start."""
    with pytest.raises(DamageError) as raised:
        open_and_recover(directory)
    set_aside = aside.begin(directory, raised.value)
    store = open_and_recover(directory)
    aside.finish(set_aside, store.log)
    store.close()
    return set_aside.path


def open_and_recover(directory: DataDirectory) -> Store:
    store = Store.open(directory.root, log_directory=directory.log_root)
    try:
        store.recover()
    except StorageError:
        store.close()
        raise
    return store


def test_damaged_data_is_moved_and_what_was_promised_is_kept(tmp_path: Path) -> None:
    directory = make_data(tmp_path / "data")
    (directory.root / "myid").write_text("2\n")
    before = (directory.log / "data.mdb").read_bytes()
    path = begin_anew(directory)
    assert path.parent == directory.root and path.name.startswith("damaged-2") and path.name.endswith("-log")
    assert (path / "log" / "data.mdb").read_bytes() == before
    assert "zxid" in (path / "why").read_text()
    assert (directory.root / "myid").read_text() == "2\n"
    store = open_and_recover(directory)
    assert store.log.epochs == Epochs(7, 0)
    assert store.log.ensemble_id == ID
    assert store.log.enrolment == LOST
    assert store.log.end.zxid == 0
    store.close()


def test_a_log_directory_of_its_own_keeps_its_damaged_log(tmp_path: Path) -> None:
    directory = make_data(tmp_path / "data", tmp_path / "log")
    path = begin_anew(directory)
    assert (path / "format").exists() and not (path / "log").exists()
    assert (tmp_path / "log" / path.name / "log" / "data.mdb").exists()


def test_a_log_that_cannot_be_read_at_all_costs_the_promises_too(tmp_path: Path) -> None:
    directory = make_data(tmp_path / "data")
    (directory.log / "data.mdb").write_bytes(b"\xff" * 8192)
    begin_anew(directory)
    store = open_and_recover(directory)
    assert (store.log.epochs, store.log.ensemble_id, store.log.enrolment) == (Epochs(0, 0), None, LOST)
    store.close()


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_crash_in_between_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    directory = make_data(tmp_path / "data")
    with pytest.raises(DamageError) as raised:
        open_and_recover(directory)
    move_one, left = aside._move_one, [moved]

    def crash(source: Path, target: Path) -> None:
        if source.exists():
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        move_one(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(aside, "_move_one", crash)
        if moved < 2:
            with pytest.raises(KeyboardInterrupt):
                aside.begin(directory, raised.value)
        else:
            aside.begin(directory, raised.value)
            open_and_recover(directory).close()  # and the crash comes before it says that something is lost
    set_aside = aside.unfinished(directory)
    assert set_aside is not None
    store = open_and_recover(directory)
    assert store.log.enrolment == FRESH
    aside.finish(set_aside, store.log)
    assert (store.log.epochs, store.log.enrolment) == (Epochs(7, 0), LOST)
    store.close()
    assert aside.unfinished(directory) is None
    assert (set_aside.path / "log" / "data.mdb").exists()


def test_nothing_is_unfinished_where_nothing_is(tmp_path: Path) -> None:
    assert aside.unfinished(locate(tmp_path / "nowhere")) is None


def test_a_new_log_is_fresh_until_it_is_enrolled(tmp_path: Path) -> None:
    store = open_and_recover(locate(tmp_path / "data"))
    assert store.log.enrolment == FRESH
    store.log.set_epochs(Epochs(1, 1), enrols=True)
    assert store.log.enrolment == ENROLLED
    store.log.set_epochs(Epochs(2, 1))
    assert store.log.enrolment == ENROLLED
    store.close()
