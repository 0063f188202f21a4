from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exchange.held import loaded
from zkstore.errors import DamageError, DirectoryUnusableError
from zkstore.exchange.landing import land
from zkstore.model import record as records_
from zkstore.model.stat import Stat
from zkstore.model.tree import SessionRecord, Tree
from zkstore.storage.log import Epochs, Link
from zkstore.storage.store import Store

SESSIONS = {5: SessionRecord(10_000, b"p" * 16)}


def some_tree(zxid: int = 0x300000007) -> Tree:
    records = dict(Tree.new().records)
    for number in range(50):
        records[b"/%03d" % number + b"x" * (600 if number == 7 else 0)] = records_.make(b"data", Stat(*[0] * 11))
    records[b"/"] = records_.make(b"", records_.stat_of(records[b"/"])._replace(num_children=51))
    return loaded(records, SESSIONS, zxid)


def landed(root: Path, tree: Tree, accepted: int = 0, current: int = 0) -> None:
    land(root, sorted(tree.records.items()), dict(tree.sessions), tree.zxid, Epochs(accepted, current))


def test_a_tree_lands_whole_and_the_log_goes_on_behind_it(tmp_path: Path) -> None:
    tree = some_tree()
    landed(tmp_path / "new", tree, 5, 4)
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["clean", "format", "log", "tree"]
    store = Store.open(tmp_path / "new")
    found = store.recover()
    assert (found.tree.records, found.tree.sessions, found.tree.zxid) == (tree.records, SESSIONS, tree.zxid)
    assert found.tree.digest == tree.digest
    assert found.report.warnings == []
    assert store.log.epochs == Epochs(5, 4)
    assert store.log.start == store.log.end
    store.close()


def test_epochs_are_never_behind_the_zxid(tmp_path: Path) -> None:
    landed(tmp_path, some_tree())
    store = Store.open(tmp_path)
    assert store.log.epochs == Epochs(3, 3)
    store.close()


def test_equal_trees_can_go_on_as_one_ensemble_and_others_cannot(tmp_path: Path) -> None:
    ends: list[Link] = []
    for name, tree in (("a", some_tree()), ("b", some_tree()), ("c", loaded(Tree.new().records, {}, 0x300000007))):
        landed(tmp_path / name, tree)
        store = Store.open(tmp_path / name)
        store.recover()
        ends.append(store.log.end)
        store.close()
    assert ends[0] == ends[1] != ends[2]


def test_a_tree_without_any_txn_lands_too(tmp_path: Path) -> None:
    landed(tmp_path, loaded(Tree.new().records, {}, 0))
    store = Store.open(tmp_path)
    assert store.recover().tree.digest == Tree.new().digest
    store.close()


@pytest.mark.parametrize("name", ["file", "format", "version-2"])
def test_a_directory_with_anything_in_it_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DirectoryUnusableError, match=f"not empty .{name}.*nothing is ever overwritten"):
        landed(tmp_path, some_tree())
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_the_number_of_the_server_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "myid").write_text("3\n")
    landed(tmp_path, some_tree())
    assert (tmp_path / "myid").read_text() == "3\n"


def test_nothing_is_left_of_a_tree_that_broke_off(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[bytes, bytes]]:
        yield from some_tree().records.items()
        raise DamageError("broken")

    (tmp_path / "there").mkdir()
    for root in (tmp_path / "there", tmp_path / "new" / "below"):
        with pytest.raises(DamageError, match="broken"):
            land(root, broken(), SESSIONS, 7, Epochs(0, 0))
    assert list((tmp_path / "there").iterdir()) == []
    assert not (tmp_path / "new" / "below").exists()


def test_what_an_import_that_was_killed_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    draft = tmp_path / ".incoming" / "tree"
    draft.mkdir(parents=True)
    (draft / "data.mdb").write_bytes(b"half")
    landed(tmp_path, some_tree())
    assert not draft.exists()
