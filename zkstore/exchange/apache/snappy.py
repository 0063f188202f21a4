"""Snappy as snappy-java frames it, for reading: the form of Apache's `snapshot.compression.method=snappy`.

    82 "SNAPPY" 00, int version, int lowest version that can read it; then for each block: int length, block

A block is what Snappy's format description calls compressed data: the length of the content, then literals and copies
of what came before. Reading that is short enough not to ask every user for one more compiled library.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final

from zkstore.errors import DamageError

MAGIC: Final = b"\x82SNAPPY\x00"

_INT: Final = Struct(">i")
_HEADER_BYTES: Final = 16
_BLOCK_BYTES_MAX: Final = 64 << 20


def blocks(file: BinaryIO, where: Path) -> Iterator[bytes]:
    """The content, a block at a time. Raises DamageError where it is not what snappy-java writes, or cut."""
    if not file.read(_HEADER_BYTES).startswith(MAGIC):
        raise DamageError("this does not begin as a file that was compressed by snappy-java", where=where)
    while head := file.read(_INT.size):
        length = _INT.unpack(head)[0] if len(head) == _INT.size else -1
        if not 0 <= length <= _BLOCK_BYTES_MAX:
            raise DamageError(f"a block of {length} bytes cannot be: the file is cut or damaged", where=where)
        block = file.read(length)
        if len(block) < length:
            raise DamageError("the file ends within a block", where=where)
        try:
            yield decompress(block)
        except (ValueError, IndexError) as error:
            raise DamageError(f"a compressed block cannot be read ({error})", where=where) from error


def decompress(block: bytes) -> bytes:
    """The content of one block. Raises ValueError or IndexError for one that is none."""
    size, at = _varint(block)
    if size > _BLOCK_BYTES_MAX:
        raise ValueError(f"it claims {size} bytes")
    content, end = bytearray(), len(block)
    while at < end:
        tag = block[at]
        at += 1
        kind, length = tag & 3, tag >> 2
        if kind == 0:
            if length >= 60:
                wide = length - 59
                length = int.from_bytes(block[at : at + wide], "little")
                at += wide
            content += block[at : at + length + 1]
            at += length + 1
            continue
        if kind == 1:
            offset, length = (tag >> 5) << 8 | block[at], (length & 7) + 4
            at += 1
        else:
            wide = 2 if kind == 2 else 4
            offset, length = int.from_bytes(block[at : at + wide], "little"), length + 1
            at += wide
        _copy(content, offset, length)
    if len(content) != size or at != end:
        raise ValueError(f"{len(content)} bytes where {size} were written")
    return bytes(content)


def _copy(content: bytearray, offset: int, length: int) -> None:
    """Repeat what stands `offset` bytes before the end; a copy longer than that repeats itself."""
    start = len(content) - offset
    if offset == 0 or start < 0:
        raise ValueError("a copy from before the beginning")
    if offset >= length:
        content += content[start : start + length]
    else:
        pattern = bytes(content[start:])
        content += (pattern * (length // offset + 1))[:length]


def _varint(block: bytes) -> tuple[int, int]:
    value = shift = at = 0
    while True:
        byte = block[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise ValueError("its length is too long")
