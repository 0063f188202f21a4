"""The named tables of an LMDB file, read by pages: keys looked up, and rows in order, as of one transaction.

A running writer never writes to a page of its newest two transactions (mdb_page_alloc, mdb_find_oldest). So what was
read of one transaction is what was written as long as the newest is at most one further; behind each slice this is
looked at, and MovedOnError tells that the slice is to be read again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from zkstore.errors import DamageError
from zkstore.storage.page_file import (
    LEAF,
    NO_PAGE,
    ROOT_BYTES,
    Meta,
    PageFile,
    Root,
    Rows,
    decode_root,
    kind_of,
    pointers,
)

SLICE_LEAVES: Final = 64
"""Read before it is looked whether a running server wrote on them."""

_BATCH: Final = 256
_BRANCHES_KEPT: Final = 256
_DEPTH_MAX: Final = 32


def tables(file: PageFile, meta: Meta) -> dict[bytes, Table]:
    """The named tables as of a transaction. Raises DamageError and MovedOnError."""
    main = Table(file, meta, meta.main)
    return {
        name: Table(file, meta, decode_root(value))
        for rows in main.slices()
        for name, value in rows
        if len(value) == ROOT_BYTES
    }


class Table:
    """One named table as of one transaction; made by `tables`. Reads see that transaction or raise MovedOnError."""

    def __init__(self, file: PageFile, meta: Meta, root: Root) -> None:
        self._file = file
        self._meta = meta
        self.root = root
        self._branches: dict[int, tuple[list[bytes], list[int]]] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. Raises DamageError and MovedOnError."""
        return next(self.get_many((key,)))

    def get_many(self, keys: Iterable[bytes]) -> Iterator[bytes | None]:
        """The values of some keys, quickest where the keys are in order. Raises DamageError and MovedOnError."""
        iterator = iter(keys)
        while batch := list(islice(iterator, _BATCH)):
            try:
                values = [self._get(key) for key in batch]
            except DamageError:
                self._file.refuse_moved(self._meta.txnid)
                raise
            self._file.refuse_moved(self._meta.txnid)
            yield from values

    def floor(self, key: bytes) -> tuple[bytes, bytes] | None:
        """The last row whose key is not behind `key`. Raises DamageError and MovedOnError."""
        if self.root.page == NO_PAGE:
            return None
        try:
            found = self._floor(self.root.page, key, self.root.depth)
        except DamageError:
            self._file.refuse_moved(self._meta.txnid)
            raise
        self._file.refuse_moved(self._meta.txnid)
        return found

    def slices(
        self,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        leaves: int = SLICE_LEAVES,
        damage: list[DamageError] | None = None,
    ) -> Iterator[Rows]:
        """The rows from `start` on and before `stop`, in the order of their keys, some leaves at a time.

        What is damaged goes to `damage` and is passed over; without such a list it is raised. Raises MovedOnError.
        """
        walk = _Walk(self._file, self.root, start, damage)
        last = b""
        count = 1  # many who ask want the first rows only
        is_done = False
        while not is_done:
            try:
                rows, is_done = walk.next_slice(count, stop)
            except DamageError:
                self._file.refuse_moved(self._meta.txnid)
                raise
            self._file.refuse_moved(self._meta.txnid)
            if rows and rows[0][0] < start:
                rows = [row for row in rows if row[0] >= start]
            if stop is not None and rows and rows[-1][0] >= stop:
                rows = [row for row in rows if row[0] < stop]
            if rows and rows[0][0] <= last:
                rows = self._disordered(rows, last, damage)
            if rows:
                last = rows[-1][0]
                yield rows
            count = min(count * 4, leaves)

    def _get(self, key: bytes) -> bytes | None:
        number = self.root.page
        if number == NO_PAGE:
            return None
        file = self._file
        for _ in range(min(self.root.depth, _DEPTH_MAX)):
            branch = self._branches.get(number)
            if branch is None:
                page = file.page(number)
                if kind_of(page) == LEAF:
                    return file.value(page, number, key)
                branch = file.branches(page, number)
                if len(self._branches) >= _BRANCHES_KEPT:
                    self._branches.clear()
                self._branches[number] = branch
            keys, children = branch
            number = children[bisect_right(keys, key, 1) - 1]
        raise file.damage(f"there is no leaf where {key!r} belongs")

    def _floor(self, number: int, key: bytes, depth: int) -> tuple[bytes, bytes] | None:
        file = self._file
        page = file.page(number)
        if kind_of(page) == LEAF:
            at = file.place(page, number, key)
            return file.rows(page, number, at - 1)[0] if at else None
        if not 1 < depth <= _DEPTH_MAX:
            raise file.damage(f"page {number} stands at a level where it cannot be")
        keys, children = file.branches(page, number)
        # The first leaf that is asked has it, unless all of its keys lie behind; then the one before has it.
        first = bisect_right(keys, key, 1) - 1
        for at in range(first, max(first - 2, -1), -1):
            found = self._floor(children[at], key, depth - 1)
            if found is not None:
                return found
        return None

    def _disordered(self, rows: Rows, last: bytes, damage: list[DamageError] | None) -> Rows:
        error = self._file.damage("its keys are out of order")
        if damage is None:
            raise error
        damage.append(error)
        return [row for row in rows if row[0] > last]


