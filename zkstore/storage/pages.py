"""The structure of an LMDB file, checked without LMDB, which trusts every page that it reads.

A number in a spoilt page can send LMDB outside of its map, or into an assertion, and either ends the server without a
word; a spoilt list of free pages makes it write over what is still needed. So before a file is opened, every page
that its newest state refers to is looked at: that it is the page it should be, that what it says lies within it, and
that no page is used twice or free and used. Content is not judged here; checksums and digests do that. Pages are read
by the system's calls and not through the map, so that a sector that cannot be read is an error and no signal.

As LMDB 0.9 writes it, little-endian (mdb.c: MDB_page, MDB_node, MDB_db, MDB_meta):

    page      number 8, unused 2, flags 2, lower 2, upper 2, then `(lower - 16) / 2` offsets of nodes, 2 bytes each
    overflow  number 8, unused 2, flags 2, count of pages 4, then the value
    node      low 2, high 2, flags 2, length of the key 2, key, then the value: on a branch, the number of a page is
              low, high and flags together; on a leaf the value's length is low and high
    database  unused 4, flags 2, depth 2, branch, leaf and overflow pages and entries 8 each, root 8
    meta      behind a page's 16 bytes: magic and version 8, unused 8, map size 8, two databases, last page 8, txn 8
"""

from __future__ import annotations

import os
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from zkstore import failpoints
from zkstore.errors import DamageError

PAGE_BYTES_MIN: Final = 512
PAGE_BYTES_MAX: Final = 65536

_HEADER: Final = Struct("<QHHHH")
_OVERFLOW: Final = Struct("<QHHI")
_NODE: Final = Struct("<HHHH")
_DATABASE: Final = Struct("<IHHQQQQQ")
_META: Final = Struct("<QQQ")
_ENDS: Final = Struct("<QQ")
_NUMBER: Final = Struct("<Q")

_HEADER_BYTES: Final = 16
_NODE_BYTES: Final = 8
_MAGIC: Final = 1 << 32 | 0xBEEFC0DE
_BRANCH, _LEAF, _OVERFLOWING, _METADATA = 0x01, 0x02, 0x04, 0x08
_KINDS: Final = 0x7F  # of a page's flags: the others are for pages in memory
_BIG, _NAMED = 0x01, 0x02
_NONE: Final = (1 << 64) - 1
_DEPTH_MAX: Final = 32
_METAS: Final = 2


class _Database(NamedTuple):
    """One tree of pages."""

    page_bytes: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


