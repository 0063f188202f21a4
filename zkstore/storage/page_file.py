"""An LMDB file read page by page, without LMDB: for looking at what may be damaged, or is being written meanwhile.

LMDB maps its file and trusts it, so a page that makes no sense can end the process. Here every page is read by an
ordinary read and checked before it is believed; what does not fit is a DamageError. Memory is a few pages, and nothing
is written, locked or mapped. (`pages` checks the whole structure of a file; here only what is read is looked at.)

The file's form is that of LMDB 0.9 (mdb.c), in the byte order of the machine that wrote it: pages of one size; pages 0
and 1 are *metas*, written in turn, of which the newer one counts; each names the roots of two B+trees, that of the
freed pages and that of the named tables.

    page    number 8, pad 2, flags 2, lower 2, upper 2 (of overflow pages: their count, 4), then pointers of 2 to nodes
    node    16 low and 16 high bits of the value's length, flags 2, key's length 2, key, value
            in a branch: 48 bits of the child's page number, key's length 2, key
    root    pad 4, flags 2, depth 2, branch, leaf and overflow pages 8 each, entries 8, page 8
    meta    magic 4, version 4, address 8, map's bytes 8, two roots, last page 8, txnid 8

Tables, and how a running writer is noticed, are in `tables`.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from pathlib import Path
from struct import Struct
from struct import error as StructError
from types import TracebackType
from typing import Final, NamedTuple

from zkstore.errors import DamageError, MovedOnError, StorageError

NO_PAGE: Final = (1 << 64) - 1
"""The root of an empty table."""

BRANCH: Final = 1
LEAF: Final = 2
OVERFLOW: Final = 4
META: Final = 8

SLICE_BYTES: Final = 4 << 20
"""Of large values, read at a time."""

_PAGE: Final = Struct("=QHHHH")
_NODE: Final = Struct("=HHHH")
_ROOT: Final = Struct("=IHHQQQQQ")
_META: Final = Struct("=IIQQ48s48sQQ")
_PAGES: Final = Struct("=I")
_NUMBER: Final = Struct("=Q")
_HEADER_BYTES: Final = _PAGE.size
_NODE_BYTES: Final = _NODE.size
ROOT_BYTES: Final = _ROOT.size

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_BIG: Final = 1  # the value lies in overflow pages
_ODD: Final = 4  # duplicates of a key, which zkstore has none of
_PAGE_BYTES_MAX: Final = 1 << 16
_PAGE_NUMBER_MAX: Final = 1 << 46  # its offset is one that a file can have

Rows = list[tuple[bytes, bytes]]


class Root(NamedTuple):
    """A table's tree: where it begins and how much there should be of it."""

    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    page: int


class Meta(NamedTuple):
    """One meta page: the whole file as of one transaction. `number` is its page, 0 or 1."""

    txnid: int
    last_page: int
    free: Root
    main: Root
    number: int


