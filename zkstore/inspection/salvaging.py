"""What is provably right in a damaged source: the newest zxid that can be reached from a sound image over a sound log.

Sound means: the znodes have the digest that was written with them, every segment its CRC and its place in the chain,
and every digest that a segment names is the tree's. A source is only read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from zkstore.errors import DamageError, StorageError
from zkstore.inspection import txn_listing
from zkstore.inspection.source import Source
from zkstore.inspection.view import View
from zkstore.wire import segment as segments_

PATHS_MAX: Final = 1000


class LeftOut(NamedTuple):
    """What lies behind the tree that was saved.

    Attributes:
        first_zxid, last_zxid: of what is missing; both 0 for nothing.
        segments, txns: of those, how many can be read still, though what they continue is lost.
        paths: the znodes that these txns would have changed, `PATHS_MAX` at most, in order.
        paths_more: further ones.
        damage: sentences.
        is_all: this is all; False where the log cannot be read far enough to tell.
    """

    first_zxid: int
    last_zxid: int
    segments: int
    txns: int
    paths: list[bytes]
    paths_more: int
    damage: list[str]
    is_all: bool = True


def candidates(source: Source) -> list[int]:
    """The zxids at which a tree may be sound, newest first."""
    found = set()
    for reach in source.facts.reach:
        for zxid in {reach.first_zxid, reach.last_zxid}:
            found.add(zxid)
    images = [image for image in (*source.facts.snapshots, source.facts.checkpoint) if image is not None]
    begins = {image.zxid for image in images} | (
        {0} if source.facts.start.zxid == 0 and source.facts.segments else set()
    )
    for begin in begins:
        found.add(begin)
        if begin < source.facts.start.zxid:
            continue
        try:
            found.add(source.lead(begin, source.facts.end.zxid).zxid)
        except (StorageError, StopIteration):
            continue  # an image that cannot be read
    return sorted(found, reverse=True)


def views(source: Source) -> Iterator[View]:
    """Views to be read whole, newest first; only reading one shows whether its image is sound."""
    for zxid in candidates(source):
        for view in source.views(zxid):
            if view.zxid == zxid:
                yield view


def left_out(source: Source, saved_zxid: int) -> LeftOut:
    """What of a source lies behind `saved_zxid`."""
    paths: set[bytes] = set()
    segments = txns = last_zxid = 0
    for segment in source.segments(saved_zxid, (1 << 63) - 1):
        try:
            found = segments_.txns(segment)
        except DamageError as error:
            source.damage.append(error)
            continue
        segments += 1
        last_zxid = segment.last_zxid
        for zxid, txn in enumerate(found, segment.first_zxid):
            if zxid > saved_zxid:
                txns += 1
                paths.update(txn_listing.paths_of(txn))
    images = [image.zxid for image in (*source.facts.snapshots, source.facts.checkpoint) if image is not None]
    clean_zxid = 0 if source.facts.clean is None else source.facts.clean.zxid
    last_zxid = max([last_zxid, source.facts.end.zxid, clean_zxid, *images])
    shown = sorted(paths)
    damage = list(dict.fromkeys([*source.facts.troubles, *map(str, source.damage)]))
    first_zxid = saved_zxid + 1 if last_zxid > saved_zxid else 0
    return LeftOut(
        first_zxid,
        last_zxid if first_zxid else 0,
        segments,
        txns,
        shown[:PATHS_MAX],
        max(len(shown) - PATHS_MAX, 0),
        damage,
        is_all=source.facts.epochs is not None,
    )
