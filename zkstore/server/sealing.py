"""When a leader with followers makes a segment of what clients have asked for.

A few clients that wait for each answer are gathered: else they would fall into many small segments, each of which costs
every server a commit. Segments that are worth it follow each other without waiting for the quorum.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from zkstore import failpoints
from zkstore.replica.member import Member
from zkstore.wire.segment import Segment

_WAIT_FOR_CLIENTS_S: Final = 0.001
_WAIT_FOR_QUORUM_S: Final = 0.004  # as `pipeline` waits for the disk
_PATIENCE_S: Final = 0.0005  # clients answer an answer within some ten microseconds
_WORTH_GATHERING_MAX: Final = 16
_UNDER_WAY_MAX: Final = 4  # segments; the disk joins what waits for it, so more would only be smaller ones


class Sealing:
    """Has one member propose. `carry_out` does what the member then asks for."""

    def __init__(self, member: Member, carry_out: Callable[[], None]) -> None:
        self._member = member
        self._carry_out = carry_out
        self._worth_gathering = 0
        self._patient_until_s: float | None = None

    def proposed(self, segment: Segment) -> None:
        """The newest segment: as many txns are likely to come again when it is answered."""
        failpoints.hit("sealing.proposed")
        self._worth_gathering = min(segment.last_zxid - segment.first_zxid + 1, _WORTH_GATHERING_MAX)

    def gather(self) -> None:
        """More has been read: send what is for others, and propose what clients asked for if that is worth it now."""
        member = self._member
        open_count, under_way = member.replica.role.open_count, member.peer.in_flight_count
        if under_way >= _UNDER_WAY_MAX or open_count < (_WORTH_GATHERING_MAX if under_way else self._worth_gathering):
            member.flush(is_sealing=False)
            self._carry_out()
        else:
            self.hand_over()

    def before_wait(self) -> float:
        """No more is there to be read just now; returns for how many seconds to wait for more, or for the quorum."""
        member = self._member
        if not member.peer.in_flight_count:
            if 0 < member.replica.role.open_count < self._worth_gathering:
                now_s = time.perf_counter()
                if self._patient_until_s is None:
                    self._patient_until_s = now_s + _PATIENCE_S
                if now_s < self._patient_until_s:
                    return 0.0
            self.hand_over()
        return _WAIT_FOR_QUORUM_S if member.peer.in_flight_count else _WAIT_FOR_CLIENTS_S

    def hand_over(self) -> None:
        """Propose all that clients have asked for, as far as it may be under way."""
        self._patient_until_s = None
        self._worth_gathering = 0
        self._member.flush()
        self._carry_out()
