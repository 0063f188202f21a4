"""A snapshot that Apache ZooKeeper 3.4 to 3.9 start from, with everything that 3.9 writes.

Since 3.6 a server checks the digest at the end; one that does not know a part of the ending ignores it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple
from zlib import adler32

from zkstore.exchange.apache.conversion import password_of
from zkstore.exchange.apache.layout import VERSION_DIRECTORY
from zkstore.exchange.apache.snapshot_reader import FORMAT_VERSION, MAGIC
from zkstore.exchange.apache.tree import OPEN_ACL_KEY, RAW_TAIL, is_ttl, node_digest
from zkstore.exchange.apache.txns import DIGEST_VERSION
from zkstore.exchange.content import Content, checked
from zkstore.exchange.drafts import draft
from zkstore.exchange.landing import refuse_unless_empty
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.paths import ROOT
from zkstore.model.stat import children_created
from zkstore.model.zxid import epoch_of
from zkstore.storage.directory import make_directory, replace_file, sync_directory, translated
from zkstore.storage.log import Epochs
from zkstore.wire import jute

_HEADER: Final = Struct(">iiq")
_SESSION: Final = Struct(">qi")
_DIGEST: Final = Struct(">qiQ")
_PIECE_ZNODES: Final = 2_000
_PROGRESS_PIECES: Final = 50
_DIGEST_MASK: Final = 0xFFFFFFFFFFFFFFFF

JUTE_MAXBUFFER: Final = 0xFFFFF
"""What a server takes at most in one field, unless jute.maxbuffer says otherwise: twice this, when it reads a file."""


class Written(NamedTuple):
    """What was written.

    Attributes:
        strangers: sessions whose clients cannot come back, because Apache derives passwords in its own way.
        ttl_znodes: how many there are; Apache knows them with `zookeeper.extendedTypesEnabled=true` only.
        data_bytes_max: of the largest znode.
    """

    snapshot: Path
    digest: int
    znodes: int
    sessions: int
    strangers: int
    ttl_znodes: int
    data_bytes_max: int


class _Sums:
    def __init__(self) -> None:
        self.digest = self.znodes = self.ttl_znodes = self.data_bytes_max = 0


def write(content: Content, epochs: Epochs, out: Path, progress: Callable[[str], None]) -> Written:
    """Make a directory that can be a server's dataDir: version-2/ with one snapshot and the epochs.

    Raises DirectoryUnusableError for one that is not empty, and StorageError; nothing is left then.
    """
    refuse_unless_empty(out)
    was_there = out.exists()
    home = out / VERSION_DIRECTORY
    hidden = out / f".{VERSION_DIRECTORY}.draft"
    shutil.rmtree(hidden, ignore_errors=True)
    make_directory(hidden)
    try:
        epoch = epoch_of(content.zxid)
        current = max(epochs.current, epoch)
        replace_file(hidden / "currentEpoch", b"%d" % current)
        replace_file(hidden / "acceptedEpoch", b"%d" % max(epochs.accepted, current))
        sums = _write_snapshot(content, hidden / f"snapshot.{content.zxid:x}", progress)
        hidden.rename(home)
        sync_directory(out)
    except OSError as error:
        raise translated(error, out) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if not was_there and not home.exists():
            shutil.rmtree(out, ignore_errors=True)
    strangers = sum(session.password != password_of(number) for number, session in content.sessions.items())
    return Written(
        home / f"snapshot.{content.zxid:x}",
        sums.digest & _DIGEST_MASK,
        sums.znodes,
        len(content.sessions),
        strangers,
        sums.ttl_znodes,
        sums.data_bytes_max,
    )


def _write_snapshot(content: Content, path: Path, progress: Callable[[str], None]) -> _Sums:
    keys = _acl_keys(content)
    sums = _Sums()
    with draft(path) as file:
        checksum = 1
        for piece in _pieces(content, keys, sums, progress):
            checksum = adler32(piece, checksum)
            file.write(piece)
        digest = _DIGEST.pack(content.zxid, DIGEST_VERSION, sums.digest & _DIGEST_MASK)
        for ending in (b"", digest, jute.int64(content.zxid)):
            checksum = adler32(ending, checksum)
            seal = jute.int64(checksum) + jute.buffer(ROOT)
            checksum = adler32(seal, checksum)
            file.write(ending + seal)
    return sums


def _acl_keys(content: Content) -> dict[tuple[Acl, ...], int]:
    """All ACLs but the open one, numbered as Apache does; they stand before the znodes, so it takes a look at all."""
    keys: dict[tuple[Acl, ...], int] = {}
    for _, record in content.znodes():
        extras = records_.extras_of(record)
        if extras is not None and extras.acl != OPEN_ACL:
            keys.setdefault(extras.acl, len(keys) + 1)
    return keys


def _pieces(
    content: Content, keys: dict[tuple[Acl, ...], int], sums: _Sums, progress: Callable[[str], None]
) -> Iterator[bytes]:
    yield _HEADER.pack(MAGIC, FORMAT_VERSION, -1)
    yield jute.vector(_SESSION.pack(number, session.timeout_ms) for number, session in content.sessions.items())
    yield jute.vector(jute.int64(key) + jute.acl(acl) for acl, key in keys.items())
    piece: list[bytes] = []
    for path, record in checked(content):
        piece.append(_znode(path, record, keys, sums))
        sums.znodes += 1
        if len(piece) == _PIECE_ZNODES:
            yield b"".join(piece)
            piece = []
            if sums.znodes % (_PIECE_ZNODES * _PROGRESS_PIECES) == 0:
                progress(f"{sums.znodes:,} znodes written")
    yield b"".join(piece) + jute.buffer(ROOT)


def _znode(path: bytes, record: bytes, keys: dict[tuple[Acl, ...], int], sums: _Sums) -> bytes:
    stat, extras = records_.stat_of(record), records_.extras_of(record)
    key, owner = OPEN_ACL_KEY, stat.ephemeral_owner
    if extras is not None:
        owner = extras.owner
        key = OPEN_ACL_KEY if extras.acl == OPEN_ACL else keys[extras.acl]
        sums.ttl_znodes += is_ttl(owner)
    created = children_created(stat.cversion, stat.num_children)
    tail = (
        *(key, stat.czxid, stat.mzxid, stat.ctime_ms, stat.mtime_ms),
        *(stat.version, created, stat.aversion, owner, stat.pzxid),
    )
    raw = jute.buffer(records_.data_of(record)) + RAW_TAIL.pack(*tail)
    name = b"" if path == ROOT else path
    sums.digest += node_digest(name, raw)
    sums.data_bytes_max = max(sums.data_bytes_max, stat.data_length)
    return jute.buffer(name) + raw
