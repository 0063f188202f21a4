"""`zkstore export`: write a tree for Apache ZooKeeper, or as lines of JSON for any program."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from zkstore.cli.import_ import counted, progress_to_stderr
from zkstore.errors import StorageError
from zkstore.exchange import jsonlines
from zkstore.exchange.apache import snapshot_writer
from zkstore.exchange.content import Content
from zkstore.inspection.source import Source, open_source
from zkstore.storage.log import Epochs

_EPILOG: Final = """\
SOURCE is a data directory, also that of a running server, or one folder below its snapshots/. With --format apache OUT
becomes the dataDir of an Apache ZooKeeper server of 3.4 to 3.9: a snapshot and the epochs. With --format jsonl it is a
file, or - for stdout, with one line for each znode, which `zkstore import` reads back. It holds the passwords of
sessions, so it is for its owner only.

Exit code 0: it is written; 1: it could not be written, and nothing was; 2: wrong usage.

examples:
  zkstore export --format apache /var/lib/zkstore /var/lib/zookeeper-new
  zkstore export --format jsonl --at "yesterday 14:00" /var/lib/zkstore tree.jsonl
  zkstore export --format jsonl /var/lib/zkstore - | jq -r .path
"""


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    progress = progress_to_stderr("zkstore export")
    if options.format == "apache" and str(options.out) == "-":
        print("zkstore export: --format apache writes a directory; name one", file=sys.stderr)
        return 2
    try:
        with open_source(options.source, log_directory=options.log_directory) as source:
            zxid = None if options.at is None else source.resolve(options.at)
            view = source.view(zxid)
            if source.damage:
                raise source.damage[0]
            if options.format == "apache":
                found = _write_apache(options, source, view, progress)
            else:
                found = _write_lines(options, source, view, progress)
    except StorageError as error:
        print(f"zkstore export: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # whoever reads our stdout has had enough
        return 1
    except KeyboardInterrupt:
        print("zkstore export: stopped; nothing was written", file=sys.stderr)
        return 1
    if found:
        print(json.dumps(found, indent=2) if options.json else _as_text(found))
    return 0


def _write_apache(
    options: argparse.Namespace, source: Source, content: Content, progress: Callable[[str], None]
) -> dict[str, Any]:
    written = snapshot_writer.write(content, _epochs(source), options.out, progress)
    notes = []
    if written.ttl_znodes:
        notes.append(
            f"{counted(written.ttl_znodes, 'TTL znode')}: start the server with"
            " -Dzookeeper.extendedTypesEnabled=true, else it takes them for ephemerals of sessions that are gone"
        )
    if written.strangers:
        notes.append(
            f"{counted(written.strangers, 'session')} with passwords that Apache does not derive: their clients start"
            " new ones, and their ephemerals go when they expire"
        )
    if written.data_bytes_max > snapshot_writer.JUTE_MAXBUFFER:
        notes.append(
            f"the largest znode has {written.data_bytes_max:,} bytes of data: start the server with a -Djute.maxbuffer"
            " above that"
        )
    return {
        "out": str(written.snapshot),
        "znodes": written.znodes,
        "sessions": written.sessions,
        "zxid": f"{content.zxid:#x}",
        "apache_digest": f"{written.digest:x}",
        "notes": notes,
    }


def _write_lines(
    options: argparse.Namespace, source: Source, content: Content, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Nothing is said where the lines themselves go to stdout."""
    if str(options.out) == "-":
        for line in jsonlines.lines(content, _epochs(source)):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return {}
    znodes = jsonlines.write(content, _epochs(source), options.out, progress)
    return {
        "out": str(options.out),
        "znodes": znodes,
        "sessions": len(content.sessions),
        "zxid": f"{content.zxid:#x}",
        "digest": f"{content.digest:016x}",
        "notes": [],
    }


def _epochs(source: Source) -> Epochs:
    """A single snapshot does not tell; the zxids in it do."""
    return source.facts.epochs or Epochs(0, 0)


def _as_text(found: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"exported to {found['out']}: {counted(found['znodes'], 'znode')},"
            f" {counted(found['sessions'], 'session')}, as of zxid {found['zxid']}",
            *(f"note: {note}" for note in found["notes"]),
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore export",
        description="Write a tree for Apache ZooKeeper, or as lines of JSON for any program.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a data directory or a snapshot folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="a new directory (apache), a new file or - (jsonl)")
    parser.add_argument("--format", choices=("apache", "jsonl"), required=True, help="for whom")
    parser.add_argument("--at", metavar="ZXID|TIME", help="the tree as it was then, as far as history reaches back")
    parser.add_argument(
        "--log-directory", type=Path, metavar="DIR", help="where the log lies, if elsewhere (dataLogDir)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser
