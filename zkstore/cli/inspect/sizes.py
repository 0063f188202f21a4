"""`du` and `top`: where the bytes are, and which znodes have most of something."""

from __future__ import annotations

import argparse
from typing import Final

from zkstore.cli.inspect.arguments import PATH_HELP, path_of, reading, record_of, view_of
from zkstore.cli.inspect.screen import Screen, bar, path_text, size_text, table
from zkstore.inspection import measuring
from zkstore.inspection.measuring import Rank
from zkstore.inspection.source import Source

_BAR_WIDTH: Final = 20
_TOP: Final = 20


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What they take."""
    parser.add_argument("znode", nargs="?", default="/", metavar="ZNODE", help=PATH_HELP)
    if name == "du":
        parser.add_argument("--depth", type=int, default=1, metavar="N", help="levels below it; 1 by default")
        parser.add_argument("--by-path", action="store_true", help="in the order of paths, not the largest first")
    else:
        parser.add_argument(
            "--by",
            type=Rank,
            choices=list(Rank),
            default=Rank.SIZE,
            metavar="WHAT",
            help="size: bytes of paths and data of it and all below it (by default); children; data: bytes of its own"
            " data; changes: of its data, ACL and children since it was created",
        )


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """A line for each."""
    below = path_of(options.znode)
    view = view_of(source, options)
    record_of(view, below)
    progress = reading(view, screen, below)
    if name == "top":
        count = _TOP if options.limit is None else options.limit or 1 << 62
        ranked = measuring.top(view, below, options.by, min(count, 1 << 20), progress)
        _print_top(ranked, options.by, screen)
        return 0
    found = measuring.usage(view, below, max(options.depth, 0), progress)
    whole = next(usage for usage in found if usage.path == below)
    if not options.by_path:
        found.sort(key=lambda usage: (usage.path != below, -usage.size_bytes, usage.path))
    limit = screen.limit(options.limit)
    rows = []
    for usage in found[:limit]:
        if screen.is_json:
            screen.value({"path": path_text(usage.path), "znodes": usage.znodes, "bytes": usage.size_bytes})
            continue
        part = usage.size_bytes / whole.size_bytes if whole.size_bytes else 0.0
        bytes_text, part_text = size_text(usage.size_bytes), f"{part:.1%}"
        blocks = screen.colour(bar(part, _BAR_WIDTH), "green")
        rows.append((bytes_text, f"{usage.znodes:,}", part_text, blocks, path_text(usage.path)))
    if rows:
        heading = ("BYTES", "ZNODES", "PART", " " * _BAR_WIDTH, "PATH")
        for line in table([heading, *rows], (0, 1, 2)):
            screen.line(line)
    if limit is not None and len(found) > limit and not screen.is_json:
        screen.line(screen.colour(f"and {len(found) - limit:,} more; --limit 0 shows all", "dim"))
    return 0


def _print_top(ranked: list[tuple[bytes, int]], rank: Rank, screen: Screen) -> None:
    most = max((number for _, number in ranked), default=0)
    rows = []
    for path, number in ranked:
        if screen.is_json:
            screen.value({"path": path_text(path), str(rank): number})
            continue
        text = size_text(number) if rank in (Rank.SIZE, Rank.DATA) else f"{number:,}"
        rows.append((text, screen.colour(bar(number / most if most else 0, _BAR_WIDTH), "green"), path_text(path)))
    if rows:
        for line in table([(rank.upper(), " " * _BAR_WIDTH, "PATH"), *rows], (0,)):
            screen.line(line)
