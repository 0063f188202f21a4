"""From request to proposal: checked against all that is under way, numbered, queued.

The base of `leading.Leading`, which makes segments of what is queued here. A request that fails becomes a proposal,
too: it takes a zxid, so that its answer has a place in the order.

`propose_set` and `propose_create` are the write path's inner loop. They take apart, check and propose in one place
what there is most of, at a third of the general way's cost; whatever is uncommon goes that way.
"""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

from zkstore.errors import (
    MarshallingError,
    RequestError,
    SystemFailureError,
    TruncatedRecordError,
)
from zkstore.model.acl import OPEN_ACL
from zkstore.model.paths import CONFIG, ROOT, is_plain_name, sequential
from zkstore.model.stat import next_version
from zkstore.model.txns import (
    CREATE,
    ERROR,
    SET_DATA,
    CreateTxn,
    ErrorTxn,
    SetDataTxn,
    Txn,
)
from zkstore.replica.outstanding import make_prospect
from zkstore.replica.prepare import Asking, MultiFailedError, Preparation
from zkstore.replica.proposal import Proposal, Remote
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.multi import TERMINATOR, MultiRequest, encode_error
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import (
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    ReconfigRequest,
    SetAclRequest,
    SetDataRequest,
)

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.reconfig import Reconfiguration
    from zkstore.replica.replica import Replica

Asker: TypeAlias = "Conversation | Remote"
"""Whose request it is."""

_LENGTH: Final = Struct(">i")
_make_set_data: Final = partial(tuple.__new__, SetDataTxn)
_make_create: Final = partial(tuple.__new__, CreateTxn)
_PLAIN_CREATES: Final = {
    jute.acl(OPEN_ACL) + jute.int32(CreateMode.PERSISTENT): False,
    jute.acl(OPEN_ACL) + jute.int32(CreateMode.PERSISTENT_SEQUENTIAL): True,
}
"""What follows the data in the request of a persistent znode with the open ACL; whether its name gets a number."""
_VERSION_MAX: Final = 0x7FFFFFFF
_SET_DATA_OPCODE: Final = int(Opcode.SET_DATA)
_CREATES: Final = frozenset({Opcode.CREATE, Opcode.CREATE2, Opcode.CREATE_CONTAINER})
_GROWING: Final = frozenset(
    {Opcode.CREATE, Opcode.CREATE2, Opcode.CREATE_CONTAINER, Opcode.CREATE_TTL, Opcode.SET_DATA}
)


