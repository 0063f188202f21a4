"""How a whole tree lies in an LMDB environment: the form that the checkpoint and every snapshot share.

    znodes  path -> record, for paths of up to 511 bytes, where LMDB's keys end
    long    SHA-256 of the path -> length of the path, path, record, for the others
    meta    "mark" -> what the image is of (`Mark`); "sessions" -> all sessions; "counts" -> how much it is (`Counts`),
            with the zxid that this was true of, so that a zkstore which knows no counts may write the mark alone

The mark is written in the same batch as the znodes, so an image is of one zxid exactly, and its digest proves it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple

import msgpack

from zkstore.errors import DamageError
from zkstore.model.tree import SessionRecord, Tree
from zkstore.storage.directory import refuse_newer
from zkstore.storage.env import Environment

FORMAT_VERSION: Final = 1
DATABASES: Final = (b"znodes", b"long", b"meta")

_KEY_BYTES_MAX: Final = 511
_PATH_LENGTH: Final = Struct(">I")


class Mark(NamedTuple):
    """What an image is of.

    Attributes:
        zxid: of the last txn in it; the end of a segment.
        digest: of the tree then.
        crc: of the segment that ends there, which ties the image to the log; 0 at zxid 0.
        restarts_log: the image came from elsewhere (a leader, a backup, an import): what the log holds is not its past.
    """

    zxid: int
    digest: int
    crc: int
    restarts_log: bool = False


class Counts(NamedTuple):
    """How much is in an image, for whoever would have to read all of it to know.

    Attributes:
        znodes: all of them, ephemeral ones included.
        data_bytes: the lengths of all paths and data.
        ephemerals: znodes that a session owns.
    """

    znodes: int
    data_bytes: int
    ephemerals: int


def write_znodes(env: Environment, batch: Any, znodes: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Bring some znodes up to date; a record of None removes the znode."""
    short, long = env.databases[b"znodes"], env.databases[b"long"]
    # In the order of their keys, because neighbours share pages.
    for path, record in sorted(znodes, key=_path_of):
        if len(path) > _KEY_BYTES_MAX:
            key = sha256(path).digest()
            if record is None:
                batch.delete(key, db=long)
            else:
                batch.put(key, _PATH_LENGTH.pack(len(path)) + path + record, db=long)
        elif record is None:
            batch.delete(path, db=short)
        else:
            batch.put(path, record, db=short)


def write_mark(
    env: Environment, batch: Any, mark: Mark, sessions: dict[int, SessionRecord], counts: Counts | None = None
) -> None:
    """Say what the image is of, and how much it is where that is known."""
    meta = env.databases[b"meta"]
    batch.put(b"sessions", msgpack.packb(sessions), db=meta)
    batch.put(b"mark", msgpack.packb({"format_version": FORMAT_VERSION, **mark._asdict()}), db=meta)
    if counts is not None:
        batch.put(b"counts", msgpack.packb({"zxid": mark.zxid, **counts._asdict()}), db=meta)


def read_mark(env: Environment) -> Mark | None:
    """What the image is of; None where none was finished. Raises FormatTooNewError and DamageError."""
    if env.is_blank:
        return None
    with env.view() as view:
        content = view.get(b"mark", db=env.databases[b"meta"])
    return None if content is None else decode_mark(content, env.path)


def decode_mark(content: bytes, where: Path) -> Mark:
    """The row "mark". Raises FormatTooNewError and DamageError."""
    try:
        fields = msgpack.unpackb(content)
        refuse_newer(fields.pop("format_version"), FORMAT_VERSION, where)
        return Mark(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamageError(f"the image's mark cannot be read ({error})", where=where) from error


def decode_counts(content: bytes | None, mark: Mark) -> Counts | None:
    """The row "counts"; None where it is not there, or of another zxid, because an older zkstore wrote the mark."""
    try:
        fields = {} if content is None else msgpack.unpackb(content)
        return Counts(**fields) if fields.pop("zxid") == mark.zxid else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def decode_sessions(content: bytes | None) -> dict[int, SessionRecord]:
    """The row "sessions". Raises ValueError and TypeError."""
    entries = {} if content is None else msgpack.unpackb(content, strict_map_key=False)
    return {session_id: SessionRecord(*fields) for session_id, fields in entries.items()}


def long_item(value: bytes) -> tuple[bytes, bytes]:
    """A value of the table "long" as path and record. Raises struct.error."""
    end = _PATH_LENGTH.size + _PATH_LENGTH.unpack_from(value)[0]
    return value[_PATH_LENGTH.size : end], value[end:]


def long_key(path: bytes) -> bytes | None:
    """Where the table "long" has a path; None for one that the table "znodes" has."""
    return sha256(path).digest() if len(path) > _KEY_BYTES_MAX else None


def load(env: Environment) -> tuple[Tree, Mark] | None:
    """The tree in an image, its digest compared; None where none was finished. Raises DamageError."""
    mark = read_mark(env)
    if mark is None:
        return None
    with env.view() as view, collector_paused():
        try:
            return Tree.load(_items(env, view), _sessions(env, view), mark.zxid, mark.digest), mark
        except DamageError as error:
            raise damage(env.path, mark.zxid, str(error)) from error
        except (ValueError, TypeError, KeyError, StructError) as error:
            raise damage(env.path, mark.zxid, f"a znode or session cannot be read ({error!r})") from error


def znodes(env: Environment) -> Iterator[tuple[bytes, bytes]]:
    """All znodes of an image as (path, record), short paths in their order, then the long ones. Raises DamageError."""
    with env.view() as view:
        yield from _items(env, view)


def sessions(env: Environment) -> dict[int, SessionRecord]:
    """All sessions of an image."""
    with env.view() as view:
        return _sessions(env, view)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python's garbage collector from walking, again and again, a growing tree in which there is no garbage.

    It took two fifths of the time to load a million znodes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def damage(where: Path, zxid: int, message: str) -> DamageError:
    """An image that is not what was written."""
    error = DamageError(f"the image of zxid {zxid:#x} is damaged: {message}", where=where)
    error.zxid = zxid
    return error


def _path_of(znode: tuple[bytes, bytes | None]) -> bytes:
    return znode[0]


def _items(env: Environment, view: Any) -> Iterable[tuple[bytes, bytes]]:
    """LMDB's own iterator for nearly everything, so that a million znodes cost no Python each."""
    short: Iterator[tuple[bytes, bytes]] = view.cursor(db=env.databases[b"znodes"]).iternext()
    return chain(short, map(long_item, view.cursor(db=env.databases[b"long"]).iternext(keys=False)))


def _sessions(env: Environment, view: Any) -> dict[int, SessionRecord]:
    return decode_sessions(view.get(b"sessions", db=env.databases[b"meta"]))
