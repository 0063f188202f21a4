"""Finding znodes by their paths or their data."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from zkstore.errors import StorageError
from zkstore.inspection.measuring import Progress
from zkstore.inspection.view import View
from zkstore.model.paths import name_of

_LENGTH: Final = Struct(">i")
_WILD: Final = re.compile(r"[*?\[]")

Matches = Callable[[bytes], object]


def path_matcher(pattern: str, *, is_regex: bool = False, ignores_case: bool = False) -> Matches:
    """Whether a path is meant.

    A pattern with a slash is for the whole path, one without for the name; `*`, `?` and `[...]` as in a shell, though
    `*` passes slashes; without any of them the pattern may stand anywhere. Raises StorageError for a wrong regex.
    """
    flags = re.IGNORECASE if ignores_case else 0
    if is_regex:
        return _compiled(pattern, flags).search
    if not _WILD.search(pattern):
        return re.compile(re.escape(pattern.encode()), flags).search
    glob = re.compile(fnmatch.translate(pattern).encode(), flags)
    if "/" in pattern:
        return glob.match
    return lambda path: glob.match(name_of(path))


def data_matcher(pattern: str, *, is_fixed: bool = False, ignores_case: bool = False) -> Matches:
    """Whether data has a match of the regular expression, or this very text. Raises StorageError for a wrong regex."""
    flags = re.MULTILINE | (re.IGNORECASE if ignores_case else 0)
    return _compiled(re.escape(pattern) if is_fixed else pattern, flags).search


def find(
    view: View, below: bytes, after: bytes | None, matches: Matches, progress: Progress
) -> Iterator[tuple[bytes, bytes]]:
    """The znodes whose path matches, as (path, record)."""
    for rows in view.slices(below, after):
        for row in rows:
            if matches(row[0]):
                yield row
        progress(len(rows))


def grep(
    view: View, below: bytes, after: bytes | None, matches: Matches, progress: Progress
) -> Iterator[tuple[bytes, bytes]]:
    """The znodes whose data matches, as (path, record)."""
    for rows in view.slices(below, after):
        for path, record in rows:
            (length,) = _LENGTH.unpack_from(record)
            if length >= 0 and matches(record[4 : 4 + length]):
                yield path, record
        progress(len(rows))


def _compiled(pattern: str, flags: int) -> re.Pattern[bytes]:
    try:
        return re.compile(pattern.encode(), flags)
    except re.error as error:
        raise StorageError(f"{pattern!r} is no regular expression ({error})") from error
