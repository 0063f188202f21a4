"""Jute, the encoding of the client protocol: big-endian integers, and lengths in front of everything else.

A `Reader` trusts no byte: whatever is short, or points outside of its record, is a `TruncatedRecordError`, and
nothing is allocated because a count on the wire says so. The functions at the end make the bytes; records join them.

    int, long    4 and 8 bytes            buffer, ustring   int length (-1 = null), bytes
    boolean      1 byte, 0 or not         vector            int count (-1 = null), elements
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar

from zkstore.errors import TruncatedRecordError

T = TypeVar("T")

INT32: Final = struct.Struct(">i")
INT64: Final = struct.Struct(">q")

NULL: Final = b"\xff\xff\xff\xff"
"""A null buffer, string or vector: the length -1."""

_SMALLEST_ELEMENT_BYTES: Final = 4
"""Every vector of the protocol holds strings or records that begin with an int."""


class WireAcl(NamedTuple):
    """An ACL as a client sent it: not yet checked, and either string may be null (kazoo sends "" so)."""

    perms: int
    scheme: str | None
    id: str | None


AclList = tuple[tuple[int, str | None, str | None], ...] | None


_OPEN_ACL: Final = (WireAcl(31, "world", "anyone"),)
_OPEN_ACL_BYTES: Final = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")


class Reader:
    """Reads fields in order from `data[offset:end]`. `offset` is the next byte to be read.

    Every method raises `TruncatedRecordError` when the field does not fit into what is left.
    """

    __slots__ = ("data", "end", "offset")

    def __init__(self, data: bytes, offset: int = 0, end: int | None = None) -> None:
        self.data = data
        self.offset = offset
        self.end = len(data) if end is None else end

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self.end - self.offset

    def int32(self) -> int:
        """A signed 32-bit number."""
        value: int = INT32.unpack_from(self.data, self._advance(4))[0]
        return value

    def int64(self) -> int:
        """A signed 64-bit number."""
        value: int = INT64.unpack_from(self.data, self._advance(8))[0]
        return value

    def boolean(self) -> bool:
        """One byte; anything but 0 is true."""
        return self.data[self._advance(1)] != 0

    def fixed(self, size: int) -> bytes:
        """The next `size` bytes as they stand."""
        start = self._advance(size)
        return self.data[start : start + size]

    def buffer(self) -> bytes | None:
        """Bytes behind their length; None for null, which differs from empty."""
        start = self.offset + 4
        if start > self.end:
            self._advance(4)
        (length,) = INT32.unpack_from(self.data, self.offset)
        if length == -1:
            self.offset = start
            return None
        stop = start + length
        if length < 0 or stop > self.end:
            self.offset = start
            self._advance(length)
        self.offset = stop
        return self.data[start:stop]

    def string(self) -> str | None:
        """A string behind its length; bytes that are not UTF-8 become U+FFFD, as in the Java server."""
        raw = self.buffer()
        return None if raw is None else raw.decode("utf-8", "replace")

    def vector(self, element: Callable[[Reader], T]) -> tuple[T, ...] | None:
        """A count and as many elements, each read by `element`; None for null. Counts below -1 read as empty."""
        count = self.int32()
        if count == -1:
            return None
        if count * _SMALLEST_ELEMENT_BYTES > self.remaining:
            raise TruncatedRecordError(f"a vector of {count} elements cannot fit into {self.remaining} bytes")
        return tuple([element(self) for _ in range(count)])

    def acl(self) -> AclList:
        """A vector of ACLs; the open one, which nearly all are, without taking it apart."""
        start = self.offset
        stop = start + len(_OPEN_ACL_BYTES)
        if stop <= self.end and self.data[start:stop] == _OPEN_ACL_BYTES:
            self.offset = stop
            return _OPEN_ACL
        return self.vector(lambda reader: WireAcl(reader.int32(), reader.string(), reader.string()))

    def _advance(self, size: int) -> int:
        """Step over `size` bytes; return where they begin."""
        start = self.offset
        if size < 0 or start + size > self.end:
            raise TruncatedRecordError(f"a field of {size} bytes does not fit into the {self.remaining} that are left")
        self.offset = start + size
        return start


def int32(value: int) -> bytes:
    """A signed 32-bit number."""
    return INT32.pack(value)


def int64(value: int) -> bytes:
    """A signed 64-bit number."""
    return INT64.pack(value)


def boolean(value: bool) -> bytes:
    """One byte, 0 or 1."""
    return b"\x01" if value else b"\x00"


def buffer(value: bytes | None) -> bytes:
    """Bytes behind their length. A frame is encoded alike: `buffer(payload)`."""
    return NULL if value is None else INT32.pack(len(value)) + value


def string(value: str | None) -> bytes:
    """UTF-8 behind its length in bytes."""
    return NULL if value is None else buffer(value.encode("utf-8", "replace"))


def vector(items: Iterable[bytes] | None) -> bytes:
    """A count and the elements, which come encoded."""
    if items is None:
        return NULL
    encoded = list(items)
    return INT32.pack(len(encoded)) + b"".join(encoded)


def buffers(items: Iterable[bytes | None] | None) -> bytes:
    """A vector of strings or buffers, given raw."""
    return NULL if items is None else vector([buffer(item) for item in items])


def acl(entries: Iterable[tuple[int, str | None, str | None]] | None) -> bytes:
    """A vector of ACLs: permissions, scheme, id."""
    if entries is None:
        return NULL
    return vector([int32(perms) + string(scheme) + string(identity) for perms, scheme, identity in entries])
