"""How much lies where: one pass over a view, in the order of its paths, with little in memory."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from enum import StrEnum
from struct import Struct
from typing import Final, NamedTuple

from zkstore.inspection.view import View
from zkstore.model.paths import ROOT, ancestors, parent_of

_LENGTH: Final = Struct(">i")
# Of a Stat: version, cversion, aversion; and the number of children.
_VERSIONS: Final = Struct(">32xiii")
_CHILDREN: Final = Struct(">56xi")
_NO_PATH: Final = b"\0"

Progress = Callable[[int], None]
"""Told how many znodes were read since the last call."""


class Usage(NamedTuple):
    """A subtree: its znodes, and the bytes of their paths and data."""

    path: bytes
    znodes: int
    size_bytes: int


class Rank(StrEnum):
    """What znodes can be ranked by.

    `SIZE` is that of the whole subtree in bytes, `DATA` the bytes of the znode's own data, `CHILDREN` their number, and
    `CHANGES` how often data, ACL and children were changed since the znode was created.
    """

    SIZE = "size"
    CHILDREN = "children"
    DATA = "data"
    CHANGES = "changes"


def usage(view: View, below: bytes, depth: int, progress: Progress) -> list[Usage]:
    """The subtrees at `below` and down to `depth` levels under it, in the order of paths; each holds those under it."""
    found: dict[bytes, list[int]] = {below: [0, 0]}
    parts = _depth_of(below) + depth + 1
    prefix, sums = _NO_PATH, found[below]
    for rows in view.slices(below):
        for path, record in rows:
            if not path.startswith(prefix):
                words = path.split(b"/", parts)
                at = b"/".join(words[:parts]) or ROOT
                sums = found.setdefault(at, [0, 0])
                # What lies below the deepest level counts for it, and comes in one run.
                prefix = at.rstrip(b"/") + b"/" if len(words) >= parts and path != ROOT else _NO_PATH
            (length,) = _LENGTH.unpack_from(record)
            sums[0] += 1
            sums[1] += len(path) + (length if length > 0 else 0)
        progress(len(rows))
    for path in sorted(found, key=_depth_of, reverse=True):  # what lies deeper counts for all above it
        if path != below:
            above = found.setdefault(parent_of(path), [0, 0])
            above[0] += found[path][0]
            above[1] += found[path][1]
    return [Usage(path, *found[path]) for path in sorted(found)]


def top(view: View, below: bytes, rank: Rank, count: int, progress: Progress) -> list[tuple[bytes, int]]:
    """The `count` znodes that come first, as (path, number), the largest first."""
    ranked = _subtree_sizes(view, below, progress) if rank is Rank.SIZE else _own(view, below, rank, progress)
    return [(path, number) for number, path in heapq.nlargest(count, ranked)]


def _own(view: View, below: bytes, rank: Rank, progress: Progress) -> Iterator[tuple[int, bytes]]:
    for rows in view.slices(below):
        for path, record in rows:
            (length,) = _LENGTH.unpack_from(record)
            at = 4 + length if length > 0 else 4
            if rank is Rank.DATA:
                yield at - 4, path
            elif rank is Rank.CHILDREN:
                yield _CHILDREN.unpack_from(record, at)[0], path
            else:
                version, cversion, aversion = _VERSIONS.unpack_from(record, at)
                yield max(version, 0) + max(cversion, 0) + max(aversion, 0), path
        progress(len(rows))


def _subtree_sizes(view: View, below: bytes, progress: Progress) -> Iterator[tuple[int, bytes]]:
    """Each subtree's bytes once its last znode was read.

    What lies below `/a` is a run of paths of its own, though not right behind `/a` (`/a-b` comes between). So the own
    bytes of a znode wait until its run has ended; of one without children they are all.
    """
    waiting: dict[bytes, int] = {}
    runs: list[tuple[bytes, bytes, int]] = []  # of the ancestors of the present path: path, prefix, bytes so far
    for rows in view.slices(below):
        for path, record in rows:
            while runs and not path.startswith(runs[-1][1]):
                yield _ended(runs, waiting)
            parent = parent_of(path)
            if path != below and (not runs or runs[-1][0] != parent):
                known = runs[-1][0] if runs else None
                opened = [parent]
                for ancestor in ancestors(parent):
                    if opened[-1] == below or ancestor == known:
                        break
                    opened.append(ancestor)
                runs += [(each, each + b"/" if each != ROOT else ROOT, 0) for each in reversed(opened)]
            (length,) = _LENGTH.unpack_from(record)
            at = 4 + length if length > 0 else 4
            size = len(path) + at - 4
            if path == below or _CHILDREN.unpack_from(record, at)[0] > 0:
                waiting[path] = size
            else:
                runs[-1] = (*runs[-1][:2], runs[-1][2] + size)
                yield size, path
        progress(len(rows))
    while runs:
        yield _ended(runs, waiting)
    yield from ((size, path) for path, size in waiting.items())


def _ended(runs: list[tuple[bytes, bytes, int]], waiting: dict[bytes, int]) -> tuple[int, bytes]:
    path, _, size = runs.pop()
    size += waiting.pop(path, 0)
    if runs:
        runs[-1] = (*runs[-1][:2], runs[-1][2] + size)
    return size, path


def _depth_of(path: bytes) -> int:
    return 0 if path == ROOT else path.count(b"/")
