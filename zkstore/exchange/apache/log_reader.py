"""One transaction log of Apache's, entry by entry; every checksum in it compared.

    magic "ZKLG", int version, long dbid
    entries, each: long checksum of the body (Adler-32), int length, body, the letter B
    zeros, because a server has space allotted before it is needed

A log ends where zeros begin, and where an entry is incomplete: the server died while it wrote that one, and nobody was
told that it had happened. An entry that is complete and whose checksum does not fit is damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, Final, NamedTuple
from zlib import adler32

from zkstore.errors import DamageError
from zkstore.exchange.apache import txns
from zkstore.exchange.apache.layout import ApacheFile
from zkstore.exchange.apache.snapshot_reader import refuse_version
from zkstore.exchange.apache.streams import FIELD_BYTES_MAX
from zkstore.exchange.apache.txns import Header
from zkstore.storage.directory import translated

MAGIC: Final = 0x5A4B4C47
_FILE_HEADER: Final = Struct(">iiq")
_ENTRY_HEADER: Final = Struct(">qi")
_TRAILER: Final = b"B"
_READ_BYTES: Final = 1 << 20


class Entry(NamedTuple):
    """One txn, and where in the file it begins."""

    offset: int
    header: Header
    body: bytes


class LogReader:
    """Reads one file; `entries` once.

    Attributes:
        ending: once `entries` is through, a sentence about an end that is not as a stopped server leaves it, or None.
    """

    def __init__(self, file: ApacheFile) -> None:
        self.file = file
        self.ending: str | None = None
        self._zxid = 0

    def entries(self) -> Iterator[Entry]:
        """All txns. Raises DamageError, which names the offset, and FormatTooNewError."""
        try:
            with self.file.path.open("rb", buffering=_READ_BYTES) as content:
                if self._read_header(content):
                    yield from self._entries(content)
        except OSError as error:
            raise translated(error, self.file.path) from error

    def first(self) -> Entry | None:
        """The first txn, None where there is none."""
        return next(LogReader(self.file).entries(), None)

    def _read_header(self, content: BinaryIO) -> bool:
        header = content.read(_FILE_HEADER.size)
        if len(header) < _FILE_HEADER.size or not any(header):
            self.ending = "holds nothing, not even a header: the server died as it began the file"
            return False
        magic, version, _ = _FILE_HEADER.unpack(header)
        if magic != MAGIC:
            raise DamageError(
                f"this does not begin as a transaction log does, but with {magic & 0xFFFFFFFF:08x}",
                where=self.file.path,
            )
        refuse_version(version, self.file.path)
        return True

    def _entries(self, content: BinaryIO) -> Iterator[Entry]:
        offset, read = _FILE_HEADER.size, content.read
        while True:
            head = read(_ENTRY_HEADER.size)
            if len(head) < _ENTRY_HEADER.size:
                self.ending = _cut(offset) if any(head) else None
                return
            checksum, length = _ENTRY_HEADER.unpack(head)
            if length == 0:
                self._look_behind(content, offset, checksum != 0)
                return
            if not 0 < length <= FIELD_BYTES_MAX:
                raise self._damage(offset, f"an entry cannot have {length} bytes")
            body, trailer = read(length), read(1)
            if trailer != _TRAILER:
                self.ending = _cut(offset)
                return
            if adler32(body) != checksum:
                raise self._damage(offset, "the checksum of an entry does not fit its content")
            try:
                header = txns.header_of(body)
            except DamageError as error:
                raise self._damage(offset, str(error)) from error
            self._zxid = header.zxid
            yield Entry(offset, header, body)
            offset += _ENTRY_HEADER.size + length + 1

    def _look_behind(self, content: BinaryIO, offset: int, is_cut: bool) -> None:
        """Only zeros should follow the end."""
        while rest := content.read(_READ_BYTES):
            if rest.count(0) != len(rest):
                is_cut = True
                break
        if is_cut:
            self.ending = _cut(offset)

    def _damage(self, offset: int, message: str) -> DamageError:
        sound_zxid = self._zxid or self.file.zxid - 1
        error = DamageError(
            f"{message}, at byte {offset}, behind the txn {sound_zxid:#x}",
            where=self.file.path,
            advice=up_to_advice(sound_zxid),
        )
        error.zxid = sound_zxid + 1
        return error


def up_to_advice(sound_zxid: int) -> str:
    """What to do about damage behind a txn."""
    return (
        "Name the directory of another server of the ensemble, or a backup; or give"
        f" --up-to {sound_zxid:#x} to import what lies before"
    )


def _cut(offset: int) -> str:
    return f"ends with an entry that was not written to its end, at byte {offset}, and is left out as ZooKeeper does"
