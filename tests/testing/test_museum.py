"""Every bug in the museum is found, and without it the same seeds find nothing."""

from __future__ import annotations

from functools import cache

import pytest

from zkstore.testing import simulation
from zkstore.testing.checkers.invariants import Violation
from zkstore.testing.museum import EXHIBITS, Exhibit
from zkstore.testing.museum.exhibit import Patches, broken, case_of, exhibit
from zkstore.testing.museum.focus import Focus
from zkstore.testing.plans import plan as planning

ELSEWHERE = 10_000


def by_name(one: Exhibit) -> str:
    return one.name


@cache
def violations_without(focus: Focus | None, is_bare: bool, seed: int) -> tuple[Violation, ...]:
    return simulation.run(case_of(seed, focus, is_bare=is_bare)).violations


@pytest.mark.parametrize("shown", EXHIBITS, ids=by_name)
def test_a_bug_of_the_past_is_found_and_nothing_else(shown: Exhibit) -> None:
    found = shown.search()
    assert found is not None, f"{shown.seeds_max} seeds did not find it: {shown.story}"
    for seed in range(found.seed + 1):
        assert not violations_without(shown.focus, shown.is_bare, seed), f"the sound servers fail with seed {seed}"


@pytest.mark.long
@pytest.mark.parametrize("shown", EXHIBITS, ids=by_name)
def test_other_seeds_find_it_as_well(shown: Exhibit) -> None:
    assert shown.search(range(ELSEWHERE, ELSEWHERE + shown.seeds_max)) is not None


def test_the_museum_is_large_and_says_where_its_bugs_come_from() -> None:
    assert len(EXHIBITS) >= 48
    assert len({shown.name for shown in EXHIBITS}) == len(EXHIBITS)
    assert all(shown.origin and shown.falls and shown.story.count(".") >= 2 for shown in EXHIBITS)
    assert max(shown.seeds_max for shown in EXHIBITS) <= 200


def test_a_bug_is_gone_when_its_run_is_over() -> None:
    case = planning.make(0, is_bare=True)
    before = simulation.run(case).digest
    for shown in EXHIBITS:
        with shown.put_in():
            pass
    assert simulation.run(case).digest == before


class Parent:
    def greet(self) -> str:
        return "parent"


class Child(Parent):
    name = "child"


def test_patches_are_undone_in_their_order_and_leave_nothing_in_a_subclass() -> None:
    patches = Patches()
    assert patches.set(Child, "greet", lambda self: "first") is Parent.greet
    patches.set(Child, "greet", lambda self: "second")
    patches.set(Child, "name", "changed")
    assert Child().greet() == "second"
    patches.undo()
    assert Child().greet() == "parent"
    assert "greet" not in vars(Child)
    assert Child.name == "child"


def test_an_exhibit_names_invariants_that_there_are() -> None:
    with pytest.raises(AssertionError, match="not all of them invariants"):
        exhibit("a bug", origin="nobody's", falls={"I99"}, seeds_max=1)


def test_a_server_that_stops_itself_says_which_invariant_it_was() -> None:
    assert broken(Violation("code", 1, 0, "stops itself: I14: the log is to be cut back")) == "I14"
    assert broken(Violation("code", 1, 0, "AssertionError: stops itself: I14: no")) == "code"
    assert broken(Violation("I4", 1, 0, "stops itself: I14: no")) == "I4"


def test_a_bug_that_breaks_nothing_is_not_found() -> None:
    @exhibit("nothing", origin="nobody's", falls={"I4"}, seeds_max=1)
    def nothing(patches: Patches) -> None:
        """Nothing is wrong. Nothing falls."""

    assert nothing.search() is None
    assert nothing.story == "Nothing is wrong. Nothing falls."
