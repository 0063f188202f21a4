"""The log's generation: a random key that says which stored segments may still be salvaged (see `salvage`).

A file of two slots, each of them a disk block of its own, that are overwritten in turn: a crash spoils at most the
slot that was being written, and then the other one still holds. The file never grows, so that ending a generation
takes no space: it must succeed on a full disk, of all places.

    magic "zkG1"  4 bytes
    number        8        which slot is the newer one; also, odd or even, where it stands
    is_closed     1        the log was closed in order: there is nothing to be salvaged
    key          16        random
    crc           4        CRC-32 of all before

All integers are big-endian.
"""

from __future__ import annotations

import os
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple
from zlib import crc32

from zkstore import failpoints
from zkstore.errors import DamageError, StorageError
from zkstore.storage.directory import replace_file, translated

KEY_BYTES: Final = 16

_SLOT: Final = Struct(">4sQ?16s")
_CRC: Final = Struct(">I")
_MAGIC: Final = b"zkG1"
_SLOT_BYTES: Final = 4096


class Generation(NamedTuple):
    """What a slot says."""

    number: int
    is_closed: bool
    key: bytes

    def encode(self) -> bytes:
        """One whole slot."""
        content = _SLOT.pack(_MAGIC, *self)
        return (content + _CRC.pack(crc32(content))).ljust(_SLOT_BYTES, b"\0")


def create(path: Path) -> None:
    """Make the file for a new log. Raises StorageError."""
    first = Generation(0, True, os.urandom(KEY_BYTES))
    replace_file(path, first.encode() + bytes(_SLOT_BYTES))
    failpoints.hit("log.generation.created")


class GenerationFile:
    """The file of a log, kept open: a server that has run out of descriptors must be able to end a generation.

    `current` is the newest generation. Raises DamageError where the file is gone or holds none.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as error:
            raise DamageError(
                f"the log's generation cannot be read ({error.strerror})",
                where=path,
                advice="Restore the log's directory as a whole",
            ) from error
        content = os.pread(self._descriptor, 2 * _SLOT_BYTES, 0)
        slots = [slot for slot in map(_decode, (content[:_SLOT_BYTES], content[_SLOT_BYTES:])) if slot is not None]
        if not slots:
            self.close()
            raise DamageError(
                "neither half of the log's generation is what was written",
                where=path,
                advice="Restore the log's directory as a whole",
            )
        self.current = max(slots)

    def replace(self, *, is_closed: bool = False) -> None:
        """A new generation, on disk when this returns. Raises StorageError; which of the two holds is unknown then."""
        following = Generation(self.current.number + 1, is_closed, os.urandom(KEY_BYTES))
        try:
            failpoints.hit("log.generation.before_write")
            os.pwrite(self._descriptor, following.encode(), following.number % 2 * _SLOT_BYTES)
            failpoints.hit("log.generation.before_sync")
            os.fdatasync(self._descriptor)
            failpoints.hit("log.generation.after_sync")
        except OSError as error:
            # Not a DiskFullError: that one says that nothing happened and all goes on.
            raise StorageError(str(translated(error, self.path))) from error
        self.current = following

    def close(self) -> None:
        """Let go of the file; doing so twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _decode(slot: bytes) -> Generation | None:
    try:
        magic, number, is_closed, key = _SLOT.unpack_from(slot)
        (crc,) = _CRC.unpack_from(slot, _SLOT.size)
    except StructError:
        return None
    return Generation(number, is_closed, key) if magic == _MAGIC and crc == crc32(slot[: _SLOT.size]) else None
