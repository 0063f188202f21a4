"""How things look: colours where a terminal shows them, columns, bars, sizes, and data that may be anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import IO, Any, Final

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_PROGRESS_AFTER_S: Final = 0.5
_PROGRESS_EVERY_S: Final = 0.1
_WIDTH: Final = 100
_SHOWN_LIMIT: Final = 1000
_ESCAPED: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"
}  # fmt: skip

_COLOUR: Final = re.compile("\x1b\\[[0-9;]*m")
_LAYOUT: Final = {9: None, 10: None, 13: None}


class Screen:
    """Where a command prints.

    Attributes:
        is_json: lines for programs are wanted.
        is_terminal: somebody is looking.
        width: columns, or the usual number of them.
    """

    def __init__(self, *, is_json: bool = False, out: IO[str] | None = None, errors: IO[str] | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._errors = sys.stderr if errors is None else errors
        self.is_json = is_json
        self.is_terminal = self._out.isatty()
        self._has_colours = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.width = shutil.get_terminal_size((_WIDTH, 24)).columns if self.is_terminal else _WIDTH
        self._progress: Progress | None = None

    def line(self, text: str = "") -> None:
        """One line of the answer."""
        if self._progress is not None and self._progress.is_shown:
            self._progress.hide()
        self._out.write(text + "\n")

    def raw(self, data: bytes) -> None:
        """Bytes of the answer, as they are."""
        self._out.flush()
        with open(self._out.fileno(), "wb", closefd=False) as out:
            out.write(data)

    def value(self, value: Any) -> None:
        """One object of the answer, for programs."""
        self.line(json.dumps(value, ensure_ascii=False))

    def note(self, text: str) -> None:
        """Something beside the answer."""
        if self._progress is not None:
            self._progress.hide()
        self._out.flush()
        print(text, file=self._errors, flush=True)

    def colour(self, text: str, *names: str) -> str:
        """The text in these colours, where they can be seen."""
        if not self._has_colours or not text or not names:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"

    def progress(self, what: str, total: int | None = None) -> Progress:
        """Tells on a terminal's stderr how far long work has come."""
        self._progress = Progress(self._errors, what, total)
        return self._progress

    def limit(self, asked: int | None) -> int | None:
        """How many entries to show at most; None for all. Without a wish, what a person may want to scroll through."""
        if asked is None:
            return _SHOWN_LIMIT if self.is_terminal and not self.is_json else None
        return asked or None

    def finish(self) -> None:
        """All is printed."""
        if self._progress is not None:
            self._progress.hide()
        self._out.flush()


class Progress:
    """Counts; and on a terminal shows the count, once it takes a while."""

    def __init__(self, errors: IO[str], what: str, total: int | None) -> None:
        self._errors = errors
        self._what = what
        self._total = total
        self._count = 0
        self.is_shown = False
        self._next_s = time.monotonic() + _PROGRESS_AFTER_S if errors.isatty() else float("inf")

    def __call__(self, count: int) -> None:
        """So many more."""
        self._count += count
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _PROGRESS_EVERY_S
            of = "" if self._total is None else f" of {self._total:,}"
            self._errors.write(f"\r\x1b[K{self._count:,}{of} {self._what}")
            self._errors.flush()
            self.is_shown = True

    def hide(self) -> None:
        """Clear the line."""
        if self.is_shown:
            self._errors.write("\r\x1b[K")
            self._errors.flush()
            self.is_shown = False


def size_text(count: float) -> str:
    """Bytes for people."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit else f"{count:.0f} {_UNITS[unit]}"


def time_text(time_ms: int) -> str:
    """A time in this machine's zone, to the millisecond."""
    try:
        return datetime.fromtimestamp(time_ms / 1000).astimezone().isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


def duration_text(duration_ms: float) -> str:
    """A span of time for people."""
    for unit, unit_ms in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("s", 1_000)):
        if duration_ms >= 2 * unit_ms or unit == "s":
            return f"{duration_ms / unit_ms:.1f} {unit}"
    raise AssertionError("the last unit takes all")


def path_text(path: bytes) -> str:
    """A path as text; a damaged one may hold anything."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.translate(_ESCAPED)


def is_text(data: bytes) -> bool:
    """Whether data is text without control characters other than those that lay it out."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return text.isprintable() or text.translate(_LAYOUT).isprintable()


def preview(data: bytes | None, width: int = 60) -> str:
    """Data on one line: text where it is text, else hex; where it is long, its beginning and its length."""
    if data is None:
        return "null"
    if not data:
        return "empty"
    head = data if len(data) <= width * 4 else data[: width * 4].decode("utf-8", "ignore").encode()
    if is_text(head):
        text = head.decode()
        if not text.isprintable():
            text = text.translate(_ESCAPED)
        return text if len(text) <= width and head is data else f"{text[: width - 1]}… ({len(data)} bytes)"
    digits = data[: width // 2].hex()
    return f"0x{digits}" if len(data) <= width // 2 else f"0x{digits}… ({len(data)} bytes)"


def hex_lines(data: bytes) -> Iterable[str]:
    """Sixteen bytes a line, with the printable characters beside them."""
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        shown = "".join(chr(byte) if 31 < byte < 127 else "." for byte in row)
        yield f"{offset:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{shown}|"


def data_value(data: bytes | None) -> dict[str, Any]:
    """Data for programs: text where it is UTF-8, else hex."""
    if data is None:
        return {"data": None}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_hex": data.hex()}


def bar(part: float, width: int) -> str:
    """A bar of blocks for a part of 1."""
    eighths = round(max(0.0, min(part, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Rows with their columns under each other; those in `right` end under each other. Colours take no room."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    at_right = frozenset(right)
    lines = []
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            room = " " * (width - _width(cell))
            cells.append(room + cell if number in at_right else cell + room)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(text: str) -> int:
    return len(_COLOUR.sub("", text)) if "\x1b" in text else len(text)
