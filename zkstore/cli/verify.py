"""`zkstore verify`: read everything in a data directory that no server is using, and say what is not as written."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from zkstore.cli.import_ import progress_to_stderr
from zkstore.errors import DirectoryUnusableError, StorageError
from zkstore.exchange.repair import Repaired, repair
from zkstore.inspection.source import open_source
from zkstore.storage.verify import Verified, verify

_EPILOG = """\
Nothing is written in DIR. Exit code 0: all is well; 1: damage was found, or the directory is in use or cannot be read.

--repair-to makes a new data directory of what is provably right: the newest tree that a sound checkpoint or snapshot
and a sound part of the log lead to. What lies behind that is left out, and told. Of an ensemble, do this only if no
other server has the data: a server that begins with an empty directory is sent all by the others. Exit code 0: NEWDIR
was made, with all or with a part; 1: nothing could be saved.

examples:
  zkstore verify /var/lib/zkstore
  zkstore verify /var/lib/zkstore --repair-to /var/lib/zkstore-new
"""

_PATHS_SHOWN = 20


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    if not options.directory.is_dir():
        print(f"zkstore verify: there is no directory {options.directory}", file=sys.stderr)
        return 1
    try:
        if options.repair_to is not None:
            return _repair(options)
        found = verify(options.directory, log_directory=options.log_directory)
    except StorageError as error:
        print(f"zkstore verify: {error}", file=sys.stderr)
        return 1
    print(_as_json(found) if options.json else _as_text(found))
    if found.findings and not options.json:
        print(f"to save what is right into a new directory: zkstore verify {options.directory} --repair-to NEWDIR")
    return 1 if found.findings else 0


def _repair(options: argparse.Namespace) -> int:
    with open_source(options.directory, log_directory=options.log_directory) as source:
        if source.facts.holder:
            raise DirectoryUnusableError(
                f"in use by {source.facts.holder}",
                where=options.directory,
                advice="Stop the server first, or take a copy of what it has with `zkstore backup`",
            )
        done = repair(source, options.repair_to, progress_to_stderr("zkstore verify"))
        knows_promises = source.facts.epochs is not None
    print(_repaired_json(done) if options.json else _repaired_text(done, options))
    if not knows_promises:
        print(
            "note: what this server had promised to an ensemble could not be read: do not start it beside other servers"
            " that have data",
            file=sys.stderr,
        )
    return 0


def _repaired_text(done: Repaired, options: argparse.Namespace) -> str:
    landed, left = done
    lines = [f"{number}. {message}" for number, message in enumerate(left.damage, 1)]
    if lines:
        lines.insert(0, "damage was met:")
    lines.append(
        f"saved into {options.repair_to}: {landed.znodes:,} znodes, {landed.sessions:,} sessions, as of zxid"
        f" {landed.zxid:#x}"
    )
    if not left.is_all:
        lines.append(
            f"left out: all behind {landed.zxid:#x}, which is not known: the log cannot be read"
            + (f"; there was something up to {left.last_zxid:#x}" if left.first_zxid else "")
        )
    elif not left.first_zxid:
        lines.append("nothing was left out")
    else:
        readable = f"{left.segments:,} segments with {left.txns:,} txns of it can be read, and were not applied"
        lines.append(f"left out: all behind {landed.zxid:#x} up to {left.last_zxid:#x}; {readable}")
        if left.paths:
            shown = " ".join(path.decode("utf-8", "backslashreplace") for path in left.paths[:_PATHS_SHOWN])
            more = len(left.paths) + left.paths_more - _PATHS_SHOWN
            lines.append(f"they would have changed: {shown}{f' and {more:,} more' if more > 0 else ''}")
            lines.append(f"see them with: zkstore inspect {options.directory} log --from {landed.zxid + 1:#x}")
    lines.append(f"start it with: zkstore serve --data-dir {options.repair_to}")
    return "\n".join(lines)


def _repaired_json(done: Repaired) -> str:
    landed, left = done
    value = {
        "zxid": f"{landed.zxid:#x}",
        "digest": f"{landed.digest:016x}",
        "znodes": landed.znodes,
        "sessions": landed.sessions,
        "left_out": {
            **left._asdict(),
            "first_zxid": f"{left.first_zxid:#x}" if left.first_zxid else None,
            "last_zxid": f"{left.last_zxid:#x}" if left.first_zxid else None,
            "paths": [path.decode("utf-8", "backslashreplace") for path in left.paths],
        },
    }
    return json.dumps(value, indent=2)


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
    parser.add_argument(
        "--repair-to", type=Path, metavar="NEWDIR", help="save what is provably right into a new, empty directory"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser
