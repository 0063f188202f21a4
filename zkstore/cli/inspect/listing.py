"""`ls`: the children of a znode."""

from __future__ import annotations

import argparse

from zkstore.cli.inspect.arguments import PATH_HELP, cursor_of, path_of, record_of, view_of
from zkstore.cli.inspect.program import more
from zkstore.cli.inspect.screen import Screen, path_text, preview, table, time_text
from zkstore.inspection.source import Source
from zkstore.model import record as records_
from zkstore.model.paths import join

_ROWS: int = 500


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What `ls` takes."""
    parser.add_argument("znode", nargs="?", default="/", metavar="ZNODE", help=PATH_HELP)
    parser.add_argument("-l", "--long", action="store_true", help="with sizes, times and what the data begins with")


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """One child a line."""
    path = path_of(options.znode)
    view = view_of(source, options)
    record_of(view, path)
    limit, count = screen.limit(options.limit), 0
    rows: list[tuple[str, ...]] = []
    last = b""
    for child, record in view.children(path, cursor_of(options)):
        if count == limit:
            _print(rows, screen, is_long=options.long)
            more(options, last.decode("utf-8", "surrogateescape"), screen)
            return 0
        count, last = count + 1, child
        stat = records_.stat_of(record)
        if screen.is_json:
            screen.value({"name": path_text(child), "path": path_text(join(path, child)), **stat._asdict()})
            continue
        text = screen.colour(path_text(child), *_look(stat.num_children, stat.ephemeral_owner))
        if options.long and stat.data_length:
            text += "  " + screen.colour(preview(records_.data_of(record), 40), "dim")
        children = str(stat.num_children) if stat.num_children else "-"
        rows.append((time_text(stat.mtime_ms)[:19], children, str(stat.data_length), text))
        if len(rows) == _ROWS:
            _print(rows, screen, is_long=options.long)
            rows = []
    _print(rows, screen, is_long=options.long)
    return 0


def _look(children: int, owner: int) -> tuple[str, ...]:
    if owner:
        return ("yellow",)
    return ("bold", "blue") if children else ()


def _print(rows: list[tuple[str, ...]], screen: Screen, *, is_long: bool) -> None:
    if not rows:
        return
    for line in table(rows, (1, 2)) if is_long else [row[3] for row in rows]:
        screen.line(line)
