"""What a conversation can be at, and what can wait in it besides writes: reads and syncs.

Answers come in the order of requests, so whatever is asked behind a write of the same connection waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from zkstore.model.acl import Identity

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation

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
