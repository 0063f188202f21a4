"""`zkstore diff`: two trees compared: of two moments, two directories, backups or snapshots, or live servers."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from zkstore.cli import credentials, live_tree
from zkstore.cli.inspect.arguments import path_of
from zkstore.cli.inspect.past import acl_text, acl_value, data_difference
from zkstore.cli.inspect.screen import Screen, data_value, path_text, preview
from zkstore.client.client import connect
from zkstore.errors import ClientError, ConfigError, ProtocolError, RequestError, StorageError
from zkstore.inspection import diff
from zkstore.inspection.diff import Aspect, Difference
from zkstore.inspection.source import open_source
from zkstore.model import record as records_
from zkstore.model import zxid as zxids
from zkstore.model.paths import ROOT
from zkstore.storage.page_file import Rows

_EPILOG: Final = """\
A and B are data directories (also of running servers), folders below snapshots/, backups, or live servers as HOST:PORT.
Behind a directory or a backup, @ZXID or @TIME chooses the moment. With one directory, --from and --to choose two of it.

Printed are paths: + for what is only in B, - for what is only in A, ~ for what differs, with what differs. Compared are
data, ACLs and kinds; ephemeral znodes, Stats and ZooKeeper's own /zookeeper only where asked for.

Exit code 0: equal; 1: different; 2: wrong usage, or something could not be read.

examples:
  zkstore diff data --from "2h ago"
  zkstore diff data@0x100000007 backup.zkb --path /app --data
  zkstore diff backup.zkb 127.0.0.1:2181
