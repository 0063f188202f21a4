"""Whole runs: the servers hold what they promise, and a seed means one run and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from zkstore.testing import simulation
from zkstore.testing.checkers.invariants import INVARIANTS
from zkstore.testing.checkers.verdict import RULES
from zkstore.testing.plans import faults as fx
from zkstore.testing.plans import plan as planning
from zkstore.testing.plans.plan import Case
from zkstore.testing.simulation import Tally

ROOT = Path(__file__).parents[2]
REPEATED = (3, 11)

if os.environ.get("CI"):
    AMOUNTS = [pytest.param(300, 100, id="many")]
else:
    AMOUNTS = [pytest.param(20, 40, id="few"), pytest.param(300, 100, id="many", marks=pytest.mark.long)]


def run_all(seeds: range, *, is_bare: bool) -> Tally:
    tally = Tally()
    for seed in seeds:
        outcome = simulation.run(planning.make(seed, is_bare=is_bare))
        assert not outcome.violations, f"tools/simulate.py --seed {seed}: {outcome.violations[0]}"
        tally.add(outcome)
    return tally


@pytest.mark.parametrize(("with_clients", "bare"), AMOUNTS)
def test_nothing_is_violated_and_every_rule_is_looked_at(with_clients: int, bare: int) -> None:
    tally = run_all(range(with_clients), is_bare=False)
    only_agreement = run_all(range(bare), is_bare=True)
    # "code" is broken, if ever, without being looked at.
    assert [name for name in RULES if not tally.checks[name]] == []
    assert [name for name in INVARIANTS if not only_agreement.checks[name]] == ["code"]
    assert tally.operations > 200 * with_clients


def test_the_same_seed_gives_the_same_run() -> None:
    for seed in REPEATED:
        one, other = (simulation.run(planning.make(seed)) for _ in range(2))
        assert one.digest == other.digest
        assert (one.events, one.simulated_us, one.checks) == (other.events, other.simulated_us, other.checks)


def test_a_trace_changes_nothing() -> None:
    case = planning.make(REPEATED[0], is_bare=True)
    assert simulation.run(case).digest == simulation.run(case, with_trace=True).digest


def test_another_seed_gives_another_run() -> None:
    digests = {simulation.run(planning.make(seed, is_bare=True)).digest for seed in range(5)}
    assert len(digests) == 5


def test_processes_that_hash_differently_agree() -> None:
    digests = [_digests_in_a_process(str(hash_seed)) for hash_seed in (1, 4711)]
    assert digests[0] == digests[1]


def _digests_in_a_process(hash_seed: str) -> str:
    program = (
        "from zkstore.testing import simulation\n"
        "from zkstore.testing.plans import plan as planning\n"
        f"for seed in {REPEATED}:\n"
        "    for is_bare in (False, True):\n"
        "        print(simulation.run(planning.make(seed, is_bare=is_bare)).digest)\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.split()) == 2 * len(REPEATED)
    return done.stdout


def test_a_case_that_was_stored_runs_as_before() -> None:
    case = planning.make(REPEATED[1])
    stored = json.dumps(case.to_json())
    assert simulation.run(Case.from_json(json.loads(stored))).digest == simulation.run(case).digest


def test_a_server_alone_serves_through_crashes_and_a_full_disk() -> None:
    planned = planning.make(1, 3, is_bare=True)
    plan = (
        fx.DiskFull(1_000, 1, 500),
        fx.Crash(2_000, 1, 100, 500, True),
        fx.TakeCheckpoint(2_500, 1, 0),
        fx.CrashAt(3_000, 1, "Append", 3, fx.AFTER, 200),
        fx.DiskFails(4_000, 1, 300),
    )
    alone = replace(planned, voters=(1,), observers=(), spares=(), drifts_ppm=(0,), faults=plan)
    outcome = simulation.run(alone)
    assert outcome.violations == ()
    assert outcome.faults["disk Promise"] == 0
    assert outcome.checks["I5"] > 20
    assert all(outcome.faults[type(fault).__name__] == 1 for fault in plan)


def test_groups_that_weigh_alike_elect_and_commit() -> None:
    case = next(case for case in map(planning.make, range(1_000)) if case.is_grouped)
    outcome = simulation.run(case)
    assert outcome.violations == () and outcome.checks["I18"] > 50


def test_a_wiped_disk_costs_nothing_while_a_quorum_remembers() -> None:
    planned = replace(planning.make(3, 3, is_bare=True), is_grouped=False, observers=(), spares=(), drifts_ppm=(0,) * 3)
    faults = tuple(fx.WipeDisk(at_ms, server, 50) for at_ms, server in ((1_500, 1), (2_500, 2), (3_500, 3), (4_500, 1)))
    outcome = simulation.run(replace(planned, faults=faults, calm_ms=6_000))
    assert outcome.violations == ()
    assert outcome.faults["WipeDisk"] == 4
    too_many = tuple(fx.WipeDisk(2_000, server, 50) for server in (1, 2))
    outcome = simulation.run(replace(planned, faults=too_many, calm_ms=4_000))
    assert outcome.violations == ()
    assert outcome.faults["WipeDisk"] == 1


def test_weights_decide_and_may_be_given_anew() -> None:
    planned = replace(planning.make(3, 5, is_bare=True), observers=(), spares=(), drifts_ppm=(0,) * 5)
    changes = tuple(fx.Reconfigure(at_ms, 1, "regroup") for at_ms in range(1_500, 5_000, 500))
    case = replace(planned, is_grouped=True, weights=((1, 0), (2, 5)), faults=changes, calm_ms=6_000)
    outcome = simulation.run(case)
    assert outcome.violations == ()
    assert outcome.faults["Reconfigure"] >= 5


def test_epochs_follow_each_other_where_they_run_out_of_zxids() -> None:
    case = replace(planning.make(2, 3, is_bare=True), faults=(), epoch_counter_max=20)
    outcome = simulation.run(case)
    assert outcome.violations == ()
    assert outcome.faults["role Lead"] >= outcome.operations // 40
