"""Throttling: how many sessions may be asked for, and how many requests may be under way, before others wait.

After an outage all clients come back at once; spreading their sessions over some seconds keeps the server answering
those that are there. Who finds the bucket empty is disconnected and tries again (protocol: limits). Requests beyond
their number wait in one queue for all clients, first come first served. Both are off unless asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Blue:
    """Turning connections away at random before the tokens are gone: active queue management by the name of BLUE.

    Attributes:
        chance: a number from 0 to 1 by chance, such as random.random.
        freeze_ms: how long the probability stays as it is at least.
        increase, decrease: what a look at an empty bucket adds to the probability, and a look at a full one takes.
        full_ratio: the bucket counts as full while no more than this part of it is missing.
    """

    chance: Callable[[], float]
    freeze_ms: int
    increase: float = 0.02
    decrease: float = 0.002
    full_ratio: float = 0.0


class TokenBucket:
    """At most `tokens` at once, `fill_count` more every `fill_ms`; no limit if `tokens` is 0.

    A new session takes `new_weight` tokens, one that comes back `renewed_weight`; `tokens` and `fill_count` count new
    sessions. One that the server alone will know takes `local_weight`. With `blue` some are turned away by chance, too.
    """

    def __init__(
        self,
        tokens: int,
        fill_ms: int,
        fill_count: int,
        *,
        new_weight: int = 1,
        renewed_weight: int = 1,
        local_weight: int = 1,
        blue: Blue | None = None,
    ) -> None:
        self._tokens = tokens * new_weight
        self._fill_ms = fill_ms
        self._fill_count = fill_count * new_weight
        self._new_weight = new_weight
        self._renewed_weight = renewed_weight
        self._local_weight = local_weight
        self._left = self._tokens
        self._filled_ms: int | None = None
        self._blue = blue
        self._drop_probability = 0.0
        self._frozen_until_ms = 0

    def take(self, now_ms: int, *, is_renewed: bool = False, is_local: bool = False) -> bool:
        """Take one session's tokens; False if there are too few. `now_ms` is of a clock that does not jump.

        A session that comes back takes `renewed_weight`, whether it `is_local` or not.
        """
        if self._tokens == 0:
            return True
        if self._filled_ms is None:
            self._filled_ms = now_ms
        fills = (now_ms - self._filled_ms) // self._fill_ms
        self._filled_ms += fills * self._fill_ms
        self._left = min(self._tokens, self._left + fills * self._fill_count)
        if self._blue is not None and self._is_unlucky(self._blue, now_ms):
            return False
        weight = self._renewed_weight if is_renewed else self._local_weight if is_local else self._new_weight
        if self._left < weight:
            return False
        self._left -= weight
        return True

    def _is_unlucky(self, blue: Blue, now_ms: int) -> bool:
        if now_ms > self._frozen_until_ms:
            self._frozen_until_ms = now_ms + blue.freeze_ms
            if self._left == 0:
                self._drop_probability = min(1.0, self._drop_probability + blue.increase)
            elif self._tokens - self._left <= round(self._tokens * blue.full_ratio):
                self._drop_probability = max(0.0, self._drop_probability - blue.decrease)
        return blue.chance() < self._drop_probability


UNLIMITED: Final = TokenBucket(0, 1, 1)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How much the server takes on at once; what is 0 or False is no limit.

    Attributes:
        under_way_max: while so many writes are under way, requests wait in the queue.
        wait_ms_max: a request that has waited longer is answered by -127, and not carried out.
        drops_stale: one that has waited longer than its session's timeout ends its connection instead.
    """

    under_way_max: int
    wait_ms_max: int = 0
    drops_stale: bool = False


class Turns(Generic[T]):
    """Whose turn it is: an entry for each request that waits, oldest first, with the time at which it came."""

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self._waiting: deque[tuple[T, int]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def is_open(self, under_way: int) -> bool:
        """Whether a request that comes now may pass at once."""
        return not self._waiting and under_way < self.limits.under_way_max

    def wait(self, who: T, now_ms: int) -> None:
        """Behind all that wait."""
        self._waiting.append((who, now_ms))

    def next(self, under_way: int, now_ms: int) -> tuple[T, int] | None:
        """The one whose turn it is and for how many ms it has waited; None while none may pass."""
        if not self._waiting or under_way >= self.limits.under_way_max:
            return None
        who, came_ms = self._waiting.popleft()
        return who, now_ms - came_ms
