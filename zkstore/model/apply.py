"""Txns to the tree. Applying cannot fail: what was wrong with a request was found before it became a txn.

The same functions run on the leader when a segment is committed, on every learner, and at recovery, so
equal logs give equal trees. A txn that does not fit the tree is a bug or damage and raises what Python
raises; whoever applies stops there.

Each function returns the znode's new record, from which an answer takes the Stat. This is the write
path's inner loop: records are patched in place of being taken apart (a set costs about 1 µs).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from zkstore.model import quotas
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.paths import CONFIG, parent_of
from zkstore.model.stat import STAT, STAT_BYTES, wrap32
from zkstore.model.tree import SessionRecord, Tree
from zkstore.model.txns import (
    SET_DATA,
    Change,
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

_INT: Final = Struct(">i")

_STAT_OF_CREATE: Final = Struct(">qqqq12xqi4xq")

# A Stat by what a set changes: mzxid, mtime, version and data length; what it keeps stays bytes.
_KEPT_BY_SET: Final = Struct(">8s8x8s8x4x16s4x12s")
_STAT_OF_SET: Final = Struct(">8sq8sqi16si12s")

# What changes in a parent: cversion, numChildren and pzxid, a Stat's end; and where that begins, without data.
_CHILDREN_FIELDS: Final = Struct(">i16siq")
_CVERSION_AT: Final = records_.IMAGE_OVERHEAD - _CHILDREN_FIELDS.size


def create(tree: Tree, zxid: int, txn: CreateTxn) -> bytes:
    """A new znode; its parent counts one child more."""
    _, _, _, time_ms, path, data, acl, owner = txn
    length = -1 if data is None else len(data)
    shown_owner = owner if owner and not is_stored_only(owner) else 0
    stat = _STAT_OF_CREATE.pack(zxid, zxid, time_ms, time_ms, shown_owner, length if data else 0, zxid)
    record = _INT.pack(length) + data + stat if data else _INT.pack(length) + stat
    if acl is not None or owner != shown_owner:
        entries = OPEN_ACL if acl is None else tuple(Acl(*entry) for entry in acl)
        record = records_.make(data, STAT.unpack(stat), entries, owner)
    parent = parent_of(path)
    tree.add(path, parent, record)
    _count_child(tree, parent, zxid, 1)
    if tree.quotas or path.startswith(quotas.QUOTA_ROOT):
        quotas.created(tree, path, max(length, 0))
        return tree.records[path]  # of a stats znode, the data has just been made
    return record


def delete(tree: Tree, zxid: int, path: bytes) -> None:
    """A znode's end; its parent counts one child less."""
    parent = parent_of(path)
    data = records_.data_of(tree.records[path]) if tree.quotas else None
    tree.remove(path, parent)
    _count_child(tree, parent, zxid, -1)
    if tree.quotas:
        quotas.deleted(tree, path, len(data or b""))


def set_data(tree: Tree, zxid: int, txn: SetDataTxn) -> bytes:
    """New data under a new version; the new Stat, as it goes on the wire."""
    _, _, _, time_ms, path, data, version = txn
    before = tree.records[path]
    (length_before,) = _INT.unpack_from(before)
    end = records_.IMAGE_OVERHEAD + (length_before if length_before > 0 else 0)
    czxid, ctime, counts, last = _KEPT_BY_SET.unpack_from(before, end - STAT_BYTES)
    length = 0 if data is None else len(data)
    stat = _STAT_OF_SET.pack(czxid, zxid, ctime, time_ms, version, counts, length, last)
    after = _INT.pack(-1) + stat if data is None else _INT.pack(length) + data + stat
    if end != len(before):
        after += before[end:]
    tree.data_bytes += length - end + records_.IMAGE_OVERHEAD
    if path not in tree.touched:
        tree.touched[path] = before
    tree.records[path] = after
    if tree.quotas:
        quotas.resized(tree, path, length - max(length_before, 0))
    return stat


