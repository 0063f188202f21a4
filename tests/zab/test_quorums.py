"""Quorums: who decides, and the law that any two of them have a server in common (R4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.zab.quorums import Grouped, Joint, Majority, Quorums, agreed_point

IDS = st.integers(1, 9)


@st.composite
def grouped(draw: st.DrawFn) -> Grouped:
    ids = sorted(draw(st.sets(IDS, min_size=1)))
    weights = draw(st.lists(st.integers(0, 4), min_size=len(ids), max_size=len(ids)).filter(any))
    group_of = draw(st.lists(st.integers(1, 3), min_size=len(ids), max_size=len(ids)))
    groups = {g: frozenset(i for i, of in zip(ids, group_of, strict=True) if of == g) for g in group_of}
    return Grouped(tuple(groups[g] for g in sorted(groups)), tuple(zip(ids, weights, strict=True)))


majorities = st.frozensets(IDS, min_size=1).map(Majority)
systems: st.SearchStrategy[Quorums] = st.one_of(majorities, grouped())
sets = st.frozensets(st.integers(0, 10))


@given(systems, sets, sets)
def test_any_two_quorums_of_one_configuration_intersect(
    quorums: Quorums, one: frozenset[int], other: frozenset[int]
) -> None:
    if quorums.has_quorum(one) and quorums.has_quorum(other):
        assert one & other & quorums.voters


@given(systems, st.data())
def test_those_outside_a_quorum_are_none(quorums: Quorums, data: st.DataObject) -> None:
    some = data.draw(st.frozensets(st.sampled_from(sorted(quorums.voters))))
    assert not (quorums.has_quorum(some) and quorums.has_quorum(quorums.voters - some))


@given(systems, systems, sets, sets)
def test_a_joint_quorum_intersects_every_quorum_of_the_old_and_of_the_new_configuration(
    old: Quorums, new: Quorums, joint: frozenset[int], other: frozenset[int]
) -> None:
    if Joint(old, new).has_quorum(joint) and (old.has_quorum(other) or new.has_quorum(other)):
        assert joint & other


@given(systems, sets, sets)
def test_more_servers_are_no_less_of_a_quorum(quorums: Quorums, some: frozenset[int], more: frozenset[int]) -> None:
    assert quorums.has_quorum(some) <= quorums.has_quorum(some | more)


@given(systems)
def test_all_voters_are_a_quorum_and_nobody_is_none(quorums: Quorums) -> None:
    assert quorums.has_quorum(quorums.voters)
    assert not quorums.has_quorum(frozenset())
    assert not quorums.has_quorum(frozenset(range(100, 200)))


@given(systems, st.integers(0, 10))
def test_who_is_no_voter_weighs_nothing(quorums: Quorums, server_id: int) -> None:
    assert quorums.weight(server_id) == 0 or server_id in quorums.voters


@pytest.mark.parametrize(
    ("voters", "ids", "decides"),
    [
        ({1}, {1}, True),
        ({1, 2}, {1}, False),
        ({1, 2, 3}, {1, 3}, True),
        ({1, 2, 3}, {3, 4, 5}, False),
        ({1, 2, 3, 4}, {1, 2}, False),
        ({1, 2, 3, 4}, {1, 2, 4}, True),
    ],
)
def test_more_than_half_of_the_voters_decide(voters: set[int], ids: set[int], decides: bool) -> None:
    assert Majority(frozenset(voters)).has_quorum(ids) is decides


THREE_GROUPS = Grouped(
    (frozenset({1, 2, 3}), frozenset({4, 5, 6}), frozenset({7, 8, 9})),
    tuple((i, 0 if i > 6 else 1) for i in range(1, 10)),
)


@pytest.mark.parametrize(
    ("ids", "decides"),
    [
        ({1, 2, 4, 5}, True),
        ({1, 2, 3, 4}, False),
        # The third group weighs nothing: it is not counted, so two groups remain and both are needed.
        ({1, 2, 3, 7, 8, 9}, False),
    ],
)
def test_more_than_half_of_the_groups_that_weigh_decide(ids: set[int], decides: bool) -> None:
    assert THREE_GROUPS.has_quorum(ids) is decides
    assert THREE_GROUPS.weight(7) == 0


def test_within_a_group_weight_counts_and_not_heads() -> None:
    quorums = Grouped((frozenset({1, 2, 3}),), ((1, 3), (2, 1), (3, 1)))
    assert quorums.has_quorum({1})
    assert not quorums.has_quorum({2, 3})


def test_while_a_change_is_pending_who_votes_in_either_configuration_votes() -> None:
    quorums = Joint(Majority(frozenset({1, 2, 3})), Majority(frozenset({3, 4})))
    assert quorums.voters == {1, 2, 3, 4}
    assert quorums.weight(4) == 1
    assert not quorums.has_quorum({1, 2, 3})
    assert quorums.has_quorum({2, 3, 4})


@given(systems, st.dictionaries(st.integers(0, 10), st.integers(0, 5)))
def test_the_agreed_point_is_the_furthest_that_a_quorum_has_reached(quorums: Quorums, points: dict[int, int]) -> None:
    reached_by = {at: {i for i, point in points.items() if point >= at} for at in points.values()}
    expected = max((at for at, ids in reached_by.items() if quorums.has_quorum(ids)), default=None)
    assert agreed_point(quorums, points) == expected
