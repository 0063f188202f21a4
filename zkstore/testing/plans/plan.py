"""From a seed to a case: how many servers, how quick everything is, what is asked, and every fault.

A `Case` is all that a run depends on, and data. Some plans are random over all kinds of faults, some follow a schedule
that has broken servers before (ensemble.md 15), with random times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, Final, NamedTuple

from zkstore.limits import EPOCH_COUNTER_MAX
from zkstore.testing.plans import faults as fx
from zkstore.testing.plans.faults import AFTER, BEFORE, LEADER, Fault
from zkstore.testing.plans.schedules import SCHEDULES

FORMAT: Final = 1

DRIFT_PPM_MAX: Final = 20_000
"""By how many millionths a server's clock runs fast or slow at most: far more than clocks do, to see it at once."""


class Ask(NamedTuple):
    """A client's wish to whoever leads: a write of some `txns` of `size` bytes, or with 0 txns, to know of all."""

    at_ms: int
    txns: int
    size: int


@dataclass(frozen=True)
class Case:
    """All that a run depends on.

    Attributes:
        spares: servers that are no members at first.
        drifts_ppm: by how many millionths each server's clock runs fast.
        calm_ms: when all faults end.
        asks: what is asked of agreement alone, where there are no clients.
        clients: how many use the servers; with none, the servers have no more than agreement in them.
        think_us: a client's mean pause between what it does.
        epoch_counter_max: how many transactions an epoch may have.
        is_grouped: the voters are in three groups, and quorums are most of most groups, by weight.
        weights: (voter, weight) of those that do not weigh 1.
        has_operator: somebody with all rights changes the members, now and then, as a client.
        checkpoint_ms: how often a server brings its checkpoint up to date; 0 for never. The log behind it is dropped
            but for `checkpoint_kept` segments, so that those who come later need a snapshot.
        local_sessions: new sessions are known to one server only; with `upgrades_sessions` they are made known to all
            before they own anything.
    """

    seed: int
    voters: tuple[int, ...]
    observers: tuple[int, ...]
    spares: tuple[int, ...]
    tick_ms: int
    init_limit: int
    sync_limit: int
    latency_us: int
    jitter_us: int
    disk_us: int
    drifts_ppm: tuple[int, ...]
    window_bytes: int
    in_flight_max: int
    calm_ms: int
    plan: str
    faults: tuple[Fault, ...]
    asks: tuple[Ask, ...]
    clients: int = 0
    think_us: int = 100_000
    epoch_counter_max: int = EPOCH_COUNTER_MAX
    is_grouped: bool = False
    weights: tuple[tuple[int, int], ...] = ()
    has_operator: bool = False
    checkpoint_ms: int = 0
    checkpoint_kept: int = 0
    local_sessions: bool = False
    upgrades_sessions: bool = False

    @property
    def servers(self) -> tuple[int, ...]:
        """All ids."""
        return (*self.voters, *self.observers, *self.spares)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        fields = asdict(self)
        fields["faults"] = [fx.to_json(fault) for fault in self.faults]
        return {"format": FORMAT, **fields}

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Case:
        """What `to_json` made. Raises ValueError for what is no case."""
        fields = dict(fields)
        if fields.pop("format", None) != FORMAT:
            raise ValueError("this is no case, or one of another version of the simulator")
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        try:
            fields["faults"] = tuple(fx.from_json(fault) for fault in fields["faults"])
            fields["asks"] = tuple(Ask(*ask) for ask in fields["asks"])
            fields["weights"] = tuple((voter, weight) for voter, weight in fields.get("weights", ()))
            return Case(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"this case has other fields than this version of the simulator knows: {error}") from error

    def describe(self) -> list[str]:
        """Lines for people: the servers, then every fault."""
        lines = [
            f"seed {self.seed}, plan {self.plan}: voters {list(self.voters)}, observers {list(self.observers)},"
            f" spares {list(self.spares)}{self._describe_groups()};"
            f" {self.epoch_counter_max} transactions an epoch;"
            f" tick {self.tick_ms} ms, init {self.init_limit}, sync {self.sync_limit} ticks;"
            f" checkpoint every {self.checkpoint_ms} ms, {self.checkpoint_kept} segments kept;"
            f"{_sessions_text(self)}"
            f" network {self.latency_us}+{self.jitter_us} us, disk {self.disk_us} us;"
            f" {self.clients} clients{' and an operator' * self.has_operator}, {len(self.asks)} requests,"
            f" calm from {self.calm_ms / 1000:.3f} s on"
        ]
        return lines + [fx.describe(fault) for fault in self.faults]

    def _describe_groups(self) -> str:
        weights = ", ".join(f"server {voter} {weight}" for voter, weight in self.weights)
        return f", in groups{' that weigh ' * bool(weights)}{weights}" if self.is_grouped else ""


