"""Sizes: the sums that a plain walk over a whole tree gives, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inspection.directories import Made, make
from tests.storage.histories import History, create
from zkstore.inspection.measuring import Rank, top, usage
from zkstore.inspection.source import open_source
from zkstore.model import record as records_
from zkstore.storage.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("measuring") / "data")


def size(path: bytes, record: bytes) -> int:
    return len(path) + len(records_.data_of(record) or b"")


def below(records: dict[bytes, bytes], path: bytes) -> list[bytes]:
    prefix = path.rstrip(b"/") + b"/"
    return [each for each in records if each == path or each.startswith(prefix)]


def ignored(count: int) -> None:
    assert count >= 0


@pytest.mark.parametrize("path", [b"/", b"/app", b"/new", b"/many/000"])
@pytest.mark.parametrize("depth", [0, 1, 2, 9])
def test_usage_is_that_of_whole_subtrees(made: Made, path: bytes, depth: int) -> None:
    records = made.states[made.end]
    level = path.rstrip(b"/").count(b"/")
    wanted = [each for each in below(records, path) if each.rstrip(b"/").count(b"/") - level <= depth]
    expected = []
    for each in sorted(wanted):
        inside = below(records, each)
        expected.append((each, len(inside), sum(size(one, records[one]) for one in inside)))
    with open_source(made.root) as source:
        assert usage(source.view(), path, depth, ignored) == expected


@pytest.mark.parametrize("path", [b"/", b"/app", b"/new/deep/er"])
def test_the_largest_subtrees_come_first(made: Made, path: bytes) -> None:
    records = made.states[made.end]
    expected = {each: sum(size(one, records[one]) for one in below(records, each)) for each in below(records, path)}
    with open_source(made.root) as source:
        found = top(source.view(), path, Rank.SIZE, 1000, ignored)
    assert dict(found) == expected
    assert [number for _, number in found] == sorted(expected.values(), reverse=True)


def test_znodes_are_ranked_by_data_children_and_changes(made: Made) -> None:
    records = made.states[made.end]
    with open_source(made.root) as source:
        view = source.view()
        assert top(view, b"/", Rank.DATA, 1, ignored) == [(b"/app/big", 9000)]
        children = records_.stat_of(records[b"/many"]).num_children
        assert top(view, b"/", Rank.CHILDREN, 1, ignored) == [(b"/many", children)]
        assert top(view, b"/many", Rank.CHANGES, 1, ignored) == [
            (b"/many", records_.stat_of(records[b"/many"]).cversion)
        ]
        changes = dict(top(view, b"/app/a", Rank.CHANGES, 100, ignored))
        stat = records_.stat_of(records[b"/app/a"])
        assert changes[b"/app/a"] == stat.version + stat.cversion + stat.aversion
        assert len(top(view, b"/", Rank.DATA, 7, ignored)) == 7


def test_names_that_sort_before_a_slash_do_not_mix_up_the_sums(tmp_path: Path) -> None:
    history, store = History(), Store.open(tmp_path)
    paths = [b"/a", b"/a!", b"/a!/x", b"/a-b", b"/a-b/c", b"/a/b", b"/a/b-c", b"/a/b/c", b"/a0"]
    store.append([history.add(*(create(path, b"12345") for path in paths))])
    history.checkpoint(store)
    store.close()
    records = history.tree.records
    with open_source(tmp_path) as source:
        found = dict(top(source.view(), b"/", Rank.SIZE, 100, ignored))
    for path in records:
        assert found[path] == sum(size(one, records[one]) for one in below(records, path)), path


def test_progress_counts_every_znode(made: Made) -> None:
    counts: list[int] = []
    with open_source(made.root) as source:
        top(source.view(), b"/", Rank.SIZE, 1, counts.append)
        assert sum(counts) == len(made.states[made.end])
