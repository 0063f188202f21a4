"""A request for history in a conversation: it waits for its turn, and then for files that are read elsewhere.

Nothing is looked at that the client sends behind it, until it is answered: so nothing ever waits behind it, and a
write's answer cannot come before it. Meanwhile pings cannot be answered; `reassure` does it unasked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zkstore.model.acl import Identity
from zkstore.replica.waiting import State
from zkstore.wire.opcodes import XID_PING

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.replica import Replica


class Recall:
    """One request for history. `body` is its record; `identities` are those that it was asked under."""

    __slots__ = ("body", "conversation", "identities", "replica", "xid")

    def __init__(self, replica: Replica, conversation: Conversation, xid: int, body: bytes) -> None:
        self.replica = replica
        self.conversation = conversation
        self.xid = xid
        self.body = body
        self.identities: tuple[Identity, ...] = conversation.identities

    @property
    def is_wanted(self) -> bool:
        """Whether there is still somebody to answer."""
        waiting = self.conversation.waiting
        return self.conversation.state is not State.ENDED and bool(waiting) and waiting[0] is self

    def begin(self) -> None:
        """All that was asked before is answered."""
        assert self.replica.remember is not None, "a request for history, and nobody to answer it"
        self.replica.remember(self)

    def reassure(self) -> None:
        """It takes its time: the session lives on, and the client hears something."""
        if self.is_wanted and self.replica.touch(self.conversation.session_id):
            self.conversation.answer(XID_PING, self.replica.tree.zxid, 0, b"")

    def answer(self, code: int, body: bytes) -> None:
        """The answer, which the conversation goes on behind; no matter if it has ended."""
        if self.is_wanted:
            self.conversation.waiting.popleft()
            self.conversation.answer(self.xid, self.replica.tree.zxid, code, body)


def ask(replica: Replica, conversation: Conversation, xid: int, body: bytes) -> None:
    """Put a request in line; nothing is read behind it."""
    recall = Recall(replica, conversation, xid, body)
    conversation.waiting.append(recall)
    conversation.paused = True
    if len(conversation.waiting) == 1:
        recall.begin()


def is_under_way(conversation: Conversation) -> bool:
    """Whether the conversation waits for history."""
    return bool(conversation.waiting) and type(conversation.waiting[-1]) is Recall
