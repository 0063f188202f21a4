"""Every version of one znode that a source's log still has, and the lives of the sessions behind them.

Most segments do not hold the znode's path, and are passed over as bytes; the others are followed from the oldest tree
that can be seen. A znode deleted and created anew is another one: its czxid says which is meant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple

import msgpack

from zkstore.errors import DamageError, StorageError
from zkstore.inspection.source import Source
from zkstore.model import record as records_
from zkstore.model import zxid as zxids
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.paths import CONFIG, ROOT, parent_of
from zkstore.model.txns import (
    CLOSE_SESSION,
    CREATE_SESSION,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    ReconfigTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
)
from zkstore.wire import segment as segments_

_BIN8: Final = 255
_ARRAY_OF_5: Final = 0x95
_ARRAY_OF_6: Final = 0x96


class What(Enum):
    """What happened to a znode."""

    FOUND = "found"  # it was there when history begins
    CREATED = "created"
    DATA = "data"
    ACL = "acl"
    DELETED = "deleted"
    CHILD_CREATED = "child created"
    CHILD_DELETED = "child deleted"


class Version(NamedTuple):
    """One thing that happened to a znode.

    Attributes:
        zxid: of the txn.
        time_ms: by the leader's clock; None of what was found, where the log does not hold it.
        session_id: who asked; 0 for the server itself.
        what: what happened.
        czxid: of the znode that it happened to.
        version: of its data afterwards.
        data, was: its data afterwards, and before.
        acl, acl_was: likewise.
        owner: the session whose ephemeral znode it is; 0 for others.
        part, parts: of a txn of several changes, which one (from 1) and of how many; 0 for a txn of its own.
        ends_session: it went because its session ended.
        child: the child's name, where it is about a child.
    """

    zxid: int
    time_ms: int | None
    session_id: int
    what: What
    czxid: int
    version: int
    data: bytes | None = None
    was: bytes | None = None
    acl: tuple[Acl, ...] = OPEN_ACL
    acl_was: tuple[Acl, ...] = OPEN_ACL
    owner: int = 0
    part: int = 0
    parts: int = 0
    ends_session: bool = False
    child: bytes = b""


class Life(NamedTuple):
    """What is known of a session. 0 and None where the log does not hold it."""

    session_id: int
    opened_zxid: int = 0
    opened_ms: int | None = None
    closed_zxid: int = 0
    closed_ms: int | None = None
    timeout_ms: int | None = None
    is_alive: bool = False


class _Znode(NamedTuple):
    czxid: int
    version: int
    data: bytes | None
    acl: tuple[Acl, ...]
    owner: int


class _Piece(NamedTuple):
    """One change out of a txn, with its place there."""

    txn: Txn
    part: int
    parts: int


def versions(
    source: Source, path: bytes, up_to_zxid: int | None = None, *, has_children: bool = False
) -> Iterator[Version]:
    """All that happened to a znode, oldest first; with `has_children`, also that children came and went.

    Nothing comes where it was never there. Raises StorageError where no tree can be seen.
    """
    end = source.facts.end.zxid if up_to_zxid is None else up_to_zxid
    begin = begin_of(source)
    if end < begin:
        raise StorageError(f"history begins at {zxids.text(begin)} here; {zxids.text(end)} lies before it")
    znode = None
    record = source.view(begin).get(path)
    if record is not None:
        znode = _of(record)
        stat = records_.stat_of(record)
        time_ms = stat.mtime_ms if stat.mzxid else None
        yield Version(
            stat.mzxid, time_ms, 0, What.FOUND, stat.czxid, stat.version, znode.data, None, znode.acl, OPEN_ACL,
            znode.owner,
        )  # fmt: skip
    for zxid, txn in source.txns(begin, end, containing=_needle(path, has_children=has_children)):
        for piece in _pieces(txn, path):
            version = _version(zxid, txn, piece, znode)
            if version is None:
                continue
            if version.what is What.DELETED:
                znode = None
            else:
                znode = _Znode(version.czxid, version.version, version.data, version.acl, version.owner)
            yield version
        if has_children:
            yield from _children(zxid, txn, path, znode)


def begin_of(source: Source) -> int:
    """The oldest zxid from which on the log can be followed. Raises StorageError where nothing can be seen."""
    if not source.facts.reach:
        raise StorageError("nothing can be seen here", where=source.facts.path)
    return source.facts.reach[-1].first_zxid


def lives(source: Source, session_ids: Collection[int]) -> dict[int, Life]:
    """What is known of these sessions, as far as the log reaches."""
    found = {session_id: Life(session_id) for session_id in session_ids if session_id}
    needles = [
        bytes((array, kind)) + msgpack.packb(session_id)
        for session_id in found
        for array, kind in ((_ARRAY_OF_6, CREATE_SESSION), (_ARRAY_OF_5, CLOSE_SESSION))
    ]
    for segment in source.segments() if needles else ():
        if not any(needle in segment.data for needle in needles):
            continue
        try:
            _follow_lives(found, enumerate(segments_.txns(segment), segment.first_zxid))
        except DamageError as error:
            source.damage.append(error)
    sessions = source.view().sessions
    for session_id, life in found.items():
        session = sessions.get(session_id)
        if session is not None:
            found[session_id] = life._replace(timeout_ms=session.timeout_ms, is_alive=True)
    return found


# --- inside -------------------------------------------------------------------------------------------


def _follow_lives(found: dict[int, Life], txns: Iterable[tuple[int, Txn]]) -> None:
    for zxid, txn in txns:
        life = found.get(txn.session_id)
        if life is None:
            continue
        if isinstance(txn, CreateSessionTxn):
            life = life._replace(opened_zxid=zxid, opened_ms=txn.time_ms, timeout_ms=txn.timeout_ms)
        elif isinstance(txn, CloseSessionTxn):
            life = life._replace(closed_zxid=zxid, closed_ms=txn.time_ms)
        found[txn.session_id] = life


def _needle(path: bytes, *, has_children: bool) -> bytes | None:
    """Bytes that every segment has that concerns it: the path as msgpack has it, with its length before it."""
    if path == CONFIG or (path == ROOT and has_children):
        return None  # a change of members does not name its znode, and every path begins with the root's
    if has_children or len(path) > _BIN8:
        return path
    needle: bytes = msgpack.packb(path)
    return needle


def _of(record: bytes) -> _Znode:
    extras, stat = records_.extras_of(record), records_.stat_of(record)
    acl = OPEN_ACL if extras is None else extras.acl
    return _Znode(stat.czxid, stat.version, records_.data_of(record), acl, stat.ephemeral_owner)


def _pieces(txn: Txn, path: bytes) -> Iterator[_Piece]:
    """Those changes of a txn that are about this znode itself."""
    if isinstance(txn, MultiTxn):
        for number, part in enumerate(txn.changes, 1):
            if part.path == path:
                yield _Piece(part, number, len(txn.changes))
    elif isinstance(txn, CloseSessionTxn):
        if path in txn.paths:
            yield _Piece(txn, 0, 0)
    elif isinstance(txn, ReconfigTxn):
        if path == CONFIG:
            yield _Piece(txn, 0, 0)
    elif isinstance(txn, CreateTxn | DeleteTxn | SetDataTxn | SetAclTxn) and txn.path == path:
        yield _Piece(txn, 0, 0)


def _version(zxid: int, txn: Txn, piece: _Piece, before: _Znode | None) -> Version | None:
    """What a piece makes of a znode. None for a piece that does not fit, which only damage before it can bring."""
    change = piece.txn
    base = Version(zxid, txn.time_ms, txn.session_id, What.CREATED, zxid, 0, part=piece.part, parts=piece.parts)
    if isinstance(change, CreateTxn):
        acl = OPEN_ACL if change.acl is None else tuple(Acl(*entry) for entry in change.acl)
        return base._replace(data=change.data, acl=acl, owner=_session_of(change.owner))
    if before is None:
        return None
    base = base._replace(
        czxid=before.czxid, version=before.version, data=before.data, was=before.data, acl=before.acl,
        acl_was=before.acl, owner=before.owner,
    )  # fmt: skip
    if isinstance(change, SetDataTxn):
        return base._replace(what=What.DATA, data=change.data, version=change.version)
    if isinstance(change, ReconfigTxn):
        return base._replace(what=What.DATA, data=change.data, version=before.version)
    if isinstance(change, SetAclTxn):
        return base._replace(what=What.ACL, acl=tuple(Acl(*entry) for entry in change.acl))
    return base._replace(what=What.DELETED, data=None, ends_session=isinstance(change, CloseSessionTxn))


def _session_of(owner: int) -> int:
    """The session of a stored owner; 0 for containers and TTL znodes."""
    return 0 if owner == records_.CONTAINER_OWNER or records_.ttl_ms_of(owner) is not None else owner


def _children(zxid: int, txn: Txn, path: bytes, znode: _Znode | None) -> Iterator[Version]:
    if znode is None:
        return
    parts = txn.changes if isinstance(txn, MultiTxn) else (txn,)
    for number, part in enumerate(parts, 1):
        if isinstance(part, CreateTxn | DeleteTxn):
            paths: tuple[bytes, ...] = (part.path,)
        elif isinstance(part, CloseSessionTxn):
            paths = part.paths
        else:
            continue
        what = What.CHILD_CREATED if isinstance(part, CreateTxn) else What.CHILD_DELETED
        for child in paths:
            if child != ROOT and parent_of(child) == path:
                yield Version(
                    zxid, txn.time_ms, txn.session_id, what, znode.czxid, znode.version, znode.data, znode.data,
                    znode.acl, znode.acl, znode.owner, number if len(parts) > 1 else 0,
                    len(parts) if len(parts) > 1 else 0, isinstance(part, CloseSessionTxn),
                    child[len(path) if path == ROOT else len(path) + 1 :],
                )  # fmt: skip
