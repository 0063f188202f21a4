"""Apache's tree while its files are read: znodes as they stand in a snapshot, and what txns do to them.

A snapshot is *fuzzy*: the server went on while it was written, so it holds everything up to the zxid in its name and
some of what came behind it. Replaying all txns since then arrives at the exact tree because each of the verbs below may
be repeated, and none of them minds what is there, or gone, already:

- a child's creation raises its parent's cversion and pzxid, never lowers them, and does so where the child exists, too;
- a deletion tells the parent even where the child is gone;
- an ACL is what the txn says, also of a znode that exists: the one that the snapshot refers to may not be in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final
from zlib import crc32

from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.record import CONTAINER_OWNER

OPEN_ACL_KEY: Final = -1

RAW_TAIL: Final = Struct(">qqqqqiiiqq")
"""Behind a znode's data: key of the ACL, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid. The
cversion is Apache's stored one: children ever created."""

RAW_TAIL_BYTES: Final = RAW_TAIL.size
_LENGTH: Final = Struct(">i")
_NO_OWNER: Final = bytes(8)
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_UNCOUNTED: Final = b"/zookeeper/"


class ApacheTree:
    """All znodes and sessions, as of whatever was read so far.

    Attributes:
        nodes: path to raw znode, which is data behind its length (-1 for null) and `RAW_TAIL`. The root's path is b"".
        acls: by key. Those of a snapshot have keys from 1 up, those of txns get keys from -2 down.
        sessions: session id to timeout in ms.
        digest: Apache's digest of the tree, version 2.
    """

    def __init__(self) -> None:
        self.nodes: dict[bytes, bytes] = {}
        self.acls: dict[int, tuple[Acl, ...]] = {OPEN_ACL_KEY: OPEN_ACL}
        self.sessions: dict[int, int] = {}
        self.digest = 0
        self._keys: dict[tuple[Acl, ...], int] = {OPEN_ACL: OPEN_ACL_KEY}
        self._owned: dict[bytes, set[bytes]] = {}

    def load(self, path: bytes, raw: bytes) -> None:
        """A znode out of a snapshot."""
        self.nodes[path] = raw
        self.digest += node_digest(path, raw)
        if raw[-16:-8] != _NO_OWNER:
            self._owned.setdefault(raw[-16:-8], set()).add(path)

    # --- what txns do -----------------------------------------------------------------------------

    def create(
        self,
        zxid: int,
        time_ms: int,
        path: bytes,
        data: bytes | None,
        acl: tuple[Acl, ...],
        owner: int,
        parent_cversion: int,
    ) -> None:
        """A new znode, or one that is there already and keeps all but its ACL.

        `parent_cversion` is what the parent has stored afterwards; -1, in logs from before 3.4, is one more than now.
        """
        parent = path.rpartition(b"/")[0]
        above = self.nodes.get(parent)
        if above is None:
            return
        key = self.acl_key(acl)
        head, tail = _split(above)
        if parent_cversion == -1:
            parent_cversion = tail[6] + 1
        if parent_cversion > tail[6]:
            self._replace(parent, above, head + RAW_TAIL.pack(*tail[:6], parent_cversion, *tail[7:9], zxid))
        before = self.nodes.get(path)
        if before is not None:
            head, tail = _split(before)
            self._replace(path, before, head + RAW_TAIL.pack(key, *tail[1:]))
            return
        tail = (key, zxid, zxid, time_ms, time_ms, 0, 0, 0, owner, zxid)
        raw = _LENGTH.pack(-1 if data is None else len(data)) + (data or b"") + RAW_TAIL.pack(*tail)
        self.load(path, raw)

    def delete(self, zxid: int, path: bytes) -> None:
        """A znode's end."""
        parent = path.rpartition(b"/")[0]
        above = self.nodes.get(parent)
        if above is None or not path:
            return
        head, tail = _split(above)
        if zxid > tail[9]:
            self._replace(parent, above, head + RAW_TAIL.pack(*tail[:9], zxid))
        raw = self.nodes.pop(path, None)
        if raw is None:
            return
        self.digest -= node_digest(path, raw)
        owned = self._owned.get(raw[-16:-8])
        if owned is not None:
            owned.discard(path)
            if not owned:
                del self._owned[raw[-16:-8]]

    def set_data(self, zxid: int, time_ms: int, path: bytes, data: bytes | None, version: int) -> None:
        """New data."""
        before = self.nodes.get(path)
        if before is not None:
            _, tail = _split(before)
            head = _LENGTH.pack(-1 if data is None else len(data)) + (data or b"")
            self._replace(path, before, head + RAW_TAIL.pack(*tail[:2], zxid, tail[3], time_ms, version, *tail[6:]))

    def set_acl(self, path: bytes, acl: tuple[Acl, ...], aversion: int) -> None:
        """A new ACL."""
        before = self.nodes.get(path)
        if before is not None:
            head, tail = _split(before)
            self._replace(path, before, head + RAW_TAIL.pack(self.acl_key(acl), *tail[1:7], aversion, *tail[8:]))

    def close_session(self, zxid: int, session_id: int, paths: Iterable[bytes]) -> None:
        """A session's end: the znodes that the txn lists, and any others that it owns here."""
        self.sessions.pop(session_id, None)
        for path in paths:
            self.delete(zxid, path)
        for path in sorted(self._owned.get(session_id.to_bytes(8, "big", signed=True), ())):
            self.delete(zxid, path)

    def acl_key(self, acl: tuple[Acl, ...]) -> int:
        """The key under which an ACL is kept."""
        key = self._keys.get(acl)
        if key is None:
            key = self._keys[acl] = -1 - len(self._keys)
            self.acls[key] = acl
        return key

    # --- what is there ----------------------------------------------------------------------------

    def orphans(self) -> list[bytes]:
        """Ephemerals whose session is gone."""
        found: list[bytes] = []
        for owner_bytes, paths in self._owned.items():
            owner = int.from_bytes(owner_bytes, "big", signed=True)
            if owner not in self.sessions and owner != CONTAINER_OWNER and not is_ttl(owner):
                found += paths
        return sorted(found)

    @property
    def wrapped_digest(self) -> int:
        """The digest as 64 bits."""
        return self.digest & _MASK

    # --- inside -----------------------------------------------------------------------------------

    def _replace(self, path: bytes, before: bytes, after: bytes) -> None:
        self.nodes[path] = after
        self.digest += node_digest(path, after) - node_digest(path, before)


def is_ttl(owner: int) -> bool:
    """Whether an owner marks a TTL znode: 0xff, two bytes that say which feature this is, 0 for TTL, and the TTL."""
    return (owner & _MASK) >> 40 == 0xFF0000


def node_digest(path: bytes, raw: bytes) -> int:
    """A znode's share of the digest: CRC-32 of path, data and Stat, with the pzxid in third place; none of what lies
    below /zookeeper."""
    if path.startswith(_UNCOUNTED):
        return 0
    return crc32(raw[-44:-8], crc32(raw[-8:], crc32(raw[-60:-44], crc32(raw[4:-RAW_TAIL_BYTES], crc32(path)))))


def _split(raw: bytes) -> tuple[bytes, tuple[int, ...]]:
    """Data behind its length, and the fields of the tail."""
    at = len(raw) - RAW_TAIL_BYTES
    return raw[:at], RAW_TAIL.unpack_from(raw, at)
