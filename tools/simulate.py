"""Runs the servers, with their clients, through simulated failures, one seed after the other, and says what came of it.

    python tools/simulate.py --seeds 300
    python tools/simulate.py --minutes 30 --first-seed 100000
    python tools/simulate.py --seed 4711 --trace
    python tools/simulate.py --replay failure.json --trace

A seed makes a world: servers, disks, networks, clocks, clients, and a plan of faults, which is printed. Where something
is wrong, the case is made smaller for as long as it fails alike, written to a file for `--replay`, and printed with the
trace of its run.

Ends with 0 if nothing was wrong, with 1 if something was, with 2 if there is no such case.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkstore.testing import simulation
from zkstore.testing.plans import plan as planning
from zkstore.testing.plans.plan import Case
from zkstore.testing.simulation import Outcome, Tally

_TRACE_LINES: Final = 120


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.replay is not None or options.seed is not None:
        return _replay(options)
    started = time.monotonic()
    tally, failures = Tally(), []
    for seed in _seeds(options, started):
        outcome = simulation.run(planning.make(seed, options.servers, is_bare=options.bare))
        tally.add(outcome)
        if outcome.violations:
            failures.append(_report_failure(outcome, options))
            if len(failures) >= options.failures:
                break
    took_s = time.monotonic() - started
    if options.json:
        print(json.dumps(_as_json(tally, failures, took_s)))
    else:
        print("\n".join(_as_text(tally, failures, took_s)))
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run the servers, with their clients, through simulated failures.",
        epilog="example: python tools/simulate.py --seeds 300",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--seeds", type=int, default=100, metavar="N", help="run this many seeds (default 100)")
    amount.add_argument("--minutes", type=float, metavar="M", help="run seeds for so long")
    amount.add_argument("--seed", type=int, metavar="S", help="run this seed only")
    amount.add_argument("--replay", type=Path, metavar="FILE", help="run the case in this file only")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="where to begin (default 0)")
    parser.add_argument("--servers", type=int, choices=(3, 5, 7), help="voters; else the seed says how many")
    parser.add_argument("--bare", action="store_true", help="agreement alone, without clients and their tree")
    parser.add_argument("--trace", action="store_true", help="print all of the trace")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.add_argument("--failures", type=int, default=1, metavar="N", help="stop after so many (default 1)")
    parser.add_argument("--shrink-runs", type=int, default=400, metavar="N", help="runs to make a failing case smaller")
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where failing cases go (default here)"
    )
    return parser


def _seeds(options: argparse.Namespace, started: float) -> Iterator[int]:
    seed = options.first_seed
    while seed < options.first_seed + options.seeds or options.minutes is not None:
        if options.minutes is not None and time.monotonic() - started > options.minutes * 60:
            return
        yield seed
        seed += 1


def _replay(options: argparse.Namespace) -> int:
    if options.replay is not None:
        try:
            case = Case.from_json(json.loads(options.replay.read_text()))
        except (OSError, ValueError) as error:
            print(
                f"{options.replay} cannot be replayed: {error}; give a file that --output has written", file=sys.stderr
            )
            return 2
    else:
        case = planning.make(options.seed, options.servers, is_bare=options.bare)
    outcome = simulation.run(case, with_trace=True)
    print("\n".join(case.describe()))
    _print_trace(outcome, len(outcome.lines) if options.trace else _TRACE_LINES)
    for violation in outcome.violations:
        print(f"VIOLATED {violation}")
    print(f"{outcome.simulated_us / 1e6:.3f} s simulated, {outcome.events} events, hash {outcome.digest}")
    return 1 if outcome.violations else 0


def _print_trace(outcome: Outcome, lines: int) -> None:
    if len(outcome.lines) > lines:
        print(f"... {len(outcome.lines) - lines} lines before this")
    for line in outcome.lines[-lines:]:
        print(line)


def _report_failure(outcome: Outcome, options: argparse.Namespace) -> dict[str, Any]:
    """Shrink, write, print. What the report says of it."""
    case = simulation.smallest(outcome, runs_max=options.shrink_runs)
    path = options.output / f"failure-{case.seed}.json"
    path.write_text(json.dumps(case.to_json()) + "\n")
    if not options.json:
        print(f"seed {case.seed}: VIOLATED {outcome.violations[0]}")
        print(f"Made smaller (replay with --replay {path}):")
        print("\n".join(case.describe()))
        small = simulation.run(case, with_trace=True)
        _print_trace(small, len(small.lines) if options.trace else _TRACE_LINES)
        print(f"VIOLATED {small.violations[0]}", flush=True)
    return {"seed": case.seed, "violations": [str(one) for one in outcome.violations], "case": str(path)}


def _as_json(tally: Tally, failures: list[dict[str, Any]], took_s: float) -> dict[str, Any]:
    return {
        "seeds": tally.runs,
        "failures": failures,
        "simulated_s": tally.simulated_us / 1e6,
        "took_s": round(took_s, 3),
        "speed": round(tally.simulated_us / 1e6 / took_s, 1),
        "events": tally.events,
        "operations": tally.operations,
        "slowest_to_serve_s": tally.slowest_us / 1e6,
        "happened": dict(tally.faults),
        "checks": dict(tally.checks),
        "plans": dict(tally.plans),
    }


def _as_text(tally: Tally, failures: list[dict[str, Any]], took_s: float) -> Iterator[str]:
    simulated_s = tally.simulated_us / 1e6
    yield f"seeds      {tally.runs}, of which {len(failures)} failed: {[failure['seed'] for failure in failures]}"
    yield f"simulated  {simulated_s / 3600:.2f} hours in {took_s:.1f} s: {simulated_s / took_s:.0f} times real time"
    yield f"events     {tally.events}, of which {tally.operations} requests of clients"
    yield f"recovery   at most {tally.slowest_us / 1e6:.1f} s until all served again (seed {tally.slowest_seed})"
    yield f"plans      {_counted(tally.plans)}"
    yield f"happened   {_counted(tally.faults)}"
    yield f"checks     {_counted(tally.checks)}"


def _counted(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
