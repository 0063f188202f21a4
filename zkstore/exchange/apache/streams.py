"""A snapshot's bytes as one stream, whatever compressed it, in a window that slides: a file of any size takes the
memory of one piece. Alongside goes Apache's checksum, Adler-32 of all uncompressed bytes since the beginning."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final

from zkstore.errors import DamageError
from zkstore.exchange.apache import snappy

PIECE_BYTES: Final = 1 << 20

FIELD_BYTES_MAX: Final = 64 << 20
"""A longer string or buffer is taken for damage; Apache's own bound, jute.maxbuffer, is 1 MiB unless it was raised."""

_INT: Final = Struct(">i")
_LONG: Final = Struct(">q")
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 31  # zlib's number for a gzip header and the largest window


def pieces(file: BinaryIO, where: Path) -> Iterator[bytes]:
    """The uncompressed content in pieces of about a megabyte. Raises DamageError."""
    if where.suffix == ".gz":
        return _gunzipped(file, where)
    if where.suffix == ".snappy":
        return snappy.blocks(file, where)
    return iter(lambda: file.read(PIECE_BYTES), b"")


def _gunzipped(file: BinaryIO, where: Path) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        while packed := file.read(PIECE_BYTES):
            while packed:
                yield unpacker.decompress(packed, PIECE_BYTES)
                packed = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise DamageError(f"what gzip packed cannot be unpacked ({error})", where=where) from error
    if not unpacker.eof:
        raise DamageError("the packed file is cut", where=where)


class Window:
    """Part of a stream: `data[at:]` is what comes next. Its owner moves `at`, and calls `need` where more is wanted.

    `progress` is called for each new piece.
    """

    def __init__(self, source: Iterator[bytes], where: Path, progress: Callable[[], None]) -> None:
        self.data = b""
        self.at = 0
        self.where = where
        self._source = source
        self._progress = progress
        self._before = 0
        self._checksum = 1

    @property
    def offset(self) -> int:
        """Of the next byte in the uncompressed stream."""
        return self._before + self.at

    def need(self, count: int) -> None:
        """Have the next `count` bytes in `data`, behind `at`. Raises DamageError where the stream ends before."""
        if len(self.data) - self.at < count and not self._fill(count):
            raise DamageError(f"the file is cut: it ends at byte {self._before + len(self.data)}", where=self.where)

    def available(self, count: int) -> int:
        """How many bytes follow, if these are fewer than `count`; else at least so many."""
        if len(self.data) - self.at < count:
            self._fill(count)
        return len(self.data) - self.at

    def checksum(self) -> int:
        """Adler-32 of everything before the next byte."""
        return zlib.adler32(memoryview(self.data)[: self.at], self._checksum)

    def int32(self) -> int:
        """The next number of 32 bits."""
        self.need(4)
        value: int = _INT.unpack_from(self.data, self.at)[0]
        self.at += 4
        return value

    def int64(self) -> int:
        """The next number of 64 bits."""
        self.need(8)
        value: int = _LONG.unpack_from(self.data, self.at)[0]
        self.at += 8
        return value

    def buffer(self) -> bytes | None:
        """The next bytes behind their length; None for null."""
        length = self.length()
        if length < 0:
            return None
        self.need(length)
        self.at += length
        return self.data[self.at - length : self.at]

    def length(self) -> int:
        """A length; -1 for null. Raises DamageError for one that cannot be."""
        length = self.int32()
        if not -1 <= length <= FIELD_BYTES_MAX:
            self.at -= 4
            raise self.damage(f"a field cannot have {length} bytes")
        return length

    def damage(self, message: str) -> DamageError:
        """An error at this place."""
        return DamageError(f"{message}, at byte {self.offset}", where=self.where)

    def _fill(self, count: int) -> bool:
        parts = [self.data[self.at :]]
        self._checksum = self.checksum()
        self._before += self.at
        size = len(parts[0])
        for piece in self._source:
            self._progress()
            parts.append(piece)
            size += len(piece)
            if size >= count:
                break
        self.data, self.at = b"".join(parts), 0
        return size >= count
