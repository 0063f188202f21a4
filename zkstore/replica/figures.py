"""What the replica counts of itself, for the words and metrics; nothing is decided by it."""

from __future__ import annotations


class Figures:
    """Counters since start or `reset`.

    Reads are answered within the turn in which they arrive: their latency counts as 0 ms, as Apache's mostly does.
    """

    __slots__ = (
        "connections_rejected",
        "latency_max_ms",
        "latency_min_ms",
        "proposals",
        "received",
        "requests_dropped",
        "requests_held",
        "requests_throttled",
        "sent",
        "sessions_expired",
        "update_count",
        "update_total_ms",
    )

    def __init__(self) -> None:
        self.connections_rejected = 0
        self.sessions_expired = 0
        self.requests_held = self.requests_throttled = self.requests_dropped = 0
        self.reset()

    def reset(self) -> None:
        """As the word srst asks."""
        self.received = self.sent = 0
        self.proposals = 0
        self.update_count = self.update_total_ms = 0
        self.latency_max_ms = 0
        self.latency_min_ms = 0

    def note_update(self, latency_ms: int) -> None:
        """One write took this long from its reading to its answer."""
        self.update_count += 1
        self.update_total_ms += latency_ms
        if latency_ms > self.latency_max_ms:
            self.latency_max_ms = latency_ms
