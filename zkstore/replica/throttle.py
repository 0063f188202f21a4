"""Throttling connections: a bucket of tokens, one for each ConnectRequest, filled at a steady pace.

After an outage all clients come back at once; spreading their sessions over some seconds keeps the server answering
those that are there. Who finds the bucket empty is disconnected and tries again (protocol: limits).
"""

from __future__ import annotations

from typing import Final


class TokenBucket:
    """At most `tokens` at once, `fill_count` more every `fill_ms`; no limit if `tokens` is 0."""

    __slots__ = ("_fill_count", "_fill_ms", "_filled_ms", "_left", "_tokens")

    def __init__(self, tokens: int, fill_ms: int, fill_count: int) -> None:
        self._tokens = tokens
        self._fill_ms = fill_ms
        self._fill_count = fill_count
        self._left = tokens
        self._filled_ms: int | None = None

    def take(self, now_ms: int) -> bool:
        """Take one token; False if there is none. `now_ms` is of a clock that does not jump."""
        if self._tokens == 0:
            return True
        if self._filled_ms is None:
            self._filled_ms = now_ms
        fills = (now_ms - self._filled_ms) // self._fill_ms
        self._filled_ms += fills * self._fill_ms
        self._left = min(self._tokens, self._left + fills * self._fill_count)
        if self._left == 0:
            return False
        self._left -= 1
        return True


UNLIMITED: Final = TokenBucket(0, 1, 1)
