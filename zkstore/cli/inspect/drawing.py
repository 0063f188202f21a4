"""`tree`: a znode and what lies below it, drawn with lines as it is read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from zkstore.cli.inspect.arguments import PATH_HELP, path_of, record_of, view_of
from zkstore.cli.inspect.program import more
from zkstore.cli.inspect.screen import Screen, data_value, path_text, preview
from zkstore.inspection.source import Source
from zkstore.inspection.view import View
from zkstore.model import record as records_
from zkstore.model.paths import ROOT, join


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What `tree` takes."""
    parser.add_argument("znode", nargs="?", default="/", metavar="ZNODE", help=PATH_HELP)
    parser.add_argument("--depth", type=int, metavar="N", help="levels below it; all by default")
    parser.add_argument("--data", action="store_true", help="with what the data begins with")


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """One znode a line."""
    path = path_of(options.znode)
    view = view_of(source, options)
    after = None if options.after is None else path_of(options.after)
    limit, count = screen.limit(options.limit), 0
    last = b""
    branches = _branches(view, path, record_of(view, path), options.depth, after)
    for found, record, lines in branches:
        if count == limit:
            more(options, last.decode("utf-8", "surrogateescape"), screen)
            return 0
        count, last = count + 1, found
        stat = records_.stat_of(record)
        if screen.is_json:
            screen.value({"path": path_text(found), **stat._asdict(), **data_value(records_.data_of(record))})
            continue
        name_ = path_text(found if found == path else found.rpartition(b"/")[2])
        look = ("yellow",) if stat.ephemeral_owner else ("bold", "blue") if stat.num_children else ()
        text = screen.colour(lines, "dim") + screen.colour(name_, *look)
        if options.data and stat.data_length:
            text += "  " + screen.colour(preview(records_.data_of(record), 50), "dim")
        if options.depth is not None and stat.num_children and _level(found, path) >= options.depth:
            text += screen.colour(f"  ({stat.num_children} children)", "dim")
        screen.line(text)
    return 0


def _level(found: bytes, path: bytes) -> int:
    return 0 if found == path else found.count(b"/") - (0 if path == ROOT else path.count(b"/"))


def _branches(
    view: View, path: bytes, record: bytes, depth: int | None, after: bytes | None
) -> Iterator[tuple[bytes, bytes, str]]:
    """Each znode with the lines in front of it, depth first; from behind `after` on."""
    if after is None or not (after + b"/").startswith(join(path, b"")):
        yield path, record, ""
        after = None
    levels: list[tuple[bytes, Iterator[tuple[bytes, bytes, bool]], str]] = []
    if depth is None or depth > 0:
        levels.append((path, _with_last(view, path, _name_after(path, after)), ""))
    while levels:
        parent, siblings, indent = levels[-1]
        found = next(siblings, None)
        if found is None:
            levels.pop()
            continue
        name, record, is_last = found
        child = join(parent, name)
        if after is None or (after != child and not after.startswith(child + b"/")):
            after = None
            yield child, record, indent + ("└── " if is_last else "├── ")
        if records_.stat_of(record).num_children and (depth is None or len(levels) < depth):
            inside = None if after is None or after == child else _name_after(child, after)
            levels.append((child, _with_last(view, child, inside), indent + ("    " if is_last else "│   ")))
            if after == child:
                after = None


def _name_after(path: bytes, after: bytes | None) -> bytes | None:
    """The child of `path` on the way to `after`, so that those before it are not looked at."""
    return None if after is None else after[len(join(path, b"")) :].partition(b"/")[0] or None


def _with_last(view: View, path: bytes, first: bytes | None) -> Iterator[tuple[bytes, bytes, bool]]:
    """The children from `first` on, and whether each is the last one."""
    before: tuple[bytes, bytes] | None = None
    if first is not None and (record := view.get(join(path, first))) is not None:
        before = first, record
    for found in view.children(path, first):
        if before is not None:
            yield (*before, False)
        before = found
    if before is not None:
        yield (*before, True)
