"""What must be answered: every request judged against a tree as of one zxid, by rules written down a second time.

The server checks a write against the tree as it will be once all that is under way has been applied, in an order that
it has made quick. Here the same is said plainly, straight from the protocol: `plan` says what a write does to a tree
that has applied everything before it, `answer_read` what a read finds. Only requests that `workloads` makes are
understood: well-formed paths, valid flags.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from zkstore.model import acl as acls
from zkstore.model import record as records
from zkstore.model.acl import OPEN_ACL, Acl, Identity
from zkstore.model.paths import PROTECTED, parent_of
from zkstore.model.tree import Tree
from zkstore.model.txns import (
    CREATE,
    DELETE,
    SET_ACL,
    SET_DATA,
    Change,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    SetDataTxn,
)
from zkstore.testing.checkers.history import Call
from zkstore.wire import jute
from zkstore.wire.multi import TERMINATOR, MultiRequest, encode_error, encode_result
from zkstore.wire.opcodes import PLAIN_CREATES, CreateMode, Opcode
from zkstore.wire.records import (
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathRequest,
    PathWatchRequest,
    SetAclRequest,
    SetDataRequest,
)

BAD_ARGUMENTS: Final = -8
NO_NODE: Final = -101
NO_AUTH: Final = -102
BAD_VERSION: Final = -103
NO_CHILDREN_FOR_EPHEMERALS: Final = -108
NODE_EXISTS: Final = -110
NOT_EMPTY: Final = -111

_NUMBER: Final = Struct(">i")
_SEQUENTIAL: Final = (
    CreateMode.PERSISTENT_SEQUENTIAL,
    CreateMode.EPHEMERAL_SEQUENTIAL,
    CreateMode.TTL_SEQUENTIAL,
)
ON_LOCAL_SESSION: Final = -120
_EPHEMERAL: Final = (CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL)

Identities = tuple[Identity, ...]


class _Znode(NamedTuple):
    """What a plan has to know of a znode. `created`: children that it ever had."""

    version: int
    aversion: int
    created: int
    num_children: int
    owner: int
    acl: tuple[Acl, ...]


class Refusal(Exception):
    """One operation must fail with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Plan(NamedTuple):
    """What a write must do: `changes` if `code` is 0, else nothing. `failed_at` is the index of a multi's culprit."""

    code: int
    changes: tuple[Change, ...]
    failed_at: int = 0


