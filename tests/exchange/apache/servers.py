"""A make-believe Apache server: writes that come one after another, and snapshots that are taken while they do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import copy
from typing import Final

from tests.exchange.apache import written
from zkstore.exchange.apache import txns
from zkstore.exchange.apache.tree import ApacheTree

NAMES: Final = ("a", "b", "c")
ACLS: Final = (written.OPEN, ((1, "world", "anyone"),), ((31, "digest", "u:h"), (1, "ip", "10.0.0.1")))
SESSIONS: Final = (0x0100000000000001, 0x0100000000000002, 0x7F00000000000003)


class Server:
    """The exact tree after each zxid, and the log that led there.

    Attributes:
        trees: by zxid, from 0 up.
        bodies: log entries, the one of zxid 1 first.
    """

    def __init__(self, seed: int, *, digests: bool = True) -> None:
        self._random = random.Random(seed)
        self._digests = digests
        tree = ApacheTree()
        for path in (b"", b"/zookeeper", b"/zookeeper/quota"):
            tree.load(path, bytes(4) + b"\xff" * 8 + bytes(60))
        self.trees = [tree]
        self.bodies: list[bytes] = []

    def run(self, count: int) -> None:
        """So many txns."""
        for _ in range(count):
            self._step()

    def _step(self) -> None:
        choose = self._random.choice
        session_id = choose(SESSIONS)
        step = choose((self._create, self._create, self._create, self._delete, self._set, self._acl, self._multi))
        kind, record = step(session_id)
        if self._random.random() < 0.25:
            if session_id not in self.trees[-1].sessions:
                kind, record = written.CREATE_SESSION, written.i32(30_000)
            else:
                kind, record = written.CLOSE_SESSION, self._closing(session_id)
        self._append(kind, record, session_id)

    def _append(self, kind: int, record: bytes, session_id: int) -> None:
        zxid = len(self.bodies) + 1
        bare = written.body(zxid, kind, record, session_id=session_id, time_ms=written.NOW_MS + zxid)
        tree = copied(self.trees[-1])
        txns.apply(tree, txns.header_of(bare), bare)
        digest = tree.wrapped_digest if self._digests and kind != written.ERROR else None
        self.trees.append(tree)
        self.bodies.append(
            written.body(zxid, kind, record, session_id=session_id, digest=digest, time_ms=written.NOW_MS + zxid)
        )

    def _closing(self, session_id: int) -> bytes:
        owner = session_id.to_bytes(8, "big", signed=True)
        return written.close_session([p.decode() for p, raw in self.trees[-1].nodes.items() if raw[-16:-8] == owner])

    def _create(self, session_id: int) -> tuple[int, bytes]:
        tree = self.trees[-1]
        parents = [path for path, raw in tree.nodes.items() if raw[-16:-8] == bytes(8) and path[:10] != b"/zookeeper"]
        parent = self._random.choice(parents)
        path = (parent + b"/" + self._random.choice(NAMES).encode()).decode()
        if path.encode() in tree.nodes or path.count("/") > 3:
            return written.ERROR, written.i32(-110)
        created = int.from_bytes(tree.nodes[parent][-24:-20], "big") + 1
        acls = self._random.choice(ACLS)
        data = self._random.choice((None, b"", b"data %d" % len(self.bodies)))
        kind = self._random.choice((written.CREATE, written.CREATE2, written.CREATE_TTL, written.CREATE_CONTAINER))
        if kind == written.CREATE_TTL:
            return kind, written.create_ttl(path, data, acls, created, 5000)
        if kind == written.CREATE_CONTAINER:
            return kind, written.create_container(path, data, acls, created)
        ephemeral = session_id in tree.sessions and self._random.random() < 0.5
        return kind, written.create(path, data, acls, created, ephemeral=ephemeral)

    def _some(self) -> bytes | None:
        paths = [path for path in self.trees[-1].nodes if path and not path.startswith(b"/zookeeper")]
        return self._random.choice(paths) if paths else None

    def _delete(self, _: int) -> tuple[int, bytes]:
        path = self._some()
        if path is None or any(each.startswith(path + b"/") for each in self.trees[-1].nodes):
            return written.ERROR, written.i32(-111)
        return written.DELETE, written.delete(path.decode())

    def _set(self, _: int) -> tuple[int, bytes]:
        path = self._some()
        if path is None:
            return written.ERROR, written.i32(-101)
        version = int.from_bytes(self.trees[-1].nodes[path][-28:-24], "big") + 1
        return written.SET_DATA, written.set_data(path.decode(), b"set %d" % len(self.bodies), version)

    def _acl(self, _: int) -> tuple[int, bytes]:
        path = self._some()
        if path is None:
            return written.ERROR, written.i32(-101)
        aversion = int.from_bytes(self.trees[-1].nodes[path][-20:-16], "big") + 1
        return written.SET_ACL, written.set_acl(path.decode(), self._random.choice(ACLS), aversion)

    def _multi(self, session_id: int) -> tuple[int, bytes]:
        parts = [self._create(session_id), self._set(session_id)]
        return written.MULTI, written.multi(*parts)

    # --- what lies on disk ------------------------------------------------------------------------

    def snapshot(self, began: int, ended: int, *, digest: bool = True) -> bytes:
        """A snapshot named `began` whose writing ended at `ended`: each part of it is of some moment in between."""
        moments = iter(sorted(self._random.randint(began, ended) for _ in range(1 << 10)))
        sessions = self.trees[next(moments)].sessions
        acls = dict(self.trees[next(moments)].acls)
        # A server numbers ACLs from 1; this tree does from -2.
        keys = {key: -1 - key for key in self.trees[-1].acls if key != -1}
        nodes = [
            written.node(path.decode(), data, keys.get(key, -1), persisted)
            for path, data, key, persisted in self._visit(b"", moments)
        ]
        return written.snapshot(
            nodes,
            sessions=sessions,
            acls={keys[key]: acl for key, acl in acls.items() if key != -1},
            digest=(ended, self.trees[ended].wrapped_digest) if digest else None,
        )

    def _visit(self, path: bytes, moments: Iterator[int]) -> Iterator[tuple[bytes, bytes | None, int, bytes]]:
        """A znode as it is when it is reached, and then those of its children that are still there."""
        tree = self.trees[next(moments)]
        raw = tree.nodes.get(path)
        if raw is None:
            return
        length = int.from_bytes(raw[:4], "big", signed=True)
        data = None if length < 0 else raw[4 : 4 + length]
        yield path, data, int.from_bytes(raw[-68:-60], "big", signed=True), raw[-60:]
        children = [each for each in tree.nodes if each and each.rpartition(b"/")[0] == path]
        self._random.shuffle(children)
        for child in children:
            yield from self._visit(child, moments)


def copied(tree: ApacheTree) -> ApacheTree:
    """A tree of its own."""
    other = copy(tree)
    other.nodes = dict(tree.nodes)
    other.acls = dict(tree.acls)
    other.sessions = dict(tree.sessions)
    other._keys = dict(tree._keys)
    other._owned = {owner: set(paths) for owner, paths in tree._owned.items()}
    return other


def shown(tree: ApacheTree) -> dict[bytes, tuple[bytes, object]]:
    """All znodes with their ACLs, whatever their keys."""
    return {
        path: (raw[:-68] + raw[-60:], tree.acls[int.from_bytes(raw[-68:-60], "big", signed=True)])
        for path, raw in tree.nodes.items()
    }
