"""Puts each bug of the museum back into the simulated servers, and says which seed found it.

    python tools/museum.py
    python tools/museum.py --only "a segment is left out where the log and memory join" --trace
    python tools/museum.py --first-seed 10000

Ends with 0 if every bug was found within the number of seeds that it states, else with 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkstore.testing import simulation
from zkstore.testing.museum import EXHIBITS, Exhibit, Found

_TRACE_LINES: Final = 60


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    shown = [exhibit for exhibit in EXHIBITS if options.only is None or options.only in exhibit.name]
    if not shown:
        print(f"no exhibit has {options.only!r} in its name; without --only, all are shown", file=sys.stderr)
        return 2
    started = time.monotonic()
    missed = [exhibit for exhibit in shown if not _show(exhibit, options)]
    print(f"{len(shown) - len(missed)} of {len(shown)} bugs found, in {time.monotonic() - started:.1f} s")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Put bugs of the past back into the simulated servers, and find them.",
        epilog="example: python tools/museum.py --only snapshot",
    )
    parser.add_argument("--only", metavar="WORDS", help="only exhibits with these words in their name")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="where to begin (default 0)")
    parser.add_argument("--trace", action="store_true", help="print the end of the run that finds the bug")
    return parser


def _show(exhibit: Exhibit, options: argparse.Namespace) -> bool:
    """Whether it was found."""
    first = options.first_seed
    started = time.monotonic()
    found = exhibit.search(range(first, first + exhibit.seeds_max))
    took_s = time.monotonic() - started
    print(f"{exhibit.name} [{exhibit.origin}]")
    print(f"    {exhibit.story}")
    kind = "agreement alone" if exhibit.is_bare else "servers with clients"
    if found is None:
        print(f"    NOT FOUND by {exhibit.seeds_max} seeds from {first} on ({kind}, {took_s:.1f} s)", flush=True)
        return False
    number = found.seed - first + 1
    print(f"    found by seed {found.seed}, number {number} of at most {exhibit.seeds_max} ({kind}, {took_s:.1f} s):")
    print(f"    {found.violation}", flush=True)
    if options.trace:
        _print_trace(exhibit, found)
    return True


def _print_trace(exhibit: Exhibit, found: Found) -> None:
    case = exhibit.case(found.seed)
    with exhibit.put_in():
        outcome = simulation.run(case, with_trace=True)
    for line in (*case.describe(), "...", *outcome.lines[-_TRACE_LINES:]):
        print(f"    {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
