"""Faults for real servers: typed, timed and planned from a seed before a run begins, so that a plan can be printed.

Times are milliseconds since the clients began. A server is named by its id, or LEADER: who leads when the fault comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple, TypeAlias

LEADER: Final = 0

IN: Final = "in"
OUT: Final = "out"
BOTH: Final = "both"

_FIRST_MS: Final = 1_500
_GAP_MS: Final = (300, 4_000)
_LASTS_MS: Final = (200, 6_000)
_DOWN_MS_MAX: Final = 4_000
_ALL_ONE_IN: Final = 6
_PERIOD_MS: Final = (100, 1_000)
_RATES_KBIT_S: Final = (256, 1_000, 8_000)


class Kill(NamedTuple):
    """kill -9; started again after `down_ms`."""

    at_ms: int
    server: int
    down_ms: int


class KillAll(NamedTuple):
    """kill -9 of every server at once."""

    at_ms: int
    down_ms: int


class Pause(NamedTuple):
    """SIGSTOP, and SIGCONT after `for_ms`; what came meanwhile comes all at once."""

    at_ms: int
    server: int
    for_ms: int


class Restart(NamedTuple):
    """SIGTERM; started again once it has ended."""

    at_ms: int
    server: int


class Rolling(NamedTuple):
    """SIGTERM for one server after the other; the next one `gap_ms` after the one before."""

    at_ms: int
    gap_ms: int


class Isolate(NamedTuple):
    """Packets between a server and all others are lost: those to it (IN), from it (OUT), or BOTH. `clients`: its
    clients do not reach it either."""

    at_ms: int
    server: int
    for_ms: int
    way: str
    clients: bool


class Split(NamedTuple):
    """Packets from one server to one other are lost; `way` is BOTH or OUT."""

    at_ms: int
    one: int
    other: int
    for_ms: int
    way: str


class Flap(NamedTuple):
    """A server is cut off from all others and is back, again and again, `period_ms` each."""

    at_ms: int
    server: int
    for_ms: int
    period_ms: int


class Slow(NamedTuple):
    """All that a server sends leaves at `kbit_s`."""

    at_ms: int
    server: int
    for_ms: int
    kbit_s: int


class Full(NamedTuple):
    """The small disk of the last server is full."""

    at_ms: int
    for_ms: int


Fault: TypeAlias = Kill | KillAll | Pause | Restart | Rolling | Isolate | Split | Flap | Slow | Full


def _server(random: Random, count: int) -> int:
    return LEADER if random.random() < 0.4 else random.randrange(1, count + 1)


def _lasts(random: Random) -> int:
    return random.randrange(*_LASTS_MS)


def _kill(random: Random, at_ms: int, count: int) -> Fault:
    down_ms = random.randrange(_DOWN_MS_MAX)
    if random.randrange(_ALL_ONE_IN) == 0:
        return KillAll(at_ms, down_ms)
    return Kill(at_ms, _server(random, count), down_ms)


def _pause(random: Random, at_ms: int, count: int) -> Fault:
    return Pause(at_ms, _server(random, count), _lasts(random))


def _restart(random: Random, at_ms: int, count: int) -> Fault:
    if random.randrange(_ALL_ONE_IN) == 0:
        return Rolling(at_ms, random.randrange(500, 2_500))
    return Restart(at_ms, _server(random, count))


def _partition(random: Random, at_ms: int, count: int) -> Fault:
    if random.random() < 0.3:
        one, other = random.sample(range(1, count + 1), 2)
        return Split(at_ms, one, other, _lasts(random), random.choice((BOTH, OUT)))
    way = random.choice((BOTH, BOTH, IN, OUT))
    return Isolate(at_ms, _server(random, count), _lasts(random), way, random.random() < 0.3)


def _flap(random: Random, at_ms: int, count: int) -> Fault:
    return Flap(at_ms, _server(random, count), _lasts(random), random.randrange(*_PERIOD_MS))


def _slow(random: Random, at_ms: int, count: int) -> Fault:
    return Slow(at_ms, _server(random, count), _lasts(random), random.choice(_RATES_KBIT_S))


def _full(random: Random, at_ms: int, _: int) -> Fault:
    return Full(at_ms, _lasts(random))


KINDS: Final[dict[str, Callable[[Random, int, int], Fault]]] = {
    "kill": _kill,
    "pause": _pause,
    "restart": _restart,
    "partition": _partition,
    "flap": _flap,
    "slow": _slow,
    "full-disk": _full,
}
"""What can be asked for."""

OF_THE_NETWORK: Final = frozenset({"partition", "flap", "slow"})
OF_THE_DISK: Final = frozenset({"full-disk"})


def plan(seed: int, servers: int, for_ms: int, kinds: Sequence[str]) -> list[Fault]:
    """Faults of these kinds for so long, the earliest first. Some overlap."""
    random = Random(f"nemesis {seed}")
    faults: list[Fault] = []
    at_ms = _FIRST_MS
    while at_ms < for_ms:
        faults.append(KINDS[random.choice(kinds)](random, at_ms, servers))
        at_ms += random.randrange(*_GAP_MS)
    return faults