class PageFile:
    """A `data.mdb`, open for reading.

    Attributes:
        page_bytes: the size of a page.
        troubles: what is wrong with a meta page that could be done without.

    Raises DamageError where no meta page can be read, and StorageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.troubles: list[str] = []
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"cannot be read: {error.strerror}", where=path) from error
        try:
            self.page_bytes = self._find_page_bytes()
            self.newest()
        except StorageError:
            self.close()
            raise

    def __enter__(self) -> PageFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; doing so twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def size_bytes(self) -> int:
        """The file's length."""
        return os.fstat(self._descriptor).st_size

    def newest(self) -> Meta:
        """The file as of its newest transaction. Raises DamageError."""
        while True:
            first, second = self._meta_bytes()
            if (first, second) == self._meta_bytes():  # else it was being written
                break
        self.troubles = []
        metas = [meta for number, page in enumerate((first, second)) if (meta := self._decode_meta(number, page))]
        if not metas:
            raise self.damage(f"neither of the two meta pages is sound ({'; '.join(self.troubles)})")
        return max(metas)

    def refuse_moved(self, txnid: int) -> None:
        """Raise MovedOnError where pages of a transaction may have been written anew."""
        newest = self.newest().txnid
        if newest > txnid + 1:
            raise MovedOnError(f"transaction {txnid} was overwritten while it was read", where=self.path)

    def page(self, number: int, kinds: int = BRANCH | LEAF) -> bytes:
        """One page, its header checked. Raises DamageError."""
        content = self._read(self.page_bytes, number * self.page_bytes) if number <= _PAGE_NUMBER_MAX else b""
        if len(content) < self.page_bytes:
            raise self.damage(f"page {number} lies behind the end of the file")
        found, _, flags, lower, upper = _PAGE.unpack_from(content)
        if found != number or not flags & kinds:
            raise self.damage(f"page {number} is not what was written there")
        if flags & (BRANCH | LEAF) and not _HEADER_BYTES <= lower <= upper <= self.page_bytes:
            raise self.damage(f"page {number} has bounds {lower} and {upper}")
        return content

    def overflow(self, number: int, length: int) -> bytes:
        """A value that has pages of its own. Raises DamageError."""
        header = self.page(number, OVERFLOW)
        (pages,) = _PAGES.unpack_from(header, 12)
        if length > pages * self.page_bytes - _HEADER_BYTES:
            raise self.damage(f"{length} bytes do not fit into the {pages} pages from {number} on")
        value = header[_HEADER_BYTES : _HEADER_BYTES + length]
        if len(value) < length:
            value += self._read(length - len(value), (number + 1) * self.page_bytes)
        if len(value) < length:
            raise self.damage(f"a value in page {number} lies behind the end of the file")
        return value

    def rows(self, page: bytes, number: int, first: int = 0) -> Rows:
        """A leaf's keys and values from the `first` on, no more than make a slice. Raises DamageError."""
        rows: Rows = []
        end_max = len(page)
        big_bytes = 0
        try:
            for at in pointers(page)[first:]:
                low, high, flags, key_bytes = _NODE.unpack_from(page, at)
                key_at = at + _NODE_BYTES
                value_at = key_at + key_bytes
                if flags:
                    if flags & _ODD:
                        raise self.damage(f"page {number} has a node of an unknown kind")
                    if flags & _BIG:
                        (begin,) = _NUMBER.unpack_from(page, value_at)
                        rows.append((page[key_at:value_at], self.overflow(begin, low | high << 16)))
                        big_bytes += low | high << 16
                        if big_bytes > SLICE_BYTES:
                            break
                        continue
                end = value_at + (low | high << 16)
                if end > end_max:
                    raise self.damage(f"a node of page {number} ends behind it")
                rows.append((page[key_at:value_at], page[value_at:end]))
        except StructError as error:
            raise self.damage(f"a pointer of page {number} leads out of it") from error
        return rows

    def place(self, page: bytes, number: int, key: bytes) -> int:
        """How many of a leaf's keys are not behind `key`. Raises DamageError."""
        try:
            return bisect_right(pointers(page), key, key=lambda place: _key_at(page, place))
        except StructError as error:
            raise self.damage(f"a pointer of page {number} leads out of it") from error

    def value(self, page: bytes, number: int, key: bytes) -> bytes | None:
        """The value of a key, if it stands in this leaf. Raises DamageError."""
        try:
            places = pointers(page)
            at = bisect_left(places, key, key=lambda place: _key_at(page, place))
            if at == len(places) or _key_at(page, places[at]) != key:
                return None
            low, high, flags, key_bytes = _NODE.unpack_from(page, places[at])
            value_at, length = places[at] + _NODE_BYTES + key_bytes, low | high << 16
            if flags & _BIG:
                return self.overflow(_NUMBER.unpack_from(page, value_at)[0], length)
        except StructError as error:
            raise self.damage(f"a pointer of page {number} leads out of it") from error
        if value_at + length > len(page):
            raise self.damage(f"a node of page {number} ends behind it")
        return page[value_at : value_at + length]

    def branches(self, page: bytes, number: int) -> tuple[list[bytes], list[int]]:
        """A branch's keys and children; the first key means "from the beginning". Raises DamageError."""
        keys, children = [], []
        try:
            for at in pointers(page):
                low, high, top, key_bytes = _NODE.unpack_from(page, at)
                keys.append(page[at + _NODE_BYTES : at + _NODE_BYTES + key_bytes])
                children.append(low | high << 16 | top << 32)
        except StructError as error:
            raise self.damage(f"a pointer of page {number} leads out of it") from error
        if not children:
            raise self.damage(f"the branch in page {number} has no children")
        return keys, children

    def damage(self, message: str) -> DamageError:
        """An error that names the file."""
        return DamageError(message, where=self.path)

    # --- inside -----------------------------------------------------------------------------------

    def _read(self, length: int, at: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, at)
        except OSError as error:
            raise self.damage(f"the disk cannot read {length} bytes at {at} ({error.strerror})") from error

    def _find_page_bytes(self) -> int:
        """The first meta names it; where that one is spoilt, the second is looked for."""
        if not self.size_bytes:
            raise self.damage("the file is empty")
        head = self._read(_HEADER_BYTES + _META.size, 0)
        named = _page_bytes_of(head)
        if named is not None:
            return named
        size = 1 << 12
        while size <= _PAGE_BYTES_MAX:
            if _page_bytes_of(self._read(_HEADER_BYTES + _META.size, size)) == size:
                return size
            size *= 2
        if head[_HEADER_BYTES : _HEADER_BYTES + 4] == _PAGES.pack(_MAGIC) and len(head) >= _HEADER_BYTES + 8:
            (version,) = _PAGES.unpack_from(head, _HEADER_BYTES + 4)
            if version != _VERSION:
                raise self.damage(f"an LMDB file of version {version}; this zkstore reads version {_VERSION}")
        raise self.damage("this is no LMDB file: neither meta page is where it should be")

    def _meta_bytes(self) -> tuple[bytes, bytes]:
        length = _HEADER_BYTES + _META.size
        return self._read(length, 0), self._read(length, self.page_bytes)

    def _decode_meta(self, number: int, page: bytes) -> Meta | None:
        if _page_bytes_of(page) != self.page_bytes:
            self.troubles.append(f"{self.path}: meta page {number} is not what was written there")
            return None
        _, _, _, _, free, main, last_page, txnid = _META.unpack_from(page, _HEADER_BYTES)
        return Meta(txnid, last_page, decode_root(free), decode_root(main), number)


