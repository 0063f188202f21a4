"""Faults for real servers: typed, timed and planned from a seed before a run begins, so that a plan can be printed.

Times are milliseconds since the clients began. A server is named by its id, or LEADER: who leads when the fault comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias, get_args

from zkstore.failpoints import FAILPOINTS

LEADER: Final = 0

IN: Final = "in"
OUT: Final = "out"
BOTH: Final = "both"

_FIRST_MS: Final = 1_500
_ALL_ONE_IN: Final = 6
_PERIOD_MS: Final = (100, 1_000)
_RATES_KBIT_S: Final = (256, 1_000, 8_000)
_POINTS: Final = tuple(FAILPOINTS)
_HITS: Final = (1, 1, 2, 3, 10, 50)
_SYNC_MS: Final = (20, 100, 500)
_JUMPS_MS: Final = (100, 2_000, 60_000, 3_600_000, 400 * 24 * 3_600_000)


class Pace(NamedTuple):
    """How faults follow each other, all in milliseconds: from and below.

    Attributes:
        gap_ms: from one fault to the next.
        lasts_ms: how long a fault stays.
        down_ms: how long a server that was killed stays down.
    """

    gap_ms: tuple[int, int] = (300, 4_000)
    lasts_ms: tuple[int, int] = (200, 6_000)
    down_ms: tuple[int, int] = (0, 4_000)


class Kill(NamedTuple):
    """kill -9; started again after `down_ms`."""

    at_ms: int
    server: int
    down_ms: int


class KillAll(NamedTuple):
    """kill -9 of every server at once."""

    at_ms: int
    down_ms: int


class Power(NamedTuple):
    """The power of one server's machine fails: what was not synced is gone. Started again after `down_ms`."""

    at_ms: int
    server: int
    down_ms: int


class PowerAll(NamedTuple):
    """The power of every server's machine fails at once."""

    at_ms: int
    down_ms: int


class CrashPoint(NamedTuple):
    """A server is killed and started anew, and kills itself when it comes by a failpoint the `hit`th time."""

    at_ms: int
    server: int
    point: str
    hit: int


class Damage(NamedTuple):
    """A server is killed, and a page of its data is overwritten: that much of the way through the log's file, or
    through the checkpoint's. Started again after `down_ms`. Never of two servers at a time."""

    at_ms: int
    server: int
    down_ms: int
    of_log: bool
    place_permille: int


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


class SlowDisk(NamedTuple):
    """Whenever a server waits for its disk, that takes `sync_ms` longer."""

    at_ms: int
    server: int
    for_ms: int
    sync_ms: int


class ClockStep(NamedTuple):
    """A server's wall clock jumps by so much, and goes on from there."""

    at_ms: int
    server: int
    by_ms: int


class Leave(NamedTuple):
    """The ensemble is asked to go on without a server, and to take it back after `for_ms`. Its process stays."""

    at_ms: int
    server: int
    for_ms: int


class Visit(NamedTuple):
    """One server more: it comes as an observer, is made a voter halfway, and goes after `for_ms`."""

    at_ms: int
    for_ms: int


Fault: TypeAlias = (
    Kill
    | KillAll
    | Power
    | PowerAll
    | CrashPoint
    | Damage
    | Pause
    | Restart
    | Rolling
    | Isolate
    | Split
    | Flap
    | Slow
    | Full
    | SlowDisk
    | ClockStep
    | Leave
    | Visit
)

_TYPES: Final[dict[str, Any]] = {kind.__name__: kind for kind in get_args(Fault)}


def to_json(fault: Fault) -> dict[str, Any]:
    """As a JSON object: its kind, then its fields."""
    return {"fault": type(fault).__name__, **fault._asdict()}


def from_json(fields: dict[str, Any]) -> Fault:
    """What `to_json` made. Raises ValueError for what is no fault."""
    rest = dict(fields)
    kind = _TYPES.get(str(rest.pop("fault", "")))
    if kind is None or set(rest) != set(kind._fields):
        raise ValueError(f"{str(fields)[:200]} is no fault; the kinds are {', '.join(_TYPES)}")
    fault: Fault = kind(**rest)
    return fault


