"""Lets real servers meet every failpoint, under recorded clients, and judges what is left.

    python tools/failpoint_sweep.py
    python tools/failpoint_sweep.py log.append checkpoint.finish --action crash
    python tools/failpoint_sweep.py --json --output kept > report.json

For each failpoint and action: servers under load are armed; when it has struck, whoever has ended is started again
without help, and everything that was recorded is judged. A failpoint that is never reached fails the sweep.

Ends with 0 if nothing was wrong, with 1 if something was, with 2 if it cannot be run so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkstore.failpoints import FAILPOINTS
from zkstore.testing.sweeping.loads import Load
from zkstore.testing.sweeping.play import Outcome, Play, trials

_PARALLEL: Final = 2


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    names = [name for name in FAILPOINTS if not options.words or any(word in name for word in options.words)]
    chosen = [trial for name in names for trial in trials(name) if trial[1].startswith(options.action)]
    if options.load:
        chosen = [trial for trial in chosen if trial[2].__name__ == options.load]
    if not chosen:
        print("failpoint_sweep: nothing has that name, action and load", file=sys.stderr)
        return 2
    outcomes = sweep(chosen, options.output, options.parallel, lambda line: print(line, file=sys.stderr, flush=True))
    if options.json:
        print(json.dumps([outcome.to_json() for outcome in outcomes], indent=1))
    else:
        print("\n".join(summary(outcomes)))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def sweep(
    chosen: Sequence[tuple[str, str, Load]], output: Path, parallel: int, tell: Callable[[str], None]
) -> list[Outcome]:
    """Run all of these; where something is wrong, the files are kept below `output`."""
    with ThreadPoolExecutor(parallel) as pool:
        return list(pool.map(lambda trial: _one(trial, output, tell), chosen))


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """For people."""
    failed = [outcome for outcome in outcomes if outcome.problems]
    names = {outcome.name for outcome in outcomes}
    struck = {outcome.name for outcome in outcomes if outcome.has_struck}
    lines = [
        f"failpoints {len(names)}, of which {len(struck)} were reached",
        f"trials     {len(outcomes)}, of which {len(failed)} failed",
        f"requests   {sum(outcome.answered for outcome in outcomes)} answered",
        f"refusals   {sum(outcome.refused for outcome in outcomes)} servers ended for an error, with a sentence",
    ]
    return lines + [f"FAILED     {one.name}={one.action} in {one.load}: {one.problems[0]}" for one in failed]


def _one(trial: tuple[str, str, Load], output: Path, tell: Callable[[str], None]) -> Outcome:
    name, action, load = trial
    root = Path(tempfile.mkdtemp(prefix="zkstore-sweep-"))
    try:
        outcome = Play(name, action, load, root).run()
        verdict = "WRONG" if outcome.problems else "ok"
        tell(f"{verdict:<5} {name}={action} in {load.__name__}: {outcome.answered} answers, {outcome.took_s} s")
        for problem in outcome.problems[:5]:
            tell(f"      {problem}")
        if outcome.problems:
            shutil.copytree(root, output / f"{name}-{action}-{load.__name__}", dirs_exist_ok=True)
        return outcome
    finally:
        shutil.rmtree(root)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Let real servers meet every failpoint, and judge what is left.",
        epilog="example: python tools/failpoint_sweep.py log.append --action crash",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="only failpoints with one of these in their names")
    parser.add_argument("--action", default="", help="only actions that begin so: crash, delay, fail")
    parser.add_argument("--load", default="", help="only in this life")
    parser.add_argument("--parallel", type=int, default=_PARALLEL, metavar="N", help="so many at a time (default 2)")
    parser.add_argument("--json", action="store_true", help="report as JSON; progress goes to stderr")
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where files are kept (default here)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