class _Walk:
    """From leaf to leaf, depth first. Each page is entered once, so that wrong pointers cannot lead in circles."""

    def __init__(self, file: PageFile, root: Root, start: bytes, damage: list[DamageError] | None) -> None:
        self._file = file
        self._start = start
        self._damage = damage
        self._depth = root.depth
        self._seen: set[int] = set()
        self._stack: list[Iterator[int]] = []  # a level's children that are yet to be entered
        self._left: tuple[bytes, int, int] | None = None  # of a leaf whose values are large
        if root.page != NO_PAGE:
            if root.depth > _DEPTH_MAX:
                raise file.damage(f"a table is {root.depth} levels deep")
            self._stack.append(iter((root.page,)))

    def next_slice(self, leaves: int, stop: bytes | None) -> tuple[Rows, bool]:
        """The rows of some leaves, of fewer where values are large; and whether no more follow before `stop`."""
        rows: Rows = []
        for _ in range(leaves):
            leaf = self._next_leaf()
            if leaf is None:
                return rows, True
            rows += leaf
            if stop is not None and leaf and leaf[-1][0] >= stop:
                return rows, True
            if self._left is not None:
                break
        return rows, False

    def _next_leaf(self) -> Rows | None:
        """The next leaf's rows; None behind the last. Raises DamageError."""
        while self._stack:
            try:
                if self._left is not None:
                    return self._some(*self._left)
                number = next(self._stack[-1], None)
                if number is None:
                    self._stack.pop()
                    continue
                rows = self._enter(number)
            except DamageError as error:
                self._left = None
                if self._damage is None:
                    raise
                self._damage.append(error)
                continue
            if rows is not None:
                return rows
        return None

    def _enter(self, number: int) -> Rows | None:
        """A leaf's rows, or None for a branch, whose children come next."""
        file = self._file
        page = file.page(number)
        if number in self._seen:
            raise file.damage(f"page {number} stands in two places")
        self._seen.add(number)
        is_leaf = kind_of(page) == LEAF
        if is_leaf != (len(self._stack) == self._depth):
            raise file.damage(f"page {number} stands at a level where it cannot be")
        if is_leaf:
            return self._some(page, number, 0)
        keys, children = file.branches(page, number)
        first = bisect_right(keys, self._start, 1) - 1 if self._start else 0
        self._stack.append(iter(children[first:]))
        return None

    def _some(self, page: bytes, number: int, first: int) -> Rows:
        """A leaf's rows, or where they are large, some of them; the others next."""
        rows = self._file.rows(page, number, first)
        if any(map(_is_behind, rows, rows[1:])):
            raise self._file.damage(f"the keys of page {number} are out of order")
        first += len(rows)
        self._left = (page, number, first) if first < len(pointers(page)) else None
        return rows


def _is_behind(row: tuple[bytes, bytes], following: tuple[bytes, bytes]) -> bool:
    return row[0] >= following[0]