class _View:
    """A tree with what a multi's first operations do to it, which the tree itself does not know of yet."""

    def __init__(self, tree: Tree, call: Call, time_ms: int) -> None:
        self._tree = tree
        self._changed: dict[bytes, _Znode | None] = {}
        self._identities = call.channel.identities
        self._session_id = call.channel.session.session_id
        self._is_local = call.channel.session.began_local and self._session_id not in tree.sessions
        self._xid = call.xid
        self._time_ms = time_ms

    def operation(self, opcode: int, request: object) -> Change | None:
        """The change that one operation makes; None for a check. Raises Refusal."""
        if isinstance(request, CreateRequest | CreateTtlRequest):
            return self._create(opcode, request)
        if isinstance(request, DeleteRequest):
            return self._delete(request)
        if isinstance(request, SetDataRequest):
            return self._set_data(request)
        if isinstance(request, SetAclRequest):
            return self._set_acl(request)
        assert isinstance(request, CheckVersionRequest), f"{request!r} is no operation"
        znode = self._look(_given(request.path))
        self._demand(acls.READ, znode)
        _demand_version(request.version, znode.version)
        return None

    def _find(self, path: bytes) -> _Znode | None:
        if path in self._changed:
            return self._changed[path]
        tree = self._tree
        if path not in tree.records:
            return None
        stat = tree.stat(path)
        created = (stat.cversion + stat.num_children) // 2
        return _Znode(stat.version, stat.aversion, created, stat.num_children, tree.stored_owner(path), tree.acl(path))

    def _look(self, path: bytes) -> _Znode:
        znode = self._find(path)
        if znode is None:
            raise Refusal(NO_NODE)
        return znode

    def _demand(self, permission: int, znode: _Znode) -> None:
        if not acls.allows(znode.acl, permission, self._identities):
            raise Refusal(NO_AUTH)

    def _create(self, opcode: int, request: CreateRequest | CreateTtlRequest) -> CreateTxn:
        if self._is_local and opcode in PLAIN_CREATES and request.flags in _EPHEMERAL:
            raise Refusal(ON_LOCAL_SESSION)
        path = _given(request.path)
        parent_path = parent_of(path)
        parent = self._look(parent_path)
        self._demand(acls.CREATE, parent)
        if request.flags in _SEQUENTIAL:
            path += b"%010d" % parent.created
        if self._find(path) is not None:
            raise Refusal(NODE_EXISTS)
        if parent.owner and parent.owner != records.CONTAINER_OWNER and records.ttl_ms_of(parent.owner) is None:
            raise Refusal(NO_CHILDREN_FOR_EPHEMERALS)
        owner = 0
        if isinstance(request, CreateTtlRequest):
            owner = records.ttl_owner(request.ttl_ms)
        elif opcode == Opcode.CREATE_CONTAINER:
            owner = records.CONTAINER_OWNER
        elif request.flags in _EPHEMERAL:
            owner = self._session_id
        acl = tuple(Acl(perms, scheme or "", acl_id or "") for perms, scheme, acl_id in request.acl or ())
        self._changed[path] = _Znode(0, 0, 0, 0, owner, acl)
        self._changed[parent_path] = parent._replace(created=parent.created + 1, num_children=parent.num_children + 1)
        entries = None if acl == OPEN_ACL else acl
        return CreateTxn(CREATE, self._session_id, self._xid, self._time_ms, path, request.data, entries, owner)

    def _delete(self, request: DeleteRequest) -> DeleteTxn:
        path = _given(request.path)
        if path in PROTECTED:
            raise Refusal(BAD_ARGUMENTS)
        parent_path = parent_of(path)
        parent = self._look(parent_path)
        self._demand(acls.DELETE, parent)
        znode = self._look(path)
        _demand_version(request.version, znode.version)
        if znode.num_children:
            raise Refusal(NOT_EMPTY)
        self._changed[path] = None
        self._changed[parent_path] = parent._replace(num_children=parent.num_children - 1)
        return DeleteTxn(DELETE, self._session_id, self._xid, self._time_ms, path)

    def _set_data(self, request: SetDataRequest) -> SetDataTxn:
        path = _given(request.path)
        znode = self._look(path)
        self._demand(acls.WRITE, znode)
        _demand_version(request.version, znode.version)
        version = znode.version + 1
        self._changed[path] = znode._replace(version=version)
        return SetDataTxn(SET_DATA, self._session_id, self._xid, self._time_ms, path, request.data, version)

    def _set_acl(self, request: SetAclRequest) -> SetAclTxn:
        path = _given(request.path)
        znode = self._look(path)
        self._demand(acls.ADMIN, znode)
        _demand_version(request.version, znode.aversion)
        acl = tuple(Acl(perms, scheme or "", acl_id or "") for perms, scheme, acl_id in request.acl or ())
        aversion = znode.aversion + 1
        self._changed[path] = znode._replace(aversion=aversion, acl=acl)
        return SetAclTxn(SET_ACL, self._session_id, self._xid, self._time_ms, path, acl, aversion)


def plan(tree: Tree, call: Call, time_ms: int) -> Plan:
    """What a write must do to `tree`, which has applied everything before it."""
    view = _View(tree, call, time_ms)
    request = call.request
    operations = [(call.opcode, request)] if not isinstance(request, MultiRequest) else list(request.ops)
    changes: list[Change] = []
    for index, (opcode, operation) in enumerate(operations):
        try:
            change = view.operation(opcode, operation)
        except Refusal as refusal:
            return Plan(refusal.code, (), index)
        if change is not None:
            changes.append(change)
    return Plan(0, tuple(changes))


def answer_write(call: Call, planned: Plan, made: Iterable[bytes | None]) -> tuple[int, bytes]:
    """Code and body of the answer; `made` are the records that the changes made, None for a delete."""
    request = call.request
    changes = zip(planned.changes, made, strict=True)
    if not isinstance(request, MultiRequest):
        if planned.code:
            return planned.code, b""
        change, record = next(changes)
        return 0, _changed_body(call.opcode, change, record)
    if planned.code:
        codes = [0] * planned.failed_at + [planned.code] + [-2] * (len(request.ops) - planned.failed_at - 1)
        return 0, b"".join(map(encode_error, codes)) + TERMINATOR
    results = []
    for opcode, _ in request.ops:
        body = b""
        if opcode != Opcode.CHECK:
            change, record = next(changes)
            body = _changed_body(opcode, change, record)
        results.append(encode_result(opcode, body))
    return 0, b"".join(results) + TERMINATOR


