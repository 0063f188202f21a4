"""`sessions`: who was connected, and what they own."""

from __future__ import annotations

import argparse
from struct import Struct

from zkstore.cli.inspect.arguments import reading, view_of
from zkstore.cli.inspect.program import more
from zkstore.cli.inspect.screen import Screen, path_text, table
from zkstore.cli.inspect.znode import session_text
from zkstore.errors import StorageError
from zkstore.inspection.source import Source
from zkstore.model import record as records_

_OWNER = Struct(">44xq")
_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What it takes."""
    parser.add_argument("--paths", action="store_true", help="all ephemeral znodes of each, not a few")


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """One session a line."""
    view = view_of(source, options)
    owned: dict[int, list[bytes]] = {}
    progress = reading(view, screen)
    for rows in view.slices():
        for path, record in rows:
            (owner,) = _OWNER.unpack_from(record, records_.image_end(record) - 68)
            if owner:
                owned.setdefault(owner, []).append(path)
        progress(len(rows))
    wanted = sorted(view.sessions.keys() | owned.keys())
    if options.after is not None:
        wanted = [session_id for session_id in wanted if session_id > _signed(options.after)]
    limit = screen.limit(options.limit)
    lines = [("SESSION", "TIMEOUT", "EPHEMERALS", "PATHS")]
    for session_id in wanted[:limit]:
        session = view.sessions.get(session_id)
        paths = [path_text(path) for path in owned.get(session_id, ())]
        timeout_ms = None if session is None else session.timeout_ms
        if screen.is_json:
            screen.value({"session": session_text(session_id), "timeout_ms": timeout_ms, "ephemerals": paths})
            continue
        shown = paths if options.paths else paths[:_SHOWN]
        text = " ".join(shown) + (f" and {len(paths) - len(shown)} more" if len(paths) > len(shown) else "")
        timeout = "GONE" if timeout_ms is None else f"{timeout_ms / 1000:g} s"
        lines.append((session_text(session_id), timeout, str(len(paths)), text))
    if not screen.is_json:
        for line in table(lines, (1, 2)) if len(lines) > 1 else ["there are no sessions"]:
            screen.line(line)
    if limit is not None and len(wanted) > limit:
        more(options, session_text(wanted[limit - 1]), screen)
    return 0


def _signed(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError as error:
        raise StorageError(f"{text!r} is no session id") from error
    return number - (1 << 64) if number >> 63 else number
