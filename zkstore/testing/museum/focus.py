"""Plans biased to the faults that matter to one bug or another, and random within.

Most bugs need none: the plans of any seed find them. A focus saves seeds where several rare things must come together;
it knows what kind of faults that is, and neither the moments nor the servers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from zkstore.testing.plans import faults as fx
from zkstore.testing.plans.faults import AFTER, BEFORE, LEADER, Fault
from zkstore.testing.plans.plan import Ask, Case
from zkstore.testing.plans.schedules import SCHEDULES

Focus = Callable[[Case, Random], Case]
"""Makes of a seed's case one with other faults."""


def plan(*names: str) -> Focus:
    """One of these schedules, and nothing beside it."""

    def focus(case: Case, random: Random) -> Case:
        name = random.choice(names)
        return _with(case, name, SCHEDULES[name](case, random))

    return focus


def checkpoints(case: Case, random: Random) -> Case:
    """Servers take checkpoints and start again from them."""
    planned: list[Fault] = []
    at_ms = 1_500
    while at_ms < case.calm_ms - 1_500:
        server = random.choice(case.voters)
        planned.append(fx.TakeCheckpoint(at_ms, server, random.choice((0, 0, 3))))
        planned.append(fx.Crash(at_ms + random.randrange(1_000), server, random.randrange(50, 1_000), 1000, False))
        at_ms += random.randrange(200, 1_500)
    return _with(case, "checkpoints", planned)


def lagging(case: Case, random: Random) -> Case:
    """A server comes back epochs behind, and crashes in the midst of it, while those that know more come and go."""
    planned: list[Fault] = []
    case = _of_three(case)
    for round_ms in range(800, case.calm_ms - 2_000, 4_000):
        behind = random.choice(case.voters)
        back_ms = round_ms + random.randrange(600, 2_000)
        planned.append(fx.Crash(round_ms, behind, back_ms - round_ms, 0, False))
        for _ in range(random.choice((0, 1, 2, 2))):
            planned.append(fx.HandOver(random.randrange(round_ms, back_ms)))
        for server in case.voters:
            for first_ms, last_ms, share in ((-50, 10, 0.7), (100, 1_200, 0.5)):
                if server != behind and random.random() < share:
                    hit_ms, down_ms = back_ms + random.randrange(first_ms, last_ms), random.randrange(50, 1_500)
                    planned.append(fx.Crash(hit_ms, server, down_ms, random.choice((0, 1000)), False))
        effect, moment = random.choice(("Adopt", "Adopt", "Append")), random.choice((BEFORE, AFTER))
        planned.append(fx.CrashAt(back_ms, behind, effect, 1, moment, random.randrange(10, 300)))
    return _with(case, "lagging", planned)


def relay(case: Case, random: Random) -> Case:
    """Three servers, and one of them is down: the leader, most of the time. It comes back about when the next one goes,
    and may have left a write that nobody else has."""
    planned: list[Fault] = []
    case = replace(case, calm_ms=16_000)
    asks = [Ask(900, 1, 20)]
    at_ms = 1_200
    while at_ms < case.calm_ms - 300:
        gap_ms = random.randrange(400, 1_400)
        down_ms = max(20, gap_ms + random.randrange(-200, 400))
        hit_ms, has_tail = at_ms, random.random() < 0.6
        if has_tail:
            planned.append(fx.Partition(at_ms, random.randrange(60, 200), (LEADER,)))
            asks.append(Ask(at_ms + 10, 1, 20))
            hit_ms += random.randrange(30, 150)
        planned.append(fx.Crash(hit_ms, LEADER, down_ms, 1000, has_tail))
        at_ms += gap_ms
    return replace(_with(_of_three(case), "relay", planned), asks=tuple(asks), tick_ms=100)


def broken_promises(case: Case, random: Random) -> Case:
    """One server crashes again and again with a new promise on its disk that hardly anybody has heard of."""
    planned: list[Fault] = []
    case = replace(case, calm_ms=random.randrange(3_000, 6_000), tick_ms=100)
    victim = random.choice((case.voters[-1], case.voters[-1], random.choice(case.voters)))
    at_ms = 1_000
    while at_ms < case.calm_ms - 500:
        planned.append(fx.Crash(at_ms, LEADER, random.randrange(50, 1_000), 1000, False))
        for _ in range(random.choice((1, 2, 3))):
            moment = random.choice((AFTER, AFTER, BEFORE))
            planned.append(fx.CrashAt(at_ms, victim, "Promise", 1, moment, random.randrange(10, 600)))
        at_ms += random.randrange(500, 1_500)
    return _with(case, "broken promises", planned)


