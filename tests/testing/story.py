"""Histories made by hand: a story in which everything is right, unless the teller says otherwise."""

from __future__ import annotations

from typing import Any

from zkstore.model.acl import OPEN_ACL
from zkstore.model.apply import apply, delete
from zkstore.model.tree import Tree
from zkstore.model.txns import (
    CLOSE_SESSION,
    CREATE_SESSION,
    ERROR,
    MULTI,
    CloseSessionTxn,
    CreateSessionTxn,
    ErrorTxn,
    MultiTxn,
    Txn,
)
from zkstore.testing.checkers.answers import answer_read, plan
from zkstore.testing.checkers.check import Allowances, check
from zkstore.testing.checkers.history import Call, Channel, History, Record
from zkstore.testing.checkers.verdict import Verdict
from zkstore.wire import jute, segment
from zkstore.wire.multi import TERMINATOR, MultiRequest, Op, encode_error, encode_result
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    CreateRequest,
    DeleteRequest,
    PathRequest,
    PathWatchRequest,
    SetDataRequest,
    SetWatches2,
)

TICK_US = 1_000_000
TIMEOUT_US = 4_000_000
ALLOWANCES = Allowances(tick_us=TICK_US, behind_us=20_000_000, serve_us=10 * TIMEOUT_US)


