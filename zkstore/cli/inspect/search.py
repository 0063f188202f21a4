"""`find` and `grep`: znodes by their paths, and by their data."""

from __future__ import annotations

import argparse

from zkstore.cli.inspect.arguments import PATH_HELP, cursor_of, path_of, reading, record_of, view_of
from zkstore.cli.inspect.program import more
from zkstore.cli.inspect.screen import Screen, data_value, path_text, preview
from zkstore.inspection import searching
from zkstore.inspection.source import Source
from zkstore.model import record as records_


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What they take."""
    if name == "find":
        parser.add_argument(
            "pattern",
            metavar="PATTERN",
            help="* ? [...] as in a shell, for the whole path if there is a slash in it, else for the name; without any"
            " of them, text that may stand anywhere in the path",
        )
        parser.add_argument("--regex", action="store_true", help="the pattern is a regular expression")
    else:
        parser.add_argument("pattern", metavar="PATTERN", help="a regular expression, matched within the data")
        parser.add_argument("-F", "--fixed", action="store_true", help="the pattern is plain text")
    parser.add_argument("znode", nargs="?", default="/", metavar="ZNODE", help=f"look below this one: {PATH_HELP}")
    parser.add_argument("-i", "--ignore-case", action="store_true", help="upper and lower case are the same")
    parser.add_argument("-c", "--count", action="store_true", help="only how many there are")


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """One znode a line; 1 if there is none."""
    below = path_of(options.znode)
    view = view_of(source, options)
    record_of(view, below)
    progress = reading(view, screen, below)
    if name == "find":
        matches = searching.path_matcher(options.pattern, is_regex=options.regex, ignores_case=options.ignore_case)
        found = searching.find(view, below, cursor_of(options), matches, progress)
    else:
        matches = searching.data_matcher(options.pattern, is_fixed=options.fixed, ignores_case=options.ignore_case)
        found = searching.grep(view, below, cursor_of(options), matches, progress)
    if options.count:
        count = sum(1 for _ in found)
        screen.value({"count": count}) if screen.is_json else screen.line(str(count))
        return 0 if count else 1
    limit, count, last = screen.limit(options.limit), 0, b""
    for path, record in found:
        if count == limit:
            more(options, last.decode("utf-8", "surrogateescape"), screen)
            return 0
        count, last = count + 1, path
        data = records_.data_of(record)
        if screen.is_json:
            screen.value({"path": path_text(path), **data_value(data)})
        elif name == "find":
            screen.line(path_text(path))
        else:
            screen.line(f"{screen.colour(path_text(path), 'blue')}: {preview(data, 80)}")
    return 0 if count else 1
