"""What the log is told of peers: the same complaint once in a while, not once for every attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

_AGAIN_AFTER_S: Final = 30.0
_COMPLAINTS_MAX: Final = 256


class PeerLog:
    """Warns with a sentence at once, and with the same sentence again after 30 s at the earliest."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = trio.current_time) -> None:
        self._logger = logger
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def complain(self, sentence: str, *, about: str | None = None) -> None:
        """`about` is what makes two complaints the same, if it is not the whole sentence."""
        key = sentence if about is None else about
        now_s = self._clock()
        next_s, held_back = self._seen.pop(key, (now_s, 0))
        if now_s < next_s:
            self._seen[key] = (next_s, held_back + 1)
            return
        self._logger.warning("%s%s", sentence, f" (and {held_back} times more before)" if held_back else "")
        self._seen[key] = (now_s + _AGAIN_AFTER_S, 0)
        if len(self._seen) > _COMPLAINTS_MAX:  # The oldest goes; a flood from many addresses must not cost memory.
            del self._seen[next(iter(self._seen))]