"""

_SERVER: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^/@\s:]+):\d+(,.+)?")
_SIGNS: Final = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


class _Side(NamedTuple):
    """One of the two trees. `tells_kinds`: containers and TTL znodes can be told from others; `is_there`: the znode
    asked for is."""

    name: str
    slices: Iterable[Rows]
    tells_kinds: bool = True
    is_there: bool = True


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    is_span = options.since is not None or options.until is not None
    if is_span == (options.b is not None) or (is_span and options.since is None):
        parser.error("name two trees, A and B, or one directory with --from ZXID|TIME (and --to ZXID|TIME)")
    first = options.a if not is_span else _at(options.a, options.since, parser)
    second = options.b if not is_span else _at(options.a, options.until, parser)
    screen = Screen(is_json=options.json)
    try:
        with ExitStack() as stack:
            path = path_of(options.path)
            damage: list[list[Any]] = []
            before = _open(first, path, options, stack, damage)
            after = _open(second, path, options, stack, damage)
            if not (before.is_there or after.is_there):
                raise StorageError(f"there is no {path_text(path)} in {before.name}, and none in {after.name}")
            is_different = _print(before, after, path, options, screen)
            screen.finish()
            if told := [str(error) for errors in damage for error in errors]:
                print("\n".join(f"zkstore diff: damage: {message}" for message in told[:20]), file=sys.stderr)
                return 2
            return 1 if is_different else 0
    except (StorageError, ConfigError, RequestError, ClientError, ProtocolError) as error:
        screen.finish()
        print(f"zkstore diff: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _at(place: str, moment: str | None, parser: argparse.ArgumentParser) -> tuple[str, str | None]:
    if _SERVER.fullmatch(place) and not Path(place).exists():
        parser.error("--from and --to need a directory or a backup; a live server knows its newest tree alone")
    return place, moment


def _open(
    place: str | tuple[str, str | None],
    path: bytes,
    options: argparse.Namespace,
    stack: ExitStack,
    damage: list[list[Any]],
) -> _Side:
    """One side. Raises StorageError, and what a client may raise."""
    if isinstance(place, str):
        name, moment = _split(place)
    else:
        name, moment = place
    if moment is None and _SERVER.fullmatch(name) and not Path(name).exists():
        found = trio.run(_read_live, name, path, options)
        return _Side(name, live_tree.slices(found), tells_kinds=False, is_there=bool(found))
    source = stack.enter_context(open_source(Path(name)))
    if not damage or damage[-1] is not source.damage:
        damage.append(source.damage)
    view = source.view(None if moment is None else source.resolve(moment))
    return _Side(f"{name}@{zxids.text(view.zxid)}", view.slices(path), is_there=view.get(path) is not None)


def _split(place: str) -> tuple[str, str | None]:
    """A place and the moment behind it; a name with an at-sign in it is taken as it is."""
    name, at, moment = place.rpartition("@")
    if not at or Path(place).exists():
        return place, None
    return name, moment


async def _read_live(servers: str, path: bytes, options: argparse.Namespace) -> dict[bytes, bytes]:
    async with connect(servers, auth=options.auth) as client:
        await client.sync()
        return await live_tree.read(client, path.decode())


def _print(before: _Side, after: _Side, path: bytes, options: argparse.Namespace, screen: Screen) -> bool:
    """All differences; whether there were any."""
    counts = dict.fromkeys(_SIGNS, 0)
    is_own = path == b"/zookeeper" or path.startswith(b"/zookeeper/")
    for each in diff.differences(
        before.slices,
        after.slices,
        has_stats=options.stat,
        has_ephemerals=options.ephemerals or options.stat,
        has_kinds=before.tells_kinds and after.tells_kinds,
    ):
        if not is_own and not options.all and each.path.startswith(b"/zookeeper") and each.path[10:11] in (b"", b"/"):
            continue
        word = "added" if each.before is None else "removed" if each.after is None else "changed"
        counts[word] += 1
        if screen.is_json:
            screen.value(_value(word, each))
            continue
        sign, colour = _SIGNS[word]
        aspects = f"  ({', '.join(aspect.value for aspect in each.aspects)})" if each.aspects else ""
        screen.line(screen.colour(f"{sign} {path_text(each.path)}", colour) + aspects)
        if options.data:
            _print_details(each, screen)
    if not screen.is_json:
        told = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count) or "equal"
        where = "" if path == ROOT else f" below {path_text(path)}"
        screen.note(f"{before.name} and {after.name}{where}: {told}")
    return any(counts.values())


def _print_details(each: Difference, screen: Screen) -> None:
    lines: list[str] = []
    if each.before is None or each.after is None:
        record = each.before or each.after or b""
        if data := records_.data_of(record):
            lines.append(f"{'+' if each.before is None else '-'} {preview(data)}")
    else:
        if Aspect.DATA in each.aspects:
            lines += data_difference(records_.data_of(each.before), records_.data_of(each.after))
        if Aspect.ACL in each.aspects:
            lines += [f"- acl {acl_text(diff.acl_of(each.before))}", f"+ acl {acl_text(diff.acl_of(each.after))}"]
        if Aspect.STAT in each.aspects:
            old, new = records_.stat_of(each.before), records_.stat_of(each.after)
            pairs = zip(old._fields, old, new, strict=True)
            lines += [f"  {name} {was} -> {now}" for name, was, now in pairs if was != now]
    for line in lines:
        screen.line("    " + screen.colour(line, *{"+": ("green",), "-": ("red",)}.get(line[:1], ("dim",))))


def _value(word: str, each: Difference) -> dict[str, Any]:
    value: dict[str, Any] = {"path": path_text(each.path), "change": word}
    if each.aspects:
        value["aspects"] = [aspect.value for aspect in each.aspects]
    for name, record in (("before", each.before), ("after", each.after)):
        if record is not None:
            stat = records_.stat_of(record)._asdict()
            value[name] = {
                **data_value(records_.data_of(record)),
                "acl": acl_value(diff.acl_of(record)),
                "stat": stat,
            }
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore diff",
        description="Compare two trees.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("a", metavar="A", help="the one: DIR, BACKUP or SNAPSHOT, with @ZXID or @TIME, or HOST:PORT")
    parser.add_argument("b", metavar="B", nargs="?", help="the other")
    parser.add_argument("--from", dest="since", metavar="ZXID|TIME", help="with A alone: as it was then, with ...")
    parser.add_argument("--to", dest="until", metavar="ZXID|TIME", help="... as it was then; the newest by default")
    parser.add_argument("--path", default="/", metavar="ZNODE", help="only this znode and what lies below it")
    parser.add_argument("--data", action="store_true", help="show what changed in data and ACLs")
    parser.add_argument("--ephemerals", action="store_true", help="compare ephemeral znodes, too")
    parser.add_argument(
        "--stat", action="store_true", help="compare Stats, too (zxids, times, versions), and ephemerals"
    )
    parser.add_argument("--all", action="store_true", help="compare /zookeeper, too")
    credentials.add_argument(parser)
    parser.add_argument("--json", action="store_true", help="one object a line")
    return parser
