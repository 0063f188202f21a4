"""Which of the unsafe writes reach the disk: a few plain choices at each moment, and as many drawn ones as there is
time for.

A choice is named by a kind and a number and made again from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from zkstore.testing.powercut.disk import SECTOR_BYTES, Choice, Disk, keys

ALL: Final = "all"
NOTHING: Final = "nothing"
BEFORE: Final = "before"
DRAWN: Final = "drawn"

_PREFIXES_MAX: Final = 12
_PAGE_SECTORS: Final = 4096 // SECTOR_BYTES


def plain(disk: Disk) -> Iterator[tuple[str, int]]:
    """Everything (a killed process), nothing, and everything up to some event."""
    yield ALL, 0
    yield NOTHING, 0
    numbers = sorted(
        {number for number, _ in disk.naming}
        | {number for node in disk.unsafe_files() for number in _events(disk, node)}
    )
    step = max(1, len(numbers) // _PREFIXES_MAX)
    for number in numbers[::step]:
        yield BEFORE, number


def make(disk: Disk, kind: str, number: int) -> Choice:
    """The choice of that name."""
    last = disk.taken
    if kind == ALL:
        return _up_to(disk, last)
    if kind == NOTHING:
        return _up_to(disk, -1)
    if kind == BEFORE:
        return _up_to(disk, number)
    return _drawn(disk, Random(number))


def _events(disk: Disk, node: int) -> Iterator[int]:
    file = disk.files[node]
    yield from (number for number, _ in file.sizes)
    for versions in file.versions.values():
        yield versions[-1][0]


def _up_to(disk: Disk, last: int) -> Choice:
    names = frozenset(number for number, _ in disk.naming if number <= last)
    return Choice(names, lambda node, sector: last, lambda node: last)


def _drawn(disk: Disk, random: Random) -> Choice:
    until = {node: _until(disk, node, random) for node in disk.unsafe_files()}
    sizes = {node: _size_until(disk, node, random) for node in until}
    lost = random.randbytes(SECTOR_BYTES) if random.random() < 0.1 else b""
    contents: list[Callable[[int], bytes]] = [bytes, bytes, random.randbytes]
    shared = random.choice(contents)
    return Choice(
        _names(disk, random), lambda node, sector: until[node](sector), lambda node: sizes[node], lost, shared
    )


def _names(disk: Disk, random: Random) -> frozenset[int]:
    """All, none, a first part, or any: of each name the older changes first."""
    numbers = [number for number, _ in disk.naming]
    how = random.choice(("all", "none", "first", "any", "any", "but one"))
    if not numbers or how == "none":
        return frozenset()
    if how == "all":
        return frozenset(numbers)
    if how == "first":
        return frozenset(numbers[: random.randrange(len(numbers) + 1)])
    share = random.choice((0.2, 0.5, 0.8))
    missing = random.choice(numbers)
    lost: set[tuple[int, str]] = set()
    kept: set[int] = set()
    for number, event in disk.naming:
        is_wanted = number != missing if how == "but one" else random.random() < share
        if is_wanted and lost.isdisjoint(keys(event)):
            kept.add(number)
        else:
            lost.update(keys(event))
    return frozenset(kept)


def _until(disk: Disk, node: int, random: Random) -> Callable[[int], int]:
    """Sectors of one file, by themselves or by pages: all, none, half, but one, one only, or up to some event."""
    last, versions = disk.taken, disk.files[node].versions
    how = random.choice(("all", "none", "half", "half", "but one", "one", "up to"))
    grain = random.choice((1, _PAGE_SECTORS))
    places = sorted({sector // grain for sector in versions})
    if how == "all" or not places:
        return lambda sector: last
    if how == "none":
        return lambda sector: -1
    if how == "up to":
        number = random.choice(sorted(set(_events(disk, node))))
        torn = random.choice(places)
        return lambda sector: number if sector // grain != torn else last
    if how == "half":
        share = random.choice((0.1, 0.5, 0.5, 0.9))
        reached = {place: _reached(random, share, last) for place in places}
        return lambda sector: reached[sector // grain]
    one = random.choice(places)
    if how == "one":
        return lambda sector: last if sector // grain == one else -1
    return lambda sector: -1 if sector // grain == one else last


def _reached(random: Random, share: float, last: int) -> int:
    """A grain reached the disk as it is now, not at all, or, rarely, as it was some events ago."""
    if random.random() < 0.1:
        return last - random.randrange(1, 12)
    return last if random.random() < share else -1


def _size_until(disk: Disk, node: int, random: Random) -> int:
    sizes = disk.files[node].sizes
    return random.choice([disk.taken, disk.taken, -1, *(number for number, _ in sizes[-4:])])
