"""The crash test as its user sees it: a short real one, exit codes, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.test_crash_report import record
from tools import crash_test
from tools.crash_lanes import Lanes, LanesError, Screen
from zkstore.errors import ConfigError
from zkstore.testing.nemesis import keeping
from zkstore.testing.nemesis.case import Case, Outcome
from zkstore.testing.nemesis.faults import Kill
from zkstore.testing.nemesis.run import Progress


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Case]]:
    """Replace the lanes; the first cases that they were given."""

    def replace(*problems: str, error: Exception | None = None, has_ended: bool = True) -> list[Case]:
        cases: list[Case] = []

        def run(lanes: Lanes) -> list[dict[str, Any]]:
            cases.append(lanes.first)
            if error is not None:
                raise error
            return [record(*problems)] if has_ended else []

        monkeypatch.setattr(Lanes, "run", run)
        return cases

    return replace


@pytest.mark.interop
def test_a_server_that_is_killed_again_and_again_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, drawn = tmp_path / "report.json", tmp_path / "timeline.svg"
    arguments = ["--minutes", "0.08", "--output", str(tmp_path), "--json", str(figures), "--picture", str(drawn)]
    assert crash_test.main(arguments) == 0
    told, progress = capsys.readouterr()
    assert "lost       nothing" in told
    assert "nothing wrong" in progress
    found = json.loads(figures.read_text())
    assert found["summary"]["faults"]["Kill"] > 0
    assert found["summary"]["checks"]["survival"] > 0
    assert found["runs"][0]["starts"] == 1 + found["summary"]["faults"]["Kill"]
    assert "1 server; Kill" in drawn.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "timeline.svg"]


def test_what_was_wrong_ends_with_1(play: Callable[..., list[Case]], capsys: pytest.CaptureFixture[str]) -> None:
    play("survival at 0x7: gone")
    assert crash_test.main([]) == 1
    assert "--replay here/crash-test-1.json" in capsys.readouterr().out


def test_a_test_of_which_nothing_could_be_judged_is_no_success(
    play: Callable[..., list[Case]], monkeypatch: pytest.MonkeyPatch
) -> None:
    play()
    monkeypatch.setattr(Lanes, "run", lambda lanes: [{**record(), "judged": False}])
    assert crash_test.main([]) == 1


def test_one_server_is_killed_and_several_are_paused_and_restarted_too(play: Callable[..., list[Case]]) -> None:
    cases = play()
    crash_test.main(["--seed", "5"])
    crash_test.main(["--servers", "3"])
    crash_test.main(["--servers", "3", "--faults", "all"])
    crash_test.main(["--faults", "kill, clock"])
    assert [(case.servers, case.kinds) for case in cases] == [
        (1, ("kill",)),
        (3, ("kill", "pause", "restart")),
        (3, ()),
        (1, ("kill", "clock")),
    ]
    assert cases[0].seed == 5


def test_a_server_alone_may_drop_its_history_and_servers_together_may_not(play: Callable[..., list[Case]]) -> None:
    cases = play()
    crash_test.main([])
    crash_test.main(["--servers", "3"])
    assert cases[0].history_bytes_max < 1 << 30 < cases[1].history_bytes_max


def test_a_case_that_was_left_behind_is_run_again(play: Callable[..., list[Case]], tmp_path: Path) -> None:
    cases = play()
    path = tmp_path / "case.json"
    keeping.write(path, Outcome(Case(3, 1, plan=(Kill(10, 1, 0),)), ("kill",), findings=["it was wrong"]))
    assert crash_test.main(["--replay", str(path)]) == 0
    assert cases[0].plan == (Kill(10, 1, 0),)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--faults", "plague"],
        ["--replay", "no-such-file"],
        ["--parallel", "0"],
        ["--seconds", "0"],
        ["--clients", "0"],
        ["--minutes", "-1"],
    ],
)
def test_what_makes_no_sense_ends_with_2(
    arguments: list[str], play: Callable[..., list[Case]], capsys: pytest.CaptureFixture[str]
) -> None:
    play()
    assert crash_test.main(arguments) == 2
    assert capsys.readouterr().err.startswith("crash_test: ")


def test_a_kind_that_cannot_be_had_here_ends_with_2(
    play: Callable[..., list[Case]], capsys: pytest.CaptureFixture[str]
) -> None:
    play(error=ConfigError("power: it cannot be had here"))
    assert crash_test.main(["--faults", "power"]) == 2
    assert "power: it cannot be had here" in capsys.readouterr().err


def test_a_test_that_fails_itself_does_not_look_like_success(play: Callable[..., list[Case]]) -> None:
    play(error=LanesError("a lane ended"))
    assert crash_test.main([]) == 1


def test_who_interrupts_it_before_anything_is_known_is_not_told_that_all_is_well(
    play: Callable[..., list[Case]], capsys: pytest.CaptureFixture[str]
) -> None:
    play(has_ended=False)
    assert crash_test.main([]) == 130
    told, error = capsys.readouterr()
    assert told == ""
    assert "nothing can be said" in error


# --- the screen -----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def drawn(stream: io.StringIO) -> str:
    screen = Screen(stream, 60)
    screen.note(1, Progress(3, 4, 1_000, 0))
    screen.note(2, Progress(5, 6, 2_000, 0))
    screen.done(3, record("it was wrong"))
    screen.draw()
    screen.draw()
    screen.say("FOUND something")
    return stream.getvalue()


def test_a_terminal_has_one_line_that_changes_and_goes_when_something_is_said() -> None:
    said = drawn(Terminal())
    assert said.startswith("\r    0 s of 60: 11 faults, 14 starts, 4,000 requests, 1 PROBLEMS")
    assert said.count("faults") == 1
    assert said.endswith(" \rFOUND something\n")


def test_elsewhere_a_line_comes_now_and_then() -> None:
    said = drawn(io.StringIO())
    assert "\r" not in said
    assert said.splitlines()[0].endswith("1 PROBLEMS")
    assert said.splitlines()[1:] == ["FOUND something"]
