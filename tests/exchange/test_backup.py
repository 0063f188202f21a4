"""Backups: what is written is what can be seen and brought back, at any moment of it; damage is named."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from tests.storage.histories import History, create, delete, open_session, same, set_data
from zkstore.errors import DamageError, DirectoryUnusableError, FormatTooNewError, StorageError
from zkstore.exchange import backup
from zkstore.exchange.backup import Written
from zkstore.exchange.restore import restore
from zkstore.inspection.backup_format import BLOCK_BYTES, MAGIC, NAME
from zkstore.inspection.source import open_source
from zkstore.model.tree import Tree
from zkstore.storage.store import Store


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A data directory at `data`: two snapshots, a checkpoint, txns of every kind behind it, several blocks of data."""
    history = History()
    store = Store.open(tmp_path / "data")
    store.recover()
    store.append([history.add(open_session(), create(b"/app", b"one"))])
    for part in (b"first", b"second", b"third"):
        store.append(history.fill(3, part * (BLOCK_BYTES // 8)))
        history.checkpoint(store)
        store.take_snapshot()
    store.append(
        [history.add(set_data(b"/app", b"two", 1), create(b"/app/x" + b"y" * 600)), history.add(delete(b"/n4"))]
    )
    store.close()
    return history


def written(tmp_path: Path, name: str = "backup", *, zxid: int | None = None, with_history: bool = False) -> Written:
    with open_source(tmp_path / "data") as source, (tmp_path / name).open("wb") as file:
        return backup.write(source, file, zxid=zxid, with_history=with_history)


def restored(tmp_path: Path, name: str, zxid: int | None = None) -> Tree:
    with open_source(tmp_path / name) as source:
        restore(source, tmp_path / "restored", zxid)
    store = Store.open(tmp_path / "restored")
    try:
        return store.recover().tree
    finally:
        store.close()


def test_a_backup_brings_back_the_newest_tree(tmp_path: Path, history: History) -> None:
    found = written(tmp_path)
    assert (found.zxid, found.digest, found.znodes) == (
        history.tree.zxid,
        history.tree.digest,
        len(history.tree.records),
    )
    assert found.size_bytes == (tmp_path / "backup").stat().st_size
    assert same(restored(tmp_path, "backup"), history.tree)


def test_a_backup_can_be_of_a_moment_in_the_past(tmp_path: Path, history: History) -> None:
    at = history.segments[-2].prev_zxid
    assert written(tmp_path, zxid=at).zxid == at
    tree = restored(tmp_path, "backup")
    assert (tree.zxid, b"/n4" in tree.records, b"two" in tree.records[b"/app"]) == (at, True, False)


def test_with_its_history_every_moment_can_be_brought_back(tmp_path: Path, history: History) -> None:
    found = written(tmp_path, with_history=True)
    assert (found.first_zxid, found.segments) == (0, len(history.segments))
    at = history.segments[5].last_zxid
    tree = restored(tmp_path, "backup", at)
    with open_source(tmp_path / "data") as source:
        assert (tree.zxid, tree.digest) == (at, source.view(at).digest)


def test_a_backup_is_looked_into_like_a_directory(tmp_path: Path, history: History) -> None:
    written(tmp_path, with_history=True)
    with open_source(tmp_path / "backup") as ours, open_source(tmp_path / "data") as source:
        assert (ours.facts.kind, ours.facts.end, ours.facts.epochs) == ("backup", source.facts.end, source.facts.epochs)
        assert [zxid for zxid, _ in ours.txns()] == [zxid for zxid, _ in source.txns()]
        for zxid in (0, history.segments[3].last_zxid, history.tree.zxid):
            assert list(ours.view(zxid).znodes()) == list(source.view(zxid).znodes())
        view = ours.view()
        assert [name for name, _ in view.children(b"/app")] == [b"x" + b"y" * 600]
        assert (view.get(b"/n4"), view.get(b"/never")) == (None, None)
        first = history.segments[0].first_zxid
        assert ours.time_ms_at(first) == source.time_ms_at(first)


def test_a_backup_of_a_backup_is_the_same(tmp_path: Path, history: History) -> None:
    written(tmp_path, with_history=True)
    copy = BytesIO()
    with open_source(tmp_path / "backup") as source:
        found = backup.write(source, copy, with_history=True)
    assert (found.zxid, found.digest, found.segments) == (history.tree.zxid, history.tree.digest, len(history.segments))


def test_what_is_cut_off_or_of_another_kind_is_named(tmp_path: Path, history: History) -> None:
    written(tmp_path)
    whole = (tmp_path / "backup").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-100])
    with pytest.raises(DamageError, match=r"was cut off: its .* bytes end before its end"):
        open_source(tmp_path / "cut")
    (tmp_path / "newer").write_bytes(NAME + b"9\n" + whole[len(MAGIC) :])
    with pytest.raises(FormatTooNewError, match="has the format 9; this zkstore reads 1"):
        open_source(tmp_path / "newer")


def test_a_flipped_bit_anywhere_is_found_before_it_is_believed(tmp_path: Path, history: History) -> None:
    written(tmp_path, with_history=True)
    whole = bytearray((tmp_path / "backup").read_bytes())
    step = len(whole) // 60
    for at in range(0, len(whole), step):
        whole[at] ^= 0x10
        (tmp_path / "bad").write_bytes(whole)
        whole[at] ^= 0x10
        try:
            with open_source(tmp_path / "bad") as source:
                view = source.view()
                rows = list(view.znodes())
                segments = list(source.segments())
                assert source.damage or (dict(rows) == history.tree.records and segments == history.segments)
        except StorageError as error:
            assert "bad" in str(error)


def test_damage_in_the_source_is_not_backed_up(tmp_path: Path, history: History) -> None:
    written(tmp_path)
    whole = bytearray((tmp_path / "backup").read_bytes())
    whole[len(MAGIC) + 100] ^= 1  # in the first block of znodes
    (tmp_path / "bad").write_bytes(whole)
    with open_source(tmp_path / "bad") as source, pytest.raises(StorageError):
        backup.write(source, BytesIO())
    with open_source(tmp_path / "bad") as source, pytest.raises(StorageError):
        restore(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_restored_over_what_is_there(tmp_path: Path, history: History) -> None:
    written(tmp_path)
    with open_source(tmp_path / "backup") as source, pytest.raises(DirectoryUnusableError, match="is not empty"):
        restore(source, tmp_path / "data")
