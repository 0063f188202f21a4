"""The benchmark's command line and plan."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from tools.benchmark import LOADS, MEASURES, conditions, main, make_plan, names_from, parser, svg_file
from tools.load_requests import MODES


def test_every_load_has_a_mode_of_the_generator_and_a_measure_that_chooses_it() -> None:
    assert {mode for mode, *_ in LOADS} <= set(MODES)
    assert {mode.removesuffix("90") for mode, *_ in LOADS} <= set(MEASURES)


def test_a_choice_of_measures_is_checked() -> None:
    assert names_from(MEASURES)("get, set") == ("get", "set")
    with pytest.raises(ArgumentTypeError, match="put: choose from get,set"):
        names_from(MEASURES)("get,put")


def test_the_picture_must_be_svg() -> None:
    assert svg_file("a/b.svg") == Path("a/b.svg")
    with pytest.raises(ArgumentTypeError, match=re.escape("ends in .svg")):
        svg_file("b.png")


def test_quick_is_one_short_round_and_single_settings_override_it() -> None:
    plan = make_plan(parser().parse_args(["--quick", "--seconds", "3", "--no-apache", "--only", "get"]))
    assert (plan.seconds, plan.rounds, plan.big_nodes, plan.only) == (3.0, 1, 100_000, ("get",))
    assert [contestant.name for contestant in plan.contenders()] == ["zkstore"]


def test_the_default_measures_everything_three_times() -> None:
    plan = make_plan(parser().parse_args(["--no-apache"]))
    assert (plan.seconds, plan.rounds, plan.big_nodes, plan.only) == (5.0, 3, 1_000_000, MEASURES)
    assert "3 rounds of 5 s" in conditions(plan.rounds, plan.seconds)


def test_the_zkstore_command_is_split_like_a_shell_does() -> None:
    options = parser().parse_args(["--no-apache", "--zkstore-command", "run 'a b' serve"])
    assert make_plan(options).ours.command == ["run", "a b", "serve"]


def test_a_server_that_does_not_start_ends_the_run_with_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["benchmark", "--no-apache", "--only", "start", "--zkstore-command", "false", "--work-dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*command, "--json", str(tmp_path / "figures.json")])
    assert main() == 1
    assert "benchmark: zkstore ended with status 1 while starting" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_measures_nothing_still_writes_its_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figures, bars = tmp_path / "figures.json", tmp_path / "bars.svg"
    monkeypatch.setattr("tools.benchmark.LOADS", ())
    monkeypatch.setattr(
        "sys.argv", ["benchmark", "--no-apache", "--only", "get", "--json", str(figures), "--picture", str(bars)]
    )
    assert main() == 0
    assert json.loads(figures.read_text())["rows"] == []
    assert bars.read_text().startswith("<svg")
    assert "cores shared by server and load generator" in capsys.readouterr().out
