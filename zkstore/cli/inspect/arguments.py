"""Arguments that several commands share, read and checked."""

from __future__ import annotations

import argparse
from typing import Final

from zkstore.cli.inspect.screen import Progress, Screen
from zkstore.errors import StorageError
from zkstore.inspection.source import Source
from zkstore.inspection.view import View
from zkstore.model.paths import ROOT

PATH_HELP: Final = "the znode; / if there is none"


def path_of(text: str) -> bytes:
    """A znode's path, with or without a slash at the end."""
    path = text.encode("utf-8", "surrogateescape")
    if not path.startswith(b"/"):
        raise StorageError(f"{text!r} is no path of a znode: it begins with a slash")
    return path.rstrip(b"/") or ROOT


def cursor_of(options: argparse.Namespace) -> bytes | None:
    """Where to go on."""
    return None if options.after is None else str(options.after).encode("utf-8", "surrogateescape")


def view_of(source: Source, options: argparse.Namespace) -> View:
    """The tree as of `--at`."""
    return source.view(None if options.at is None else source.resolve(options.at))


def record_of(view: View, path: bytes) -> bytes:
    """A znode that is there. Raises StorageError."""
    record = view.get(path)
    if record is None:
        raise StorageError(f"there is no znode {path.decode('utf-8', 'backslashreplace')} at {view.zxid:#x}")
    return record


def reading(view: View, screen: Screen, path: bytes = ROOT) -> Progress:
    """Tells how many znodes were read."""
    counts = view.counts
    return screen.progress("znodes", counts.znodes if counts is not None and path == ROOT else None)
