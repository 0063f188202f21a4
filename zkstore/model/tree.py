"""The tree: every znode and every session, in memory, as of one zxid.

`records` holds each znode's record by its path; everything else is an index over it that `Tree.load`
can rebuild. Only `model.apply` changes a tree, through the few verbs below, and calls `seal` after each
segment. What has changed since then is in `touched`, with what was there before, which serves two ends:

- the digest of the whole tree is kept by difference: its cost is the number of changed znodes;
- a *capture*, the exact content of the tree at one zxid for a checkpoint, is taken in slices while the
  tree moves on, because the first change to a znode that the capture still has to hand out saves its
  old record there. Copy on write, at the grain of a znode.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter, methodcaller
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple
from zlib import crc32

from zkstore.errors import DamageError
from zkstore.model import quotas
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.record import Extras
from zkstore.model.stat import STAT_BYTES, Stat

_DIGEST_MASK: Final = 0xFFFFFFFFFFFFFFFF
_LENGTH: Final = Struct(">i")
_OWNER: Final = Struct(">q")
_SESSION: Final = Struct(">qq")
_OWNER_FROM_END: Final = STAT_BYTES - 44
_OWNER_BYTES: Final = itemgetter(slice(-_OWNER_FROM_END, -_OWNER_FROM_END + 8))
_NO_OWNER: Final = bytes(8)
_FIRST: Final = itemgetter(0)
_SECOND: Final = itemgetter(1)
_SPLIT: Final = methodcaller("rpartition", b"/")

READ_ONLY_ACL: Final = (Acl(1, "world", "anyone"),)


class SessionRecord(NamedTuple):
    """What all servers know of a session: the timeout it was created with and its password."""

    timeout_ms: int
    password: bytes


def session_digest(session_id: int, session: SessionRecord) -> int:
    """A session's share of the tree's digest."""
    return crc32(session.password, crc32(_SESSION.pack(session_id, session.timeout_ms)))


class Tree:
    """All znodes and sessions as of `zxid`.

    Attributes:
        records: path to record, for every znode; the root's path is b"/".
        special: path to extras, for the few znodes that have any.
        children: parent's path to its children's full paths, in order of creation; no entry where there are none.
        ephemerals: session id to the paths it owns.
        reapable: containers and TTL znodes, with their stored owners.
        quotas: paths with an active quota.
        sessions: session id to session.
        zxid: of the last txn applied.
        digest: of all znodes and sessions, 64 bits, as of the last `seal`.
        data_bytes: the lengths of all paths and data, ZooKeeper's approximate_data_size.
        touched: paths changed since the last `seal`, with the record before, None where there was none.
    """

    __slots__ = (
        "_capture",
        "_dirty",
        "children",
        "data_bytes",
        "digest",
        "ephemerals",
        "quotas",
        "reapable",
        "records",
        "sessions",
        "special",
        "touched",
        "zxid",
    )

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.special: dict[bytes, Extras] = {}
        self.children: dict[bytes, dict[bytes, None]] = {}
        self.ephemerals: dict[int, dict[bytes, None]] = {}
        self.reapable: dict[bytes, int] = {}
        self.quotas: dict[bytes, None] = {}
        self.sessions: dict[int, SessionRecord] = {}
        self.zxid = 0
        self.digest = 0
        self.data_bytes = 0
        self.touched: dict[bytes, bytes | None] = {}
        self._dirty: dict[bytes, None] = {}
        self._capture: Capture | None = None

    @classmethod
    def new(cls) -> Tree:
        """The tree of an empty server: ZooKeeper's four reserved znodes."""
        tree = cls()
        for path, cversion, aversion, num_children, acl in (
            (b"/", -1, 0, 1, OPEN_ACL),
            (b"/zookeeper", -2, 0, 2, OPEN_ACL),
            (b"/zookeeper/quota", 0, 0, 0, OPEN_ACL),
            (b"/zookeeper/config", 0, -1, 0, READ_ONLY_ACL),
        ):
            stat = Stat(0, 0, 0, 0, 0, cversion, aversion, 0, 0, num_children, 0)
            tree.put(path, records_.make(b"", stat, acl))
            tree._index(path, tree.records[path])
        tree.seal()
        return tree

    @classmethod
    def load(
        cls, items: Iterable[tuple[bytes, bytes]], sessions: dict[int, SessionRecord], zxid: int, digest: int
    ) -> Tree:
        """The tree that a checkpoint holds: its znodes as (path, record), in any order.

        Raises DamageError where a record is none, or the digest differs from `digest`. This is most of the start time
        of a server: written as passes that run in C over all znodes, it takes half the time of a loop over each.
        """
        tree = cls()
        records = tree.records = dict(items)
        paths, values = records.keys(), records.values()
        found = sum(map(crc32, values, map(crc32, paths)))
        try:
            odd = [
                path
                for path, record, (length,), owner in zip(
                    paths, values, map(_LENGTH.unpack_from, values), map(_OWNER_BYTES, values), strict=True
                )
                if owner != _NO_OWNER or len(record) - length != records_.IMAGE_OVERHEAD
            ]
            for path in odd:
                tree._index_owner(path, records[path])
        except (StructError, ValueError, TypeError) as error:
            raise DamageError(f"a record is none ({error})") from error
        children = tree.children
        parents = map(_FIRST, map(_SPLIT, paths))
        for parent, family in groupby(zip(parents, paths, strict=True), _FIRST):
            siblings = dict.fromkeys(map(_SECOND, family))
            known = children.setdefault(parent or b"/", siblings)
            if known is not siblings:
                known.update(siblings)
        data_bytes = sum(map(len, paths)) + sum(map(len, values)) - records_.IMAGE_OVERHEAD * len(records)
        data_bytes -= sum(len(records[path]) - records_.image_end(records[path]) for path in tree.special)
        if b"/" not in records:
            raise DamageError("there is no root znode")
        del children[b"/"][b"/"]
        if not children[b"/"]:
            del children[b"/"]
        tree.data_bytes = data_bytes
        for session_id, session in sessions.items():
            tree.sessions[session_id] = session
            found += session_digest(session_id, session)
        tree.quotas = quotas.find(tree)
        tree.digest = found & _DIGEST_MASK
        tree.zxid = zxid
        if tree.digest != digest:
            raise DamageError(f"the znodes' digest is {tree.digest:016x}, written was {digest:016x}")
        return tree

    # --- asking -----------------------------------------------------------------------------------

    def stat(self, path: bytes) -> Stat:
        """The Stat of a znode that exists."""
        return records_.stat_of(self.records[path])

    def acl(self, path: bytes) -> tuple[Acl, ...]:
        """The ACL of a znode that exists."""
        extras = self.special.get(path)
        return OPEN_ACL if extras is None else extras.acl

    def stored_owner(self, path: bytes) -> int:
        """Whose ephemeral a znode is, or the mark of a container or TTL znode, or 0."""
        extras = self.special.get(path)
        return self.stat(path).ephemeral_owner if extras is None else extras.owner

    # --- changing: for `model.apply` only ---------------------------------------------------------

    def put(self, path: bytes, record: bytes) -> None:
        """A znode's record is now `record`."""
        if path not in self.touched:
            self.touched[path] = self.records.get(path)
        self.records[path] = record

    def add(self, path: bytes, parent: bytes, record: bytes) -> None:
        """A znode that was not there."""
        if path not in self.touched:
            self.touched[path] = None
        self.records[path] = record
        siblings = self.children.get(parent)
        if siblings is None:
            self.children[parent] = {path: None}
        else:
            siblings[path] = None
        end = records_.image_end(record)
        self.data_bytes += len(path) + end - records_.IMAGE_OVERHEAD
        if end != len(record) or _OWNER.unpack_from(record, end - _OWNER_FROM_END)[0]:
            self._index_owner(path, record)

    def remove(self, path: bytes, parent: bytes) -> None:
        """A znode without children is gone."""
        record = self.records.pop(path)
        if path not in self.touched:
            self.touched[path] = record
        siblings = self.children[parent]
        del siblings[path]
        if not siblings:
            del self.children[parent]
        end = records_.image_end(record)
        self.data_bytes -= len(path) + end - records_.IMAGE_OVERHEAD
        owner = _OWNER.unpack_from(record, end - _OWNER_FROM_END)[0]
        if owner:
            owned = self.ephemerals.get(owner)
            if owned is not None:
                owned.pop(path, None)
                if not owned:
                    del self.ephemerals[owner]
        if self.special.pop(path, None) is not None:
            self.reapable.pop(path, None)

    def open_session(self, session_id: int, session: SessionRecord) -> None:
        """A session exists from now on."""
        self.sessions[session_id] = session
        self.digest = self.digest + session_digest(session_id, session) & _DIGEST_MASK

    def close_session(self, session_id: int) -> None:
        """A session is gone; closing one twice is harmless."""
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self.digest = self.digest - session_digest(session_id, session) & _DIGEST_MASK

    def seal(self) -> None:
        """A segment has been applied: bring the digest up to date and note what a checkpoint has to write."""
        touched = self.touched
        if not touched:
            return
        get, crc, difference = self.records.get, crc32, 0
        for path, before in touched.items():
            path_crc = crc(path)
            after = get(path)
            if after is not None:
                difference += crc(after, path_crc)
            if before is not None:
                difference -= crc(before, path_crc)
        self.digest = self.digest + difference & _DIGEST_MASK
        if self._capture is not None:
            self._capture._save(touched)
        self._dirty.update(dict.fromkeys(touched))
        self.touched = {}

    # --- capturing for a checkpoint ---------------------------------------------------------------

    @property
    def dirty_count(self) -> int:
        """Znodes changed since the last capture began."""
        return len(self._dirty)

    def begin_capture(self) -> Capture:
        """The exact content, as of now, of every znode changed since the last capture; one at a time."""
        assert self._capture is None, "a capture is under way already"
        assert not self.touched, "a capture begins between segments"
        self._capture = Capture(self, self._dirty)
        self._dirty = {}
        return self._capture

    def end_capture(self) -> None:
        """What was captured is on disk."""
        self._capture = None

    def abandon_capture(self) -> None:
        """What was captured did not reach the disk; the next capture has it too."""
        assert self._capture is not None, "there is no capture to abandon"
        self._dirty.update(self._capture._all)
        self._capture = None

    # --- indexes ----------------------------------------------------------------------------------

    def _index(self, path: bytes, record: bytes) -> None:
        if path != b"/":
            self.children.setdefault(path[: path.rindex(b"/")] or b"/", {})[path] = None
        self.data_bytes += len(path) + records_.image_end(record) - records_.IMAGE_OVERHEAD
        self._index_owner(path, record)

    def _index_owner(self, path: bytes, record: bytes) -> None:
        """Note what is special about a znode: its owner, its ACL, its being a container or TTL znode."""
        owner = records_.stat_of(record).ephemeral_owner
        if owner:
            self.ephemerals.setdefault(owner, {})[path] = None
        self.reindex_extras(path, record)

    def reindex_extras(self, path: bytes, record: bytes) -> None:
        """Note an existing znode's ACL anew."""
        extras = records_.extras_of(record)
        if extras is None:
            self.special.pop(path, None)
            return
        self.special[path] = extras
        if extras.owner == records_.CONTAINER_OWNER or records_.ttl_ms_of(extras.owner) is not None:
            self.reapable[path] = extras.owner