def make(seed: int, servers: int | None = None, *, is_bare: bool = False) -> Case:
    """The case of a seed.

    Args:
        servers: how many voters, where that is not left to the seed.
        is_bare: agreement alone, without clients and their tree.
    """
    random = Random(f"case {seed}")
    count = servers or random.choices((3, 5, 7), (60, 30, 10))[0]
    voters = tuple(range(1, count + 1))
    observers = tuple(range(count + 1, count + 1 + random.choice((0, 0, 0, 1, 2))))
    spares = tuple(range(count + len(observers) + 1, count + len(observers) + 1 + random.choice((0, 0, 1, 2))))
    total = count + len(observers) + len(spares)
    calm_ms = random.randrange(6_000, 16_000)
    case = Case(
        seed=seed,
        voters=voters,
        observers=observers,
        spares=spares,
        tick_ms=random.choice((100, 200, 300)),
        init_limit=10,
        sync_limit=5,
        latency_us=random.choice((100, 300, 2_000)),
        jitter_us=random.choice((50, 500, 5_000)),
        disk_us=random.choice((100, 500, 4_000)),
        drifts_ppm=tuple(random.choice((0, random.randrange(-DRIFT_PPM_MAX, DRIFT_PPM_MAX))) for _ in range(total)),
        window_bytes=random.choice((2_000, 20_000, 1 << 20)),
        in_flight_max=random.choice((2, 8, 64)),
        calm_ms=calm_ms,
        plan="",
        faults=(),
        asks=_asks(random, calm_ms),
        epoch_counter_max=random.choice((EPOCH_COUNTER_MAX, EPOCH_COUNTER_MAX, EPOCH_COUNTER_MAX, 60)),
        is_grouped=random.random() < 0.15,
        checkpoint_ms=random.choice((0, 200, 700, 2_000)),
        checkpoint_kept=random.choice((0, 0, 5, 50)),
    )
    if case.is_grouped:
        weights = [(voter, random.choice((0, 1, 1, 1, 2, 5))) for voter in voters[:-1]]
        case = replace(case, weights=tuple((voter, weight) for voter, weight in weights if weight != 1))
    name = random.choice((*SCHEDULES, *["shifting majorities"] * 3, *["random"] * len(SCHEDULES)))
    planned = (
        _random_faults(case, random) if name == "random" else SCHEDULES[name](case, random) + _seasoning(case, random)
    )
    if not is_bare:
        random = Random(f"clients of case {seed}")
        clients, think_us = random.choice((3, 6, 6, 12)), random.choice((30_000, 100_000, 100_000, 300_000))
        case = replace(case, clients=clients, think_us=think_us, has_operator=random.random() < 0.25)
        planned += _client_faults(_Dice(case, random))
        random = Random(f"sessions of case {seed}")
        are_local = random.random() < 0.2
        case = replace(case, local_sessions=are_local, upgrades_sessions=are_local and random.random() < 0.8)
    return replace(case, plan=name, faults=tuple(sorted(planned, key=lambda fault: fault.at_ms)))


def _sessions_text(case: Case) -> str:
    if not case.local_sessions:
        return ""
    return " local sessions that may be upgraded;" if case.upgrades_sessions else " local sessions;"


def _asks(random: Random, calm_ms: int) -> tuple[Ask, ...]:
    asks = []
    at_ms = 0.0
    mean_ms = random.choice((10, 30, 100))
    while at_ms < calm_ms:
        at_ms += random.expovariate(1 / mean_ms)
        if random.random() < 0.25:
            asks.append(Ask(int(at_ms), 0, 0))
        else:
            asks.append(Ask(int(at_ms), random.choice((1, 1, 1, 3)), random.choice((20, 20, 500, 4_000))))
    return tuple(asks)


# --- any fault ------------------------------------------------------------------------------------


class _Dice:
    """Random parts of faults for one case."""

    def __init__(self, case: Case, random: Random) -> None:
        self.case = case
        self.random = random

    def at_ms(self) -> int:
        return self.random.randrange(self.case.calm_ms)

    def for_ms(self) -> int:
        sync_ms = self.case.tick_ms * self.case.sync_limit
        return self.random.choice((self.random.randrange(5, 100), self.random.randrange(50, 2 * sync_ms), 3 * sync_ms))

    def server(self) -> int:
        chance = self.random.random()
        if chance < 0.35:
            return LEADER
        if chance < 0.5:
            return -self.random.randrange(1, len(self.case.voters))
        return self.random.choice(self.case.servers)

    def member(self) -> int:
        return self.random.choice((*self.case.observers, *self.case.voters))