def _changed_body(opcode: int, change: Change, record: bytes | None) -> bytes:
    if record is None:
        return b""
    if isinstance(change, CreateTxn):
        path = jute.buffer(change.path)
        return path if opcode == Opcode.CREATE else path + records.stat_bytes_of(record)
    return records.stat_bytes_of(record)


# --- reads ----------------------------------------------------------------------------------------


def answer_read(tree: Tree, call: Call) -> tuple[int, bytes]:
    """Code and body of the answer to a read that leaves the watches aside; children's names are sorted."""
    request, opcode = call.request, call.opcode
    if opcode == Opcode.PING:
        return 0, b""
    if isinstance(request, MultiRequest):
        return 0, b"".join([_one_of_many(tree, call, op.opcode, op.request.path) for op in request.ops]) + TERMINATOR
    assert isinstance(request, PathRequest | PathWatchRequest), f"nobody knows how to answer {call!r}"
    path = request.path
    if opcode == Opcode.SYNC:
        return 0, jute.buffer(path)
    if opcode == Opcode.GET_EPHEMERALS:
        session_id, prefix = call.channel.session.session_id, path or b""
        owned = tree.ephemerals.get(session_id, ())
        return 0, jute.buffers(sorted(path for path in owned if path.startswith(prefix)))
    return read_path(tree, opcode, path or b"/", call.channel.identities)


def _one_of_many(tree: Tree, call: Call, opcode: int, path: bytes | None) -> bytes:
    code, body = read_path(tree, opcode, path or b"/", call.channel.identities)
    return encode_error(code) if code else encode_result(opcode, body)


def read_path(tree: Tree, opcode: int, path: bytes, identities: Identities) -> tuple[int, bytes]:
    """exists, getData, getChildren, getChildren2, getACL or getAllChildrenNumber."""
    record = tree.records.get(path)
    if record is None:
        return NO_NODE, b""
    acl = tree.acl(path)
    permissions = acls.READ | acls.ADMIN if opcode == Opcode.GET_ACL else acls.READ
    if not acls.allows(acl, permissions, identities):
        return NO_AUTH, b""
    if opcode == Opcode.EXISTS:
        return 0, records.stat_bytes_of(record)
    if opcode == Opcode.GET_DATA:
        return 0, record[: records.image_end(record)]
    if opcode == Opcode.GET_ACL:
        shown = acl if acls.allows(acl, acls.ADMIN, identities) else acls.redact(acl)
        return 0, jute.acl(shown) + records.stat_bytes_of(record)
    if opcode == Opcode.GET_ALL_CHILDREN_NUMBER:
        return 0, _NUMBER.pack(_descendants(tree, path))
    names = jute.buffers(sorted(child[child.rindex(b"/") + 1 :] for child in tree.children.get(path, ())))
    if opcode == Opcode.GET_CHILDREN:
        return 0, names
    assert opcode == Opcode.GET_CHILDREN2, f"nobody knows how to answer opcode {opcode}"
    return 0, names + records.stat_bytes_of(record)


def sort_names(opcode: int, body: bytes) -> bytes:
    """A server's answer with its names sorted, for their order means nothing."""
    if opcode not in (Opcode.GET_CHILDREN, Opcode.GET_CHILDREN2, Opcode.GET_EPHEMERALS):
        return body
    reader = jute.Reader(body)
    names = reader.vector(jute.Reader.buffer)
    if names is None or None in names:
        return body
    return jute.buffers(sorted(name for name in names if name is not None)) + body[reader.offset :]


def _descendants(tree: Tree, path: bytes) -> int:
    children = tree.children.get(path, {})
    return sum(1 + _descendants(tree, child) for child in children)


def _given(path: bytes | None) -> bytes:
    assert path is not None, "workloads name a path"
    return path


def _demand_version(expected: int, actual: int) -> None:
    if expected not in (-1, actual):
        raise Refusal(BAD_VERSION)