class Story:
    """A history as it is told. Each txn is a segment of its own; each event takes a millisecond."""

    def __init__(self) -> None:
        self.history = History(report_us=TICK_US)
        self.tree = Tree.new()
        self.now_us = 10_000_000
        self._crc = 0
        self._sessions = 0

    def pass_time(self, us: int = 1_000) -> int:
        self.now_us += us
        return self.now_us

    def session(self, server_id: int = 1) -> Teller:
        """A client with a new session."""
        self._sessions += 1
        session_id, password = self._sessions, bytes([self._sessions]) * 16
        asked_us = self.pass_time()
        self.history.session_asked()
        self.commit(CreateSessionTxn(CREATE_SESSION, session_id, 0, 0, TIMEOUT_US // 1000, password))
        channel = self.history.welcomed(session_id, TIMEOUT_US, password, server_id, asked_us, self.pass_time())
        return Teller(self, channel)

    def commit(self, txn: Txn, *, server_id: int = 1, digest: int | None = None) -> int:
        """A txn is applied by everybody; gives its zxid."""
        zxid = self.tree.zxid + 1
        made = segment.encode([txn], prev_zxid=zxid - 1, first_zxid=zxid, digest_zxid=0, digest=0, prev_crc=self._crc)
        self._crc = made.crc
        if isinstance(txn, CloseSessionTxn):
            # Not by `apply`, which takes no txn that leaves ephemerals behind.
            for path in txn.paths:
                delete(self.tree, zxid, path)
            self.tree.close_session(txn.session_id)
            self.tree.zxid = zxid
        else:
            apply(self.tree, zxid, txn)
        self.tree.seal()
        self.history.applied(server_id, made, self.pass_time())
        self.history.digest(server_id, zxid, self.tree.digest if digest is None else digest)
        return zxid

    def expire(self, session_id: int) -> int:
        """The leader ends a session."""
        paths = tuple(self.tree.ephemerals.get(session_id, ()))
        return self.commit(CloseSessionTxn(CLOSE_SESSION, session_id, 0, 0, paths))

    def verdict(self) -> Verdict:
        """Tell the end, and judge."""
        self.history.final(1, self.tree.zxid, self.tree.digest)
        self.history.ended(self.pass_time())
        return check(self.history, ALLOWANCES)


class Teller:
    """One client's part of a story. Every verb says what was asked, what happened, and what was answered."""

    def __init__(self, story: Story, channel: Channel) -> None:
        self.story = story
        self.history = story.history
        self.channel = channel
        self.life = channel.session
        self.session_id = channel.session.session_id
        self._xid = 0

    def come_back(self, server_id: int = 2) -> None:
        """The same session on a new connection."""
        story, life = self.story, self.life
        self.channel.closed_us = story.now_us
        asked_us = story.pass_time()
        self.channel = self.history.welcomed(
            self.session_id, TIMEOUT_US, life.password, server_id, asked_us, story.pass_time()
        )

    # --- parts ------------------------------------------------------------------------------------

    def ask(self, opcode: int, record: Record | None) -> Call:
        self._xid += 1
        return self.history.called(self.channel, self._xid, opcode, record, self.story.pass_time())

    def answer(self, call: Call, zxid: int, code: int = 0, body: bytes = b"") -> Call:
        self.history.answered(call, zxid, code, body, self.story.pass_time())
        return call

    def told(self, event_type: int, path: bytes, zxid: int | None = None) -> None:
        self.history.told(
            self.channel, self.story.tree.zxid if zxid is None else zxid, event_type, path, self.story.pass_time()
        )

    def decide(self, call: Call) -> Txn:
        """The txn that a write must become."""
        planned = plan(self.story.tree, call, 0)
        if planned.code:
            return ErrorTxn(ERROR, self.session_id, call.xid, 0, planned.code)
        if call.opcode == Opcode.MULTI:
            return MultiTxn(MULTI, self.session_id, call.xid, 0, planned.changes)
        return planned.changes[0]

    def write(self, opcode: int, record: Record, body: Any, *, answered: bool = True) -> Call:
        """Ask, commit, answer: with `body`, which may be a function that finds it once the txn is applied."""
        call = self.ask(opcode, record)
        txn = self.decide(call)
        zxid = self.story.commit(txn)
        if answered:
            if isinstance(txn, ErrorTxn) and opcode != Opcode.MULTI:
                self.answer(call, zxid, txn.code)
            else:
                self.answer(call, zxid, 0, body() if callable(body) else body)
        return call

    def _stat(self, path: bytes) -> bytes:
        return self.story.tree.records[path][-68:]

    # --- verbs ------------------------------------------------------------------------------------

    def create(self, path: bytes, flags: int = 0, *, final: bytes | None = None, answered: bool = True) -> Call:
        request = CreateRequest(path, b"", OPEN_ACL, flags)
        return self.write(Opcode.CREATE, request, jute.buffer(final or path), answered=answered)

    def set_data(self, path: bytes, data: bytes, *, answered: bool = True) -> Call:
        request = SetDataRequest(path, data, -1)
        return self.write(Opcode.SET_DATA, request, lambda: self._stat(path), answered=answered)

    def delete(self, path: bytes) -> Call:
        return self.write(Opcode.DELETE, DeleteRequest(path, -1), b"")

    def multi(self, *ops: Op) -> Call:
        def body() -> bytes:
            results = []
            for opcode, request in ops:
                path = request.path
                assert path is not None
                results.append(encode_result(opcode, jute.buffer(path) if opcode == Opcode.CREATE else b""))
            return b"".join(results) + TERMINATOR

        return self.write(Opcode.MULTI, MultiRequest(ops), body)

    def failing_multi(self, *ops: Op, codes: tuple[int, ...]) -> Call:
        return self.write(Opcode.MULTI, MultiRequest(ops), b"".join(map(encode_error, codes)) + TERMINATOR)

    def read(self, opcode: int, path: bytes, watch: bool = False) -> Call:
        call = self.ask(opcode, PathWatchRequest(path, watch))
        return self.answer(call, self.story.tree.zxid, *answer_read(self.story.tree, call))

    def sync(self, zxid: int | None = None) -> Call:
        call = self.ask(Opcode.SYNC, PathRequest(b"/"))
        return self.answer(call, self.story.tree.zxid if zxid is None else zxid, 0, jute.buffer(b"/"))

    def ping(self) -> Call:
        return self.answer(self.ask(Opcode.PING, None), self.story.tree.zxid)

    def add_watch(self, path: bytes, mode: int) -> Call:
        return self.answer(self.ask(Opcode.ADD_WATCH, AddWatchRequest(path, mode)), self.story.tree.zxid, 0, bytes(4))

    def set_watches(self, relative_zxid: int, *, data: tuple[bytes, ...] = (), told: tuple[int, bytes] | None) -> Call:
        call = self.ask(Opcode.SET_WATCHES2, SetWatches2(relative_zxid, data, (), (), (), ()))
        if told is not None:
            self.told(*told, zxid=-1)
        return self.answer(call, self.story.tree.zxid)

    def close(self, paths: tuple[bytes, ...] | None = None) -> Call:
        call = self.ask(Opcode.CLOSE_SESSION, None)
        owned = tuple(self.story.tree.ephemerals.get(self.session_id, ())) if paths is None else paths
        zxid = self.story.commit(CloseSessionTxn(CLOSE_SESSION, self.session_id, call.xid, 0, owned))
        self.answer(call, zxid)
        self.history.silenced(self.session_id, self.story.now_us)
        return call

    def vanish(self) -> None:
        self.history.silenced(self.session_id, self.story.now_us)
