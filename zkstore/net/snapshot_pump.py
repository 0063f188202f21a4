"""Sends a learner the whole tree, at the pace of its link, while everything else goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import trio

from zkstore import failpoints
from zkstore.net.peer_links import PeerLinks
from zkstore.wire.messages import SNAPSHOT_END, SNAPSHOT_ROWS, SnapshotBegin, SnapshotEnd, SnapshotRows

_BATCH_BYTES: Final = 1 << 17  # encoded in less than a millisecond, which the loop can spare
_ROW_BYTES: Final = 16  # what a row costs beside its key and value, so that tiny rows make no huge batch

Row = tuple[bytes, bytes]


async def send_snapshot(
    links: PeerLinks,
    link: int,
    begin: SnapshotBegin,
    rows: Iterator[Row],
    sessions: Sequence[tuple[int, int, bytes]],
) -> bool:
    """Send the snapshot of `begin`: `rows` as the store hands them out, then the sessions.

    `rows` is iterated in another thread, by one at a time, as it reads from the disk; what it raises is raised here,
    and the link is then the caller's to close. Returns whether all was queued, False if the link broke meanwhile.
    """
    links.send(link, begin)
    while await links.wait_for_room(link):
        batch = await trio.to_thread.run_sync(_next_batch, rows)
        if not batch:
            failpoints.hit("sync.tree.end")
            links.send(link, SnapshotEnd(SNAPSHOT_END, tuple(sessions)))
            links.flush()
            return links.is_open(link)
        failpoints.hit("sync.tree.rows")
        links.send(link, SnapshotRows(SNAPSHOT_ROWS, batch))
        links.flush()
    return False


def _next_batch(rows: Iterator[Row]) -> tuple[Row, ...]:
    """The next rows, some 128 KiB or one that is longer; none at the end."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row[0]) + len(row[1]) + _ROW_BYTES
        if size >= _BATCH_BYTES:
            break
    return tuple(batch)
