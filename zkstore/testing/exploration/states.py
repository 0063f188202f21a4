"""The states of single servers as numbers, and every step between them that was met.

Everything that a server does follows from its state and one event, so each pair is computed once and remembered. Equal
states have one number. What is left out of the comparison is time and what only counts attempts: here, a time-out is an
event that may come at any time; and the election, which is a hint that scenarios give as they like.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from zkstore.testing.exploration.server import Event, Output, SmallServer, Summary
from zkstore.wire.segment import Segment
from zkstore.zab.membership import Membership

_LEFT_OUT: Final = frozenset({"round", "_failures", "_dials", "settings", "_election", "_gone", "_first_choice", "out"})


class Servers:
    """All states of servers that were met, and all steps between them."""

    def __init__(self) -> None:
        self.summaries: list[Summary] = []
        self._frozen: list[bytes] = []
        self._numbers: dict[Any, int] = {}
        self._steps: dict[tuple[int, Event], tuple[int, tuple[Output, ...]]] = {}

    def add(self, server: SmallServer) -> int:
        """The number of this state."""
        key = _canonical(server, {})
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._frozen)
            self._frozen.append(pickle.dumps(server, pickle.HIGHEST_PROTOCOL))
            self.summaries.append(server.summary())
        return number

    def step(self, number: int, event: Event) -> tuple[int, tuple[Output, ...]]:
        """The state after the event, and what came of it."""
        found = self._steps.get((number, event))
        if found is None:
            server: SmallServer = pickle.loads(self._frozen[number])
            getattr(server, event.kind)(event)
            out = tuple(server.take())
            found = self._steps[number, event] = self.add(server), out
        return found

    def forget_steps(self) -> None:
        """Compute every step afresh: the servers' code is not what it was."""
        self._steps.clear()

    def __len__(self) -> int:
        return len(self._frozen)


def _canonical(value: Any, seen: dict[int, int]) -> Any:
    """A value that is equal and hashes alike for equal states, whatever order sets and dicts have."""
    if value is None or isinstance(value, int | str | bytes):
        return value
    if isinstance(value, Segment):
        return value.last_zxid, value.crc
    if isinstance(value, Membership):
        return value.version, tuple(sorted(value.voters))
    if isinstance(value, tuple | list | deque):
        return tuple([_canonical(item, seen) for item in value])
    if isinstance(value, dict):
        return tuple([(key, _canonical(value[key], seen)) for key in sorted(value)])
    if isinstance(value, set | frozenset):
        return tuple(sorted(value))
    if id(value) in seen:
        return "again", seen[id(value)]
    seen[id(value)] = len(seen)
    return type(value).__name__, tuple([_canonical(getattr(value, name), seen) for name in _names(value)])


def _names(value: Any) -> Iterable[str]:
    return sorted(name for name in vars(value) if name not in _LEFT_OUT and not name.endswith("_ms"))