class Capture:
    """The changed znodes of one tree as of one zxid, handed out in slices.

    Attributes:
        zxid, digest, sessions: of the tree when the capture began.
        count: znodes in it.
        tree_znodes, tree_data_bytes, tree_ephemerals: how much the whole tree was then.
    """

    __slots__ = (
        "_all",
        "_left",
        "_saved",
        "_tree",
        "count",
        "digest",
        "sessions",
        "tree_data_bytes",
        "tree_ephemerals",
        "tree_znodes",
        "zxid",
    )

    def __init__(self, tree: Tree, dirty: dict[bytes, None]) -> None:
        self._tree = tree
        self._all = dirty
        self._left = dirty.copy()
        self._saved: dict[bytes, bytes | None] = {}
        self.zxid = tree.zxid
        self.digest = tree.digest
        self.sessions = dict(tree.sessions)
        self.count = len(dirty)
        self.tree_znodes = len(tree.records)
        self.tree_data_bytes = tree.data_bytes
        self.tree_ephemerals = sum(map(len, tree.ephemerals.values()))

    def take(self, count: int) -> list[tuple[bytes, bytes | None]]:
        """The next `count` znodes at most: (path, record as of `zxid`), None for one that was deleted.

        An empty list means that all were taken. Call it between segments, in the thread that owns the tree.
        """
        left, saved, records = self._left, self._saved, self._tree.records
        taken: list[tuple[bytes, bytes | None]] = []
        while left and len(taken) < count:
            path, _ = left.popitem()
            if path in saved:
                taken.append((path, saved.pop(path)))
            else:
                taken.append((path, records.get(path)))
        return taken

    def _save(self, touched: dict[bytes, bytes | None]) -> None:
        """Keep the records that a segment replaced and that are not handed out yet."""
        left, saved = self._left, self._saved
        for path, before in touched.items():
            if path in left and path not in saved:
                saved[path] = before
