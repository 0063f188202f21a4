"""Stat: what ZooKeeper tells of a znode beside its data. Source: zookeeper.jute, `Stat`; 68 bytes, always whole."""

from struct import Struct
from typing import Final, NamedTuple

STAT: Final = Struct(">qqqqiiiqiiq")
STAT_BYTES: Final = STAT.size
assert STAT_BYTES == 68


class Stat(NamedTuple):
    """The eleven fields in wire order.

    Attributes:
        czxid, mzxid, pzxid: zxid of the txn that created the znode, last set its data, last added or removed a child.
        ctime_ms, mtime_ms: the leader's clock at czxid and mzxid, milliseconds since 1970-01-01 UTC.
        version, aversion: changes of the data and of the ACL; 32-bit, wrapping.
        cversion: children created plus children deleted; 32-bit, wrapping.
        ephemeral_owner: the session that owns an ephemeral znode; 0 for every other kind.
        data_length: bytes of data; 0 for null, too.
        num_children: children now.
    """

    czxid: int
    mzxid: int
    ctime_ms: int
    mtime_ms: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int


def children_created(cversion: int, num_children: int) -> int:
    """How many children a znode ever had: the counter of sequential names.

    ZooKeeper stores this number and shows cversion = 2 x created - present, 32-bit; we store what is
    shown and turn it round. Exact up to 2^31 - 1 creations, where ZooKeeper's own counter ends.
    """
    return ((cversion + num_children) & 0xFFFFFFFF) >> 1


def next_version(version: int) -> int:
    """The version after a change: 32-bit, wrapping, and never -1, which means "any" in a request."""
    version += 1
    if version > 0x7FFFFFFF:
        return -0x80000000
    return version if version != -1 else 0


def wrap32(number: int) -> int:
    """`number` as a signed 32-bit integer."""
    return (number + 0x80000000 & 0xFFFFFFFF) - 0x80000000
