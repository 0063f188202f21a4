"""The door that other servers come in by: accepting, and no more strangers at a time than can do harm."""

from __future__ import annotations

import errno
import logging
import select
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from zkstore import failpoints, limits
from zkstore.net.listeners import Encryption, Listener
from zkstore.net.peer_connection import PeerConnection

logger = logging.getLogger(__name__)

_ACCEPTS_PER_TURN: Final = 64
_ACCEPT_PAUSE_S: Final = 0.5
_COMPLAIN_EVERY: Final = 20  # pauses, which are ten seconds
_NOTHING_LEFT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class PeerPort:
    """Listening sockets in the epoll set of those who use it, and who came in and has not yet proved who they are."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._listeners: dict[int, Listener] = {}
        self._strangers: dict[PeerConnection, None] = {}  # in the order in which they came
        self._is_pausing = False
        self._pauses = 0  # one after the other
        self._accept_again_s: float | None = None

    def listen_on(self, listeners: Sequence[Listener]) -> None:
        """Take calls there, and no longer anywhere else."""
        self.close()
        for listener in listeners:
            listener.socket.setblocking(False)
            self._listeners[listener.socket.fileno()] = listener
            self._epoll.register(listener.socket.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Take no more calls."""
        for descriptor, listener in self._listeners.items():
            self._epoll.unregister(descriptor)
            listener.socket.close()
        self._listeners = {}

    def accept(self, descriptor: int) -> Iterator[tuple[socket.socket, tuple[str, int], Encryption]]:
        """Those who have called at one of the listeners: socket, address and what they are to speak."""
        listener = self._listeners.get(descriptor)
        for _ in range(_ACCEPTS_PER_TURN if listener is not None else 0):
            assert listener is not None
            try:
                failpoints.hit("peer.accept")
                accepted, address = listener.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NOTHING_LEFT:
                    self._pause(error)
                    return
                continue  # This one connection was gone before it was accepted.
            self._pauses = 0
            yield accepted, (address[0], address[1]), listener.encryption

    def _pause(self, error: OSError) -> None:
        if self._pauses % _COMPLAIN_EVERY == 0:
            logger.error(
                "cannot take calls of other servers: %s; raise the limit on open files (ulimit -n)", error.strerror
            )
        self._pauses += 1
        self._is_pausing = True
        for descriptor in self._listeners:
            self._epoll.modify(descriptor, 0)

    def tick(self, now_s: float) -> None:
        """Time has passed: listen again after a pause."""
        if self._is_pausing:
            if self._accept_again_s is None:
                self._accept_again_s = now_s + _ACCEPT_PAUSE_S
            elif now_s >= self._accept_again_s:
                self._is_pausing, self._accept_again_s = False, None
                for descriptor in self._listeners:
                    self._epoll.modify(descriptor, select.EPOLLIN)

    # --- strangers ------------------------------------------------------------------------------

    def admit(self, stranger: PeerConnection) -> PeerConnection | None:
        """One more; who has to go for it, if they are too many."""
        self._strangers[stranger] = None
        if len(self._strangers) <= limits.PEER_STRANGERS_MAX:
            return None
        [(host, _)] = Counter(each.host for each in self._strangers).most_common(1)
        return next(each for each in self._strangers if each.host == host)

    def forget(self, stranger: PeerConnection) -> None:
        """It has proved who it is, or is gone."""
        self._strangers.pop(stranger, None)
