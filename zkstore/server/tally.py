"""What a member of an ensemble counts of its roles, for the words and metrics; nothing is decided by it."""

from __future__ import annotations

from zkstore.server.pipeline import Summary


class Tally:
    """Counters since start or `reset`; times are of the monotonic clock, in ms. The server's host reports to it.

    Attributes:
        election_ms: from the moment the server began to look for a leader until it led or followed.
        proposal_bytes: sizes of the segments that were proposed, as (last, least, most); -1 where there was none.
    """

    def __init__(self, now_ms: int) -> None:
        self.election_ms = Summary()
        self.proposal_bytes = (-1, -1, -1)
        self._looking_since_ms: int | None = now_ms
        self._leading_since_ms: int | None = None
        self._looking_count = 1
        self._snapshots = 0

    def looks(self, now_ms: int) -> None:
        """The server has left its role, if it had one."""
        self._leading_since_ms = None
        if self._looking_since_ms is None:
            self._looking_since_ms = now_ms
            self._looking_count += 1

    def serves(self, now_ms: int, *, leads: bool) -> None:
        """The server has a role."""
        if self._looking_since_ms is not None:
            self.election_ms.add(now_ms - self._looking_since_ms)
            self._looking_since_ms = None
        self._leading_since_ms = now_ms if leads else None

    def proposed(self, size: int) -> None:
        """A segment of so many bytes was proposed."""
        _, least, most = self.proposal_bytes
        self.proposal_bytes = size, size if least < 0 else min(least, size), max(most, size)

    def snapshot_sent(self) -> None:
        """A learner was so far behind that it got the whole tree."""
        self._snapshots += 1

    def metrics(self, now_ms: int) -> dict[str, int | float]:
        """By ZooKeeper's names."""
        values: dict[str, int | float] = {"looking_count": self._looking_count, "snap_count": self._snapshots}
        if self._leading_since_ms is not None:
            values["leader_uptime"] = now_ms - self._leading_since_ms
            names = ("last_proposal_size", "min_proposal_size", "max_proposal_size")
            values.update(zip(names, self.proposal_bytes, strict=True))
        return values

    def reset(self) -> None:
        """As the word srst asks."""
        self.election_ms.reset()
        self.proposal_bytes = (-1, -1, -1)
        self._looking_count = self._snapshots = 0
