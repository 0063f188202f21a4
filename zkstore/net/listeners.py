"""Sockets that clients connect to."""

from __future__ import annotations

import socket
from enum import Enum
from typing import NamedTuple


class Encryption(Enum):
    """What is spoken at a port; with EITHER the first byte of each connection tells."""

    NONE = "none"
    TLS = "tls"
    EITHER = "either"


class Listener(NamedTuple):
    """A socket that listens, and what is spoken there."""

    socket: socket.socket
    encryption: Encryption = Encryption.NONE


def listen(host: str, port: int, backlog: int | None, encryption: Encryption = Encryption.NONE) -> list[Listener]:
    """Bind and listen; port 0 picks a free one. Raises OSError."""
    families = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = families[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(backlog if backlog is not None and backlog > 0 else 1024)
    except OSError:
        listening.close()
        raise
    return [Listener(listening, encryption)]
