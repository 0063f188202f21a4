"""Cuts the power under a store, at every moment of what it does, and sees whether it starts with all that it promised.

    python tools/power_cuts.py --images 20000
    python tools/power_cuts.py --images 100000 --seed 100 --jobs 2
    python tools/power_cuts.py --loads "appends,installs" --images 5000
    python tools/power_cuts.py --replay power-cut-appends-3-1

A load is recorded: every write and every sync of real LMDB files. Then the images that a power cut may leave are built,
each is started, and what is found there is held against what had been promised by then. `zkstore.testing.powercut` has
the model of the disk. What a load draws comes from its seed; the threads of a server and the keys of a log do not, so
a case that failed is kept whole, with its recording and its image, for `--replay`.

Ends with 0 if nothing was wrong, with 1 if something was, with 2 if it cannot be run so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkstore.testing.powercut import run
from zkstore.testing.powercut.campaign import Tally
from zkstore.testing.powercut.run import Outcome

_MEMORY: Final = Path("/dev/shm")
_BATCH_IMAGES: Final = 1_000
_JOBS_MAX: Final = 256


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    unknown = set(options.loads) - set(run.NAMES)
    if unknown:
        print(
            f"power_cuts: no such load: {', '.join(sorted(unknown))}; give some of {', '.join(run.NAMES)}",
            file=sys.stderr,
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="zkstore-power-", dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        if options.replay is not None:
            return _replay(options.replay, Path(scratch))
        return _run(options, Path(scratch))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Cut the power under a store, and see whether it starts with all that it promised.",
        epilog="example: python tools/power_cuts.py --images 20000 --jobs 2",
    )
    parser.add_argument("--images", type=_positive, default=10_000, metavar="N", help="at least (default 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="where the loads' seeds begin (default 0)")
    parser.add_argument("--loads", type=_names, default=run.NAMES, metavar="L,...", help=f"{', '.join(run.NAMES)}")
    parser.add_argument("--jobs", type=_jobs, default=1, metavar="N", help="processes at a time (default 1)")
    parser.add_argument("--servers", type=int, default=2, metavar="N", help="real servers per recording (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a report there, too")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where cases go (default here)")
    parser.add_argument("--replay", type=Path, metavar="CASE", help="do this kept case again, and nothing else")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a number from 1, not '{text}'")
    return int(text)


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _JOBS_MAX:
        raise argparse.ArgumentTypeError(f"give a number of processes from 1 to {_JOBS_MAX}, not '{text}'")
    return int(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _run(options: argparse.Namespace, scratch: Path) -> int:
    started_s = time.monotonic()
    each = min(_BATCH_IMAGES, max(50, options.images // len(options.loads)))
    work = run.batches(options.loads, options.seed, each, options.servers, scratch, options.output)
    done: list[Outcome] = []
    images = 0
    results = run.outcomes(work, options.jobs)
    try:
        for outcome in results:
            done.append(outcome)
            images += outcome.tally.images
            took_s = time.monotonic() - started_s
            _progress(f"{images} images of {options.images}, {images / took_s:.0f}/s: {_line(outcome)}")
            for finding, case in zip(outcome.findings, [*outcome.cases, ""], strict=False):
                print(f"WRONG {finding}" + (f" (replay with --replay {case})" if case else ""), flush=True)
            if images >= options.images:
                break
    except KeyboardInterrupt:
        print("interrupted; this is what was done", file=sys.stderr)
    finally:
        results.close()
    report = _report(done, time.monotonic() - started_s)
    print("\n".join(_summary(report)))
    if options.json is not None:
        options.json.write_text(json.dumps(report) + "\n")
    return 1 if report["findings"] else 0


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _line(outcome: Outcome) -> str:
    wrong = f"{len(outcome.findings)} WRONG" if outcome.findings else "nothing wrong"
    return f"{outcome.batch.load}, seed {outcome.batch.seed}, {outcome.tally.images} images, {wrong}"


def _report(done: list[Outcome], took_s: float) -> dict[str, Any]:
    tally = Tally()
    by_load: dict[str, int] = {}
    for outcome in done:
        tally.add(outcome.tally)
        by_load[outcome.batch.load] = by_load.get(outcome.batch.load, 0) + outcome.tally.images
    return {
        "images": tally.images,
        "judged": tally.judged,
        "moments": tally.moments,
        "second_ways": tally.second_ways,
        "servers": sum(outcome.servers for outcome in done),
        "recordings": sum(outcome.recordings for outcome in done),
        "kinds": dict(tally.kinds),
        "loads": by_load,
        "findings": [finding for outcome in done for finding in outcome.findings],
        "cases": [case for outcome in done for case in outcome.cases],
        "took_s": round(took_s, 1),
    }


def _summary(report: dict[str, Any]) -> Iterator[str]:
    yield f"images      {report['images']} different ones, {report['images'] / max(report['took_s'], 0.1):.0f}/s"
    yield f"judged      {report['judged']}, at {report['moments']} moments of {report['recordings']} recordings"
    yield f"second way  {report['second_ways']} were started without their checkpoint, too"
    yield f"servers     {report['servers']} were started as processes, and asked"
    yield f"loads       {', '.join(f'{name} {count}' for name, count in report['loads'].items())}"
    yield f"wrong       {len(report['findings'])}"


def _replay(case: Path, scratch: Path) -> int:
    try:
        complaint = run.replay(case, scratch / "image", print)
    except (OSError, ValueError, TypeError) as error:
        print(f"{case} cannot be replayed: {error}; give a directory that --output has got", file=sys.stderr)
        return 2
    print("nothing is wrong" if complaint is None else f"WRONG {complaint}")
    return 0 if complaint is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
