"""The ensemble benchmark's plan, and its three servers at work."""

from __future__ import annotations

import signal
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from tools import contestants
from tools.benchmark import names_from
from tools.ensemble_benchmark import LOADS, MEASURES, make_plan, parser, write_many, zxid_of
from tools.ensembles import Ensemble
from tools.load import Address, parse_addresses
from tools.load_requests import MODES


def test_every_load_has_a_mode_of_the_generator() -> None:
    assert {mode for mode, *_ in LOADS} <= set(MODES)


def test_a_choice_of_measures_is_checked() -> None:
    assert names_from(MEASURES)("loads, big") == ("loads", "big")
    with pytest.raises(ArgumentTypeError, match="get: choose from loads,failover"):
        names_from(MEASURES)("loads,get")


def test_quick_is_short_and_the_default_measures_everything() -> None:
    quick = make_plan(parser().parse_args(["--quick", "--no-apache"]))
    assert (quick.seconds, quick.rounds, quick.losses) == (2.0, 1, 3)
    whole = make_plan(parser().parse_args(["--no-apache"]))
    assert (whole.only, whole.losses, whole.behind_txns) == (MEASURES, 10, 1_000_000)


def test_addresses_are_listed_with_commas() -> None:
    expected: list[Address] = [("a", 1), ("b", 2)]
    assert parse_addresses("a:1,b:2") == expected
    with pytest.raises(ValueError, match="'b' is not HOST:PORT"):
        parse_addresses("a:1,b")


@pytest.mark.interop
def test_three_servers_elect_take_writes_and_lose_their_leader(tmp_path: Path) -> None:
    with Ensemble(contestants.zkstore(), tmp_path) as ensemble:
        leader = ensemble.wait_until_serving()
        assert write_many(ensemble.addresses[leader], 1500) >= 1500
        follower = (leader + 1) % 3
        assert zxid_of(ensemble, follower) > 0
        ensemble.kill(leader, signal.SIGKILL)
        ensemble.wait_for_a_write(but=leader)
        ensemble.wait_for_end(leader)
        ensemble.start(leader)
        ensemble.wait_until_serving()
        assert ensemble.memory().resident_mib > 0
