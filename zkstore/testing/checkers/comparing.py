"""What clients were told, compared with what the tree says at the zxid of each answer and with what they watched.

`replay` tells this of every change and every txn; it holds each connection's answers and events until the tree is as of
their zxid, and then compares them in the order in which they came.
"""

from __future__ import annotations

from typing import Final

from zkstore.model.acl import Acl
from zkstore.model.tree import Tree
from zkstore.testing.checkers.answers import answer_read, sort_names
from zkstore.testing.checkers.history import WRITES, Call, Channel, History, Told
from zkstore.testing.checkers.verdict import Verdict
from zkstore.testing.checkers.watching import Watcher
from zkstore.wire.opcodes import AddWatchMode, Opcode
from zkstore.wire.records import AddWatchRequest, PathWatchRequest, RemoveWatchesRequest, SetWatches2

SYSTEM_FAILURE: Final = -1
NO_WATCHER: Final = -121
_ADDED_WATCH: Final = bytes(4)


class _Reader:
    """One connection in the replay: what it was told, how much of that has been compared, and what it watches."""

    __slots__ = ("channel", "next", "restored", "watcher")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.next = 0
        self.watcher = Watcher(channel.identities)
        self.restored: list[tuple[int, bytes]] = []


class Comparison:
    """All connections of one history, in step with the replay of its txns.

    Attributes:
        applied: (session id, xid) of every request in the history so far, to (zxid, error code).
        answers: what writes that have been applied must be answered: code and body.
        begun: sessions that a txn has begun.
        ended: sessions that are over. One may be served before it begins, by a server that lags behind its leader.
    """

    def __init__(self, history: History, verdict: Verdict) -> None:
        self._verdict = verdict
        self._tree: Tree = history.base
        self.applied: dict[tuple[int, int], tuple[int, int]] = {}
        self.answers: dict[Call, tuple[int, bytes]] = {}
        self.begun: set[int] = set()
        self.ended: set[int] = set()
        self._due: dict[int, list[_Reader]] = {}
        self._watching: dict[_Reader, None] = {}
        known = {zxid for zxid, _ in history.txns} | {self._tree.zxid}
        for channel in history.channels:
            self._note_due(channel, known)

    def _note_due(self, channel: Channel, known: set[int]) -> None:
        reader = _Reader(channel)
        last_zxid = None
        for item in channel.received:
            if item.zxid not in known and item.zxid != -1:
                self._verdict.violate("survival", item.zxid, f"{item!r} shows a zxid that is not in the history")
            elif item.zxid not in (last_zxid, -1):
                last_zxid = item.zxid
                self._due.setdefault(last_zxid, []).append(reader)

    # --- changes ----------------------------------------------------------------------------------

    def created(self, zxid: int, path: bytes, parent: bytes) -> None:
        """A znode has come."""
        for reader in self._watching:
            reader.watcher.created(zxid, path, self._tree.acl(path), parent, self._tree.acl(parent))

    def changed(self, zxid: int, path: bytes) -> None:
        """A znode has new data."""
        for reader in self._watching:
            reader.watcher.changed(zxid, path, self._tree.acl(path))

    def deleted(self, zxid: int, path: bytes, acl: tuple[Acl, ...], parent: bytes) -> None:
        """A znode with that ACL has gone."""
        for reader in self._watching:
            reader.watcher.deleted(zxid, path, acl, parent, self._tree.acl(parent))

    # --- what clients were told -------------------------------------------------------------------

    def read(self, zxid: int) -> None:
        """The tree is as of that zxid: compare whatever shows it."""
        for reader in self._due.pop(zxid, ()):
            received = reader.channel.received
            while reader.next < len(received) and received[reader.next].zxid <= zxid:
                item = received[reader.next]
                reader.next += 1
                if isinstance(item, Told):
                    self._compare_event(reader, item)
                else:
                    self._compare_answer(reader, item)
            if reader.next == len(received) or not reader.watcher.watches:
                self._watching.pop(reader, None)
            else:
                self._watching[reader] = None

    def _compare_event(self, reader: _Reader, told: Told) -> None:
        verdict, expected = self._verdict, reader.watcher.expected
        verdict.seen[f"event {told.event_type}"] += 1
        if told.zxid == -1:
            reader.restored.append((told.event_type, told.path))
            return
        verdict.counts["watch events"] += 1
        if expected and expected[0] == told[:3]:
            expected.popleft()
            return
        due = f"due was {expected[0]!r}" if expected else "none was due"
        verdict.violate("watch events", told.zxid, f"{reader.channel!r} was told {told!r}; {due}")
        if told[:3] in expected:
            while expected.popleft() != told[:3]:
                pass

    def _compare_answer(self, reader: _Reader, call: Call) -> None:
        verdict, watcher = self._verdict, reader.watcher
        verdict.seen[f"{Opcode(call.opcode).name} {call.code}"] += 1
        if watcher.expected:
            verdict.violate(
                "watch events", call.zxid, f"{reader.channel!r} was not told {watcher.expected[0]!r} before {call!r}"
            )
            watcher.expected.clear()
        if reader.restored and call.opcode != Opcode.SET_WATCHES2:
            verdict.violate("restored watches", call.zxid, f"{reader.restored} came before {call!r}")
            reader.restored.clear()
        if call.opcode in WRITES:
            self._compare_write(call)
            return
        verdict.counts["reads"] += 1
        if call.channel.session.session_id in self.ended:
            verdict.violate("sessions", call.zxid, f"{call!r} was answered after the end of its session")
        code, body = self._expected_read(reader, call)
        if (call.code, sort_names(call.opcode, call.body) if not call.code else b"") != (code, body):
            verdict.violate(
                "reads", call.zxid, f"{call!r} with {call.body[:200]!r}; expected is code {code} with {body[:200]!r}"
            )

    def _compare_write(self, call: Call) -> None:
        verdict = self._verdict
        key = call.channel.session.session_id, call.xid
        applied = self.applied.get(key)
        if call.code == SYSTEM_FAILURE and applied is None:
            verdict.seen["writes that did not happen"] += 1
            return
        if call.opcode == Opcode.CLOSE_SESSION and call.channel.session.began_local and key[0] not in self.begun:
            verdict.seen["local sessions that were closed"] += 1
            return
        verdict.counts["survival"] += 1
        if applied is None or applied[0] != call.zxid:
            verdict.violate("survival", call.zxid, f"{call!r}: the history has it at {applied and hex(applied[0])}")
            return
        expected = self.answers.pop(call, None)
        if expected is not None and (call.code, call.body) != expected:
            rule = "multi" if call.opcode == Opcode.MULTI else "writes"
            verdict.violate(rule, call.zxid, f"{call!r} with {call.body!r}; expected is {expected!r}")

    def _expected_read(self, reader: _Reader, call: Call) -> tuple[int, bytes]:
        """What must be answered; and the watches that the request leaves are left."""
        request, watcher = call.request, reader.watcher
        if isinstance(request, SetWatches2):
            self._compare_restored(reader, call, watcher.restore(self._tree, request))
            return 0, b""
        if isinstance(request, AddWatchRequest):
            recursive = request.mode == AddWatchMode.PERSISTENT_RECURSIVE
            (watcher.recursive if recursive else watcher.persistent).add(request.path or b"/")
            return 0, _ADDED_WATCH
        if isinstance(request, RemoveWatchesRequest):
            path = request.path or b"/"
            if not watcher.has(path, request.type):
                return NO_WATCHER, b""
            if call.opcode == Opcode.REMOVE_WATCHES:
                watcher.remove(path, request.type)
            return 0, b""
        code, body = answer_read(self._tree, call)
        if isinstance(request, PathWatchRequest) and request.watch and request.path is not None:
            if not code:
                of_children = call.opcode in (Opcode.GET_CHILDREN, Opcode.GET_CHILDREN2)
                (watcher.child if of_children else watcher.data).add(request.path)
            elif call.opcode == Opcode.EXISTS and request.path not in self._tree.records:
                watcher.data.add(request.path)
        return code, body

    def _compare_restored(self, reader: _Reader, call: Call, missed: list[tuple[int, bytes]]) -> None:
        self._verdict.counts["restored watches"] += 1
        self._verdict.seen["events that setWatches made up"] += len(missed)
        if reader.restored != missed:
            self._verdict.violate(
                "restored watches", call.zxid, f"{call!r} was told {reader.restored}; expected is {missed}"
            )
        reader.restored = []
