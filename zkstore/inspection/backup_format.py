"""How a backup lies in its file.

    magic      "zkstore backup 1\\n"
    blocks     kind 1 byte, length 4, CRC-32 of kind and content 4, content: msgpack, compressed with zlib
    end        where the index block begins 8, CRC-32 of these 4, "zkstore end\\n"

    ZNODES     [[path, record], ...] in the order of paths, over all blocks of an image
    SEGMENTS   [segment, ...] byte for byte, oldest first
    INDEX      all there is to know without reading the others, and where they begin: see `Index`

All integers are big-endian. A file is written from front to back and never sought in, so it may be a pipe; it is read
from its end, so one that was cut off is noticed before anything in it is believed.
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final, NamedTuple
from zlib import compress, crc32, decompress
from zlib import error as ZlibError

import msgpack

from zkstore.errors import DamageError, FormatTooNewError

NAME: Final = b"zkstore backup "
FORMAT_VERSION: Final = 1
MAGIC: Final = NAME + b"%d\n" % FORMAT_VERSION
END: Final = b"zkstore end\n"

ZNODES: Final = 1
SEGMENTS: Final = 2
INDEX: Final = 3

BLOCK_BYTES: Final = 1 << 20
"""Of content before it is compressed, about: what is read, checked and held at a time."""

_HEAD: Final = Struct(">BII")
_TAIL: Final = Struct(">QI")
_CONTENT_BYTES_MAX: Final = 1 << 30
_LEVEL: Final = 1  # a third of the time of zlib's own choice, for some percent more bytes


class ImagePlace(NamedTuple):
    """One image: what it is of, its sessions, and the blocks that hold its znodes as (first path, where)."""

    zxid: int
    digest: int
    crc: int
    znodes: int
    data_bytes: int
    ephemerals: int
    sessions: dict[int, tuple[int, bytes]]
    blocks: tuple[tuple[bytes, int], ...]


class LogPlace(NamedTuple):
    """The log: what its first segment continues, its end, and its blocks as (first zxid, where)."""

    start: tuple[int, int]
    end: tuple[int, int]
    first_time_ms: int | None
    last_time_ms: int | None
    blocks: tuple[tuple[int, int], ...]


class Index(NamedTuple):
    """What is in a backup. `log` is None where it has no history."""

    made_ms: int
    maker: str
    store_id: str
    ensemble_id: bytes | None
    epochs: tuple[int, int]
    images: tuple[ImagePlace, ...]
    log: LogPlace | None


def pack(kind: int, content: Any) -> bytes:
    """One block."""
    packed = compress(msgpack.packb(content), _LEVEL)
    return _HEAD.pack(kind, len(packed), crc32(packed, crc32(bytes((kind,))))) + packed


def pack_end(index_at: int) -> bytes:
    """The file's last bytes."""
    place = index_at.to_bytes(8, "big")
    return _TAIL.pack(index_at, crc32(place)) + END


def read(file: BinaryIO, at: int, kind: int, where: Path) -> Any:
    """The content of the block of that kind which begins at `at`. Raises DamageError."""
    file.seek(at)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise _damage(f"there is no block at byte {at}", where)
    found, length, crc = _HEAD.unpack(head)
    if found != kind or length > _CONTENT_BYTES_MAX:
        raise _damage(f"there is no block of kind {kind} at byte {at}", where)
    packed = file.read(length)
    if crc32(packed, crc32(bytes((kind,)))) != crc:
        raise _damage(f"the checksum of the block at byte {at} does not fit its content", where)
    try:
        return msgpack.unpackb(decompress(packed), use_list=False, strict_map_key=False)
    except (ValueError, ZlibError) as error:
        raise _damage(f"the block at byte {at} cannot be read ({error})", where) from error


def read_index(file: BinaryIO, where: Path) -> Index:
    """What the file holds. Raises DamageError, and FormatTooNewError."""
    first = file.read(len(MAGIC))
    if not first.startswith(NAME):
        raise _damage("this is no backup", where)
    if first != MAGIC:
        version = first[len(NAME) :].decode("ascii", "replace").strip()
        raise FormatTooNewError(
            f"this backup has the format {version}; this zkstore reads {FORMAT_VERSION}",
            where=where,
            advice="Use the zkstore that made it, or a newer one",
        )
    size = file.seek(0, 2)
    tail_bytes = _TAIL.size + len(END)
    file.seek(max(size - tail_bytes, 0))
    tail = file.read(tail_bytes)
    if len(tail) < tail_bytes or not tail.endswith(END):
        raise _damage(f"the backup was cut off: its {size:,} bytes end before its end", where)
    at, crc = _TAIL.unpack_from(tail)
    if crc32(tail[:8]) != crc:
        raise _damage("the last bytes of the backup are damaged", where)
    content = read(file, at, INDEX, where)
    try:
        return _index(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damage(f"the index of the backup cannot be read ({error!r})", where) from error


def _index(content: dict[str, Any]) -> Index:
    log = content.pop("log")
    images = tuple(ImagePlace(**image) for image in content.pop("images"))
    return Index(**content, images=images, log=None if log is None else LogPlace(**log))


def _damage(message: str, where: Path) -> DamageError:
    return DamageError(message, where=where, advice="Take another copy of this backup, or an older one")
