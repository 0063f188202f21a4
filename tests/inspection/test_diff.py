"""What differs between two trees: the same as comparing them whole."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inspection.directories import Made, make
from zkstore.inspection.diff import Aspect, Difference, acl_of, differences, owner_of
from zkstore.inspection.source import open_source
from zkstore.model import record as records_
from zkstore.model.acl import Acl
from zkstore.model.stat import Stat

STAT = Stat(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1)
TREES = st.dictionaries(st.sampled_from([b"/%d" % each for each in range(30)]), st.sampled_from([b"x", b"y"]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("diff") / "data")


def sliced(tree: dict[bytes, bytes], seed: int) -> list[list[tuple[bytes, bytes]]]:
    dice, rows = random.Random(seed), sorted((path, records_.make(data, STAT)) for path, data in tree.items())
    found = []
    while rows:
        count = dice.randint(1, 7)
        found.append(rows[:count])
        rows = rows[count:]
    return found


@given(TREES, TREES, st.integers(0, 99))
def test_slices_need_not_be_cut_alike(old: dict[bytes, bytes], new: dict[bytes, bytes], seed: int) -> None:
    found = list(differences(sliced(old, seed), sliced(new, seed + 1)))
    expected = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    assert [each.path for each in found] == expected
    assert all((each.before is None) == (each.path not in old) for each in found)
    assert all((each.after is None) == (each.path not in new) for each in found)


def test_two_moments_of_one_history_differ_as_their_trees_do(made: Made) -> None:
    moments = sorted(made.states)[:: len(made.states) // 6]
    with open_source(made.root) as source:
        for begin in moments:
            for end in (*moments, made.end):
                old, new = made.states[begin], made.states[end]
                found = list(
                    differences(
                        source.view(begin).slices(), source.view(end).slices(), has_stats=True, has_ephemerals=True
                    )
                )
                expected = [
                    (path, old.get(path), new.get(path))
                    for path in sorted(old.keys() | new.keys())
                    if old.get(path) != new.get(path)
                ]
                assert [(each.path, each.before, each.after) for each in found] == expected


def one(before: bytes, after: bytes, **asked: bool) -> list[Difference]:
    return list(differences([[(b"/a", before)]], [[(b"/a", after)]], **asked))


def test_each_aspect_is_told() -> None:
    plain = records_.make(b"x", STAT)
    later = records_.make(b"x", STAT._replace(mzxid=9))
    assert one(plain, later) == []
    assert one(plain, later, has_stats=True)[0].aspects == (Aspect.STAT,)
    closed = records_.make(b"x", STAT, (Acl(1, "world", "anyone"),))
    assert one(plain, closed)[0].aspects == (Aspect.ACL,)
    assert acl_of(closed) == (Acl(1, "world", "anyone"),)
    container = records_.make(b"y", STAT, owner=records_.CONTAINER_OWNER)
    assert one(plain, container)[0].aspects == (Aspect.DATA, Aspect.KIND)
    assert one(plain, container, has_kinds=False)[0].aspects == (Aspect.DATA,)
    assert (owner_of(plain), owner_of(container)) == (0, records_.CONTAINER_OWNER)


def test_null_and_empty_data_differ() -> None:
    assert one(records_.make(None, STAT), records_.make(b"", STAT))[0].aspects == (Aspect.DATA,)


def test_ephemerals_count_only_where_asked() -> None:
    eph = records_.make(b"x", STAT._replace(ephemeral_owner=7), owner=7)
    assert list(differences([], [[(b"/a", eph)]])) == []
    assert list(differences([], [[(b"/a", eph)]], has_ephemerals=True)) == [Difference(b"/a", None, eph)]