def restless_clients(case: Case, random: Random) -> Case:
    """Clients lose their connections all the time, and go to other servers; some servers are slow to hear of things."""
    planned: list[Fault] = []
    at_ms = 800
    while at_ms < case.calm_ms - 200:
        planned.append(fx.ClientsCut(at_ms, random.choice(case.servers), random.choice((300, 1000))))
        if random.random() < 0.2:
            lasts_ms, factor = random.randrange(50, 600), random.choice((5, 30, 100))
            planned.append(fx.SlowLinks(at_ms, lasts_ms, random.choice(case.servers), factor))
        at_ms += random.randrange(20, 200)
    return replace(case, plan="restless clients", faults=tuple(planned))


def rejoining(case: Case, random: Random) -> Case:
    """One follower after the other starts anew, while the leader stays."""
    planned: list[Fault] = []
    case = replace(case, calm_ms=5_000)
    at_ms = 1_000
    while at_ms < case.calm_ms - 500:
        other = -random.randrange(1, len(case.voters))
        planned.append(fx.Crash(at_ms, other, random.randrange(50, 400), 1000, False))
        at_ms += random.randrange(200, 800)
    return _with(case, "rejoining", planned)


def growing(case: Case, random: Random) -> Case:
    """Two voters become four: others are given a vote, one by one. Somebody is cut off or starts anew meanwhile."""
    planned: list[Fault] = []
    servers = (1, 2, 3, 4)
    for server, at_ms in zip((3, 4), sorted(random.sample(range(900, 2_500), 2)), strict=True):
        planned.append(fx.Reconfigure(at_ms, server, "voter"))
        hit_ms, lasts_ms = at_ms + random.randrange(15), random.randrange(100, 800)
        if random.random() < 0.3:
            planned.append(fx.Partition(hit_ms, lasts_ms, (random.choice((1, 2, LEADER)),)))
        if random.random() < 0.3:
            planned.append(fx.Crash(hit_ms, LEADER, lasts_ms, 1000, False))
    planned.append(fx.Crash(random.randrange(1_000, 4_000), random.choice((1, 2)), random.randrange(50, 500), 0, False))
    drifts_ppm = tuple(random.choice(case.drifts_ppm) for _ in servers)
    case = replace(case, voters=(1, 2), observers=(), spares=(3, 4), drifts_ppm=drifts_ppm, calm_ms=4_500)
    return replace(_with(case, "growing", planned), is_grouped=False)


def wiped(case: Case, random: Random) -> Case:
    """Of three disks one is wiped, while another lags behind and the third, which knows all, is about to go."""
    return _with(_of_three(case), "wiped disks", SCHEDULES["wiped disks"](_of_three(case), random))


def weighing(case: Case, random: Random) -> Case:
    """Five voters in three groups, some with more weight than others; some are cut off, and leaders go."""
    drifts_ppm = tuple(random.choice(case.drifts_ppm) for _ in range(5))
    case = replace(case, voters=(1, 2, 3, 4, 5), observers=(), spares=(), drifts_ppm=drifts_ppm, is_grouped=True)
    weights = [(voter, random.choice((0, 1, 1, 3))) for voter in case.voters[:-1]]
    planned: list[Fault] = []
    for at_ms in range(1_000, case.calm_ms - 500, 1_500):
        side = random.sample(case.voters, 2)
        planned.append(fx.Partition(at_ms, random.randrange(200, 1_400), tuple(sorted(side))))
        if random.random() < 0.3:
            planned.append(fx.Crash(at_ms + random.randrange(500), LEADER, random.randrange(50, 900), 1000, False))
    return replace(_with(case, "weighing", planned), weights=tuple(weights))


def broken_links(case: Case, random: Random) -> Case:
    """The leader's links break again and again under load, and little may be in flight."""
    planned: list[Fault] = [fx.Reset(random.randrange(800, 4_000), LEADER) for _ in range(30)]
    asks = tuple(Ask(at_ms, 1, 20) for at_ms in range(500, 4_000, 5))
    case = replace(_of_three(case), calm_ms=4_000, in_flight_max=1, asks=asks)
    return _with(case, "broken links", planned)


