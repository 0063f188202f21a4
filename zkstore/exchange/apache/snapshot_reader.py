"""One snapshot of Apache's, all of it, into an `ApacheTree`; every checksum in it compared.

    magic "ZKSN", int version, long dbid
    int count of sessions, each: long id, int timeout in ms
    int count of ACLs, each: long key, vector of ACL
    znodes, parents before children, each: string path, buffer data, long key of the ACL, StatPersisted
    string "/", which ends them
    long checksum, string "/"
    3.6 and later: long zxid, int version, long digest; and a checksum as above
    3.9 and later: long last zxid; and a checksum as above

Which of the last two parts are there, nothing says but what is left of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from zkstore.errors import DamageError, FormatTooNewError, ProtocolError
from zkstore.exchange.apache.layout import ApacheFile
from zkstore.exchange.apache.streams import FIELD_BYTES_MAX, Window, pieces
from zkstore.exchange.apache.tree import RAW_TAIL_BYTES, ApacheTree
from zkstore.exchange.apache.txns import DIGEST_VERSION, acl_of
from zkstore.storage.directory import translated
from zkstore.storage.image import collector_paused

MAGIC: Final = 0x5A4B534E
FORMAT_VERSION: Final = 2
_INT: Final = Struct(">i")
_SEAL_BYTES: Final = 13
_DIGEST_BYTES: Final = 20
_LAST_ZXID_BYTES: Final = 8
_ENDINGS: Final = {
    0: (False, False),
    _DIGEST_BYTES + _SEAL_BYTES: (True, False),
    _LAST_ZXID_BYTES + _SEAL_BYTES: (False, True),
    _DIGEST_BYTES + _LAST_ZXID_BYTES + 2 * _SEAL_BYTES: (True, True),
}
"""Bytes behind the znodes' seal, and whether they hold a digest and the last zxid."""


class SnapshotDigest(NamedTuple):
    """The digest that a snapshot names: of the tree as of `zxid`, at which its last znode was written."""

    zxid: int
    digest: int


class ReadSnapshot(NamedTuple):
    """A snapshot as it was read: the tree, fuzzy as it is, and its digest if it names one."""

    tree: ApacheTree
    digest: SnapshotDigest | None


def read(file: ApacheFile, progress: Callable[[str], None]) -> ReadSnapshot:
    """Read a snapshot; `progress` hears now and then how far it is.

    Raises DamageError for whatever is not as a server wrote it, and FormatTooNewError.
    """
    tree = ApacheTree()
    try:
        with file.path.open("rb") as content, collector_paused():
            window = Window(pieces(content, file.path), file.path, lambda: progress(_count_text(file, tree)))
            _read_header(window)
            _read_sessions(window, tree)
            _read_acls(window, tree)
            _read_znodes(window, tree)
            _check_seal(window)
            return ReadSnapshot(tree, _read_ending(window))
    except OSError as error:
        raise translated(error, file.path) from error
    except ProtocolError as error:
        raise DamageError(f"a record cannot be read ({error})", where=file.path) from error


def _count_text(file: ApacheFile, tree: ApacheTree) -> str:
    return f"{file.path.name}: {len(tree.nodes):,} znodes"


def _read_header(window: Window) -> None:
    magic, version = window.int32(), window.int32()
    window.int64()
    if magic != MAGIC:
        raise DamageError(
            f"this does not begin as a snapshot does, but with {magic & 0xFFFFFFFF:08x}", where=window.where
        )
    refuse_version(version, window.where)


def refuse_version(version: int, where: Path) -> None:
    """Raise unless a snapshot's or log's header names the one version that there has been since 2008."""
    if version > FORMAT_VERSION:
        raise FormatTooNewError(
            f"file format {version}; only {FORMAT_VERSION} is known, which Apache ZooKeeper 3.0 to 3.9 write",
            where=where,
            advice="Use a newer zkstore, or have a server of 3.9 or before write it",
        )
    if version != FORMAT_VERSION:
        raise DamageError(f"file format {version} instead of {FORMAT_VERSION}", where=where)


def _read_sessions(window: Window, tree: ApacheTree) -> None:
    for _ in range(_count(window)):
        session_id = window.int64()
        tree.sessions[session_id] = window.int32()


def _read_acls(window: Window, tree: ApacheTree) -> None:
    for _ in range(_count(window)):
        key = window.int64()
        count = window.int32()
        entries = tuple([(window.int32(), window.buffer(), window.buffer()) for _ in range(count)])
        if key < 1:
            raise window.damage(f"an ACL cannot have the key {key}")
        tree.acls[key] = acl_of(None if count == -1 else entries)


def _read_znodes(window: Window, tree: ApacheTree) -> None:
    """A million times through this loop: the window is looked into directly, and asked only for more."""
    load, nodes, unpack, need = tree.load, tree.nodes, _INT.unpack_from, window.need
    while True:
        data, start = window.data, window.at
        at = start + 4
        if at > len(data):
            need(4)
            continue
        (path_bytes,) = unpack(data, start)
        at += path_bytes
        if not 0 <= path_bytes <= FIELD_BYTES_MAX:
            raise window.damage(f"a path cannot have {path_bytes} bytes")
        if path_bytes == 1:
            need(5)
            window.at += 5
            return
        if at + 4 > len(data):
            need(path_bytes + 8)
            continue
        (length,) = unpack(data, at)
        if not -1 <= length <= FIELD_BYTES_MAX:
            raise window.damage(f"a znode cannot have {length} bytes of data")
        end = at + 4 + (length if length > 0 else 0) + RAW_TAIL_BYTES
        if end > len(data):
            need(end - start)
            continue
        path = data[start + 4 : at]
        if path:
            parent, slash, name = path.rpartition(b"/")
            if parent not in nodes or not slash or not name:
                raise window.damage(f"the znode {path[:80]!r} comes before its parent")
        load(path, data[at:end])
        window.at = end


def _read_ending(window: Window) -> SnapshotDigest | None:
    """What newer servers write behind the znodes."""
    left = window.available(_DIGEST_BYTES + _LAST_ZXID_BYTES + 2 * _SEAL_BYTES + 1)
    if left not in _ENDINGS:
        raise window.damage(f"{left} bytes or more follow, and that is none of the known endings")
    has_digest, has_last_zxid = _ENDINGS[left]
    digest = None
    if has_digest:
        zxid, version, value = window.int64(), window.int32(), window.int64()
        _check_seal(window)
        if zxid and version == DIGEST_VERSION:
            digest = SnapshotDigest(zxid, value & 0xFFFFFFFFFFFFFFFF)
    if has_last_zxid:
        window.int64()  # the zxid in the file's name counts
        _check_seal(window)
    return digest


def _check_seal(window: Window) -> None:
    found, written = window.checksum(), window.int64()
    if window.buffer() != b"/" or found != written:
        raise window.damage(f"the checksum of what stands before is {found:08x}, written was {written:08x}")


def _count(window: Window) -> int:
    count = window.int32()
    if count < 0:
        raise window.damage(f"a list cannot have {count} elements")
    return count
