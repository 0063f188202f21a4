"""The tree as of any zxid: the same znodes as a server had, from whatever image and log there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inspection.directories import EPOCH, LONG, Made, make
from tests.storage.histories import History, create, flip_in_file, set_data
from zkstore.errors import StorageError
from zkstore.inspection.source import open_source
from zkstore.model.paths import name_of, parent_of
from zkstore.storage.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("view") / "data")


def test_the_tree_can_be_seen_at_every_zxid(made: Made) -> None:
    with open_source(made.root) as source:
        for zxid, records in made.states.items():
            view = source.view(zxid)
            assert dict(view.znodes()) == records, f"{zxid:#x}"
            assert view.zxid == zxid
            assert view.counts is None or view.counts == view.count()
        assert source.damage == []


def test_the_newest_tree_has_its_digest_sessions_and_counts(made: Made) -> None:
    tree = made.history.tree
    with open_source(made.root) as source:
        view = source.view()
        assert (view.zxid, view.digest, view.sessions) == (tree.zxid, tree.digest, tree.sessions)
        counts = view.count()
        assert counts == (len(tree.records), tree.data_bytes, 1)


def test_znodes_come_in_the_order_of_their_paths_and_from_any_place(made: Made) -> None:
    expected = sorted(made.states[made.end])
    with open_source(made.root) as source:
        view = source.view()
        assert [path for path, _ in view.znodes()] == expected
        for after in expected:
            found = [path for path, _ in view.znodes(after=after)]
            assert found == [path for path in expected if path > after]
        below = [path for path in expected if path == b"/app" or path.startswith(b"/app/")]
        assert [path for path, _ in view.znodes(below=b"/app")] == below
        for after in below:
            assert [path for path, _ in view.znodes(b"/app", after)] == [path for path in below if path > after]
        assert list(view.znodes(below=b"/none")) == []


def test_children_are_those_and_no_others(made: Made) -> None:
    records = made.states[made.end]
    with open_source(made.root) as source:
        view = source.view()
        for parent in records:
            expected = sorted(name_of(path) for path in records if path != b"/" and parent_of(path) == parent)
            assert [name for name, _ in view.children(parent)] == expected
            for after in expected:
                assert [name for name, _ in view.children(parent, after)] == [name for name in expected if name > after]


def test_a_znode_is_found_by_its_path(made: Made) -> None:
    with open_source(made.root) as source:
        view = source.view(made.end - 40)
        for path in {*made.states[made.end], *made.states[made.end - 40]}:
            assert view.get(path) == made.states[made.end - 40].get(path)


def test_children_of_a_znode_with_much_below_them_are_found_without_walking_it(tmp_path: Path) -> None:
    history, store = History(), Store.open(tmp_path)
    store.append([history.add(create(b"/a"), create(b"/b"), create(b"/c"))])
    store.append([history.add(*(create(b"/b/%04d" % each, bytes(200)) for each in range(3000)))])
    history.checkpoint(store)
    store.close()
    with open_source(tmp_path) as source:
        assert [name for name, _ in source.view().children(b"/")] == [b"a", b"b", b"c", b"zookeeper"]


def test_a_damaged_checkpoint_is_replaced_by_an_older_image_with_a_longer_overlay(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    flip_in_file(made.root / "tree" / "data.mdb", b"content 60")
    file = made.root / "tree" / "data.mdb"
    content = bytearray(file.read_bytes())
    for place in range(0, len(content), 4096):
        if b"content 60" in content[place : place + 4096]:
            content[place : place + 4096] = bytes(4096)
    file.write_bytes(content)
    for damaged in (b"/many/060", b"/many/059"):
        with open_source(made.root) as source:
            assert source.view().get(damaged) == made.states[made.end][damaged]
    (made.root / "tree" / "data.mdb").unlink()
    with open_source(made.root) as source:
        view = source.view()
        assert view.base.name.startswith("snapshot")
        assert dict(view.znodes()) == made.states[made.end]


def test_without_another_image_what_is_damaged_is_passed_over_and_told(tmp_path: Path) -> None:
    history, store = History(), Store.open(tmp_path)
    store.append([history.add(*(create(b"/n%04d" % each, b"content %d" % each) for each in range(1000)))])
    history.checkpoint(store)
    store.log.restart(store.log.end)
    store.close()
    file = tmp_path / "tree" / "data.mdb"
    content = bytearray(file.read_bytes())
    place = content.index(b"content 600") // 4096 * 4096
    content[place : place + 4096] = bytes(4096)
    file.write_bytes(content)
    with open_source(tmp_path) as source:
        found = dict(source.view().znodes())
        assert 900 < len(found) < 1000
        assert found.items() <= history.tree.records.items()
        assert "is not what was written there" in str(source.damage[0])


def test_a_changed_znode_shows_in_the_digest(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    flip_in_file(made.root / "tree" / "data.mdb", b"content 61")
    with open_source(made.root) as source:
        list(source.view().znodes())
        assert "the znodes as of" in str(source.damage[0])


def test_a_checkpoint_that_moves_on_under_the_reader_changes_nothing_for_them(tmp_path: Path) -> None:
    history, store = History(), Store.open(tmp_path)
    store.recover()
    store.append([history.add(*(create(b"/n%04d" % each, bytes(300)) for each in range(2000)))])
    history.checkpoint(store)
    store.take_snapshot()
    store.append([history.add(set_data(b"/n1999", b"last", 1))])
    expected = dict(history.tree.records)
    with open_source(tmp_path) as source:
        rows = source.view().znodes()
        found = [next(rows) for _ in range(10)]
        for number in range(4):
            store.append(
                [history.add(*(set_data(b"/n%04d" % each, b"%d" % number, number + 2) for each in range(2000)))]
            )
            history.checkpoint(store)
        found += rows
        assert dict(found) == expected
        assert [path for path, _ in found] == sorted(expected)
        assert source.damage == []
        newest = open_source(tmp_path)
        assert dict(newest.view().znodes()) == history.tree.records
        newest.close()
    store.close()


def test_a_view_ends_where_the_log_is_damaged(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    flip_in_file(made.root / "log" / "data.mdb", b"/new/deep/er")
    with open_source(made.root) as source:
        view = source.view()
        assert dict(view.znodes()) == made.states[view.zxid]
        assert source.facts.troubles
    made = make(tmp_path / "other")
    flip_in_file(made.root / "log" / "data.mdb", b"again 50")
    with open_source(made.root) as source:
        view = source.view()
        assert EPOCH < view.zxid < made.end
        assert dict(view.znodes()) == made.states[view.zxid]
        assert "checksum" in str(source.damage[0])


def test_a_zxid_that_history_does_not_reach_is_refused(tmp_path: Path) -> None:
    made = make(tmp_path / "data", purges=True)
    with open_source(made.root) as source:
        first = source.facts.start.zxid
        assert dict(source.view(first).znodes()) == made.states[first]
        with pytest.raises(StorageError, match="cannot be seen any more: history reaches over 0x"):
            source.view(first - 1)
        with pytest.raises(StorageError, match="history ends at 0x"):
            source.view(made.end + 1)
        assert source.view().get(LONG) == made.states[made.end][LONG]
