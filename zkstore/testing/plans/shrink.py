"""From a case that fails to a smaller one that fails alike: fewer faults, fewer requests, fewer servers, less time.

A case is data, so parts of it are taken out and the rest is run again: first halves, then ever smaller pieces (Zeller's
delta debugging). What is left is mostly what the failure needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from zkstore.testing.plans.faults import Fault
from zkstore.testing.plans.plan import Case

Part = TypeVar("Part")

_TIMES: Final = (0.25, 0.5, 0.75, 0.9)
_WAIT_MS_MIN: Final = 50


def shrunk(case: Case, fails: Callable[[Case], bool], *, runs_max: int) -> Case:
    """The smallest case found with at most that many runs; `fails` says whether one still does."""
    left = [runs_max]

    def still_fails(smaller: Case) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        return fails(smaller)

    before = None
    while before != case and left[0] > 0:
        before = case
        case = _with_less_time(case, still_fails)
        case = _with_fewer_servers(case, still_fails)
        case = _with_fewer_clients(case, still_fails)
        plain = replace(case, checkpoint_ms=0)
        case = plain if case.checkpoint_ms and still_fails(plain) else case
        case = _with_fewer_faults(case, still_fails)
        case = _with_fewer_requests(case, still_fails)
        case = _with_shorter_waits(case, still_fails)
    return case


def thinned(parts: Sequence[Part], fails: Callable[[list[Part]], bool]) -> list[Part]:
    """The parts without as many as can be left out one piece after the other."""
    kept = list(parts)
    size = len(kept)
    while size > 0:
        at = 0
        while at < len(kept):
            smaller = kept[:at] + kept[at + size :]
            if fails(smaller):
                kept = smaller
            else:
                at += size
        size //= 2
    return kept


def _with_less_time(case: Case, fails: Callable[[Case], bool]) -> Case:
    for part in _TIMES:
        calm_ms = int(case.calm_ms * part)
        faults = tuple(fault for fault in case.faults if fault.at_ms < calm_ms)
        asks = tuple(ask for ask in case.asks if ask.at_ms < calm_ms)
        smaller = replace(case, calm_ms=calm_ms, faults=faults, asks=asks)
        if calm_ms > 0 and fails(smaller):
            return smaller
    return case


def _with_fewer_servers(case: Case, fails: Callable[[Case], bool]) -> Case:
    for server_id in (*case.spares, *case.observers, *case.voters[:0:-1]):
        keeps = [other != server_id for other in case.servers]
        smaller = replace(
            case,
            voters=tuple(other for other in case.voters if other != server_id),
            observers=tuple(other for other in case.observers if other != server_id),
            spares=tuple(other for other in case.spares if other != server_id),
            drifts_ppm=tuple(ppm for ppm, keep in zip(case.drifts_ppm, keeps, strict=True) if keep),
        )
        if len(smaller.voters) > 1 and fails(smaller):
            case = smaller
    return case


def _with_fewer_clients(case: Case, fails: Callable[[Case], bool]) -> Case:
    without = replace(case, has_operator=False)
    if case.has_operator and fails(without):
        case = without
    for clients in range(1, case.clients):
        smaller = replace(case, clients=clients)
        if fails(smaller):
            return smaller
    return case


def _with_fewer_faults(case: Case, fails: Callable[[Case], bool]) -> Case:
    kept = thinned(case.faults, lambda faults: fails(replace(case, faults=tuple(faults))))
    return replace(case, faults=tuple(kept))


def _with_fewer_requests(case: Case, fails: Callable[[Case], bool]) -> Case:
    kept = thinned(case.asks, lambda asks: fails(replace(case, asks=tuple(asks))))
    return replace(case, asks=tuple(kept))


def _with_shorter_waits(case: Case, fails: Callable[[Case], bool]) -> Case:
    """What comes after a pause in the plan comes earlier."""
    for index in range(len(case.faults) + 1):
        ends_ms = [fault.at_ms for fault in case.faults] + [case.calm_ms]
        wait_ms = ends_ms[index] - (ends_ms[index - 1] if index else 0)
        for less_ms in (wait_ms * 9 // 10, wait_ms // 2):
            from_ms = ends_ms[index]
            smaller = replace(
                case,
                faults=tuple(_earlier(fault, from_ms, less_ms) for fault in case.faults),
                asks=tuple(
                    ask._replace(at_ms=ask.at_ms - less_ms) if ask.at_ms >= from_ms else ask for ask in case.asks
                ),
                calm_ms=case.calm_ms - less_ms,
            )
            if less_ms >= _WAIT_MS_MIN and fails(smaller):
                case = smaller
                break
    return case


def _earlier(fault: Fault, from_ms: int, less_ms: int) -> Fault:
    return fault._replace(at_ms=fault.at_ms - less_ms) if fault.at_ms >= from_ms else fault
