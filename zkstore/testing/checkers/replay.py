"""The replay: all committed txns once more, in order, and everything that clients were told compared with it.

Every answer names the zxid of the tree that it shows, so each is compared with that very tree (`comparing`): no answer
is left out, and one pass over the history is enough. A txn is compared with the request that it came of, and its
outcome with what the tree before it says (`answers`).
"""

from __future__ import annotations

from typing import Final

from zkstore.model import apply
from zkstore.model import record as records
from zkstore.model.paths import parent_of
from zkstore.model.txns import (
    Change,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
)
from zkstore.testing.checkers.answers import NO_AUTH, ON_LOCAL_SESSION, answer_write, plan
from zkstore.testing.checkers.comparing import SYSTEM_FAILURE, Comparison
from zkstore.testing.checkers.history import WRITES, Call, History
from zkstore.testing.checkers.verdict import Verdict
from zkstore.testing.clients import operating
from zkstore.wire.multi import MultiRequest
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import CreateRequest, CreateTtlRequest
from zkstore.zab import membership as memberships

SESSION_EXPIRED: Final = -112
SESSION_MOVED: Final = -118
_OF_THE_SESSION: Final = (SYSTEM_FAILURE, SESSION_EXPIRED, SESSION_MOVED)
_CONFIG: Final = b"/zookeeper/config"


