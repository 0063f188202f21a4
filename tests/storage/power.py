"""Power cuts: the images that a loss of power leaves of a log's directory.

The disk is modelled on what LMDB writes. A commit's sync makes its pages durable, and all that was written before;
its meta page, 0 or 1 in turn, is durable from the next sync on. Of a commit under way any sectors may be there, but
nothing of its meta page, which is written last.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb

from zkstore.storage.log import Link, Log
from zkstore.wire.segment import Segment

META_BYTES = 2 * 4096
SECTOR_BYTES = 512


def content(log: Path) -> bytes:
    """LMDB's file now."""
    return (log / "data.mdb").read_bytes()


def cut(log: Path, image: bytes) -> Path:
    """A copy of a log's directory with `image` for LMDB's file; all else in it is always synced."""
    copy = log.with_name("after-the-cut")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(log, copy, ignore=shutil.ignore_patterns("lock.mdb", "data.mdb"))
    (copy / "data.mdb").write_bytes(image)
    return copy


def without_meta(before: bytes, after: bytes) -> bytes:
    """All pages of the commit between, but not its meta page."""
    return before[:META_BYTES] + after[META_BYTES:]


def torn(before: bytes, after: bytes, kept: Callable[[int], bool]) -> bytes:
    """`before`, and of the pages that the commit between has written those sectors whose number is `kept`."""
    mixed = bytearray(before.ljust(len(after), b"\0"))
    sectors = [slice(at, at + SECTOR_BYTES) for at in range(META_BYTES, len(after), SECTOR_BYTES)]
    changed = [sector for sector in sectors if mixed[sector] != after[sector]]
    for number, sector in enumerate(changed):
        if kept(number):
            mixed[sector] = after[sector]
    return bytes(mixed)


def referenced(log: Path) -> int:
    """How many segments LMDB finds by itself."""
    with lmdb.open(str(log), max_dbs=2, readonly=True, lock=False) as env, env.begin() as view:
        count: int = view.stat(env.open_db(b"segments", txn=view, create=False))["entries"]
    return count


def restarted(log: Path) -> list[Segment]:
    """What a log holds at the next start, after one look at it that changes nothing."""
    before = content(log)
    reader = Log(log, read_only=True)
    seen = list(reader.read(reader.start.zxid))
    last = reader.last()
    reader.close()
    assert content(log) == before
    opened = Log(log)
    found = list(opened.read(opened.start.zxid))
    assert found == seen
    assert last == (found[-1] if found else None)
    assert opened.end == (Link(found[-1].last_zxid, found[-1].crc) if found else opened.start)
    assert opened.awaiting == ()
    opened.close()
    assert referenced(log) == len(found)
    return found