def check(file: Path) -> None:
    """Raise DamageError, which names the page, if LMDB could come to harm over this file. Nothing of an empty one."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DamageError(f"the file cannot be read ({error.strerror})", where=file) from error
    try:
        size = os.fstat(descriptor).st_size
        if size:
            _Walk(file, descriptor, size).run()
    finally:
        os.close(descriptor)


class _Walk:
    """One check of one file."""

    def __init__(self, file: Path, descriptor: int, size: int) -> None:
        self._file = file
        self._descriptor = descriptor
        self._size = size
        self._page_bytes = 0
        self._pages = 0
        self._used = bytearray()
        self._counts = [0, 0, 0, 0]  # branch, leaf and overflow pages, and entries, of the database under way
        self._named: list[tuple[bytes, _Database]] = []

    def run(self) -> None:
        """All of it. Raises DamageError."""
        free, main = self._metas()
        self._used = bytearray(self._pages)
        self._used[:_METAS] = b"\1" * _METAS
        free_lists = self._walk("the list of free pages", free)
        self._walk("the list of databases", main)
        for name, database in self._named:
            self._walk(f"database {name.decode('ascii', 'replace')!r}", database)
        for page in free_lists:
            self._use(page, "the list of free pages", is_free=True)

    def _metas(self) -> tuple[_Database, _Database]:
        """The two databases that the newer of the two meta pages names."""
        newest_txn, newest = -1, (b"", 0)
        page_bytes = 0
        for number in range(_METAS):
            content = self._read(number * page_bytes, max(page_bytes, PAGE_BYTES_MIN), number)
            try:
                page, _, flags, _, _ = _HEADER.unpack_from(content)
                magic, _, _ = _META.unpack_from(content, _HEADER_BYTES)
                at = _HEADER_BYTES + _META.size
                found = _Database._make(_DATABASE.unpack_from(content, at)).page_bytes
                last_page, txn = _ENDS.unpack_from(content, at + 2 * _DATABASE.size)
            except StructError:
                raise self._damage(number, "it is not all there") from None
            if magic != _MAGIC or page != number or flags & _KINDS != _METADATA:
                raise self._damage(number, "it is not what an LMDB file begins with")
            if not PAGE_BYTES_MIN <= found <= PAGE_BYTES_MAX or found & (found - 1) or found != (page_bytes or found):
                raise self._damage(number, f"it speaks of pages of {found} bytes")
            page_bytes = found
            if txn > newest_txn:
                newest_txn, newest = txn, (content, last_page)
        self._page_bytes = page_bytes
        content, last_page = newest
        self._pages = last_page + 1
        at = _HEADER_BYTES + _META.size
        free = _Database._make(_DATABASE.unpack_from(content, at))
        main = _Database._make(_DATABASE.unpack_from(content, at + _DATABASE.size))
        return free, main

    def _walk(self, what: str, database: _Database) -> list[int]:
        """Look at all pages of a database. Returns the free pages that its values list, if it is the list of them."""
        is_free_list, is_main = what == "the list of free pages", what == "the list of databases"
        self._counts = [0, 0, 0, 0]
        listed: list[int] = []
        if database.root == _NONE:
            level: list[int] = []
        elif not 1 <= database.depth <= _DEPTH_MAX:
            raise DamageError(f"{what} is {database.depth} pages deep", where=self._file)
        else:
            level = [database.root]
        for depth in range(database.depth if level else 0):
            below: list[int] = []
            is_leaf = depth == database.depth - 1
            for page in level:
                self._use(page, what)
                content = self._read(page * self._page_bytes, self._page_bytes, page)
                if not is_leaf:
                    below += self._branch(page, content)
                elif is_free_list or is_main:
                    for key, value in self._values(page, content):
                        if is_free_list:
                            listed += self._free_pages(page, value)
                        else:
                            self._named.append((key, self._named_database(page, key, value)))
                else:
                    self._leaf(page, content)
            level = below
        counted = [database.branches, database.leaves, database.overflows, database.entries]
        if self._counts != counted:
            raise DamageError(
                f"{what} should have {counted} branch, leaf and overflow pages and entries; it has {self._counts}",
                where=self._file,
            )
        return listed

    # --- pages ------------------------------------------------------------------------------------

    def _offsets(self, page: int, content: bytes, kind: int) -> tuple[int, ...]:
        """Where the nodes of a page begin; all of them and their headers lie within it."""
        number, _, flags, lower, upper = _HEADER.unpack_from(content)
        if number != page or flags & _KINDS != kind:
            raise self._damage(page, f"it says that it is page {number} with flags {flags:#x}")
        count = (lower - _HEADER_BYTES) >> 1
        if lower & 1 or not (_HEADER_BYTES < lower <= upper <= self._page_bytes):
            raise self._damage(page, f"its {count} nodes lie from {upper} on and their offsets end at {lower}")
        offsets: tuple[int, ...] = Struct(f"<{count}H").unpack_from(content, _HEADER_BYTES)
        if min(offsets) < upper or max(offsets) > self._page_bytes - _NODE_BYTES:
            raise self._damage(page, "a node lies outside")
        return offsets

    def _branch(self, page: int, content: bytes) -> list[int]:
        """The pages below."""
        self._counts[0] += 1
        offsets = self._offsets(page, content, _BRANCH)
        if len(offsets) < 2:
            raise self._damage(page, "a branch without a fork")
        below = []
        for offset in offsets:
            low, high, flags, key_bytes = _NODE.unpack_from(content, offset)
            if offset + _NODE_BYTES + key_bytes > self._page_bytes:
                raise self._damage(page, "a key reaches outside")
            below.append(low | high << 16 | flags << 32)
        return below

    def _leaf(self, page: int, content: bytes) -> None:
        """Nothing reaches outside of a leaf, or of the pages that its large values have for themselves."""
        offsets = self._offsets(page, content, _LEAF)
        self._counts[1] += 1
        self._counts[3] += len(offsets)
        end, unpack_from = self._page_bytes - _NODE_BYTES, _NODE.unpack_from
        for offset in offsets:
            low, high, flags, key_bytes = unpack_from(content, offset)
            if flags == 0 and offset + key_bytes + low + (high << 16) <= end:
                continue
            if flags != _BIG or offset + key_bytes + _NUMBER.size > end:
                raise self._damage(page, "a value reaches outside")
            self._overflow(page, content, offset + _NODE_BYTES + key_bytes, low | high << 16)

    def _values(self, page: int, content: bytes) -> list[tuple[bytes, bytes]]:
        """The keys and values of a leaf of the file's own databases."""
        offsets = self._offsets(page, content, _LEAF)
        self._counts[1] += 1
        self._counts[3] += len(offsets)
        found = []
        for offset in offsets:
            low, high, flags, key_bytes = _NODE.unpack_from(content, offset)
            at, length = offset + _NODE_BYTES + key_bytes, low | high << 16
            if flags == _BIG and at + _NUMBER.size <= self._page_bytes:
                first = self._overflow(page, content, at, length)
                value = self._read(first * self._page_bytes + _HEADER_BYTES, length, first)
            elif flags & ~_NAMED == 0 and at + length <= self._page_bytes:
                value = content[at : at + length]
            else:
                raise self._damage(page, "a value reaches outside")
            found.append((content[at - key_bytes : at], value))
        return found

    def _overflow(self, page: int, content: bytes, at: int, length: int) -> int:
        """Look at the pages of one large value; returns the first one's number."""
        first: int = _NUMBER.unpack_from(content, at)[0]
        if not _METAS <= first < self._pages:
            raise self._damage(page, f"a value lies on page {first} of {self._pages}")
        head = self._read(first * self._page_bytes, _HEADER_BYTES, first)
        number, _, flags, count = _OVERFLOW.unpack_from(head)
        if number != first or flags & _KINDS != _OVERFLOWING:
            raise self._damage(first, f"it says that it is page {number} with flags {flags:#x}")
        if not length + _HEADER_BYTES <= count * self._page_bytes or first + count > self._pages:
            raise self._damage(first, f"it says that {count} pages hold {length} bytes")
        for each in range(first, first + count):
            self._use(each, f"the value on page {page}")
        self._counts[2] += count
        return first

    def _free_pages(self, page: int, value: bytes) -> list[int]:
        """The numbers in one list of free pages."""
        if len(value) < _NUMBER.size:
            raise self._damage(page, "a list of free pages without a length")
        (count,) = _NUMBER.unpack_from(value)
        if (count + 1) * _NUMBER.size > len(value):
            raise self._damage(page, f"a list of {count} free pages has {len(value)} bytes")
        return list(Struct(f"<{count}Q").unpack_from(value, _NUMBER.size))

    def _named_database(self, page: int, key: bytes, value: bytes) -> _Database:
        if len(value) != _DATABASE.size:
            raise self._damage(page, f"database {key!r} is described in {len(value)} bytes")
        found = _Database._make(_DATABASE.unpack(value))
        if found.flags:
            raise self._damage(page, f"database {key!r} has flags {found.flags:#x}")
        return found

    # --- inside -----------------------------------------------------------------------------------

    def _use(self, page: int, what: str, *, is_free: bool = False) -> None:
        """A page that a batch has taken and freed again need not have been written: the file may end before it."""
        if not _METAS <= page < self._pages:
            raise DamageError(f"{what} refers to page {page}; there are {self._pages}", where=self._file)
        if not is_free and (page + 1) * self._page_bytes > self._size:
            raise DamageError(
                f"the file has {self._size} bytes where {self._pages * self._page_bytes} were written", where=self._file
            )
        if self._used[page]:
            raise self._damage(page, f"{what} refers to it, and it is in use elsewhere")
        self._used[page] = 1

    def _read(self, at: int, length: int, page: int) -> bytes:
        try:
            failpoints.hit("environment.read")
            content = os.pread(self._descriptor, length, at)
        except OSError as error:
            raise self._damage(page, f"it cannot be read ({error.strerror})") from error
        if len(content) < length:
            raise self._damage(page, "the file ends within it")
        return content

    def _damage(self, page: int, message: str) -> DamageError:
        return DamageError(f"page {page} of the file is damaged: {message}", where=self._file)
