"""The segment: the txns of one group commit, as they stand in the log and travel to learners, byte for byte.

    magic "zkS"   3 bytes     format version   1 byte
    prev_zxid     8           zxid of the last txn before this segment, 0 at the very start
    first_zxid    8           txns have consecutive zxids from here
    digest_zxid   8           an earlier end of a segment, at or before prev_zxid ...
    digest        8           ... and the digest of the tree there
    prev_crc      4           crc of the segment before, 0 at the very start
    count         4           txns
    body_bytes    4           length of what follows the header: msgpack, an array of txns (`model.txns`)
    crc           4           CRC-32 of all of the header before this field, then of the body

All integers are big-endian. Because a segment names the zxid and the CRC of the one before it, the log is
a chain: a hole or a fork shows when it is read. Because it names a digest, every server that applies it
compares its own tree with the leader's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final
from zlib import crc32

import msgpack

from zkstore.errors import DamageError
from zkstore.model.txns import MULTI, RECORDS, Txn

_HEADER: Final = Struct(">3sBqqqQIII")
_CRC: Final = Struct(">I")
_MAGIC: Final = b"zkS"
_BODY_AT: Final = _HEADER.size + _CRC.size
FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment's header, and in `data` the whole of it as stored and streamed.

    `first_zxid` and `last_zxid` are both included.
    """

    prev_zxid: int
    first_zxid: int
    last_zxid: int
    digest_zxid: int
    digest: int
    prev_crc: int
    crc: int
    data: bytes


def encode(
    txns: Sequence[Txn], *, prev_zxid: int, first_zxid: int, digest_zxid: int, digest: int, prev_crc: int
) -> Segment:
    """The segment of one or more txns."""
    assert txns, "a segment has at least one txn"
    assert prev_zxid < first_zxid, "a segment lies behind the one before it"
    body: bytes = msgpack.packb(txns)
    header = _HEADER.pack(
        _MAGIC, FORMAT_VERSION, prev_zxid, first_zxid, digest_zxid, digest, prev_crc, len(txns), len(body)
    )
    crc = crc32(body, crc32(header))
    return Segment(
        prev_zxid=prev_zxid,
        first_zxid=first_zxid,
        last_zxid=first_zxid + len(txns) - 1,
        digest_zxid=digest_zxid,
        digest=digest,
        prev_crc=prev_crc,
        crc=crc,
        data=header + _CRC.pack(crc) + body,
    )


def decode(data: bytes) -> Segment:
    """Check and take apart a segment's header. Raises DamageError, naming what does not fit."""
    if len(data) < _BODY_AT:
        raise DamageError(f"a segment of {len(data)} bytes is shorter than its header")
    magic, version, prev_zxid, first_zxid, digest_zxid, digest, prev_crc, count, body_bytes = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise DamageError(f"this is no segment: it begins with {magic!r}")
    if version != FORMAT_VERSION:
        raise DamageError(f"segment format {version}; this zkstore reads {FORMAT_VERSION}", zxid=first_zxid)
    if len(data) != _BODY_AT + body_bytes:
        raise DamageError(f"a segment of {len(data)} bytes says it has {_BODY_AT + body_bytes}", zxid=first_zxid)
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if crc32(memoryview(data)[_BODY_AT:], crc32(data[: _HEADER.size])) != crc:
        raise DamageError("a segment's checksum does not fit its content", zxid=first_zxid)
    return Segment(
        prev_zxid=prev_zxid,
        first_zxid=first_zxid,
        last_zxid=first_zxid + count - 1,
        digest_zxid=digest_zxid,
        digest=digest,
        prev_crc=prev_crc,
        crc=crc,
        data=data,
    )


def txns(segment: Segment) -> list[Txn]:
    """The txns in a segment, oldest first; the n-th (from 0) has the zxid `first_zxid` + n.

    Raises DamageError where the body is not an array of as many txns that this zkstore knows.
    """
    try:
        found = [_txn(fields) for fields in msgpack.unpackb(memoryview(segment.data)[_BODY_AT:], use_list=False)]
    except (ValueError, TypeError, LookupError) as error:
        raise DamageError(f"a segment holds what is no txn ({error})", zxid=segment.first_zxid) from error
    count = segment.last_zxid - segment.first_zxid + 1
    if len(found) != count:
        raise DamageError(f"a segment of {len(found)} txns says it has {count}", zxid=segment.first_zxid)
    return found


def _txn(fields: tuple[Any, ...]) -> Txn:
    if fields[0] == MULTI:
        fields = (*fields[:4], tuple(map(_txn, fields[4])))
    return RECORDS[fields[0]]._make(fields)
