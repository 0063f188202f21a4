"""Quotas: how much may lie below a znode, and how much does. ZooKeeper keeps both in znodes of their own:

    /zookeeper/quota<path>/zookeeper_limits   written by clients: "count=10,bytes=-1", and hard limits behind it
    /zookeeper/quota<path>/zookeeper_stats    written by clients once, kept up to date by the servers

A limits znode makes the quota active. From then on each change at or below `<path>` adjusts the stats znode's data,
with no version, no zxid and no watch event, so that all servers do it alike while they apply. A change counts for the
deepest quota above it only. What is refused when is for `replica.prepare`. Source: administrator's guide, Quotas.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from zkstore.model import record as records_
from zkstore.model.paths import ROOT, ancestors, parent_of

if TYPE_CHECKING:
    from zkstore.model.tree import Tree

QUOTA_ROOT: Final = b"/zookeeper/quota"
LIMITS_NAME: Final = b"/zookeeper_limits"
STATS_NAME: Final = b"/zookeeper_stats"

_SEPARATORS: Final = re.compile(rb"[,;]+")
_NUMBER: Final = re.compile(rb"-?[0-9]{1,19}")


class Quota(NamedTuple):
    """The numbers in a limits or stats znode: how many znodes, how many bytes of data. -1 is no limit."""

    znodes: int = -1
    data_bytes: int = -1
    znodes_hard: int = -1
    data_bytes_hard: int = -1

    @classmethod
    def parse(cls, text: bytes | None) -> Quota:
        """Read what clients wrote; what cannot be read counts as no limit, for there is nobody to tell."""
        values: dict[bytes, int] = {}
        for item in _SEPARATORS.split((text or b"").replace(b"=;", b";")):
            key, _, value = item.partition(b"=")
            value = value.strip().rstrip(b"=")
            if _NUMBER.fullmatch(value):
                values[key.strip()] = int(value)
        return cls(
            values.get(b"count", -1),
            values.get(b"bytes", -1),
            values.get(b"countHardLimit", -1),
            values.get(b"byteHardLimit", -1),
        )


def usage_text(count: int, bytes_: int) -> bytes:
    """The data of a stats znode."""
    return b"count=%d,bytes=%d" % (count, bytes_)


def governing(tree: Tree, path: bytes) -> bytes | None:
    """The deepest path at or above `path` that has an active quota."""
    if path in tree.quotas:
        return path
    for ancestor in ancestors(path):
        if ancestor in tree.quotas:
            return ancestor
    return None


def limits(tree: Tree, path: bytes) -> Quota:
    """What may lie below a path that has an active quota."""
    return Quota.parse(_data(tree, QUOTA_ROOT + path + LIMITS_NAME))


def usage(tree: Tree, path: bytes) -> Quota | None:
    """What does lie there, as far as its stats znode tells; None without one, for then nobody counts."""
    stats_path = QUOTA_ROOT + path + STATS_NAME
    return Quota.parse(_data(tree, stats_path)) if stats_path in tree.records else None


# --- while applying -----------------------------------------------------------------------------


def created(tree: Tree, path: bytes, data_bytes: int) -> None:
    """A znode has been created."""
    governed = governed_by(path)
    if governed is not None:
        if path.endswith(LIMITS_NAME):
            tree.quotas[governed] = None
        else:
            _put_usage(tree, governed, *_count(tree, governed))
    _adjust(tree, path, 1, data_bytes)


def deleted(tree: Tree, path: bytes, data_bytes: int) -> None:
    """A znode has been deleted."""
    governed = governed_by(path)
    if governed is not None and path.endswith(LIMITS_NAME):
        tree.quotas.pop(governed, None)
    _adjust(tree, path, -1, -data_bytes)


def resized(tree: Tree, path: bytes, difference_bytes: int) -> None:
    """A znode's data has changed by so many bytes."""
    if difference_bytes:
        _adjust(tree, path, 0, difference_bytes)


def find(tree: Tree) -> dict[bytes, None]:
    """All active quotas, from the znodes; for a tree that was just loaded."""
    found: dict[bytes, None] = {}
    generation = [QUOTA_ROOT]
    while generation:
        generation = [child for parent in generation for child in tree.children.get(parent, ())]
        for path in generation:
            governed = governed_by(path)
            if governed is not None and path.endswith(LIMITS_NAME):
                found[governed] = None
    return found


def governed_by(path: bytes) -> bytes | None:
    """Of a limits or stats znode, the path whose quota it describes; None for any other znode, and for the root's."""
    if not (path.startswith(QUOTA_ROOT) and path.endswith((LIMITS_NAME, STATS_NAME))):
        return None
    governed = parent_of(path)[len(QUOTA_ROOT) :]
    return governed if governed and governed != ROOT else None


def _adjust(tree: Tree, path: bytes, count: int, bytes_: int) -> None:
    governed = governing(tree, path)
    if governed is not None:
        used = usage(tree, governed)
        if used is not None:
            _put_usage(tree, governed, used.znodes + count, used.data_bytes + bytes_)


def _count(tree: Tree, path: bytes) -> tuple[int, int]:
    """Znodes at and below `path`, and the bytes of their data."""
    count = bytes_ = 0
    generation = [path] if path in tree.records else []
    while generation:
        count += len(generation)
        bytes_ += sum(len(records_.data_of(tree.records[each]) or b"") for each in generation)
        generation = [child for parent in generation for child in tree.children.get(parent, ())]
    return count, bytes_


def _put_usage(tree: Tree, path: bytes, count: int, bytes_: int) -> None:
    stats_path = QUOTA_ROOT + path + STATS_NAME
    record = tree.records.get(stats_path)
    if record is None:
        return
    data = usage_text(count, bytes_)
    before = records_.data_of(record) or b""
    stat = records_.stat_of(record)._replace(data_length=len(data))
    tree.put(stats_path, records_.make(data, stat, tree.acl(stats_path), tree.stored_owner(stats_path)))
    tree.data_bytes += len(data) - len(before)


def _data(tree: Tree, path: bytes) -> bytes | None:
    record = tree.records.get(path)
    return None if record is None else records_.data_of(record)
