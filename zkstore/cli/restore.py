"""`zkstore restore`: a tree of the past becomes a new data directory, or one subtree of it goes into a live server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio

from zkstore.cli import credentials, subtrees
from zkstore.cli.import_ import progress_to_stderr
from zkstore.cli.subtrees import Step, Verb, Wanted
from zkstore.client.client import connect
from zkstore.errors import ClientError, ConfigError, NoNodeError, ProtocolError, RequestError, StorageError
from zkstore.exchange import restore
from zkstore.inspection.source import Source, open_source
from zkstore.model import paths

_EPILOG: Final = """\
SOURCE is a backup, a data directory (also that of a running server) or one folder below its snapshots/. --at chooses
the moment, as far as SOURCE reaches back.

Into a new directory everything goes: znodes with their Stats and ACLs, sessions, ephemerals until their sessions
expire. Of an ensemble, give what comes out to all of its servers. Clients that have seen later zxids must be started
anew.

Into a live server (--to) goes one subtree, written as any client would write it: data, ACLs, containers and TTLs; no
ephemerals, and Stats begin anew. What is there already is not touched unless --overwrite is said; then the subtree is
what it was, and what has come since is deleted. --dry-run shows what would be done.

Exit code 0: it is done (or shown); 1: it could not be done; 2: wrong usage.

examples:
  zkstore restore monday.zkb /var/lib/zkstore-new
  zkstore restore --at "yesterday 14:00" /var/lib/zkstore /var/lib/zkstore-before
  zkstore restore monday.zkb --subtree /app --to 127.0.0.1:2181 --dry-run
  zkstore restore monday.zkb --subtree /app --as /app-of-monday --to 127.0.0.1:2181
"""

_SHOWN_BYTES_MAX: Final = 60


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if (options.directory is None) == (options.to is None):
        parser.error("name a new directory, or a live server with --to HOST:PORT and --subtree PATH")
    if (options.to is None) != (options.subtree is None):
        parser.error("--subtree PATH and --to HOST:PORT go together")
    progress = progress_to_stderr("zkstore restore")
    try:
        with open_source(options.source, log_directory=options.log_directory) as source:
            zxid = None if options.at is None else source.resolve(options.at)
            if options.to is None:
                return _into_directory(options, source, zxid, progress)
            return _into_server(options, source, zxid)
    except (StorageError, ConfigError, RequestError, ClientError, ProtocolError) as error:
        print(f"zkstore restore: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("zkstore restore: stopped", file=sys.stderr)
        return 1


def _into_directory(
    options: argparse.Namespace, source: Source, zxid: int | None, progress: Callable[[str], None]
) -> int:
    landed = restore.restore(source, options.directory, zxid, progress)
    found = {
        "directory": str(options.directory),
        "znodes": landed.znodes,
        "sessions": landed.sessions,
        "zxid": f"{landed.zxid:#x}",
        "digest": f"{landed.digest:016x}",
    }
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(
            f"restored into {options.directory}: {landed.znodes:,} znodes, {landed.sessions:,} sessions,"
            f" as of zxid {landed.zxid:#x}\nstart it with: zkstore serve --data-dir {options.directory}"
        )
    return 0


def _into_server(options: argparse.Namespace, source: Source, zxid: int | None) -> int:
    below: str = options.subtree
    paths.check(below.encode())
    view = source.view(zxid)
    found = subtrees.wanted(view.znodes(below.encode()), below.encode(), options.target or below)
    if source.damage:
        raise source.damage[0]
    if not found.znodes:
        raise StorageError(f"there is no {below} at {view.zxid:#x}", where=options.source, advice="Try another --at")
    steps = trio.run(_restore_subtree, options, found)
    if options.json:
        print(json.dumps({"zxid": f"{view.zxid:#x}", "steps": [_as_json(step) for step in steps]}, indent=2))
        return 0
    if options.dry_run:
        for step in steps:
            print(_as_line(step))
    done = "would be done" if options.dry_run else "done"
    counts = ", ".join(
        f"{count:,} {verb.value}" for verb in Verb if (count := sum(step.verb is verb for step in steps))
    )
    print(f"{below} as of zxid {view.zxid:#x}, at {options.target or below}: {done}: {counts or 'nothing'}")
    if found.ephemerals:
        print(f"note: {found.ephemerals:,} ephemerals were left out; they are their sessions'")
    return 0


async def _restore_subtree(options: argparse.Namespace, found: Wanted) -> list[Step]:
    target = options.target or options.subtree
    async with connect(options.to, auth=options.auth) as client:
        if await client.exists(target) is not None and not options.overwrite and target != "/":
            raise StorageError(
                f"{target} is on the server already",
                advice="Restore it beside that with --as PATH, look at what would change with --overwrite --dry-run,"
                " or say --overwrite",
            )
        parent = paths.parent_of(target.encode()).decode()
        if await client.exists(parent) is None:
            raise NoNodeError(f"{parent}, below which {target} is to be created")
        steps = await subtrees.plan(client, target, found.znodes)
        if not options.dry_run:
            await subtrees.carry_out(client, steps)
        return steps


def _as_line(step: Step) -> str:
    if step.verb is Verb.SET:
        return f"set {step.path} {_shown(step.data)} (is {_shown(step.was)})"
    if step.verb is Verb.CREATE:
        return f"create {step.path} {_shown(step.data)}"
    return f"{step.verb.value} {step.path}"


def _as_json(step: Step) -> dict[str, Any]:
    return {
        "do": step.verb.value,
        "path": step.path,
        "data": None if step.data is None else step.data.decode("utf-8", "backslashreplace"),
        "was": None if step.was is None else step.was.decode("utf-8", "backslashreplace"),
    }


def _shown(data: bytes | None) -> str:
    if data is None:
        return "null"
    text = data[:_SHOWN_BYTES_MAX].decode("utf-8", "backslashreplace")
    return json.dumps(text) + ("..." if len(data) > _SHOWN_BYTES_MAX else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore restore",
        description="Bring a tree of the past back: as a new data directory, or a subtree of it into a live server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a backup, a data directory or a snapshot folder")
    parser.add_argument("directory", type=Path, nargs="?", metavar="DIR", help="the new data directory; must be empty")
    parser.add_argument("--at", metavar="ZXID|TIME", help="the tree as it was then, as far as history reaches back")
    parser.add_argument("--to", metavar="HOST:PORT,...", help="a live server, or the servers of an ensemble")
    parser.add_argument("--subtree", metavar="PATH", help="what to restore there")
    parser.add_argument("--as", dest="target", metavar="PATH", help="where to; the same path by default")
    parser.add_argument("--overwrite", action="store_true", help="change and delete what is there already")
    parser.add_argument("--dry-run", action="store_true", help="show what would be written, and write nothing")
    credentials.add_argument(parser)
    parser.add_argument(
        "--log-directory", type=Path, metavar="DIR", help="where the log lies, if elsewhere (dataLogDir)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser
