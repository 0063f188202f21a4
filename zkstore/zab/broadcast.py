"""What a leader has proposed in its epoch, who has it on disk, and how far it is committed (Zab's phase 3).

A segment is committed once a quorum of voters has acknowledged it; acknowledgements are cumulative, and the leader's
own counts when its own disk has it. From a pending reconfiguration on, old and new configuration must both agree.
A server alone goes the same way: its quorum is itself.
"""

from __future__ import annotations

from collections import deque

from zkstore.wire.segment import Segment
from zkstore.zab.core import Core
from zkstore.zab.history import Point
from zkstore.zab.membership import Membership
from zkstore.zab.quorums import agreed_point


class Broadcast:
    """The segments in flight: proposed, and not yet both committed and on the leader's own disk.

    Attributes:
        acked: server id to the zxid up to which it has everything on disk.
        in_flight_bytes: of all segments in flight.
    """

    def __init__(self, core: Core) -> None:
        self.acked: dict[int, int] = {}
        self.in_flight_bytes = 0
        self._core = core
        self._in_flight: deque[Segment] = deque()
        self._by_prev_zxid: dict[int, Segment] = {}

    def __len__(self) -> int:
        return len(self._in_flight)

    @property
    def has_room(self) -> bool:
        """Whether another segment may be proposed."""
        settings = self._core.settings
        return (
            len(self._in_flight) < settings.in_flight_segments_max
            and self.in_flight_bytes < settings.in_flight_bytes_max
        )

    def add(self, segment: Segment) -> None:
        """A segment that was just put behind the log's end."""
        self._in_flight.append(segment)
        self._by_prev_zxid[segment.prev_zxid] = segment
        self.in_flight_bytes += len(segment.data)

    def clear(self) -> None:
        """What was in flight is lost."""
        self._in_flight.clear()
        self._by_prev_zxid.clear()
        self.in_flight_bytes = 0

    def after(self, zxid: int) -> Segment | None:
        """The segment in flight that follows the one that ends there."""
        return self._by_prev_zxid.get(zxid)

    def end_at_or_before(self, zxid: int) -> Point | None:
        """The last end of a segment in flight that is not behind `zxid`."""
        for segment in reversed(self._in_flight):
            if segment.last_zxid <= zxid:
                return segment.last_zxid, segment.crc
        return None

    def agreed_zxid(self) -> int:
        """Up to where, at most, a quorum has everything on disk; 0 if that cannot be said."""
        core = self._core
        if core.pending is None:
            config = core.config
            if len(config.voters) == 1 and core.server_id in config.voters:
                return self.acked[core.server_id]
            return self._agreed(config)
        zxid, pending = core.pending
        old = self._agreed(core.config)
        if old < zxid:
            return old
        both = min(old, self._agreed(pending))
        # Before the reconfiguration, the old configuration decides alone; it stands alone in its segment.
        return both if both >= zxid else zxid - 1

    def _agreed(self, config: Membership) -> int:
        return agreed_point(config.quorums, self.acked) or 0

    def committed_end(self) -> int | None:
        """The last end of a segment in flight that is agreed on; None if no more is than was known."""
        agreed, found = self.agreed_zxid(), None
        if agreed > self._core.known_committed:
            for segment in self._in_flight:
                if segment.last_zxid > agreed:
                    break
                if segment.last_zxid > self._core.known_committed:
                    found = segment.last_zxid
        return found

    def trim(self) -> None:
        """Forget what is committed and on this server's disk: the history has it."""
        core = self._core
        kept_from = min(core.known_committed, core.durable[0])
        while self._in_flight and self._in_flight[0].last_zxid <= kept_from:
            segment = self._in_flight.popleft()
            del self._by_prev_zxid[segment.prev_zxid]
            self.in_flight_bytes -= len(segment.data)
