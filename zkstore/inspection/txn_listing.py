"""Txns for people and programs: which ones concern a path or a session, and what each says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgpack

from zkstore.inspection.measuring import Progress
from zkstore.inspection.source import Source
from zkstore.model.paths import CONFIG, ROOT
from zkstore.model.txns import (
    CLOSE_SESSION,
    CREATE,
    CREATE_SESSION,
    DELETE,
    ERROR,
    MULTI,
    RECONFIG,
    SET_ACL,
    SET_DATA,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    ReconfigTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
)

NAMES: Final = {
    CREATE_SESSION: "createSession",
    CLOSE_SESSION: "closeSession",
    CREATE: "create",
    DELETE: "delete",
    SET_DATA: "setData",
    SET_ACL: "setACL",
    MULTI: "multi",
    ERROR: "error",
    RECONFIG: "reconfig",
}

_TOLD_EVERY: Final = 4096


def listed(
    source: Source,
    after_zxid: int,
    up_to_zxid: int,
    *,
    path: bytes | None = None,
    session_id: int | None = None,
    progress: Progress,
) -> Iterator[tuple[int, Txn]]:
    """The txns behind `after_zxid` that concern `path` or what lies below it, or that a session asked for."""
    containing = None
    if path is not None and path not in (ROOT, CONFIG):  # a change of members does not name its znode
        containing = path
    elif session_id is not None:
        containing = msgpack.packb(session_id)
    below = None if path is None else path + b"/" if path != ROOT else ROOT
    count = 0
    for zxid, txn in source.txns(after_zxid, up_to_zxid, containing=containing):
        count += 1
        if count == _TOLD_EVERY:
            progress(count)
            count = 0
        if session_id is not None and txn.session_id != session_id:
            continue
        if below is None or any(each == path or each.startswith(below) for each in paths_of(txn)):
            yield zxid, txn


def paths_of(txn: Txn) -> tuple[bytes, ...]:
    """The znodes that a txn creates, changes or deletes; parents count as changed by nobody."""
    if isinstance(txn, MultiTxn):
        return tuple(part.path for part in txn.changes)
    if isinstance(txn, CloseSessionTxn):
        return txn.paths
    if isinstance(txn, ReconfigTxn):
        return (CONFIG,)
    if isinstance(txn, CreateSessionTxn | ErrorTxn):
        return ()
    return (txn.path,)


def fields_of(txn: Txn) -> dict[str, Any]:
    """What a txn says beside who asked and when; paths and data as bytes."""
    if isinstance(txn, CreateTxn):
        return {"path": txn.path, "data": txn.data, "acl": txn.acl, "owner": txn.owner}
    if isinstance(txn, SetDataTxn):
        return {"path": txn.path, "data": txn.data, "version": txn.version}
    if isinstance(txn, DeleteTxn):
        return {"path": txn.path}
    if isinstance(txn, SetAclTxn):
        return {"path": txn.path, "acl": txn.acl, "version": txn.aversion}
    if isinstance(txn, MultiTxn):
        return {"changes": [{"type": NAMES[part.kind], **fields_of(part)} for part in txn.changes]}
    if isinstance(txn, CreateSessionTxn):
        return {"timeout_ms": txn.timeout_ms}
    if isinstance(txn, CloseSessionTxn):
        return {"paths": list(txn.paths)}
    if isinstance(txn, ErrorTxn):
        return {"code": txn.code}
    return {"path": CONFIG, "data": txn.data}
