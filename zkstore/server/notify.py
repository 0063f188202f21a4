"""Telling the service manager how the server is: systemd's notification protocol, for units of `Type=notify`.

Source: sd_notify(3). One datagram of KEY=value lines to the Unix socket that NOTIFY_SOCKET names; an
address that starts with "@" is in Linux's abstract namespace.
"""

from __future__ import annotations

import logging
import socket
from typing import Final

logger = logging.getLogger(__name__)

NOTIFY_SOCKET: Final = "NOTIFY_SOCKET"
"""The environment variable that names the socket; unset where nobody listens."""


class ServiceManager:
    """The one who started this server and wants to know. `address` is NOTIFY_SOCKET's value, None if it is not set."""

    def __init__(self, address: str | None) -> None:
        self._address = address or None

    def ready(self, status: str) -> None:
        """The server serves; `status` is one line for people, as `systemctl status` shows it."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Another line for people."""
        self._send(f"STATUS={status}")

    def stopping(self) -> None:
        """An orderly stop has begun."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        """Never fails: a server does not stop serving because its manager does not listen."""
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(" ".join(line.split("\n")) for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), address)
        except OSError as error:
            logger.warning("cannot tell the service manager %s at %s: %s", lines[0], self._address, error)
