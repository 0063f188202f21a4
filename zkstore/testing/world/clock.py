"""Simulated time: one agenda of what is to happen, and for each server a clock that does not tell it quite.

True time is the world's, in whole microseconds from 0. What is due at the same moment happens in the order in which it
was put on the agenda, so nothing depends on chance.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final

EPOCH_MS: Final = 1_700_000_000_000
"""What calendars say when the world begins."""


class Agenda:
    """What will happen, and when.

    Attributes:
        now_us: true time.
        count: how much has happened.
    """

    def __init__(self) -> None:
        self.now_us = 0
        self.count = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def call_at(self, time_us: int, action: Callable[..., None], *arguments: Any) -> None:
        """Call that once the time has come; what is due in the past is done at once."""
        self._number += 1
        heapq.heappush(self._heap, (max(time_us, self.now_us), self._number, action, arguments))

    def call_in(self, delay_us: int, action: Callable[..., None], *arguments: Any) -> None:
        """Call that after a while."""
        self.call_at(self.now_us + delay_us, action, *arguments)

    def run(self, until_us: int, is_over: Callable[[], bool]) -> None:
        """Let everything happen that is due before `until_us`, or until `is_over`, which is asked after each step."""
        heap = self._heap
        while heap and heap[0][0] < until_us:
            self.now_us, _, action, arguments = heapq.heappop(heap)
            self.count += 1
            action(*arguments)
            if is_over():
                return
        self.now_us = until_us


class Clock:
    """One server's two clocks: one that never goes back, but runs a little fast or slow, and the calendar, which jumps.

    `drift_ppm`: by how many millionths the first runs fast; `offset_ms`: where it began.
    """

    def __init__(self, agenda: Agenda, drift_ppm: int, offset_ms: int) -> None:
        self._agenda = agenda
        self._rate = 1_000_000 + drift_ppm
        self._offset_ms = offset_ms
        self._jumped_ms = 0

    @property
    def now_ms(self) -> int:
        """The clock that never goes back."""
        return self._offset_ms + self._agenda.now_us * self._rate // 1_000_000_000

    @property
    def time_ms(self) -> int:
        """What the server believes the time of day to be, in milliseconds since 1970."""
        return EPOCH_MS + self._agenda.now_us * self._rate // 1_000_000_000 + self._jumped_ms

    def jump(self, by_ms: int) -> None:
        """The calendar is set to another time."""
        self._jumped_ms += by_ms
