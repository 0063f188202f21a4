"""What waits to be sent to one server: in order, but for heartbeats, which go first.

What may overtake is what says nothing about anything else on the link: Ping and Pong. All others keep their order:
a Commit before its Propose, or a NewLeader before the end of the history, would be a lie.
"""

from __future__ import annotations

from collections import deque

from zkstore.net.peer_frames import frames_of, urgent_frame


class Outbox:
    """Frames that wait, and how many bytes they have."""

    __slots__ = ("_ordered", "_urgent", "unsent_bytes")

    def __init__(self) -> None:
        self.unsent_bytes = 0
        self._ordered: deque[bytes] = deque()
        self._urgent: deque[bytes] = deque()

    def put(self, body: bytes) -> None:
        """A message behind all others."""
        for frame in frames_of(body):
            self._ordered.append(frame)
            self.unsent_bytes += len(frame)

    def put_first(self, body: bytes) -> None:
        """A short message before all others but those that were put first, too."""
        frame = urgent_frame(body)
        self._urgent.append(frame)
        self.unsent_bytes += len(frame)

    def take(self, bytes_wanted: int) -> bytes:
        """What goes next: whole frames until they are `bytes_wanted` or more; b"" if nothing waits."""
        if self.unsent_bytes <= bytes_wanted:
            taken = [*self._urgent, *self._ordered]
            self._urgent.clear()
            self._ordered.clear()
            self.unsent_bytes = 0
            return taken[0] if len(taken) == 1 else b"".join(taken)
        taken, size = [], 0
        for lane in (self._urgent, self._ordered):
            while lane and size < bytes_wanted:
                frame = lane.popleft()
                taken.append(frame)
                size += len(frame)
        self.unsent_bytes -= size
        return b"".join(taken)

    def clear(self) -> None:
        """Nothing of it will be sent."""
        self._urgent.clear()
        self._ordered.clear()
        self.unsent_bytes = 0
