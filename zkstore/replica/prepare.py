"""Request to txn: the one place where a write may fail.

Each function checks in ZooKeeper's order (protocol: writes, checks in the order they are made; the first failure
wins), against the tree as it will be once all that was proposed before has been applied. It raises a RequestError
that carries the code, or returns the txn that states the outcome, and notes in `outstanding` what that will be.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from zkstore.errors import (
    BadArgumentsError,
    BadVersionError,
    EphemeralOnLocalSessionError,
    MarshallingError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    QuotaExceededError,
    RequestError,
    UnimplementedError,
)
from zkstore.model import acl as acls
from zkstore.model import paths, quotas
from zkstore.model.acl import OPEN_ACL, Acl, Identity
from zkstore.model.paths import CONFIG
from zkstore.model.record import CONTAINER_OWNER, TTL_MS_MAX, data_of, ttl_owner
from zkstore.model.stat import next_version
from zkstore.model.tree import Tree
from zkstore.model.txns import (
    CLOSE_SESSION,
    CREATE,
    DELETE,
    MULTI,
    RECONFIG,
    SET_ACL,
    SET_DATA,
    Change,
    CloseSessionTxn,
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    ReconfigTxn,
    SetAclTxn,
    SetDataTxn,
)
from zkstore.replica.outstanding import Outstanding, Prospect, make_prospect
from zkstore.wire.multi import MultiRequest
from zkstore.wire.opcodes import EPHEMERAL_MODES, CreateMode, Opcode
from zkstore.wire.records import (
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    SetAclRequest,
    SetDataRequest,
)

_MODES: Final = frozenset(CreateMode)
_SEQUENTIAL: Final = frozenset(
    {CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL, CreateMode.TTL_SEQUENTIAL}
)
_TTL: Final = frozenset({CreateMode.TTL, CreateMode.TTL_SEQUENTIAL})

_make_create: Final = partial(tuple.__new__, CreateTxn)

ChangeRequest: TypeAlias = CreateRequest | CreateTtlRequest | DeleteRequest | SetDataRequest | CheckVersionRequest


class Asking(NamedTuple):
    """Who asks, and what a txn made of it will be: its zxid and the leader's wall clock.

    A session that `is_local` to one server can own nothing.
    """

    session_id: int
    cxid: int
    time_ms: int
    zxid: int
    identities: tuple[Identity, ...]
    is_local: bool = False


class MultiFailedError(Exception):
    """The `index`-th operation of a multi failed with `cause`; none of them happened."""

    def __init__(self, index: int, cause: RequestError) -> None:
        super().__init__(f"operation {index} failed: {cause}")
        self.index = index
        self.cause = cause


class Preparation:
    """Makes txns.

    `skip_acl` lets everybody do everything (ZooKeeper's skipACL=yes); without `extended_types` there are no TTL znodes;
    hard quotas are refused to be passed if `enforce_quota`, against what has been committed. With `guards_config` not
    even the super user may set the data of /zookeeper/config, which then names the members of an ensemble.
    """

    __slots__ = (
        "_acl_schemes",
        "_enforce_quota",
        "_extended_types",
        "_guards_config",
        "_outstanding",
        "_skip_acl",
        "_tree",
    )

    def __init__(
        self,
        tree: Tree,
        outstanding: Outstanding,
        *,
        acl_schemes: Collection[str] = acls.DEFAULT_SCHEMES,
        skip_acl: bool = False,
        extended_types: bool = True,
        enforce_quota: bool = False,
        guards_config: bool = False,
    ) -> None:
        self._tree = tree
        self._enforce_quota = enforce_quota
        self._guards_config = guards_config
        self._outstanding = outstanding
        self._extended_types = extended_types
        self._skip_acl = skip_acl
        self._acl_schemes = acl_schemes

    # --- changes of one znode ---------------------------------------------------------------------

    def create(self, asking: Asking, opcode: int, request: CreateRequest | CreateTtlRequest) -> CreateTxn:
        """create, create2, createContainer, createTTL; the txn's path is the final one."""
        flags = request.flags
        if flags not in _MODES:
            raise BadArgumentsError(request.path)
        if flags in _TTL and not self._extended_types:
            raise UnimplementedError(request.path)
        owner = _stored_owner(asking, opcode, request)
        asked = _not_null(request.path)
        parent_path = paths.requested_parent(asked)
        acl = acls.fix_up(request.acl, asking.identities, schemes=self._acl_schemes)
        parent = self._outstanding.look(parent_path)
        if parent is None:
            raise NoNodeError(asked)
        if parent.acl is not OPEN_ACL:
            self._demand(acls.CREATE, parent.acl, asking, asked)
        path = paths.sequential(asked, parent.created) if flags in _SEQUENTIAL else asked
        paths.check(path)
        if self._outstanding.look(path) is not None:
            raise NodeExistsError(path)
        if parent.is_ephemeral:
            raise NoChildrenForEphemeralsError(path)
        if self._enforce_quota:
            self._demand_quota(path, 1, len(request.data or b""))
        session_id, cxid, time_ms, zxid, _, _ = asking
        _, _, version, aversion, created, num_children, parent_owner, parent_acl = parent
        self._outstanding.expect(
            parent_path,
            make_prospect((zxid, True, version, aversion, created + 1, num_children + 1, parent_owner, parent_acl)),
        )
        self._outstanding.expect(path, make_prospect((zxid, True, 0, 0, 0, 0, owner, acl)))
        if owner == session_id:
            self._outstanding.note_birth(owner, path)
        entries = None if acl is OPEN_ACL else acl
        return _make_create((CREATE, session_id, cxid, time_ms, path, request.data, entries, owner))

    def delete(self, asking: Asking, request: DeleteRequest) -> DeleteTxn:
        """delete: the permission is the parent's, the version the znode's own."""
        path = _not_null(request.path)
        if path in paths.PROTECTED:
            raise BadArgumentsError(path)
        parent_path = paths.requested_parent(path)
        parent = self._outstanding.look(parent_path)
        if parent is None:
            raise NoNodeError(path)
        self._demand(acls.DELETE, parent.acl, asking, path)
        znode = self._outstanding.look(path)
        if znode is None:
            raise NoNodeError(path)
        _demand_version(request.version, znode.version, path)
        if znode.num_children:
            raise NotEmptyError(path)
        self._expect_gone(asking.zxid, path, znode, parent_path, parent)
        return DeleteTxn(DELETE, asking.session_id, asking.cxid, asking.time_ms, path)

    def set_data(self, asking: Asking, request: SetDataRequest) -> SetDataTxn:
        """setData."""
        path = request.path or b""
        znode = self._outstanding.look(path)
        if znode is None:
            paths.check(path)
            raise NoNodeError(path)
        if znode.acl is not OPEN_ACL:
            self._demand(acls.WRITE, znode.acl, asking, path)
        if self._guards_config and path == CONFIG:
            raise NoAuthError(path)
        if self._enforce_quota:
            record = self._tree.records.get(path)
            before = b"" if record is None else data_of(record)
            self._demand_quota(path, 0, len(request.data or b"") - len(before or b""))
        if request.version != -1 and request.version != znode.version:
            raise BadVersionError(path)
        _, _, version, aversion, created, num_children, owner, acl = znode
        version = next_version(version)
        self._outstanding.expect(
            path, Prospect(asking.zxid, True, version, aversion, created, num_children, owner, acl)
        )
        return SetDataTxn(SET_DATA, asking.session_id, asking.cxid, asking.time_ms, path, request.data, version)

    def set_acl(self, asking: Asking, request: SetAclRequest) -> SetAclTxn:
        """setACL: the version it names is the ACL's."""
        path = _checked(request.path)
        acl = acls.fix_up(request.acl, asking.identities, schemes=self._acl_schemes)
        znode = self._outstanding.look(path)
        if znode is None:
            raise NoNodeError(path)
        self._demand(acls.ADMIN, znode.acl, asking, path)
        _demand_version(request.version, znode.aversion, path)
        aversion = next_version(znode.aversion)
        self._outstanding.expect(path, znode._replace(zxid=asking.zxid, aversion=aversion, acl=acl))
        return SetAclTxn(SET_ACL, asking.session_id, asking.cxid, asking.time_ms, path, acl, aversion)

    def may_reconfigure(self, asking: Asking) -> Prospect:
        """The znode of the members, which the asker may change. Raises NoAuthError."""
        znode = self._outstanding.look(CONFIG)
        assert znode is not None, "every tree has this znode"
        self._demand(acls.WRITE, znode.acl, asking, CONFIG)
        return znode

    def reconfig(self, asking: Asking, data: bytes) -> ReconfigTxn:
        """reconfig, once everything but the permission has been looked at."""
        znode = self.may_reconfigure(asking)
        self._outstanding.expect(CONFIG, znode._replace(zxid=asking.zxid, version=-1))
        return ReconfigTxn(RECONFIG, asking.session_id, asking.cxid, asking.time_ms, data)

    def check(self, asking: Asking, request: CheckVersionRequest) -> None:
        """check, inside a multi: changes nothing."""
        path = _checked(request.path)
        znode = self._outstanding.look(path)
        if znode is None:
            raise NoNodeError(path)
        self._demand(acls.READ, znode.acl, asking, path)
        _demand_version(request.version, znode.version, path)

    # --- several at once --------------------------------------------------------------------------

    def multi(self, asking: Asking, request: MultiRequest) -> MultiTxn:
        """multi: every operation sees what the ones before it do.

        Raises MultiFailedError with nothing noted, or MarshallingError where an operation cannot be understood.
        """
        changes: list[Change] = []
        self._outstanding.begin()
        for index, (opcode, operation) in enumerate(request.ops):
            try:
                change = self._operation(asking, opcode, operation)
            except RequestError as cause:
                self._outstanding.take_back()
                for taken_back in changes:
                    if isinstance(taken_back, CreateTxn) and taken_back.owner == asking.session_id:
                        self._outstanding.retire_birth(asking.session_id, taken_back.path)
                if isinstance(cause, MarshallingError):
                    raise  # The request makes no sense, so it fails as a whole.
                raise MultiFailedError(index, cause) from cause
            if change is not None:
                changes.append(change)
        self._outstanding.keep()
        return MultiTxn(MULTI, asking.session_id, asking.cxid, asking.time_ms, tuple(changes))

    def _operation(self, asking: Asking, opcode: int, request: object) -> Change | None:
        if isinstance(request, CreateRequest | CreateTtlRequest):
            return self.create(asking, opcode, request)
        if isinstance(request, DeleteRequest):
            return self.delete(asking, request)
        if isinstance(request, SetDataRequest):
            return self.set_data(asking, request)
        assert isinstance(request, CheckVersionRequest), f"{request!r} does not belong into a multi"
        self.check(asking, request)
        return None

    # --- the server's own -------------------------------------------------------------------------

    def close_session(self, asking: Asking) -> CloseSessionTxn:
        """closeSession, asked for or by expiry, with all that the session owns by then."""
        owned = self._outstanding.ephemerals(asking.session_id)
        for path in owned:
            self._expect_deleted(asking.zxid, path)
        return CloseSessionTxn(CLOSE_SESSION, asking.session_id, asking.cxid, asking.time_ms, tuple(owned))

    def shed(self, asking: Asking, path: bytes) -> DeleteTxn:
        """An ephemeral znode of a session that is about to be closed."""
        self._expect_deleted(asking.zxid, path)
        return DeleteTxn(DELETE, asking.session_id, asking.cxid, asking.time_ms, path)

    def reap(self, asking: Asking, path: bytes) -> DeleteTxn | None:
        """A container or TTL znode whose time is over; None if a txn under way changes it or its children."""
        znode = self._outstanding.look(path)
        if znode is None or znode.zxid or znode.num_children:
            return None
        self._expect_deleted(asking.zxid, path)
        return DeleteTxn(DELETE, asking.session_id, asking.cxid, asking.time_ms, path)

    # --- parts ------------------------------------------------------------------------------------

    def _expect_deleted(self, zxid: int, path: bytes) -> None:
        parent_path = paths.parent_of(path)
        znode, parent = self._outstanding.look(path), self._outstanding.look(parent_path)
        assert znode is not None and parent is not None, f"{path!r} is not there to be deleted"
        self._expect_gone(zxid, path, znode, parent_path, parent)

    def _expect_gone(self, zxid: int, path: bytes, znode: Prospect, parent_path: bytes, parent: Prospect) -> None:
        self._outstanding.expect(path, znode._replace(zxid=zxid, exists=False))
        self._outstanding.expect(parent_path, parent._replace(zxid=zxid, num_children=parent.num_children - 1))

    def _demand_quota(self, path: bytes, count: int, difference_bytes: int) -> None:
        """Refuse what would pass a hard limit of the deepest quota above; ZooKeeper compares with committed usage."""
        if not self._tree.quotas:
            return
        governed = quotas.governing(self._tree, path)
        if governed is None:
            return
        allowed, used = quotas.limits(self._tree, governed), quotas.usage(self._tree, governed)
        if used is None:
            return
        if count > 0 and -1 < allowed.znodes_hard < used.znodes + count:
            raise QuotaExceededError(path)
        if difference_bytes and -1 < allowed.data_bytes_hard < used.data_bytes + difference_bytes:
            raise QuotaExceededError(path)

    def _demand(self, permission: int, acl: tuple[Acl, ...], asking: Asking, path: bytes) -> None:
        if not (self._skip_acl or acls.allows(acl, permission, asking.identities)):
            raise NoAuthError(path)


def _stored_owner(asking: Asking, opcode: int, request: CreateRequest | CreateTtlRequest) -> int:
    """What kind of znode a create makes, as a stored owner; the opcode decides for containers and TTL znodes."""
    if isinstance(request, CreateTtlRequest):
        if request.flags not in _TTL or not 1 <= request.ttl_ms <= TTL_MS_MAX:
            raise BadArgumentsError(request.path)
        return ttl_owner(request.ttl_ms)
    if request.flags in _TTL:
        raise BadArgumentsError(request.path)
    if opcode == Opcode.CREATE_CONTAINER:
        return CONTAINER_OWNER
    if request.flags not in EPHEMERAL_MODES:
        return 0
    if asking.is_local:
        raise EphemeralOnLocalSessionError(request.path)
    return asking.session_id


def _demand_version(expected: int, actual: int, path: bytes) -> None:
    if expected not in (-1, actual):
        raise BadVersionError(path)


def _checked(path: bytes | None) -> bytes:
    if path is None:
        raise BadArgumentsError(path)
    paths.check(path)
    return path


def _not_null(path: bytes | None) -> bytes:
    if path is None:
        raise MarshallingError
    return path
