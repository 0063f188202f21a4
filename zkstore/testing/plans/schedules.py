"""Plans that follow what has broken servers before (ensemble.md 15), each with random times and places.

Every schedule makes the faults of one case; others are mixed in by `planning`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from zkstore.testing.plans import faults as fx
from zkstore.testing.plans.faults import AFTER, BEFORE, LEADER, Fault

if TYPE_CHECKING:
    from zkstore.testing.plans.plan import Case


def _restarts_while_promising(case: Case, random: Random) -> list[Fault]:
    """F1, F2: crashes around every write of an election, on several servers."""
    planned: list[Fault] = [fx.Reset(2_000, LEADER), fx.Crash(2_000, LEADER, random.randrange(100, 3_000), 0, False)]
    for server in random.sample(case.voters, len(case.voters) // 2 + 1):
        effect = random.choice(("Promise", "Adopt", "Append", "Cut"))
        moment = random.choice((BEFORE, AFTER))
        planned.append(fx.CrashAt(random.choice((0, 2_000)), server, effect, 1, moment, random.randrange(10, 1_000)))
    return planned


def _isolated_leader_with_a_tail(case: Case, random: Random) -> list[Fault]:
    """F5, F6: a leader writes on alone, others elect and commit; it comes back, perhaps through a checkpoint."""
    planned: list[Fault] = []
    for number in range(random.choice((1, 2, 3))):
        at_ms = 1_500 + number * 4_000
        planned.append(fx.Partition(at_ms, random.randrange(500, 3_000), (LEADER,)))
        if random.random() < 0.5:
            planned.append(fx.TakeCheckpoint(at_ms + random.randrange(500), random.choice(case.voters), 0))
        if random.random() < 0.5:
            server = random.choice(case.voters)
            planned.append(fx.CrashAt(at_ms, server, "Cut", 1, random.choice((BEFORE, AFTER)), 200))
    return planned


def _late_joiner(case: Case, random: Random) -> list[Fault]:
    """F3, F4, F7, F9: somebody comes back far behind, under load, by log or by snapshot, and it is cut short."""
    server = random.choice(case.voters)
    back_ms = random.randrange(2_500, 5_000)
    planned: list[Fault] = [fx.Crash(1_000, server, back_ms - 1_000, 0, False)]
    if random.random() < 0.6:
        planned += [fx.TakeCheckpoint(back_ms - 300, other, 0) for other in case.voters if other != server]
    for _ in range(random.choice((0, 1, 3))):
        effect = random.choice(("InstallBegin", "InstallRows", "Install", "Append", "Adopt"))
        moment = random.choice((BEFORE, AFTER))
        planned.append(fx.CrashAt(back_ms, server, effect, random.choice((1, 2, 7)), moment, 100))
    if random.random() < 0.5:
        planned.append(fx.Crash(back_ms + random.randrange(200), LEADER, 1_000, 1000, random.random() < 0.5))
    return planned


def _paused_leader(case: Case, random: Random) -> list[Fault]:
    """F20: the leader stands still for longer than it is waited for, and goes on as if nothing had been."""
    sync_ms = case.tick_ms * case.sync_limit
    return [fx.Pause(1_500 + n * 3_000, LEADER, int(sync_ms * random.uniform(0.5, 2.5))) for n in range(3)]


def _asymmetric(case: Case, random: Random) -> list[Fault]:
    """F19: a leader hears and is not heard, or the reverse."""
    return [fx.Mute(1_500 + n * 3_000, random.randrange(300, 3_000), LEADER, random.random() < 0.5) for n in range(3)]


def _lossy_elections(case: Case, random: Random) -> list[Fault]:
    """F16, F17, F18: votes lost, doubled, overtaken, while leaders go."""
    planned: list[Fault] = [fx.LossyGossip(0, case.calm_ms, random.choice((300, 600, 800)))]
    for number in range(4):
        planned.append(fx.Crash(1_000 + number * 2_000, LEADER, random.randrange(50, 2_000), 1000, False))
    return planned


def _power_cut(case: Case, random: Random) -> list[Fault]:
    """F8: all lose their power at once, some come back sooner than others, and again."""
    planned: list[Fault] = []
    for number in range(random.choice((1, 2, 3))):
        at_ms = random.randrange(1_500, 3_000) + number * 3_500
        for server in case.servers:
            part = random.choice((0, 500, 1000))
            planned.append(
                fx.Crash(at_ms + random.choice((0, 0, 1, 30)), server, random.randrange(10, 2_000), part, True)
            )
    return planned


def _reconfigured_under_fire(case: Case, random: Random) -> list[Fault]:
    """F27, F28: members come and go while leaders die."""
    planned: list[Fault] = []
    at_ms = 1_500
    while at_ms < case.calm_ms - 1_000:
        roles = ("voter", "regroup", "regroup") if case.is_grouped else ("voter", "voter", "leave", "observer")
        role = random.choice(roles)
        server = random.choice((LEADER, *case.servers)) if role == "leave" else random.choice(case.servers)
        planned.append(fx.Reconfigure(at_ms, server, role))
        if random.random() < 0.5:
            hit_ms = at_ms + random.randrange(30)
            planned.append(
                random.choice(
                    (
                        fx.Crash(hit_ms, LEADER, random.randrange(100, 2_000), random.choice((0, 1000)), False),
                        fx.Partition(hit_ms, random.randrange(200, 2_000), (LEADER,)),
                        fx.Crash(hit_ms, -1, random.randrange(100, 2_000), random.choice((0, 1000)), False),
                        fx.HandOver(hit_ms),
                    )
                )
            )
        at_ms += random.randrange(500, 2_500)
    return planned


def _wiped_disks(case: Case, random: Random) -> list[Fault]:
    """F14: a disk is wiped; its server comes back first, then one that lags behind, while those that know more go."""
    planned: list[Fault] = []
    for at_ms in range(1_500, case.calm_ms - 500, random.choice((1_500, 3_000))):
        lagging, wiped = random.sample(case.voters, 2)
        server = random.choice((wiped, wiped, LEADER, -1))
        wiped_ms = at_ms + random.randrange(100, 1_000)
        planned.append(fx.Crash(at_ms, lagging, random.randrange(100, 2_000), 1000, False))
        planned.append(fx.WipeDisk(wiped_ms, server, random.randrange(10, 500)))
        if random.random() < 0.6:
            gone_ms = wiped_ms + random.randrange(500)
            planned.append(fx.Crash(gone_ms, LEADER, random.randrange(300, 3_000), random.choice((0, 1000)), False))
        if random.random() < 0.4:
            effect, moment = random.choice(("Adopt", "Append", "Install", "Promise")), random.choice((BEFORE, AFTER))
            planned.append(fx.CrashAt(wiped_ms, server, effect, random.choice((1, 2)), moment, 100))
    return planned


def _full_disks(case: Case, random: Random) -> list[Fault]:
    """F15: disks that fill up or fail, the leader's first."""
    planned: list[Fault] = []
    for number in range(3):
        at_ms = 1_500 + number * 2_500 + random.randrange(500)
        kind = random.choice((fx.DiskFull, fx.DiskFails))
        planned.append(kind(at_ms, random.choice((LEADER, -1)), random.randrange(100, 2_000)))
    return planned


