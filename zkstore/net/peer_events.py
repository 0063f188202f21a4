"""What the peer port is told at its start, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from zkstore import limits
from zkstore.wire.messages import LinkMessage, Vote


@dataclass(frozen=True, slots=True)
class PeerLinksSettings:
    """`dials_tls` and what the listeners speak may differ while an ensemble changes to TLS, server by server."""

    server_id: int
    dials_tls: bool = False
    handshake_timeout_ms: int = limits.PEER_HANDSHAKE_TIMEOUT_MS
    silence_timeout_ms: int = limits.PEER_SILENCE_TIMEOUT_MS


class PeerEvents(Protocol):
    """What is reported, always out of `PeerLinks.turn`. Every method of `PeerLinks` may be called from within."""

    def heard(self, vote: Vote) -> None:
        """A vote, from whom it says."""

    def dialled(self, link: int, server_id: int) -> None:
        """A link that was asked for stands, and leads to that server."""

    def accepted(self, link: int, server_id: int) -> None:
        """That server has opened a link; the number is positive and new."""

    def received(self, link: int, message: LinkMessage) -> None:
        """The next message on a link."""

    def broke(self, link: int) -> None:
        """A link is gone, or never came to be; nothing more is heard of it."""