def changes_and_snapshots(case: Case, random: Random) -> Case:
    """A leader that proposes other members is cut off with that; the others go on, and forget the log behind it."""
    planned: list[Fault] = []
    case = replace(case, calm_ms=4_500, tick_ms=100)
    for at_ms in (900, 2_500):
        role = random.choice(("voter", "voter", "leave"))
        lasts_ms = random.randrange(800, 1_500)
        planned.append(fx.Partition(at_ms, lasts_ms, (LEADER,)))
        planned.append(fx.Reconfigure(at_ms + random.randrange(1, 30), random.choice((1, 2, 3, 4, 5)), role))
        planned += [fx.TakeCheckpoint(at_ms + lasts_ms - 20, server, 0) for server in (1, 2, 3, 4, 5)]
    drifts_ppm = tuple(random.choice(case.drifts_ppm) for _ in range(5))
    changed = replace(case, voters=(1, 2, 3), observers=(), spares=(4, 5), drifts_ppm=drifts_ppm, is_grouped=False)
    return _with(changed, "changes and snapshots", planned)


def slow_disks(case: Case, random: Random) -> Case:
    """Nothing fails, and every disk is slow, so that much is under way at once."""
    planned: list[Fault] = []
    for at_ms in range(1_000, case.calm_ms - 500, 1_000):
        factor = random.choice((10, 30, 100)) * 500 // case.disk_us + 1
        planned += [fx.DiskSlow(at_ms, server, random.randrange(300, 900), factor) for server in case.voters]
    return _with(replace(case, clients=12, think_us=10_000), "slow disks", planned)


def slow_leader(case: Case, random: Random) -> Case:
    """The leader's disk is slower than those of its followers, who agree without it, and clients come and go."""
    planned: list[Fault] = []
    for at_ms in range(1_000, case.calm_ms - 500, 700):
        factor = random.choice((10, 30, 100)) * 500 // case.disk_us + 1
        planned.append(fx.DiskSlow(at_ms, LEADER, random.randrange(200, 600), factor))
        planned.append(fx.ClientsCut(at_ms + random.randrange(300), random.choice(case.servers), 1000))
    faults = sorted(planned, key=lambda fault: fault.at_ms)
    return replace(case, clients=12, think_us=10_000, plan="slow leader", faults=tuple(faults))


def short_epochs(case: Case, random: Random) -> Case:
    """An epoch has few numbers, and some leaders hand over as soon as they have begun."""
    planned: list[Fault] = [fx.HandOver(at_ms) for at_ms in range(1_500, case.calm_ms, 2_500) if random.random() < 0.3]
    return replace(_with(_of_three(case), "short epochs", planned), epoch_counter_max=random.choice((20, 60)))


def watched_by_observers(case: Case, random: Random) -> Case:
    """As many observers as voters, and a leader that keeps them when it loses the voters."""
    count = len(case.voters)
    observers = tuple(range(count + 1, 2 * count + 1))
    drifts_ppm = tuple(random.choice(case.drifts_ppm) for _ in range(2 * count))
    planned: list[Fault] = []
    for at_ms in range(1_000, case.calm_ms - 1_000, 3_000):
        side = random.sample(observers, random.randrange(count // 2, count + 1))
        planned.append(fx.Partition(at_ms + random.randrange(500), random.randrange(500, 2_500), (LEADER, *side)))
    return replace(_with(case, "watched by observers", planned), observers=observers, spares=(), drifts_ppm=drifts_ppm)


def _of_three(case: Case) -> Case:
    """The case with three voters, and nobody else: it takes two failures to go wrong, and not three."""
    return replace(case, voters=case.voters[:3], observers=(), spares=(), drifts_ppm=case.drifts_ppm[:3])


def _with(case: Case, name: str, planned: list[Fault]) -> Case:
    """The case, with these faults only; what strikes its clients stays."""
    of_clients: list[Fault] = [fault for fault in case.faults if isinstance(fault, fx.ClientsCut | fx.ClientsBlocked)]
    faults = sorted(planned + of_clients, key=lambda fault: fault.at_ms)
    return replace(case, plan=name, faults=tuple(faults))