class _Dice:
    """What the makers of faults throw."""

    def __init__(self, random: Random, servers: int, pace: Pace) -> None:
        self.random = random
        self.servers = servers
        self._pace = pace

    def server(self) -> int:
        """Whom it hits: often whoever leads."""
        if self.servers == 1:
            return 1
        return LEADER if self.random.random() < 0.4 else self.random.randrange(1, self.servers + 1)

    def hits_all(self) -> bool:
        """Now and then it hits everybody."""
        return self.servers > 1 and self.random.randrange(_ALL_ONE_IN) == 0

    def lasts(self) -> int:
        """How long it stays."""
        return self.random.randrange(*self._pace.lasts_ms)

    def down(self) -> int:
        """How long a server stays down."""
        return self.random.randrange(*self._pace.down_ms)

    def gap(self) -> int:
        """How long until the next fault."""
        return self.random.randrange(*self._pace.gap_ms)


def _kill(dice: _Dice, at_ms: int) -> Fault:
    down_ms = dice.down()
    return KillAll(at_ms, down_ms) if dice.hits_all() else Kill(at_ms, dice.server(), down_ms)


def _power(dice: _Dice, at_ms: int) -> Fault:
    down_ms = dice.down()
    return PowerAll(at_ms, down_ms) if dice.hits_all() else Power(at_ms, dice.server(), down_ms)


def _crash_point(dice: _Dice, at_ms: int) -> Fault:
    random = dice.random
    return CrashPoint(at_ms, dice.server(), random.choice(_POINTS), random.choice(_HITS))


def _damage(dice: _Dice, at_ms: int) -> Fault:
    random = dice.random
    return Damage(at_ms, dice.server(), dice.down(), random.random() < 0.5, random.randrange(1_000))


def _pause(dice: _Dice, at_ms: int) -> Fault:
    return Pause(at_ms, dice.server(), dice.lasts())


def _restart(dice: _Dice, at_ms: int) -> Fault:
    return Rolling(at_ms, dice.random.randrange(500, 2_500)) if dice.hits_all() else Restart(at_ms, dice.server())


def _partition(dice: _Dice, at_ms: int) -> Fault:
    random = dice.random
    if random.random() < 0.3:
        one, other = random.sample(range(1, dice.servers + 1), 2)
        return Split(at_ms, one, other, dice.lasts(), random.choice((BOTH, OUT)))
    way = random.choice((BOTH, BOTH, IN, OUT))
    return Isolate(at_ms, dice.server(), dice.lasts(), way, random.random() < 0.3)


def _flap(dice: _Dice, at_ms: int) -> Fault:
    return Flap(at_ms, dice.server(), dice.lasts(), dice.random.randrange(*_PERIOD_MS))


def _slow(dice: _Dice, at_ms: int) -> Fault:
    return Slow(at_ms, dice.server(), dice.lasts(), dice.random.choice(_RATES_KBIT_S))


def _full(dice: _Dice, at_ms: int) -> Fault:
    return Full(at_ms, dice.lasts())


def _slow_disk(dice: _Dice, at_ms: int) -> Fault:
    return SlowDisk(at_ms, dice.server(), dice.lasts(), dice.random.choice(_SYNC_MS))


def _clock(dice: _Dice, at_ms: int) -> Fault:
    return ClockStep(at_ms, dice.server(), dice.random.choice((-1, 1)) * dice.random.choice(_JUMPS_MS))


def _members(dice: _Dice, at_ms: int) -> Fault:
    # A change of the members takes a while, so there must be time for it.
    for_ms = 2_000 + 2 * dice.lasts()
    return Leave(at_ms, dice.server(), for_ms) if dice.random.random() < 0.6 else Visit(at_ms, for_ms)


KINDS: Final[dict[str, Callable[[_Dice, int], Fault]]] = {
    "kill": _kill,
    "power": _power,
    "crash-point": _crash_point,
    "damage": _damage,
    "pause": _pause,
    "restart": _restart,
    "partition": _partition,
    "flap": _flap,
    "slow": _slow,
    "full-disk": _full,
    "slow-disk": _slow_disk,
    "clock": _clock,
    "members": _members,
}
"""What can be asked for."""

OF_THE_NETWORK: Final = frozenset({"partition", "flap", "slow"})
OF_SEVERAL: Final = OF_THE_NETWORK | {"members", "damage"}
"""Kinds that a server alone knows nothing of."""


def plan(seed: int, servers: int, for_ms: int, kinds: Sequence[str], pace: Pace | None = None) -> list[Fault]:
    """Faults of these kinds for so long, the earliest first. Some overlap."""
    dice = _Dice(Random(f"nemesis {seed}"), servers, pace or Pace())
    faults: list[Fault] = []
    at_ms = _FIRST_MS
    while at_ms < for_ms:
        faults.append(KINDS[dice.random.choice(kinds)](dice, at_ms))
        at_ms += dice.gap()
    return faults
