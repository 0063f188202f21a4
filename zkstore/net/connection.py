"""One accepted socket, and the bounds that all of them share; plain records."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from zkstore import limits
from zkstore.net.tls_channel import TlsChannel
from zkstore.replica.conversation import Conversation


@dataclass(frozen=True, slots=True)
class PortSettings:
    """The bounds of one client port; 0 is no limit for the counts of connections.

    `descriptors_max` is a count of connections, too: the one that the limit on open files leaves room for.
    """

    connections_per_address_max: int = limits.CONNECTIONS_PER_ADDRESS_MAX
    connections_max: int = 0
    descriptors_max: int = 0
    handshake_timeout_ms: int = limits.HANDSHAKE_TIMEOUT_MS


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted socket and its conversation.

    Attributes:
        interest: the events that the socket is registered for.
        accepted_ms: when it came.
        channel: its TLS, None where none is spoken.
        may_be_plain: its first byte will tell whether it speaks TLS.
        draining_until_ms: set once everything is sent and our side is shut; what still comes in is thrown away until
            the client closes, or until then. Closing at once could destroy the last answer on its way.
        give_up_ms: set when the conversation has ended and its last answers wait for a client that does not read them.
    """

    socket: socket.socket
    conversation: Conversation
    interest: int
    accepted_ms: int
    channel: TlsChannel | None = None
    may_be_plain: bool = False
    draining_until_ms: int | None = None
    give_up_ms: int | None = None
