"""Spoils a small store in every way in turn, and looks what a start and `zkstore verify` make of it.

    python tools/damage_sweep.py
    python tools/damage_sweep.py --flips 20000 --seed 7 --only tree/data.mdb

Every bit of what LMDB's metadata pages say, every byte of the rest of them, every page of every LMDB file in several
ways, every file as a whole (missing, empty, foreign, truncated, older, another's), pages that cannot be read, and
single bits anywhere. Each is tried on a store that was stopped in order and on one that was not.

A start has to arrive at what was written, or to refuse with a sentence that names the place. Ends with 0 if it always
did, with 1 if not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkstore.testing.sweeping.damage import HEALED, REFUSED, RIGHT, SAME, Damage, Found, Sample, attempt, damages

_SHOWN_MAX = 20


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    counts: Counter[tuple[str, str, str]] = Counter()
    wrong: list[tuple[Damage, Found, bool]] = []
    began_s = time.monotonic()
    for is_clean in (True, False):
        with tempfile.TemporaryDirectory(prefix="zkstore-damage-", dir=options.directory) as text:
            sample = Sample(Path(text), is_clean=is_clean)
            for number, damage in enumerate(damages(sample, Random(options.seed), options.flips)):
                if options.only not in damage.file or number % options.every:
                    continue
                found = attempt(sample, damage, Path(text) / "tried")
                counts[_kind_of_file(damage.file), damage.kind, found.outcome] += 1
                if found.outcome not in RIGHT:
                    wrong.append((damage, found, is_clean))
                    if len(wrong) <= _SHOWN_MAX:
                        print(_line(damage, found, is_clean), file=sys.stderr, flush=True)
    if options.json:
        rows = [[*key, count] for key, count in sorted(counts.items())]
        print(json.dumps({"counts": rows, "wrong": [_line(*one) for one in wrong]}, indent=1))
    else:
        print("\n".join(_table(counts)))
        print(f"{counts.total()} damages in {time.monotonic() - began_s:.0f} s; {len(wrong)} of them went wrong")
    return 1 if wrong else 0


def _kind_of_file(file: str) -> str:
    return "snapshots/" + Path(file).name if file.startswith("snapshots") else file


def _line(damage: Damage, found: Found, is_clean: bool) -> str:
    stop = "after an orderly stop" if is_clean else "after a crash"
    return f"{damage.file}, {damage.kind}, {stop}: {found.outcome}: {found.text}"


def _table(counts: Counter[tuple[str, str, str]]) -> list[str]:
    rows = sorted({(file, kind) for file, kind, _ in counts})
    lines = [f"{'file':<22} {'damage':<20} {'same':>7} {'healed':>7} {'refused':>8} {'wrong':>6}"]
    for file, kind in rows:
        told = [counts[file, kind, outcome] for outcome in (SAME, HEALED, REFUSED)]
        other = sum(count for key, count in counts.items() if key[:2] == (file, kind)) - sum(told)
        lines.append(f"{file:<22} {kind:<20} {told[0]:>7} {told[1]:>7} {told[2]:>8} {other:>6}")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Spoil a small store in every way in turn.",
        epilog="example: python tools/damage_sweep.py --every 50",
    )
    parser.add_argument("--flips", type=int, default=2_000, metavar="N", help="single bits anywhere (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of what is left to chance (default 0)")
    parser.add_argument("--only", default="", metavar="WORD", help="only files with this in their names")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th damage (default 1)")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where the store is made (default the system's)")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