class Proposing:
    """The queue of proposals that are in no segment yet.

    Attributes:
        proposed_zxid: of the newest proposal; the next one's is one more.
        prepare: makes txns of requests.
        reconfiguration: makes those that change the members.
    """

    def __init__(self, replica: Replica, zxid: int, reconfiguration: Reconfiguration) -> None:
        settings = replica.settings
        self.replica = replica
        self.proposed_zxid = zxid
        self.reconfiguration = reconfiguration
        self.prepare = Preparation(
            replica.tree,
            replica.outstanding,
            acl_schemes=settings.acl_schemes,
            skip_acl=settings.skip_acl,
            extended_types=settings.extended_types,
            enforce_quota=settings.enforce_quota,
            guards_config=reconfiguration.members is not None,
        )
        self._outstanding = replica.outstanding
        self._open: list[Proposal] = []

    # --- requests to proposals --------------------------------------------------------------------

    def propose_request(self, asker: Asker, xid: int, opcode: int, body: Reader) -> Proposal:
        """A write: checked against all that is under way, numbered and queued. One that fails takes a zxid, too."""
        replica = self.replica
        zxid = self.proposed_zxid + 1
        asking = Asking(asker.session_id, xid, replica.time_ms, zxid, asker.identities, asker.is_local)
        size = body.remaining
        operations: tuple[int, ...] = ()
        failure: tuple[int, bytes] | None = None
        txn: Txn
        try:
            if opcode == Opcode.MULTI:
                request = MultiRequest.decode(body)
                operations = tuple(operation.opcode for operation in request.ops)
                if replica.refuses_growth and not _GROWING.isdisjoint(operations):
                    raise SystemFailureError
                txn = self.prepare.multi(asking, request)
            else:
                txn = self._prepare_one(asking, opcode, body)
        except MultiFailedError as failed:
            txn = _error_txn(asking, failed.cause.code)
            failure = (0, _failed_multi(len(operations), failed))
        except RequestError as error:
            txn = _error_txn(asking, error.code)
            failure = (error.code, b"")
        except TruncatedRecordError:
            txn = _error_txn(asking, MarshallingError.code)
            failure = (MarshallingError.code, b"")
        proposal = Proposal(txn, asker, xid, opcode, replica.now_ms, operations, failure, size)
        self.propose(proposal)
        return proposal

    def propose_set(self, asker: Asker, xid: int, data: bytes, start: int, stop: int) -> Proposal:
        """A setData whose body is data[start:stop]: as `propose_request`, quicker in the common case.

        The write that there is most of: an existing znode with the open ACL, and nothing wrong. It is taken apart and
        checked here, in one place, at a third of the cost; whatever is uncommon goes the general way.
        """
        replica = self.replica
        (length,) = _LENGTH.unpack_from(data, start) if stop - start > 12 else (-1,)
        path_end = start + 4 + length
        if length > 0 and path_end + 8 <= stop and not replica.refuses_growth:
            (length,) = _LENGTH.unpack_from(data, path_end)
            value_end = path_end + 4 + length
            if length >= 0 and value_end + 4 <= stop:
                path = data[start + 4 : path_end]
                prospects = self._outstanding.prospects
                znode = prospects.get(path) or self._outstanding.look(path)
                (expected,) = _LENGTH.unpack_from(data, value_end)
                if (
                    znode is not None
                    and znode[7] is OPEN_ACL
                    and znode[1]
                    and (expected == -1 or expected == znode[2])
                    and not (replica.tree.quotas and replica.settings.enforce_quota)
                    and path != CONFIG
                ):
                    _, _, version, aversion, created, num_children, owner, acl = znode
                    version = version + 1 if 0 <= version < _VERSION_MAX else next_version(version)
                    self.proposed_zxid = zxid = self.proposed_zxid + 1
                    prospects[path] = make_prospect((zxid, True, version, aversion, created, num_children, owner, acl))
                    value = data[path_end + 4 : value_end]
                    txn = _make_set_data((SET_DATA, asker.session_id, xid, replica.time_ms, path, value, version))
                    size = stop - start
                    proposal = Proposal(txn, asker, xid, _SET_DATA_OPCODE, replica.now_ms, (), None, size)
                    self._open.append(proposal)
                    replica.outstanding_bytes += size
                    replica.figures.proposals += 1
                    return proposal
        return self.propose_request(asker, xid, _SET_DATA_OPCODE, Reader(data, start, stop))

    def propose_create(self, asker: Asker, xid: int, opcode: int, data: bytes, start: int, stop: int) -> Proposal:
        """A create or create2 whose body is data[start:stop]: as `propose_request`, quicker in the common case.

        That is a persistent znode, sequential or not, with the open ACL, under a parent with the open ACL that nobody
        owns. Its name is looked at alone: the parent exists, so the path down to it is legal.
        """
        replica = self.replica
        (length,) = _LENGTH.unpack_from(data, start) if stop - start > 12 else (-1,)
        path_end = start + 4 + length
        if length > 0 and path_end + 4 <= stop and not replica.refuses_growth:
            (length,) = _LENGTH.unpack_from(data, path_end)
            value_end = path_end + 4 + length
            is_sequential = _PLAIN_CREATES.get(data[value_end:stop]) if length >= 0 else None
            if is_sequential is not None and not replica.settings.enforce_quota:
                path = data[start + 4 : path_end]
                slash = path.rfind(b"/")
                parent_path = path[:slash] or ROOT
                # No slash is no path, and "//x" is none either, though its parent looks like the root.
                parent = self._outstanding.look(parent_path) if slash == 0 or slash > 1 else None
                if parent is not None and parent[6] == 0 and parent[7] is OPEN_ACL:
                    _, _, version, aversion, created, num_children, owner, acl = parent
                    if is_sequential:
                        path = sequential(path, created)
                    if is_plain_name(path, slash + 1) and self._outstanding.look(path) is None:
                        zxid = self.proposed_zxid + 1
                        self._outstanding.expect(
                            parent_path,
                            make_prospect((zxid, True, version, aversion, created + 1, num_children + 1, owner, acl)),
                        )
                        self._outstanding.expect(path, make_prospect((zxid, True, 0, 0, 0, 0, 0, OPEN_ACL)))
                        value = data[path_end + 4 : value_end]
                        txn = _make_create((CREATE, asker.session_id, xid, replica.time_ms, path, value, None, 0))
                        proposal = Proposal(txn, asker, xid, opcode, replica.now_ms, (), None, stop - start)
                        self.propose(proposal)
                        return proposal
        return self.propose_request(asker, xid, opcode, Reader(data, start, stop))

    def _prepare_one(self, asking: Asking, opcode: int, body: Reader) -> Txn:
        prepare = self.prepare
        if self.replica.refuses_growth and opcode in _GROWING:
            raise SystemFailureError
        if opcode in _CREATES:
            return prepare.create(asking, opcode, CreateRequest.decode(body))
        if opcode == Opcode.SET_DATA:
            return prepare.set_data(asking, SetDataRequest.decode(body))
        if opcode == Opcode.CREATE_TTL:
            return prepare.create(asking, opcode, CreateTtlRequest.decode(body))
        if opcode == Opcode.DELETE:
            return prepare.delete(asking, DeleteRequest.decode(body))
        if opcode == Opcode.SET_ACL:
            return prepare.set_acl(asking, SetAclRequest.decode(body))
        if opcode == Opcode.RECONFIG:
            return self.reconfiguration.prepare(asking, ReconfigRequest.decode(body), prepare)
        assert opcode == Opcode.CLOSE_SESSION, f"opcode {opcode} is no write"
        self.replica.tracker.remove(asking.session_id)
        return prepare.close_session(asking)

    def propose(self, proposal: Proposal) -> None:
        """Number and queue a proposal that has been prepared for the next zxid."""
        replica = self.replica
        self.proposed_zxid += 1
        self._open.append(proposal)
        replica.outstanding_bytes += proposal.size
        replica.figures.proposals += 1

    def fail(self, asker: Asker, xid: int, opcode: int, code: int, size: int) -> None:
        """Propose the failure of a request that is not even looked at."""
        replica = self.replica
        txn = ErrorTxn(ERROR, asker.session_id, xid, replica.time_ms, code)
        self.propose(Proposal(txn, asker, xid, opcode, replica.now_ms, (), (code, b""), size))


def _error_txn(asking: Asking, code: int) -> ErrorTxn:
    return ErrorTxn(ERROR, asking.session_id, asking.cxid, asking.time_ms, code)


def _failed_multi(count: int, failed: MultiFailedError) -> bytes:
    """The answer to a multi that failed: 0 before the operation that did, its code, -2 behind it."""
    codes = [0] * failed.index + [failed.cause.code] + [-2] * (count - failed.index - 1)
    return b"".join(map(encode_error, codes)) + TERMINATOR