def set_acl(tree: Tree, txn: SetAclTxn) -> bytes:
    """A new ACL under a new aversion; mzxid and mtime stay."""
    _, _, _, _, path, acl, aversion = txn
    before = tree.records[path]
    stat = records_.stat_of(before)._replace(aversion=aversion)
    owner = tree.stored_owner(path)
    after = records_.make(records_.data_of(before), stat, tuple(Acl(*entry) for entry in acl), owner)
    tree.put(path, after)
    tree.reindex_extras(path, after)
    return after


def change(tree: Tree, zxid: int, txn: Change) -> bytes | None:
    """One change of one znode, alone or out of a multi: its new record, or None for a delete."""
    if isinstance(txn, SetDataTxn):
        set_data(tree, zxid, txn)
        return tree.records[txn.path]
    if isinstance(txn, CreateTxn):
        return create(tree, zxid, txn)
    if isinstance(txn, DeleteTxn):
        delete(tree, zxid, txn.path)
        return None
    return set_acl(tree, txn)


def close_session(tree: Tree, zxid: int, txn: CloseSessionTxn) -> None:
    """A session's end and that of its ephemerals."""
    for path in txn.paths:
        delete(tree, zxid, path)
    tree.close_session(txn.session_id)
    assert txn.session_id not in tree.ephemerals, f"session {txn.session_id:#x} left ephemerals behind"


def reconfig(tree: Tree, zxid: int, txn: ReconfigTxn) -> bytes:
    """New members: /zookeeper/config gets other data, and the version -1, as in ZooKeeper."""
    changed = SetDataTxn(SET_DATA, txn.session_id, txn.cxid, txn.time_ms, CONFIG, txn.data, -1)
    set_data(tree, zxid, changed)
    return tree.records[CONFIG]


def apply(tree: Tree, zxid: int, txn: Txn) -> None:
    """Whatever the txn says happens to the tree, which is then as of `zxid`."""
    if isinstance(txn, MultiTxn):
        for part in txn.changes:
            change(tree, zxid, part)
    elif isinstance(txn, CreateSessionTxn):
        tree.open_session(txn.session_id, SessionRecord(txn.timeout_ms, txn.password))
    elif isinstance(txn, CloseSessionTxn):
        close_session(tree, zxid, txn)
    elif isinstance(txn, ReconfigTxn):
        reconfig(tree, zxid, txn)
    elif not isinstance(txn, ErrorTxn):
        change(tree, zxid, txn)
    tree.zxid = zxid


def apply_segment(tree: Tree, first_zxid: int, txns: Sequence[Txn]) -> None:
    """Apply a whole segment and seal the tree. Between two epochs the zxids leave a gap."""
    assert first_zxid > tree.zxid, f"segment at {first_zxid:#x} does not follow {tree.zxid:#x}"
    for zxid, txn in enumerate(txns, first_zxid):
        apply(tree, zxid, txn)
    tree.seal()


def is_stored_only(owner: int) -> bool:
    """Whether an owner marks a container or TTL znode, which a Stat does not show."""
    return owner < 0 and (owner == records_.CONTAINER_OWNER or records_.ttl_ms_of(owner) is not None)


def _count_child(tree: Tree, parent: bytes, zxid: int, difference: int) -> None:
    """One child came (+1) or went (-1): the parent's cversion, numChildren and pzxid, nothing else."""
    before = tree.records[parent]
    (length,) = _INT.unpack_from(before)
    at = _CVERSION_AT + (length if length > 0 else 0)
    cversion, kept, num_children, _ = _CHILDREN_FIELDS.unpack_from(before, at)
    fields = _CHILDREN_FIELDS.pack(wrap32(cversion + 1), kept, num_children + difference, zxid)
    tree.put(parent, before[:at] + fields + before[at + _CHILDREN_FIELDS.size :])
