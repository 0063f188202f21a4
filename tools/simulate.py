"""Runs the servers, with their clients, through simulated failures, one seed after the other, and says what came of it.

    python tools/simulate.py --seeds 300
    python tools/simulate.py --minutes 30 --first-seed 100000 --jobs 8
    python tools/simulate.py --seed 4711 --trace
    python tools/simulate.py --replay failure.json --trace

A seed makes a world: servers, disks, networks, clocks, clients, and a plan of faults, which is printed. Where something
is wrong, the case is made smaller for as long as it fails alike, written to a file for `--replay`, and printed with the
trace of its run.

Ends with 0 if nothing was wrong, with 1 if something was, with 2 if there is no such case. Ctrl-C ends all workers, and
what was done until then is reported; it ends with 130 then, if nothing was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkstore.testing import simulation, workers
from zkstore.testing.plans import plan as planning
from zkstore.testing.plans.plan import Case
from zkstore.testing.simulation import Outcome, Tally
from zkstore.testing.workers import Died

_TRACE_LINES: Final = 120
_JOBS_MAX: Final = 256
_INTERRUPTED: Final = 130
_PROGRESS_S: Final = 0.2
_CLEAR_LINE: Final = "\r\x1b[K"


@dataclass(frozen=True)
class SeedRun:
    """What is done with a seed."""

    servers: int | None
    is_bare: bool

    def __call__(self, seed: int) -> Outcome:
        """Make its case, and run it."""
        return simulation.run(planning.make(seed, self.servers, is_bare=self.is_bare))


@dataclass
class Work:
    """What was done, and how long it took: `cpu_s` is the processors' time, of all workers."""

    tally: Tally
    failures: list[Outcome | Died]
    took_s: float = 0.0
    cpu_s: float = 0.0
    was_interrupted: bool = False

    @property
    def simulated_s(self) -> float:
        """In all worlds together."""
        return self.tally.simulated_us / 1e6


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.replay is not None or options.seed is not None:
        return _replay(options)
    work = _work(options)
    failures = [_report_failure(failure, options) for failure in work.failures]
    if options.json:
        print(json.dumps(_as_json(work, failures)))
    else:
        print("\n".join(_as_text(work, failures)))
    if failures:
        return 1
    return _INTERRUPTED if work.was_interrupted else 0


def _work(options: argparse.Namespace) -> Work:
    """Run the seeds, until they are done, time is up, there were failures enough, or somebody says stop."""
    started, cpu_before_s = time.monotonic(), _cpu_s()
    work = Work(Tally(), [])
    seeds = _seeds(options, started)
    progress = Progress(sys.stderr, started)
    try:
        with closing(workers.outcomes(seeds, SeedRun(options.servers, options.bare), options.jobs)) as done:
            for outcome in done:
                if isinstance(outcome, Outcome):
                    work.tally.add(outcome)
                if isinstance(outcome, Died) or outcome.violations:
                    work.failures.append(outcome)
                    if len(work.failures) >= options.failures:
                        break
                progress.show(work)
    except KeyboardInterrupt:
        work.was_interrupted = True
    progress.clear()
    work.failures.sort(key=_seed_of)
    work.took_s, work.cpu_s = time.monotonic() - started, _cpu_s() - cpu_before_s
    return work


def _cpu_s() -> float:
    """Of this process, and of its children that have ended."""
    times = os.times()
    return times.user + times.children_user


def _seed_of(failure: Outcome | Died) -> int:
    return failure.seed if isinstance(failure, Died) else failure.case.seed


class Progress:
    """One line that is written over again and again, where somebody looks on."""

    def __init__(self, stream: TextIO, started: float) -> None:
        self._stream = stream if stream.isatty() else None
        self._started = self._shown = started

    def show(self, work: Work) -> None:
        """How far it has come."""
        now = time.monotonic()
        if self._stream is not None and now - self._shown >= _PROGRESS_S:
            self._shown = now
            rate = work.tally.runs / (now - self._started)
            text = f"{work.tally.runs} seeds, {rate:.1f} a second, {len(work.failures)} failed"
            self._stream.write(f"{_CLEAR_LINE}{text}")
            self._stream.flush()

    def clear(self) -> None:
        """Nothing of it stays."""
        if self._stream is not None:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()


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
    parser.add_argument("--jobs", type=_jobs, default=1, metavar="N", help="processes to run them in (default 1)")
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


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _JOBS_MAX:
        raise argparse.ArgumentTypeError(f"give a number of processes from 1 to {_JOBS_MAX}, not {text!r}")
    return int(text)


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


def _report_failure(failure: Outcome | Died, options: argparse.Namespace) -> dict[str, Any]:
    """Shrink, write, print. What the report says of it."""
    if isinstance(failure, Died):
        if not options.json:
            print(f"{failure}; look at it with --seed {failure.seed}")
        return {"seed": failure.seed, "violations": [str(failure)], "case": None}
    case = simulation.smallest(failure, runs_max=options.shrink_runs)
    path = options.output / f"failure-{case.seed}.json"
    path.write_text(json.dumps(case.to_json()) + "\n")
    if not options.json:
        print(f"seed {case.seed}: VIOLATED {failure.violations[0]}")
        print(f"Made smaller (replay with --replay {path}):")
        print("\n".join(case.describe()))
        small = simulation.run(case, with_trace=True)
        _print_trace(small, len(small.lines) if options.trace else _TRACE_LINES)
        print(f"VIOLATED {small.violations[0]}", flush=True)
    return {"seed": case.seed, "violations": [str(one) for one in failure.violations], "case": str(path)}


def _as_json(work: Work, failures: list[dict[str, Any]]) -> dict[str, Any]:
    tally = work.tally
    return {
        "seeds": tally.runs,
        "failures": failures,
        "interrupted": work.was_interrupted,
        "simulated_s": work.simulated_s,
        "took_s": round(work.took_s, 3),
        "cpu_s": round(work.cpu_s, 3),
        "speed": round(work.simulated_s / work.took_s, 1),
        "events": tally.events,
        "operations": tally.operations,
        "slowest_to_serve_s": tally.slowest_us / 1e6,
        "happened": dict(tally.faults),
        "checks": dict(tally.checks),
        "plans": dict(tally.plans),
    }


def _as_text(work: Work, failures: list[dict[str, Any]]) -> Iterator[str]:
    tally = work.tally
    if work.was_interrupted:
        yield "stopped by hand; what was done until then:"
    yield f"seeds      {tally.runs}, of which {len(failures)} failed: {[failure['seed'] for failure in failures]}"
    per_core = f", {work.simulated_s / work.cpu_s:.0f} times a core's" if work.cpu_s else ""
    yield (
        f"simulated  {work.simulated_s / 3600:.2f} hours in {work.took_s:.1f} s ({work.cpu_s:.1f} s of processor time):"
        f" {work.simulated_s / work.took_s:.0f} times real time{per_core}"
    )
    yield f"events     {tally.events}, of which {tally.operations} requests of clients"
    yield f"recovery   at most {tally.slowest_us / 1e6:.1f} s until all served again (seed {tally.slowest_seed})"
    yield f"plans      {_counted(tally.plans)}"
    yield f"happened   {_counted(tally.faults)}"
    yield f"checks     {_counted(tally.checks)}"


def _counted(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
