"""Real servers under recorded clients and faults: what is judged right at the end, and what cannot be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from zkstore.errors import ConfigError
from zkstore.testing.nemesis.case import Case
from zkstore.testing.nemesis.faults import KINDS
from zkstore.testing.nemesis.run import run

pytestmark = pytest.mark.interop

PROCESSES_ONLY = ("kill", "pause", "restart", "clock", "members")


def judged(case: Case, tmp_path: Path) -> None:
    told: list[str] = []
    outcome = run(case, tmp_path, told.append, lambda: None)
    assert outcome.problems == [], "\n".join(told)
    assert sum(outcome.struck.values()) > 2
    assert outcome.txns > 100
    assert outcome.verdict is not None
    assert set(outcome.verdict.never()) <= {"bounds"}


@pytest.mark.thorough
def test_three_servers_keep_every_promise_while_processes_clocks_and_members_change(tmp_path: Path) -> None:
    judged(Case(1, for_ms=20_000, kinds=PROCESSES_ONLY), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("seed", "servers"), [(2, 3), (3, 5)])
def test_servers_keep_every_promise_whatever_can_be_done_to_them_here(seed: int, servers: int, tmp_path: Path) -> None:
    judged(Case(seed, servers, for_ms=120_000, clients=12), tmp_path)


def test_a_kind_of_fault_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no kind 'plague'; choose from " + ", ".join(KINDS)):
        run(Case(1, kinds=("plague",)), tmp_path, print, lambda: None)
