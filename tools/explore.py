"""Explore all courses that three servers can take from a given moment on, and check the safety of agreement in each.

    python -m tools.explore                      the scenarios
    python -m tools.explore "new leader"         one, to its end
    python -m tools.explore --states 1000000     all, each up to so many states
    python -m tools.explore --walks 1000         long courses at random instead, seeds from --seed on

Exit code 1 if an invariant was broken; the shortest way there is printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from random import Random

from zkstore.testing.exploration.explorer import Report
from zkstore.testing.exploration.scenarios import SCENARIOS, WALK

_WALK_STEPS_MAX = 2_000
_SERVER_STATES_MAX = 100_000
"""Walks share what servers were seen to do, until that takes a few hundred megabytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="explore", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = "\n".join(f"  {name}: {scenario.what}" for name, scenario in SCENARIOS.items())
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=f"one or more of\n{names}")
    parser.add_argument("--states", type=int, help="stop each after so many (default: 200000, or none if one is named)")
    parser.add_argument("--walks", type=int, help="go so many courses at random")
    parser.add_argument("--seed", type=int, default=0, help="of the first of them")
    given = parser.parse_args(arguments)
    if given.walks:
        return _walk(range(given.seed, given.seed + given.walks))
    unknown = [name for name in given.scenario if name not in SCENARIOS]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]!r}; choose from {', '.join(map(repr, SCENARIOS))}")
    states_max = given.states or (sys.maxsize if given.scenario else 200_000)
    return max(_explore(name, states_max) for name in given.scenario or SCENARIOS)


def _explore(name: str, states_max: int) -> int:
    scenario = SCENARIOS[name]
    print(f"{name}: {scenario.what}")
    bounds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in scenario.most._asdict().items() if count)
    print(f"  at most {bounds}")
    exploration, start = scenario.begin()
    began = time.perf_counter()

    def figures(report: Report) -> str:
        rate = report.states / max(time.perf_counter() - began, 1e-6)
        counts = f"{report.states:,} states, {report.transitions:,} transitions, depth {report.depth}"
        return f"  {counts}, {rate:,.0f} states/s"

    report = exploration.explore(
        start, states_max=states_max, every=250_000, progress=lambda so_far: print(figures(so_far), flush=True)
    )
    print(f"{figures(report)}, {report.server_states:,} states of single servers")
    print("  checked: " + ", ".join(f"{check} {count:,}" for check, count in sorted(report.checks.items())))
    if report.violation is None:
        print("  no invariant broken; " + ("nothing is left to try" if report.is_complete else "stopped at the bound"))
        return 0
    return _broken(report)


def _walk(seeds: range) -> int:
    exploration, start = WALK.begin()
    began, steps, leaders, committed = time.perf_counter(), 0, 0, 0
    for seed in seeds:
        if len(exploration.servers) > _SERVER_STATES_MAX:
            exploration, start = WALK.begin()
        report = exploration.walk(start, Random(seed), steps_max=_WALK_STEPS_MAX)
        if report.violation is not None:
            print(f"seed {seed}")
            return _broken(report)
        steps += report.transitions
        leaders += len(report.knowledge.leaders)
        committed += len(report.knowledge.committed) - 1
    seconds = time.perf_counter() - began
    print(f"{len(seeds):,} walks of {steps:,} steps in {seconds:.0f} s")
    print(f"{leaders:,} leaders were established, {committed:,} segments committed; no invariant broken")
    return 0


def _broken(report: Report) -> int:
    print(f"  BROKEN {report.violation}")
    for number, action in enumerate(report.trace, 1):
        print(f"  {number:3} {action}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