def _crash(dice: _Dice) -> Fault:
    random = dice.random
    part = random.choice((0, 1000, random.randrange(1001)))
    return fx.Crash(dice.at_ms(), dice.server(), dice.for_ms(), part, random.random() < 0.3)


def _crash_at(dice: _Dice) -> Fault:
    random = dice.random
    effect = random.choice(("Promise", "Adopt", "Append", "Append", "Cut", "InstallRows", "Install", "Belong"))
    moment = random.choice((BEFORE, AFTER))
    return fx.CrashAt(dice.at_ms(), dice.server(), effect, random.choice((1, 1, 2, 5)), moment, dice.for_ms())


def _partition(dice: _Dice) -> Fault:
    random, servers = dice.random, dice.case.servers
    side = random.sample(servers, random.randrange(1, max(2, len(servers) // 2 + 1)))
    named: tuple[int, ...] = random.choice((tuple(sorted(side)), (LEADER,), (LEADER, -1)))
    return fx.Partition(dice.at_ms(), dice.for_ms(), named)


def _one_way(dice: _Dice) -> Fault:
    sender, receiver = dice.random.sample(dice.case.servers, 2)
    return fx.OneWay(dice.at_ms(), dice.for_ms(), sender, receiver)


def _reconfigure(dice: _Dice) -> Fault:
    case, random = dice.case, dice.random
    role = random.choice(("regroup",) if case.is_grouped else ("voter", "voter", "observer", "leave"))
    server = random.choice((*case.spares, *case.servers, LEADER)) if role == "leave" else random.choice(case.servers)
    return fx.Reconfigure(dice.at_ms(), server, role)


_ANY: Final[tuple[tuple[int, Callable[[_Dice], Fault]], ...]] = (
    (14, _crash),
    (14, _crash_at),
    (8, lambda d: fx.Pause(d.at_ms(), d.server(), d.for_ms())),
    (3, lambda d: fx.ClockJump(d.at_ms(), d.server(), d.random.choice((-100_000, -500, 500, 100_000, 10**9)))),
    (4, lambda d: fx.DiskSlow(d.at_ms(), d.server(), d.for_ms(), d.random.choice((5, 50, 500)))),
    (5, lambda d: fx.DiskStall(d.at_ms(), d.server(), d.for_ms())),
    (5, lambda d: fx.DiskFull(d.at_ms(), d.server(), d.for_ms())),
    (4, lambda d: fx.DiskFails(d.at_ms(), d.server(), d.for_ms())),
    (1, lambda d: fx.BitRot(d.at_ms(), d.member(), d.random.randrange(1000), d.random.randrange(10_000))),
    (3, lambda d: fx.WipeDisk(d.at_ms(), d.server(), d.for_ms())),
    (10, _partition),
    (5, _one_way),
    (6, lambda d: fx.Mute(d.at_ms(), d.for_ms(), d.server(), d.random.random() < 0.5)),
    (4, lambda d: fx.Flap(d.at_ms(), d.for_ms(), d.server(), d.random.choice((20, 100, 400)))),
    (6, lambda d: fx.Reset(d.at_ms(), d.server())),
    (4, lambda d: fx.SlowLinks(d.at_ms(), d.for_ms(), d.server(), d.random.choice((5, 30, 100)))),
    (4, lambda d: fx.LossyGossip(d.at_ms(), d.for_ms() * 3, d.random.choice((100, 300, 600)))),
    (3, lambda d: fx.Ghost(d.at_ms(), d.for_ms(), d.server())),
    (6, _reconfigure),
    (4, lambda d: fx.HandOver(d.at_ms())),
    (10, lambda d: fx.TakeCheckpoint(d.at_ms(), d.server(), d.random.choice((0, 0, 3, 50)))),
)


def _any(dice: _Dice, count: int) -> list[Fault]:
    made = dice.random.choices([make_fault for _, make_fault in _ANY], [weight for weight, _ in _ANY], k=count)
    return [make_fault(dice) for make_fault in made]


def _random_faults(case: Case, random: Random) -> list[Fault]:
    return _any(_Dice(case, random), random.choice((2, 5, 10, 20)))


def _seasoning(case: Case, random: Random) -> list[Fault]:
    """A schedule rarely comes alone."""
    return _any(_Dice(case, random), random.choice((0, 0, 1, 3)))


def _client_faults(dice: _Dice) -> list[Fault]:
    """Now and then a server loses its clients, some of them, or for a while all."""
    random = dice.random
    planned: list[Fault] = []
    for _ in range(random.randrange(8)):
        if random.random() < 0.6:
            planned.append(fx.ClientsCut(dice.at_ms(), dice.server(), random.choice((200, 500, 1000))))
        else:
            planned.append(fx.ClientsBlocked(dice.at_ms(), dice.server(), random.randrange(100, 5_000)))
    return planned
