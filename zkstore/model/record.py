"""A znode's record: all there is to know of one znode, as one immutable bytes object.

    | data length, int32, -1 for null | data | Stat, 68 bytes | extras |
    |<------------- the image: the body of a getData answer ->|

Extras are empty for an ordinary znode (open ACL; persistent or ephemeral), which nearly all are; else
msgpack of [stored owner, [[perms, scheme, id], ...]], where the stored owner tells containers and TTL
znodes, whose Stat shows owner 0.

Because a record is immutable, a reader may keep it while the tree moves on; because its front is the
wire's own form, a getData is a dict look-up; because it is complete, the digest of a znode is one CRC
and a checkpoint stores it as it is.
"""

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

import msgpack

from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import STAT, STAT_BYTES, Stat

_LENGTH: Final = Struct(">i")
IMAGE_OVERHEAD: Final = _LENGTH.size + STAT_BYTES

CONTAINER_OWNER: Final = -0x8000000000000000
TTL_OWNER_MARK: Final = 0xFF
TTL_MS_MAX: Final = 0xFFFFFFFFFF


class Extras(NamedTuple):
    """What only some znodes have: an ACL that is not open, or a stored owner that the Stat does not show."""

    owner: int
    acl: tuple[Acl, ...]


def make(data: bytes | None, stat: Stat | tuple[int, ...], acl: tuple[Acl, ...] = OPEN_ACL, owner: int = 0) -> bytes:
    """The record of a znode. `owner` is the stored one; it equals the Stat's for ordinary znodes."""
    if data is None:
        image = _LENGTH.pack(-1) + STAT.pack(*stat)
    else:
        image = _LENGTH.pack(len(data)) + data + STAT.pack(*stat)
    if acl == OPEN_ACL and owner == stat[7]:
        return image
    extras: bytes = msgpack.packb([owner, acl])
    return image + extras


def image_end(record: bytes) -> int:
    """Where the image ends and the extras begin."""
    (length,) = _LENGTH.unpack_from(record)
    return IMAGE_OVERHEAD + (length if length > 0 else 0)


def data_of(record: bytes) -> bytes | None:
    """The znode's data; None where it is null."""
    (length,) = _LENGTH.unpack_from(record)
    return None if length < 0 else record[4 : 4 + length]


def stat_of(record: bytes) -> Stat:
    """The znode's Stat."""
    return Stat(*STAT.unpack_from(record, image_end(record) - STAT_BYTES))


def stat_bytes_of(record: bytes) -> bytes:
    """The znode's Stat as it goes on the wire."""
    (length,) = _LENGTH.unpack_from(record)
    end = IMAGE_OVERHEAD + length if length > 0 else IMAGE_OVERHEAD
    return record[end - STAT_BYTES : end]


def extras_of(record: bytes) -> Extras | None:
    """What lies behind the image, or None for an ordinary znode."""
    end = image_end(record)
    if end == len(record):
        return None
    owner, entries = msgpack.unpackb(record[end:], use_list=False)
    return Extras(owner, tuple(Acl(*entry) for entry in entries))


def digest_of(path: bytes, record: bytes) -> int:
    """This znode's share of the tree's digest: a CRC over its path and all of its record."""
    return crc32(record, crc32(path))


def ttl_owner(ttl_ms: int) -> int:
    """The stored owner of a TTL znode: 0xff in the high byte, the TTL in the low 40 bits; signed 64-bit."""
    return (TTL_OWNER_MARK << 56 | ttl_ms) - (1 << 64)


def ttl_ms_of(owner: int) -> int | None:
    """The TTL that a stored owner encodes, or None if it is another kind of owner."""
    unsigned = owner & 0xFFFFFFFFFFFFFFFF
    if unsigned >> 40 == TTL_OWNER_MARK << 16:
        return unsigned & TTL_MS_MAX
    return None
