"""What a conversation can be at, and what can wait in it besides writes: reads and syncs.

Answers come in the order of requests, so whatever is asked behind a write of the same connection waits for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from zkstore.model.acl import Identity

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.proposal import Proposal

UNKNOWN_ZXID: Final = 1 << 63
"""The zxid of a sync that the leader has not answered yet: behind all that there are."""


class State(IntEnum):
    """Where in its life a conversation is; see `conversation`."""

    GREETING = 0
    JOINING = 1
    SERVING = 2
    LEAVING = 3
    ENDED = 4
    PROVING = 5


class Deferred(NamedTuple):
    """A read that waits behind this connection's writes, with the identities that it was asked under."""

    xid: int
    opcode: int
    body: bytes
    identities: tuple[Identity, ...]


@dataclass(slots=True, eq=False)
class Barrier:
    """A sync: it is answered once all up to `zxid` is applied, and a quorum has confirmed who led when it was asked.

    A later proposal of the same leader confirms that, too, when it is committed: a quorum has accepted it.
    """

    zxid: int
    is_confirmed: bool
    conversation: Conversation
    xid: int
    body: bytes
    is_answered: bool = False

    def answer(self) -> None:
        """There is nothing to wait for any more."""
        self.conversation.answer_barrier(self)


class Waiting(Protocol):
    """What waits as a sync does: a `Barrier`, or a `sessions.Return`."""

    zxid: int
    is_confirmed: bool
    is_answered: bool

    def answer(self) -> None:
        """There is nothing to wait for any more."""


class Syncs:
    """The syncs of one server's clients, and what else waits so, in the order in which they came, that of their zxids.

    Attributes:
        waiting: those that have not been answered, and some that were answered before their turn.
    """

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: deque[Waiting] = deque()

    def answer_due(self, zxid: int) -> None:
        """Answer those that have nothing to wait for any more where all up to `zxid` is applied."""
        waiting = self.waiting
        while waiting and (waiting[0].is_answered or (waiting[0].is_confirmed and waiting[0].zxid <= zxid)):
            waiting.popleft().answer()

    def answer_before(self, proposal: Proposal, zxid: int) -> None:
        """Answer those that txn `zxid`, proposed after them and committed, leaves nothing to wait for."""
        waiting = self.waiting
        while waiting and (waiting[0].is_answered or waiting[0].zxid < zxid):
            waiting.popleft().answer()
        if proposal.conversation is not None:
            proposal.conversation.answer_barriers()

    def release(self) -> None:
        """Answer all: what they waited for is lost."""
        while self.waiting:
            self.waiting.popleft().answer()
