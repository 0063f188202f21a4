"""Conversations of a server that limits how many requests are under way (request_throttle_max_requests).

Other servers do not know this module: their conversations carry requests out as they are read. Here each request is
let in alone; while too much is under way it waits in a queue that all conversations share, so that no client passes
another. Apache's server counts reads as well, which pass through its stages; here a read that may be carried out is
answered on the spot, so what is under way are writes.

Pings do not wait: they are answered as they come, as everywhere.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Final

from zkstore import limits
from zkstore.errors import ProtocolError, ThrottledOpError
from zkstore.replica import recall
from zkstore.replica.conversation import Conversation
from zkstore.replica.throttle import RequestLimits, Turns
from zkstore.replica.waiting import Deferred, State
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode

if TYPE_CHECKING:
    from zkstore.replica.replica import Replica

_HEAD: Final = Struct(">iii")  # length, xid, opcode
_TOO_LATE: Final = 1 << 32  # in the place of an opcode, where no client can put it
_HELD_BYTES_MAX: Final = 1 << 20


class Throttle:
    """The queue of one replica."""

    def __init__(self, replica: Replica, request_limits: RequestLimits) -> None:
        self.turns: Turns[ThrottledConversation] = Turns(request_limits)
        self._replica = replica

    @property
    def is_open(self) -> bool:
        """Whether a request may be carried out at once."""
        return self.turns.is_open(self._replica.role.outstanding_count)

    def wait(self, conversation: ThrottledConversation) -> None:
        """One request of this conversation must wait."""
        self._replica.figures.requests_held += 1
        self.turns.wait(conversation, self._replica.now_ms)

    def advance(self) -> None:
        """Less may be under way than before: let in those whose turn it is."""
        replica = self._replica
        while turn := self.turns.next(replica.role.outstanding_count, replica.now_ms):
            conversation, waited_ms = turn
            conversation.let_in(waited_ms)


class ThrottledConversation(Conversation):
    """A conversation whose requests are let in one by one."""

    __slots__ = ("_held", "_held_bytes", "_throttle")

    def __init__(self, replica: Replica, peer: tuple[str, int], throttle: Throttle) -> None:
        super().__init__(replica, peer)
        self._throttle = throttle
        self._held: deque[bytes] = deque()
        self._held_bytes = 0

    @property
    def is_blocked(self) -> bool:
        """Also while enough of its requests wait for their turn."""
        return (
            super().is_blocked or len(self._held) >= limits.WAITING_REQUESTS_MAX or self._held_bytes > _HELD_BYTES_MAX
        )

    def _serve(self, data: bytes) -> None:
        at = 0
        while len(data) - at >= _HEAD.size:
            length, _, opcode = _HEAD.unpack_from(data, at)
            stop = at + 4 + length
            if stop > len(data) or not 8 <= length <= self._replica.frame_bytes_max:
                break
            if opcode == Opcode.PING or self._throttle.is_open:
                super()._serve(data[at:stop])
            elif self._replica.role.touch(self.session_id):
                self._held.append(data[at:stop])
                self._held_bytes += stop - at
                self._throttle.wait(self)
            at = stop
            if self.state != State.SERVING:
                return
            if self.is_blocked:
                self.paused = True
                self.inbox = data[at:]
                return
        super()._serve(data[at:])  # part of a frame, or what is none: the end of this connection

    def let_in(self, waited_ms: int) -> None:
        """The turn of the oldest request that waits; none does, if the conversation has ended meanwhile."""
        if not self._held:
            return
        frame = self._held.popleft()
        self._held_bytes -= len(frame)
        if self.state != State.SERVING:
            return
        if recall.is_under_way(self):
            self.inbox = b"".join((frame, *self._held, self.inbox))  # to be read anew behind it, in this order
            self._held.clear()
            self._held_bytes = 0
            return
        request_limits, figures = self._throttle.turns.limits, self._replica.figures
        _, xid, opcode = _HEAD.unpack_from(frame)
        if opcode != Opcode.CLOSE_SESSION and request_limits.drops_stale and waited_ms > self.timeout_ms:
            figures.requests_dropped += 1
            self.end(f"a request has waited for {waited_ms} ms, longer than its session's timeout")
        elif opcode != Opcode.CLOSE_SESSION and 0 < request_limits.wait_ms_max < waited_ms:
            figures.requests_throttled += 1
            self._refuse(xid)
        else:
            rest = self.inbox
            try:
                super()._serve(frame)
            except ProtocolError as error:
                self.end(str(error))
            if self.state == State.SERVING:
                self.inbox = rest
                self.paused = self.paused or bool(rest)
        self._replica.ready[self] = None  # whoever owns the socket looks whether it may be read again

    def _refuse(self, xid: int) -> None:
        """By -127, behind what this connection asked before."""
        if self.waiting:
            self.waiting.append(Deferred(xid, _TOO_LATE, b"", self.identities))
        else:
            self._answer_read(xid, _TOO_LATE, Reader(b""))

    def _answer_read(self, xid: int, opcode: int, body: Reader) -> None:
        if opcode == _TOO_LATE:
            self.answer(xid, self._replica.tree.zxid, ThrottledOpError.code, b"")
        else:
            super()._answer_read(xid, opcode, body)

    def end(self, reason: str | None) -> None:
        """What waits for its turn is dropped."""
        self._held.clear()
        self._held_bytes = 0
        super().end(reason)
