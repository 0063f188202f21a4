"""Checkpoints and snapshots as they lie on disk, read by pages; and the tree of an empty server, where all begins."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Final

from zkstore.errors import DamageError
from zkstore.model import zxid as zxids
from zkstore.model.record import IMAGE_OVERHEAD, extras_of, image_end
from zkstore.model.tree import SessionRecord, Tree
from zkstore.storage import image as image_
from zkstore.storage.image import Counts, Mark
from zkstore.storage.page_file import PageFile, Rows
from zkstore.storage.tables import SLICE_LEAVES, tables

_LENGTH: Final = Struct(">i")


class UnfinishedImageError(DamageError):
    """An image that nobody came to finish: so is the first checkpoint of a server while it is being written."""


class StoredImage:
    """The image in one LMDB environment, as of the moment of opening.

    Raises DamageError (also where none was finished), FormatTooNewError, MovedOnError and StorageError.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._kind = kind
        self._file = PageFile(path / "data.mdb")
        try:
            self.meta = self._file.newest()
            found = tables(self._file, self.meta)
            missing = [name.decode() for name in image_.DATABASES if name not in found]
            if missing:
                message = f"no tree was finished here: it has no table {', '.join(missing)}"
                raise UnfinishedImageError(message, where=self._file.path)
            self._short, self._long, self._meta_rows = (found[name] for name in image_.DATABASES)
            content = self._meta_rows.get(b"mark")
            if content is None:
                raise UnfinishedImageError("no tree was finished here: it has no mark", where=self._file.path)
            self.mark: Mark = image_.decode_mark(content, path)
            self.counts: Counts | None = image_.decode_counts(self._meta_rows.get(b"counts"), self.mark)
        except BaseException:
            self._file.close()
            raise

    @property
    def name(self) -> str:
        """See `parts.Image`."""
        return self._kind if self._kind == "checkpoint" else f"{self._kind} of {zxids.text(self.mark.zxid)}"

    @property
    def znodes(self) -> int:
        """How many there should be, as LMDB counts them."""
        return self._short.root.entries + self._long.root.entries

    @property
    def troubles(self) -> list[str]:
        """What is wrong with the file's head, though it can be read."""
        return self._file.troubles

    def sessions(self) -> dict[int, SessionRecord]:
        """See `parts.Image`."""
        try:
            return image_.decode_sessions(self._meta_rows.get(b"sessions"))
        except (ValueError, TypeError) as error:
            raise self._file.damage(f"the sessions cannot be read ({error})") from error

    def get_many(self, paths: Iterable[bytes]) -> Iterator[bytes | None]:
        """See `parts.Image`."""
        wanted = list(paths)
        short = self._short.get_many(path for path in wanted if image_.long_key(path) is None)
        for path in wanted:
            key = image_.long_key(path)
            if key is None:
                record = next(short)
            else:
                value = self._long.get(key)
                record = None if value is None else self._long_item(value)[1]
            if record is not None and (trouble := _trouble_of(record)):
                raise self._file.damage(f"the record of {path.decode('utf-8', 'replace')} {trouble}")
            yield record

    def slices(
        self,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        leaves: int = SLICE_LEAVES,
        damage: list[DamageError] | None = None,
    ) -> Iterator[Rows]:
        """See `parts.Image`."""
        long = self._long_paths
        at = bisect_left(long, start) if long else 0
        end = len(long) if stop is None or not long else bisect_left(long, stop)
        for rows in self._short.slices(start, stop, leaves=leaves, damage=damage):
            if at < end and long[at] < rows[-1][0]:
                until = bisect_right(long, rows[-1][0], at, end)
                rows = sorted(rows + self._long_rows(long[at:until], damage))
                at = until
            if rows := self._sound(rows, damage):
                yield rows
        if at < end and (rows := self._long_rows(long[at:end], damage)):
            yield rows

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _sound(self, rows: Rows, damage: list[DamageError] | None) -> Rows:
        """The rows whose records are some; nearly always all of them."""
        try:
            odd = [row for row in rows if len(row[1]) - max(_LENGTH.unpack_from(row[1])[0], 0) != IMAGE_OVERHEAD]
        except StructError:
            odd = rows
        for path, record in odd:
            trouble = _trouble_of(record)
            if trouble:
                error = self._file.damage(f"the record of {path.decode('utf-8', 'replace')} {trouble}")
                if damage is None:
                    raise error
                damage.append(error)
                rows = [row for row in rows if row[0] != path]
        return rows

    # --- paths that are longer than LMDB's keys: few, if any ----------------------------------------

    @cached_property
    def _long_paths(self) -> list[bytes]:
        damage: list[DamageError] = []  # met again, and told, when the records are read
        return sorted(self._long_item(value)[0] for rows in self._long.slices(damage=damage) for _, value in rows)

    def _long_rows(self, paths: list[bytes], damage: list[DamageError] | None) -> Rows:
        try:
            return [
                (path, record) for path, record in zip(paths, self.get_many(paths), strict=True) if record is not None
            ]
        except DamageError as error:
            if damage is None:
                raise
            damage.append(error)
            return []

    def _long_item(self, value: bytes) -> tuple[bytes, bytes]:
        try:
            return image_.long_item(value)
        except StructError as error:
            raise self._file.damage(f"a znode with a long path cannot be read ({error})") from error


def _trouble_of(record: bytes) -> str:
    """Why these bytes are no record; "" if they are one, as far as anybody must know who reads it."""
    try:
        end = image_end(record)
        if end > len(record):
            return f"has {len(record)} bytes where there should be {end}"
        if end < len(record):
            extras_of(record)
    except (StructError, ValueError, TypeError) as error:
        return f"cannot be read ({error})"
    return ""


class EmptyImage:
    """The tree of a server that nothing has been written to."""

    name = "beginning"

    def __init__(self) -> None:
        tree = Tree.new()
        self._rows = sorted(tree.records.items())
        self._records = tree.records
        self.mark = Mark(0, tree.digest, 0)
        self.counts: Counts | None = Counts(len(tree.records), tree.data_bytes, 0)

    def sessions(self) -> dict[int, SessionRecord]:
        """See `parts.Image`."""
        return {}

    def get_many(self, paths: Iterable[bytes]) -> Iterator[bytes | None]:
        """See `parts.Image`."""
        yield from map(self._records.get, paths)

    def slices(
        self,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        leaves: int = SLICE_LEAVES,
        damage: list[DamageError] | None = None,
    ) -> Iterator[Rows]:
        """See `parts.Image`."""
        rows = [row for row in self._rows if row[0] >= start and (stop is None or row[0] < stop)]
        if rows:
            yield rows

    def close(self) -> None:
        """There is nothing to let go of."""