def decode_root(value: bytes) -> Root:
    """A table's root as it stands in a meta page or in the table of tables."""
    _, _, depth, branch_pages, leaf_pages, overflows, entries, page = _ROOT.unpack(value)
    return Root(depth, branch_pages, leaf_pages, overflows, entries, page)


def kind_of(page: bytes) -> int:
    """BRANCH, LEAF, OVERFLOW or META."""
    flags: int = _PAGE.unpack_from(page)[2]
    return flags & (BRANCH | LEAF | OVERFLOW | META)


def pointers(page: bytes) -> tuple[int, ...]:
    """Where a page's nodes lie in it."""
    lower = _PAGE.unpack_from(page)[3]
    return Struct(f"={(lower - _HEADER_BYTES) // 2}H").unpack_from(page, _HEADER_BYTES)


def _page_bytes_of(page: bytes) -> int | None:
    """The page size that a sound meta page names."""
    if len(page) < _HEADER_BYTES + _META.size or not kind_of(page) & META:
        return None
    magic, version, _, _, free, *_ = _META.unpack_from(page, _HEADER_BYTES)
    size: int = _ROOT.unpack(free)[0]
    is_sound = magic == _MAGIC and version == _VERSION and 256 <= size <= _PAGE_BYTES_MAX and not size & (size - 1)
    return size if is_sound else None


def _key_at(page: bytes, at: int) -> bytes:
    key_at = at + _NODE_BYTES
    return page[key_at : key_at + int(_NODE.unpack_from(page, at)[3])]
