"""Runs of cases: one, or one seed after the other, and what came of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from zkstore.testing.checkers.invariants import Violation
from zkstore.testing.plans.plan import Case
from zkstore.testing.plans.shrink import shrunk
from zkstore.testing.world.serving import ServingWorld
from zkstore.testing.world.world import World


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run.

    Attributes:
        digest: of the trace: equal for equal runs.
        simulated_us: how long it lasted in the world.
        served_us: how long it took to serve once all was well; -1 if it did not.
        lines: of the trace, where it was asked for.
    """

    case: Case
    violations: tuple[Violation, ...]
    digest: str
    simulated_us: int
    served_us: int
    events: int
    operations: int
    faults: Counter[str]
    checks: Counter[str]
    lines: tuple[str, ...] = ()


def run(case: Case, *, with_trace: bool = False) -> Outcome:
    """Run a case from its beginning to its end."""
    world = ServingWorld(case, with_trace=with_trace) if case.clients else World(case, with_trace=with_trace)
    world.run()
    checks = Counter(world.observer.counts)
    operations = world.counts["writes"] + world.counts["syncs"]
    if isinstance(world, ServingWorld):
        operations = world.history.calls_count
        if world.verdict is not None:
            checks.update(world.verdict.counts)
    return Outcome(
        case=case,
        violations=_violations(world),
        digest=world.trace.digest,
        simulated_us=world.agenda.now_us,
        served_us=world.served_us,
        events=world.agenda.count,
        faults=world.counts,
        operations=operations,
        checks=checks,
        lines=tuple(world.trace.lines),
    )


def _violations(world: World) -> tuple[Violation, ...]:
    found = list(world.observer.violations)
    if isinstance(world, ServingWorld) and world.verdict is not None:
        found += [Violation(one.rule, 0, one.zxid, one.text) for one in world.verdict.violations]
    return tuple(found)


def smallest(outcome: Outcome, *, runs_max: int = 400) -> Case:
    """A small case that breaks the same invariant as that outcome did."""
    broken = outcome.violations[0].invariant
    reason = _gist(outcome.violations[0])

    def fails(case: Case) -> bool:
        violations = run(case).violations
        return bool(violations) and violations[0].invariant == broken and _gist(violations[0]) == reason

    return shrunk(outcome.case, fails, runs_max=runs_max)


def _gist(violation: Violation) -> str:
    """What tells one failure from another of the same invariant, where code breaks down."""
    return violation.text[:24] if violation.invariant == "code" else ""


@dataclass(slots=True)
class Tally:
    """The sum of many outcomes."""

    runs: int = 0
    simulated_us: int = 0
    events: int = 0
    operations: int = 0
    slowest_us: int = 0
    slowest_seed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    plans: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self.runs += 1
        self.simulated_us += outcome.simulated_us
        self.events += outcome.events
        self.operations += outcome.operations
        # Of two that took as long, the first: outcomes of several processes come in any order.
        if (-outcome.served_us, outcome.case.seed) < (-self.slowest_us, self.slowest_seed):
            self.slowest_us, self.slowest_seed = outcome.served_us, outcome.case.seed
        self.faults.update(outcome.faults)
        self.checks.update(outcome.checks)
        self.plans[outcome.case.plan] += 1