class Replay:
    """One pass over a history.

    Attributes:
        applied: (session id, xid) of every request in the history, to (zxid, error code).
    """

    def __init__(self, history: History, verdict: Verdict) -> None:
        self._history = history
        self._verdict = verdict
        self._tree = history.base
        self._comparison = Comparison(history, verdict)
        self.applied = self._comparison.applied
        self._asked: dict[tuple[int, int], Call] = {}
        self._owned: dict[int, set[bytes]] = {}
        self._owners: dict[bytes, int] = {}
        self._sequences: dict[tuple[bytes, int], int] = {}
        for channel in history.channels:
            for call in channel.calls:
                if call.opcode in WRITES:
                    self._asked[channel.session.session_id, call.xid] = call

    def run(self) -> None:
        """Go through all of it."""
        ends = iter([*self._history.segment_ends, -1])
        end = next(ends)
        self._comparison.read(self._tree.zxid)
        for index, (zxid, txn) in enumerate(self._history.txns, 1):
            try:
                self._step(zxid, txn)
            except LookupError as error:
                self._verdict.violate("writes", zxid, f"{txn!r} does not fit the tree: {error!r} is not there")
                return
            self._comparison.read(zxid)
            if index == end:
                end = next(ends)
                self._tree.seal()
                self._compare_digest(zxid)
        self._compare_finals()

    # --- digests ----------------------------------------------------------------------------------

    def _compare_digest(self, zxid: int) -> None:
        digest = self._history.digests.get(zxid)
        if digest is not None:
            self._verdict.counts["digests"] += 1
            if digest != self._tree.digest:
                self._verdict.violate("digests", zxid, f"servers have {digest:016x}, replay {self._tree.digest:016x}")

    def _compare_finals(self) -> None:
        tree = self._tree
        for server_id, (zxid, digest) in self._history.finals.items():
            self._verdict.counts["final state"] += 1
            if (zxid, digest) != (tree.zxid, tree.digest):
                self._verdict.violate(
                    "final state",
                    zxid,
                    f"server {server_id} ends at {zxid:#x} with digest {digest:016x},"
                    f" the history at {tree.zxid:#x} with {tree.digest:016x}",
                )

    # --- txns -------------------------------------------------------------------------------------

    def _step(self, zxid: int, txn: Txn) -> None:
        self._verdict.seen[type(txn).__name__] += 1
        if isinstance(txn, CreateSessionTxn):
            self._verdict.counts["sessions"] += 1
            self._comparison.begun.add(txn.session_id)
            if txn.session_id in self._tree.sessions:
                self._verdict.violate("sessions", zxid, f"session {txn.session_id:#x} begins a second time")
            apply.apply(self._tree, zxid, txn)
            return
        call = self._origin(zxid, txn)
        if isinstance(txn, CloseSessionTxn):
            self._close(zxid, txn)
            if call is not None:
                self._comparison.answers[call] = 0, b""
            return
        changes = self._changes_of(zxid, txn)
        if call is None:
            if txn.session_id == 0 and isinstance(txn, DeleteTxn):
                self._judge_reaping(zxid, txn)
            for change in changes:
                self._change(zxid, change)
        else:
            self._judge(zxid, txn, call, changes)
        self._tree.zxid = zxid

    def _changes_of(self, zxid: int, txn: Txn) -> tuple[Change, ...]:
        if isinstance(txn, MultiTxn):
            return txn.changes
        if isinstance(txn, CreateTxn | DeleteTxn | SetDataTxn | SetAclTxn):
            return (txn,)
        if not isinstance(txn, ErrorTxn):
            apply.apply(self._tree, zxid, txn)  # A reconfiguration: new data of one znode.
            self._comparison.changed(zxid, _CONFIG)
        return ()

    def _origin(self, zxid: int, txn: Txn) -> Call | None:
        """The request that a txn came of; None for the servers' own."""
        verdict, key = self._verdict, (txn.session_id, txn.cxid)
        if txn.cxid == 0:
            return None
        verdict.counts["at most once"] += 1
        code = txn.code if isinstance(txn, ErrorTxn) else 0
        if key in self.applied:
            verdict.violate("at most once", zxid, f"{txn!r} was applied at {self.applied[key][0]:#x} already")
        self.applied[key] = zxid, code
        call = self._asked.get(key)
        if call is None:
            verdict.violate("at most once", zxid, f"nobody asked for {txn!r}")
            return None
        verdict.counts["real time"] += 1
        if call.floor >= zxid:
            verdict.violate("real time", zxid, f"{call!r}: {call.floor:#x} had been shown before it was asked")
        if not code and not isinstance(txn, CloseSessionTxn):  # Closing twice is harmless.
            verdict.counts["sessions"] += 1
            is_local = call.channel.session.began_local and txn.session_id not in self._comparison.begun
            if txn.session_id not in self._tree.sessions and not is_local:
                verdict.violate("sessions", zxid, f"{call!r} was applied after the end of its session")
        return call

    def _judge(self, zxid: int, txn: Txn, call: Call, changes: tuple[Change, ...]) -> None:
        """Compare a txn with what the tree before it makes of its request, then apply it."""
        verdict = self._verdict
        rule = "multi" if call.opcode == Opcode.MULTI else "writes"
        verdict.counts["writes"] += 1
        if isinstance(txn, ErrorTxn) and txn.code in _OF_THE_SESSION:
            verdict.seen[f"refused with {txn.code}"] += 1
            if txn.code == SESSION_EXPIRED and txn.session_id in self._tree.sessions:
                verdict.violate("sessions", zxid, f"{call!r} was refused, for its session is over, before it was")
            self._comparison.answers[call] = txn.code, b""
            return
        if call.opcode == Opcode.RECONFIG:
            self._judge_reconfig(zxid, txn, call)
            image = self._tree.records[_CONFIG]
            self._comparison.answers[call] = (
                (txn.code, b"") if isinstance(txn, ErrorTxn) else (0, image[: records.image_end(image)])
            )
            return
        planned = plan(self._tree, call, txn.time_ms)
        if planned.code == ON_LOCAL_SESSION:
            verdict.seen["ephemerals of local sessions that were refused"] += 1
            if self._history.upgrades:
                verdict.violate("ephemerals", zxid, f"{call!r}: its session was not made known to all before")
        if rule == "multi":
            verdict.counts["multi"] += 1
            verdict.seen["multi that failed" if planned.code else "multi that succeeded"] += 1
        if planned.code != (txn.code if isinstance(txn, ErrorTxn) else 0) or planned.changes != changes:
            verdict.violate(rule, zxid, f"{call!r}: the history has {txn!r}, expected is {planned!r}")
        made = [self._change(zxid, change) for change in changes]
        self._count_sequences(zxid, call, changes)
        if planned.changes == changes:
            self._comparison.answers[call] = answer_write(call, planned, made)

    def _judge_reconfig(self, zxid: int, txn: Txn, call: Call) -> None:
        """The tree has the new members already: they are what was asked for, by somebody who may ask for it."""
        verdict = self._verdict
        is_super = operating.IDENTITY in call.channel.identities
        if isinstance(txn, ErrorTxn):
            verdict.seen[f"reconfig refused with {txn.code}"] += 1
            if txn.code == NO_AUTH and is_super:
                verdict.violate("writes", zxid, f"{call!r} was denied, though its client may do anything")
            return
        verdict.seen["reconfig that succeeded"] += 1
        if not is_super:
            verdict.violate("writes", zxid, f"{call!r} was not denied: {txn!r}")
        members = memberships.parse(records.data_of(self._tree.records[_CONFIG]) or b"")
        odd = operating.unlike(members, call.request)
        if odd or members.version != zxid:
            verdict.violate("writes", zxid, f"{call!r} made {members.format()!r}: {odd or 'another version'}")

    def _count_sequences(self, zxid: int, call: Call, changes: tuple[Change, ...]) -> None:
        request = call.request
        operations = [op.request for op in request.ops] if isinstance(request, MultiRequest) else [request]
        asked = {operation.path for operation in operations if isinstance(operation, CreateRequest | CreateTtlRequest)}
        for change in changes:
            if not isinstance(change, CreateTxn) or change.path in asked or not change.path[-10:].isdigit():
                continue
            self._verdict.counts["sequences"] += 1
            parent = parent_of(change.path)
            if parent not in self._tree.records:
                continue
            family = parent, self._tree.stat(parent).czxid
            number = int(change.path[-10:])
            if number <= self._sequences.get(family, -1):
                self._verdict.violate("sequences", zxid, f"{call!r}: number {number} under {parent!r} is not new")
            self._sequences[family] = number

    def _judge_reaping(self, zxid: int, txn: DeleteTxn) -> None:
        self._verdict.counts["writes"] += 1
        owner = self._tree.stored_owner(txn.path) if txn.path in self._tree.records else 0
        if owner != records.CONTAINER_OWNER and records.ttl_ms_of(owner) is None:
            self._verdict.violate("writes", zxid, f"{txn!r} reaps what is neither a container nor a TTL znode")

    # --- sessions' ends ---------------------------------------------------------------------------

    def _close(self, zxid: int, txn: CloseSessionTxn) -> None:
        self._verdict.counts["ephemerals"] += 1
        owned = self._owned.get(txn.session_id, set())
        if owned != set(txn.paths):
            odd = sorted(owned.symmetric_difference(txn.paths))
            self._verdict.violate("ephemerals", zxid, f"the end of session {txn.session_id:#x} leaves or takes {odd}")
        for path in txn.paths:
            if path in self._tree.records:
                self._delete(zxid, path)
        self._tree.close_session(txn.session_id)
        self._comparison.ended.add(txn.session_id)
        self._tree.zxid = zxid

    # --- changes ----------------------------------------------------------------------------------

    def _change(self, zxid: int, change: Change) -> bytes | None:
        """Apply one change; tell whoever watches."""
        tree, path = self._tree, change.path
        if isinstance(change, SetDataTxn):
            apply.set_data(tree, zxid, change)
            self._comparison.changed(zxid, path)
            return tree.records[path]
        if isinstance(change, CreateTxn):
            record = apply.create(tree, zxid, change)
            self._note_owner(zxid, path, change.owner)
            self._comparison.created(zxid, path, parent_of(path))
            return record
        if isinstance(change, DeleteTxn):
            self._delete(zxid, path)
            return None
        return apply.set_acl(tree, change)

    def _delete(self, zxid: int, path: bytes) -> None:
        tree, parent = self._tree, parent_of(path)
        acl = tree.acl(path)
        apply.delete(tree, zxid, path)
        owner = self._owners.pop(path, None)
        if owner is not None:
            self._owned[owner].discard(path)
        self._comparison.deleted(zxid, path, acl, parent)

    def _note_owner(self, zxid: int, path: bytes, owner: int) -> None:
        if owner == 0 or owner == records.CONTAINER_OWNER or records.ttl_ms_of(owner) is not None:
            return
        self._verdict.counts["ephemerals"] += 1
        self._owners[path] = owner
        self._owned.setdefault(owner, set()).add(path)
        if owner not in self._tree.sessions:
            self._verdict.violate("ephemerals", zxid, f"{path!r} belongs to session {owner:#x}, which is gone")
