"""Runs real servers, under recorded clients, through faults that a seed chooses, and judges all that was recorded.

    python tools/nemesis.py --minutes 1
    python tools/nemesis.py --minutes 20 --servers 5 --first-seed 100
    python tools/nemesis.py --seed 7 --kinds kill,pause
    python tools/nemesis.py --replay nemesis-7.json

A seed names the clients and the faults, which are printed as they come; how long everything takes is the machine's
affair, so a seed is no replay. Each seed gets new servers and --seconds of faults, and then about half a minute in
which all must come right. Where something is wrong, the servers' data and logs are kept, and the report names them.

Faults of the network need the right to make network namespaces, those of power and of full disks the right to mount;
as root, normally. Slow disks need strace.

Ends with 0 if nothing was wrong, with 1 if something was, with 2 if it cannot be run so.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkstore.errors import ConfigError
from zkstore.testing.nemesis import keeping
from zkstore.testing.nemesis.case import Case, Outcome
from zkstore.testing.nemesis.faults import KINDS
from zkstore.testing.nemesis.keeping import Kept

_SHOWN_MAX: Final = 10
_LOCAL, _UPGRADING = 0.2, 0.8


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    keeping.clean_up_on_sigterm()
    # Where the report is JSON, progress must not come between.
    tell = partial(print, file=sys.stderr if options.json else sys.stdout, flush=True)
    runs: list[Kept] = []
    try:
        for case in _cases(options):
            tell(f"seed {case.seed}")
            runs.append(_run(case, options.output, tell))
    except ConfigError as error:
        print(f"nemesis: {error}", file=sys.stderr)
        return 2
    outcomes = [kept.outcome for kept in runs]
    if options.json:
        print(json.dumps([{**kept.outcome.to_json(), "kept": kept.directory and str(kept.directory)} for kept in runs]))
    else:
        print("\n".join(_summary(outcomes)))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run real servers, under recorded clients, through faults.",
        epilog="example: python tools/nemesis.py --minutes 5",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--minutes", type=float, metavar="M", help="run seeds for so long, one at least (default 1)")
    amount.add_argument("--seed", type=int, metavar="S", help="run this seed only")
    amount.add_argument("--replay", type=Path, metavar="FILE", help="run the case that a failed run has left behind")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="where to begin (default 0)")
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="of faults for each seed (default 30)")
    parser.add_argument("--servers", type=int, choices=(3, 5, 7), default=3, help="how many (default 3)")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="how many (default 8)")
    parser.add_argument("--kinds", default="", metavar="K,...", help=f"faults: {', '.join(KINDS)} (default all)")
    parser.add_argument("--json", action="store_true", help="report as JSON; progress goes to stderr")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where data is kept (default here)")
    return parser


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    """Raises ConfigError if the file to replay is none."""
    if options.replay is not None:
        yield keeping.read(options.replay)
        return
    kinds = tuple(kind.strip() for kind in options.kinds.split(",") if kind.strip())
    first = Case(options.first_seed, options.servers, int(options.seconds * 1000), options.clients, kinds)
    if options.seed is not None:
        yield _with_sessions(replace(first, seed=options.seed))
        return
    until_s = time.monotonic() + 60 * (1 if options.minutes is None else options.minutes)
    seed = options.first_seed
    while seed == options.first_seed or time.monotonic() < until_s:
        yield _with_sessions(replace(first, seed=seed))
        seed += 1


def _with_sessions(case: Case) -> Case:
    """Some seeds have local sessions, most of which may be upgraded."""
    random = Random(f"sessions {case.seed}")
    are_local = random.random() < _LOCAL
    return replace(case, local_sessions=are_local, upgrades_sessions=are_local and random.random() < _UPGRADING)


def _run(case: Case, output: Path, tell: partial[None]) -> Kept:
    """One seed, and what is to be said of it."""
    kept = keeping.run_and_keep(case, output, "nemesis", tell)
    for problem in kept.outcome.problems[:_SHOWN_MAX]:
        tell(f"WRONG {problem}")
    where = "" if kept.directory is None else f"; data and logs are kept in {kept.directory}, case: {kept.case_file}"
    tell(f"seed {case.seed}: {_line(kept.outcome)}{where}")
    return kept


def _line(outcome: Outcome) -> str:
    problems = f"{len(outcome.problems)} problems" if outcome.problems else "nothing was wrong"
    return (
        f"{problems}; {sum(outcome.struck.values())} faults, {outcome.epochs} leaders, {outcome.answers} of"
        f" {outcome.calls} requests answered, {outcome.txns} txns"
    )


def _summary(outcomes: list[Outcome]) -> Iterator[str]:
    struck: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    for outcome in outcomes:
        struck.update(outcome.struck)
        if outcome.verdict is not None:
            checks.update(outcome.verdict.counts)
    failed = [outcome.case.seed for outcome in outcomes if outcome.problems]
    yield f"seeds      {len(outcomes)}, of which {len(failed)} failed: {failed}"
    yield f"requests   {sum(outcome.calls for outcome in outcomes)}, answered {sum(one.answers for one in outcomes)}"
    yield f"leaders    {sum(outcome.epochs for outcome in outcomes)}"
    yield f"clients    were called at most {max(one.late_us for one in outcomes) // 1000} ms too late"
    yield f"happened   {_counted(struck)}"
    recovered = sorted(one.took_us // 1000 for outcome in outcomes for one in outcome.timeline.recoveries)
    if recovered:
        yield f"recovery   median {median(recovered):.0f} ms, worst {recovered[-1]} ms, of {len(recovered)}"
    yield f"checks     {_counted(checks)}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
