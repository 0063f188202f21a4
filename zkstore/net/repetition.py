"""Log lines that would repeat: of those alike one a second is written, and how many more there were."""

from __future__ import annotations

from typing import Final

LINE_EVERY_MS: Final = 1_000


class Repetition:
    """What was said of late. Lines are alike if their `what` is the same text."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[str, tuple[int, int]] = {}  # when, and how many were kept back since

    def may_say(self, what: str, now_ms: int) -> bool:
        """Whether to write the line now; if not, it is counted."""
        if what in self._said:
            said_ms, count = self._said[what]
            self._said[what] = (said_ms, count + 1)
            return False
        self._said[what] = (now_ms, 0)
        return True

    def due(self, now_ms: int) -> list[tuple[str, int]]:
        """What was kept back for long enough, with its count: a line is to be written of each. Ask now and then."""
        found = []
        for what, (said_ms, count) in list(self._said.items()):
            if now_ms - said_ms >= LINE_EVERY_MS:
                if count:
                    found.append((what, count))
                    self._said[what] = (now_ms, 0)
                else:
                    del self._said[what]
        return found
