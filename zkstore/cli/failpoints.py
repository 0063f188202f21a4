"""`zkstore failpoints`: list the places where a test may have a server crash, wait or fail."""

from __future__ import annotations

import argparse
import json

from zkstore.failpoints import FAILPOINTS, VARIABLE

_EPILOG = f"""\
A server strikes at itself where the variable {VARIABLE} says so when it starts: NAME=ACTION items with semicolons
between them. The actions are crash, delay(MS) and fail(ERROR), with one of the errors listed. Without more they strike
every time; with @5 the fifth time only, with @5-9 from the fifth to the ninth, with @5+ from the fifth on.

example:
  zkstore failpoints
  {VARIABLE}="log.append.before_sync=delay(300)@10+" zkstore serve --data-dir /tmp/slow-disk
  {VARIABLE}="checkpoint.finish.before_commit=crash" zkstore serve --data-dir /tmp/crashing
"""


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    found = [one for one in FAILPOINTS.values() if options.word in one.name]
    if options.json:
        print(json.dumps([one._asdict() for one in found], indent=2))
        return 0 if found else 1
    if not found:
        print(f"no failpoint has {options.word!r} in its name")
        return 1
    width = max(len(one.name) for one in found)
    for one in found:
        errors = f" [{', '.join(one.errors)}]" if one.errors else ""
        print(f"{one.name:<{width}}  {one.text}{errors}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore failpoints",
        description="List the places where a test may have a server crash, wait or fail, and with which errors.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only those with this in their names")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser
