"""When things happened in a run: what struck, how long until writes were answered again, and how much got through.

Times are microseconds since the clients' world began. Pure: `drawn_from` reads a history that is over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from zkstore.testing.checkers.history import WRITES, Call, History

SLICE_US: Final = 250_000
"""Answers are counted in slices of time of that length."""

OUTAGE_US_MIN: Final = 250_000
"""So long without an answer to a write that somebody waits for is an outage."""

_ENDS_PROCESSES: Final = frozenset({"Kill", "KillAll", "Power", "PowerAll", "CrashPoint", "Damage", "Restart"})
_STOPS_SERVICE: Final = _ENDS_PROCESSES | {"Pause", "Isolate", "Flap"}


class Strike(NamedTuple):
    """One fault that did something.

    Attributes:
        at_us, until_us: from when to when.
        server_id: whom it hit; 0 for several.
        hit_leader: it hit whoever led, or everybody.
        hit_all: while it lasts, nobody can be served.
    """

    kind: str
    at_us: int
    until_us: int
    server_id: int
    hit_leader: bool
    hit_all: bool


class Recovery(NamedTuple):
    """How long it took until a write was answered that had been asked since: counted from the fault, or from its end
    where everybody was hit."""

    kind: str
    at_us: int
    took_us: int


class Outage(NamedTuple):
    """No write was answered from then to then, though some were asked."""

    from_us: int
    until_us: int


@dataclass(slots=True)
class Timeline:
    """Attributes:
    began_us, ended_us: when clients began to ask, and when they stopped.
    answered: answers in each slice of `SLICE_US` since `began_us`.
    recoveries: from faults that take a leader, or everybody, away; those that were hit again before are left out.
    hit_again: how many were left out.
    """

    began_us: int = 0
    ended_us: int = 0
    strikes: list[Strike] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    hit_again: int = 0
    outages: list[Outage] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For programs; milliseconds since the clients began."""

        def ms(time_us: int) -> int:
            return (time_us - self.began_us) // 1000

        return {
            "seconds": round((self.ended_us - self.began_us) / 1e6, 3),
            "faults": [
                {"kind": one.kind, "at_ms": ms(one.at_us), "until_ms": ms(one.until_us), "server": one.server_id}
                for one in self.strikes
            ],
            "recoveries": [
                {"kind": one.kind, "at_ms": ms(one.at_us), "took_ms": one.took_us // 1000} for one in self.recoveries
            ],
            "hit_again_before_recovery": self.hit_again,
            "outages": [[ms(one.from_us), ms(one.until_us)] for one in self.outages],
            "slice_ms": SLICE_US // 1000,
            "answered": self.answered,
        }


def drawn_from(history: History, strikes: Sequence[Strike], began_us: int, ended_us: int) -> Timeline:
    """The timeline of a run, of which clients asked from `began_us` to `ended_us`."""
    calls = [
        call
        for channel in history.channels
        for call in channel.calls
        if call.returned_us >= 0 and began_us <= call.called_us < ended_us
    ]
    slices = Counter((call.returned_us - began_us) // SLICE_US for call in calls)
    timeline = Timeline(began_us, ended_us, list(strikes))
    timeline.answered = [slices[number] for number in range((ended_us - began_us) // SLICE_US)]
    writes = sorted((call for call in calls if _is_served(call)), key=lambda call: call.returned_us)
    returned_us = [call.returned_us for call in writes]
    _note_recoveries(timeline, writes, returned_us)
    for earlier_us, later_us in zip([began_us, *returned_us], [*returned_us, ended_us], strict=True):
        if later_us - earlier_us > OUTAGE_US_MIN and earlier_us < ended_us:
            timeline.outages.append(Outage(earlier_us, min(later_us, ended_us)))
    return timeline


def _is_served(call: Call) -> bool:
    """A refusal in the session's name is no service."""
    return call.opcode in WRITES and call.code not in (-1, -112, -118)


def _note_recoveries(timeline: Timeline, writes: Sequence[Call], returned_us: Sequence[int]) -> None:
    hits = [one for one in timeline.strikes if one.hit_leader and one.kind in _STOPS_SERVICE]
    for index, strike in enumerate(hits):
        since_us = strike.until_us if strike.hit_all else strike.at_us
        first = bisect_left(returned_us, since_us)
        answered_us = next((call.returned_us for call in writes[first:] if call.called_us >= since_us), -1)
        following = hits[index + 1 : index + 2]
        if answered_us < 0 or (following and following[0].at_us < answered_us):
            timeline.hit_again += 1
        else:
            timeline.recoveries.append(Recovery(strike.kind, strike.at_us, answered_us - since_us))
