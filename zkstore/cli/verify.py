"""`zkstore verify`: read everything in a data directory that no server is using, and say what is not as written."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from zkstore.errors import StorageError
from zkstore.storage.verify import Verified, verify

_EPILOG = """\
Nothing is written. Exit code 0: all is well; 1: damage was found, or the directory is in use or cannot be read.

example:
  zkstore verify /var/lib/zkstore
"""


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    if not options.directory.is_dir():
        print(f"zkstore verify: there is no directory {options.directory}", file=sys.stderr)
        return 1
    try:
        found = verify(options.directory, log_directory=options.log_directory)
    except StorageError as error:
        print(f"zkstore verify: {error}", file=sys.stderr)
        return 1
    print(_as_json(found) if options.json else _as_text(found))
    return 1 if found.findings else 0


def _as_text(found: Verified) -> str:
    walked = f"{found.segments} segments with {found.txns} txns, {found.images} checkpoints and snapshots"
    if found.awaiting:
        walked += f"; {found.awaiting} segments will be put in their place by the next start"
    if not found.findings:
        return f"all is well: {walked}"
    lines = [f"{number}. {finding.message}" for number, finding in enumerate(found.findings, 1)]
    return "\n".join([f"damage was found. Read were {walked}", *lines])


def _as_json(found: Verified) -> str:
    findings = [finding._asdict() for finding in found.findings]
    return json.dumps({**found._asdict(), "findings": findings}, indent=2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore verify",
        description="Check a data directory: checksums, the chain of the log, and the digests of the tree.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the data directory")
    parser.add_argument(
        "--log-directory", type=Path, metavar="DIR", help="where the log lies, if elsewhere (dataLogDir)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser
