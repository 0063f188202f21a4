"""Seeds in several processes: the same outcomes, and a process that dies is named."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from multiprocessing import active_children

import pytest

from zkstore.testing import simulation, workers
from zkstore.testing.plans import plan as planning
from zkstore.testing.simulation import Outcome
from zkstore.testing.workers import Died

FATAL = 3


def run_bare(seed: int) -> Outcome:
    return simulation.run(planning.make(seed, 3, is_bare=True))


def run_bare_and_die(seed: int) -> Outcome:
    if seed == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_bare(seed)


def run_and_leave(seed: int) -> Outcome:
    sys.exit(7)


def test_several_processes_do_what_one_does() -> None:
    alone = {outcome.case.seed: outcome for outcome in map(run_bare, range(5))}
    together = list(workers.outcomes(iter(range(5)), run_bare, 2))
    assert {outcome.case.seed: outcome for outcome in together if isinstance(outcome, Outcome)} == alone
    assert len(together) == 5
    assert active_children() == []


def test_one_process_runs_the_seeds_in_their_order() -> None:
    found = list(workers.outcomes(iter((4, 2)), run_bare, 1))
    assert [outcome.case.seed for outcome in found if isinstance(outcome, Outcome)] == [4, 2]


def test_a_worker_that_dies_is_named_and_the_others_go_on() -> None:
    found = list(workers.outcomes(iter(range(6)), run_bare_and_die, 2))
    (died,) = [one for one in found if isinstance(one, Died)]
    assert died.seed == FATAL and died.worker in (1, 2) and died.pid > 0
    assert str(died).endswith("died with SIGKILL while it ran seed 3")
    assert sorted(one.case.seed for one in found if isinstance(one, Outcome)) == [0, 1, 2, 4, 5]


def test_when_all_have_died_it_is_over(capfd: pytest.CaptureFixture[str]) -> None:
    found = list(workers.outcomes(iter(range(9)), run_and_leave, 2))
    assert sorted((one.seed, one.reason) for one in found if isinstance(one, Died)) == [
        (0, "exit code 7"),
        (1, "exit code 7"),
    ]
    assert len(found) == 2


def test_no_worker_outlives_its_generator() -> None:
    with closing(workers.outcomes(iter(range(1_000)), run_bare, 2)) as found:
        next(found)
        assert len(active_children()) == 2
    assert active_children() == []