def _slow_snapshot(case: Case, random: Random) -> list[Fault]:
    """F35, F36: a snapshot over a slow link takes longer than discovery may."""
    server = random.choice(case.voters)
    planned: list[Fault] = [fx.Crash(800, server, 1_700, 0, False)]
    planned += [fx.TakeCheckpoint(2_300, other, 0) for other in case.voters if other != server]
    return [*planned, fx.SlowLinks(2_400, random.randrange(2_000, 6_000), server, random.choice((10, 100, 300)))]


def _handed_over(case: Case, random: Random) -> list[Fault]:
    """Leadership goes round in order, and sometimes out of it."""
    planned: list[Fault] = []
    for number in range(4):
        at_ms = 1_500 + number * 1_700
        planned.append(fx.HandOver(at_ms))
        if random.random() < 0.4:
            planned.append(fx.Crash(at_ms + random.randrange(20), random.choice((LEADER, -1)), 600, 1000, False))
    return planned


def _shifting_majorities(case: Case, random: Random) -> list[Fault]:
    """Whoever can reach each other changes more quickly than elections end, so that several wish to lead at once."""
    planned: list[Fault] = []
    at_ms = random.randrange(0, 1_500)
    while at_ms < case.calm_ms - 500:
        lasts_ms = random.choice((20, 60, 150, 400, 900))
        side = random.sample(case.voters, random.randrange(1, len(case.voters) // 2 + 1))
        planned.append(fx.Partition(at_ms, lasts_ms, tuple(sorted(side))))
        chance = random.random()
        if chance < 0.15:
            planned.append(fx.DiskSlow(at_ms, random.choice(case.voters), lasts_ms, random.choice((20, 200))))
        elif chance < 0.3:
            effect = random.choice(("Promise", "Adopt", "Append"))
            server, moment = random.choice(case.voters), random.choice((BEFORE, AFTER))
            planned.append(fx.CrashAt(at_ms, server, effect, 1, moment, random.randrange(20, 300)))
        elif chance < 0.45:
            planned.append(fx.Pause(at_ms + random.randrange(lasts_ms), LEADER, random.randrange(50, 1_000)))
        at_ms += int(lasts_ms * random.uniform(0.5, 2.0))
    return planned


SCHEDULES: Final[dict[str, Callable[[Case, Random], list[Fault]]]] = {
    "restarts while promising": _restarts_while_promising,
    "isolated leader with a tail": _isolated_leader_with_a_tail,
    "late joiner": _late_joiner,
    "paused leader": _paused_leader,
    "asymmetric": _asymmetric,
    "lossy elections": _lossy_elections,
    "power cut": _power_cut,
    "reconfigured under fire": _reconfigured_under_fire,
    "wiped disks": _wiped_disks,
    "full disks": _full_disks,
    "slow snapshot": _slow_snapshot,
    "handed over": _handed_over,
    "shifting majorities": _shifting_majorities,
}
