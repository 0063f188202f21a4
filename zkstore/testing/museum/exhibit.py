"""What an exhibit is: one bug of the past, put back into the servers of the simulated world, and what must find it.

The servers know nothing of this: a bug is a handful of attributes of their classes, replaced for as long as a
`with exhibit.put_in()` lasts. A bug is found when a run of one of its seeds breaks an invariant that the exhibit names;
that the servers break down in some other way, as patched programs do, does not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import cleandoc
from random import Random
from typing import Any, Final, NamedTuple

from zkstore.testing import simulation
from zkstore.testing.checkers.invariants import INVARIANTS, Violation
from zkstore.testing.checkers.verdict import RULES
from zkstore.testing.museum.focus import Focus
from zkstore.testing.plans import plan as planning
from zkstore.testing.plans.plan import Case

_STOPS: Final = re.compile(r"stops itself: (\w+):")
_ABSENT: Final = object()


class Patches:
    """Attributes that are something else for a while."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace a class's or a module's attribute; returns what it was."""
        was = getattr(owner, name)
        self._before.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, value)
        return was

    def undo(self) -> None:
        """All is as it was."""
        while self._before:
            owner, name, before = self._before.pop()
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


class Found(NamedTuple):
    """Where a bug was found: by which seed, of those tried in order from 0."""

    seed: int
    violation: Violation


@dataclass(frozen=True)
class Exhibit:
    """One bug.

    Attributes:
        name: what is wrong, in a few words.
        origin: whose bug it was, with its number and year where it has them.
        story: what happened.
        falls: invariants and rules, any of which may be the first to be broken.
        seeds_max: it must be found within so many seeds, from 0 on.
        is_bare: agreement alone, or whole servers with clients.
        focus: None where the plans of any seed do.
    """

    name: str
    origin: str
    story: str
    falls: frozenset[str]
    seeds_max: int
    is_bare: bool
    focus: Focus | None
    build: Callable[[Patches], None]

    def case(self, seed: int) -> Case:
        """What the seed means here."""
        return case_of(seed, self.focus, is_bare=self.is_bare)

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """The bug is in all servers."""
        patches = Patches()
        try:
            self.build(patches)
            yield
        finally:
            patches.undo()

    def search(self, seeds: range | None = None) -> Found | None:
        """Run the seeds, in order, until one finds the bug."""
        for seed in range(self.seeds_max) if seeds is None else seeds:
            with self.put_in():
                outcome = simulation.run(self.case(seed))
            for violation in outcome.violations:
                if broken(violation) in self.falls:
                    return Found(seed, violation)
        return None


def case_of(seed: int, focus: Focus | None, *, is_bare: bool) -> Case:
    """The case of a seed, with a focus or without one."""
    case = replace(planning.make(seed, is_bare=is_bare), local_sessions=False, upgrades_sessions=False)
    return case if focus is None else focus(case, Random(f"focus {seed}"))


def broken(violation: Violation) -> str:
    """What a violation breaks; where a server has seen it itself and stopped, what that server said."""
    stop = _STOPS.match(violation.text) if violation.invariant == "code" else None
    return stop[1] if stop else violation.invariant


def exhibit(
    name: str,
    *,
    origin: str,
    falls: set[str],
    seeds_max: int,
    is_bare: bool = True,
    focus: Focus | None = None,
) -> Callable[[Callable[[Patches], None]], Exhibit]:
    """Make an exhibit of a function that puts the bug in; its docstring is the story."""
    assert falls <= {*INVARIANTS, *RULES}, f"{falls} are not all of them invariants or rules"

    def make(build: Callable[[Patches], None]) -> Exhibit:
        story = " ".join(cleandoc(build.__doc__ or "").split())
        return Exhibit(name, origin, story, frozenset(falls), seeds_max, is_bare, focus, build)

    return make
