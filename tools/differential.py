"""Sends the same random requests to Apache ZooKeeper and to zkstore, and reports where they do not answer alike.

    python tools/differential.py
    python tools/differential.py --seed 7 --scripts 1000 --steps 200
    python tools/differential.py --seed 7 --scripts 1 --only 0,12,13
    python tools/differential.py --list

Each script (connects, requests right and wrong, watches, reconnects) follows from its seed. Both servers get the same
bytes in lock step; answers, Stats, zxids, watch events and their order are compared. A script on which they
differ is shrunk to the steps that it takes, and printed. What zkstore does otherwise on purpose is in --list. Needs
Debian's zookeeper package; both servers keep their data in memory.

Ends with 0 if there was no difference, 1 if there was one, 2 if the servers could not be run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import contestants
from tools.contestants import ContestantError
from tools.differential_generate import Generator
from tools.differential_play import SilentError
from tools.differential_rules import DELIBERATE
from tools.differential_run import Difference, Pair, reference, servers, shrink
from tools.differential_script import Step, describe
from tools.differential_seen import describe as describe_seen

IN_MEMORY = Path("/dev/shm")
"""Where both servers' disks cost nothing; the default directory for such things serves, too."""


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.list:
        print(deliberate_differences())
        return 0
    apache = reference()
    if apache is None:
        print(f"differential: Apache ZooKeeper is missing ({contestants.APACHE_ENVIRONMENT})", file=sys.stderr)
        return 2
    kept = None if options.only is None else [int(number) for number in options.only.split(",")]
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as home:
        try:
            with servers([apache, contestants.zkstore()], Path(home)) as addresses:
                return compare(
                    Pair(addresses), range(options.seed, options.seed + options.scripts), options.steps, kept
                )
        except ContestantError as error:
            print(f"differential: {error}", file=sys.stderr)
            return 2


def compare(pair: Pair, seeds: range, count: int, kept: Sequence[int] | None = None) -> int:
    """Play one script for each seed, and print what differs; 1 if anything does."""
    began = time.monotonic()
    differing = 0
    for seed in seeds:
        script = Generator(seed).script(count)
        indexes = list(range(len(script)) if kept is None else kept)
        try:
            found = pair.play([script[index] for index in indexes])
        except (SilentError, ConnectionError) as error:
            raise ContestantError(f"the script of seed {seed} ended a server: {error}") from error
        if found is not None:
            differing += 1
            print(reduced(pair, seed, count, script, indexes[: found.step + 1]), flush=True)
    print(summary(pair.answers, len(seeds), differing, time.monotonic() - began))
    return int(differing > 0)


def reduced(pair: Pair, seed: int, count: int, script: Sequence[Step], indexes: Sequence[int]) -> str:
    """The shortest part of a script on which the servers differ, as text."""

    def play(kept: Sequence[int]) -> Difference | None:
        return pair.play([script[index] for index in kept])

    kept = shrink(indexes, lambda kept: play(kept) is not None)
    difference = play(kept)
    again = f"--seed {seed} --scripts 1 --steps {count} --only {','.join(map(str, kept))}"
    lines = [f"seed {seed} differs; again: python tools/differential.py {again}"]
    lines += [f"  {describe(script[index])}" for index in kept]
    if difference is None:
        return "\n".join([*lines, "  and did so once only: this depends on time, or on what happened before"])
    for label in sorted({label for _, log in difference.logs for label in log}):
        seen = [log.get(label) for _, log in difference.logs]
        if any(log != seen[0] for log in seen):
            for name, log in difference.logs:
                lines.append(f"    {label} sees from {name}:")
                lines += [f"      {describe_seen(each)}" for each in log.get(label, [])]
    return "\n".join(lines)


def summary(answers: Counter[tuple[str, int]], scripts: int, differing: int, seconds: float) -> str:
    """What was asked how often, and which codes came back."""
    lines = []
    for name in sorted({name for name, _ in answers}):
        codes = sorted((code, times) for (each, code), times in answers.items() if each == name)
        lines.append(f"{name:>24}: " + ", ".join(f"{code} {times}x" for code, times in reversed(codes)))
    asked = sum(times for (name, _), times in answers.items() if name != "event")
    lines.append(f"{asked} requests in {scripts} scripts, {differing} of them with a difference, {seconds:.0f} s")
    return "\n".join(lines)


def deliberate_differences() -> str:
    """The table, as text."""
    parts = []
    for number, rule in enumerate(DELIBERATE, 1):
        what, why, handling = (
            textwrap.fill(text, 110, initial_indent=lead, subsequent_indent="    ")
            for text, lead in (
                (rule.what, f"{number:2}. "),
                (rule.why, "    why: "),
                (rule.handling, "    here: "),
            )
        )
        parts.append(f"{what}\n{why}\n{handling}")
    return "\n\n".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the first script")
    parser.add_argument("--scripts", type=int, default=100, help="how many, each with the next seed")
    parser.add_argument("--steps", type=int, default=100, help="how many in a script")
    parser.add_argument("--only", metavar="I,J,...", help="play these steps only, counted from 0")
    parser.add_argument("--list", action="store_true", help="print the deliberate differences, and why they are")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
