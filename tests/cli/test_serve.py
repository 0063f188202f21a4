"""`zkstore serve`: its settings from the command line, and its exit codes; no server runs here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zkstore.cli import serve
from zkstore.errors import ConfigError, DamageError
from zkstore.server.config import Config
from zkstore.server.settings import SETTINGS

Served = list[Config]
EndWith = Callable[[BaseException | None], Served]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What `main` sets up for a process ends with the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def end_with(monkeypatch: pytest.MonkeyPatch) -> EndWith:
    """Instead of serving, note the configuration and end with that exception."""

    def end_with(failure: BaseException | None) -> Served:
        served: Served = []

        async def instead(config: Config, words_of: Any, announce: Callable[[str], None]) -> None:
            served.append(config)
            announce("it serves")
            if failure is not None:
                raise failure

        monkeypatch.setattr(serve, "serve", instead)
        return served

    return end_with


def test_flags_become_settings(tmp_path: Path, end_with: EndWith) -> None:
    served = end_with(None)
    arguments = ["--data-dir", str(tmp_path), "--client-port", "0", "--host", "::1", "--tick-ms", "500"]
    assert serve.main(arguments) == 0
    [config] = served
    assert (config.data_dir, config.client_port, config.client_host, config.tick_ms) == (tmp_path, 0, "::1", 500)


def test_the_line_for_others_goes_to_stdout_and_the_log_does_not(
    end_with: EndWith, capsys: pytest.CaptureFixture[str]
) -> None:
    end_with(DamageError("the log is damaged"))
    assert serve.main([]) == 1
    captured = capsys.readouterr()
    assert captured.out == "it serves\n"
    assert captured.err.count("\n") == 1
    assert "the log is damaged" in captured.err


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (DamageError("damage"), 1),
        (ConfigError("nonsense"), 2),
        (ExceptionGroup("several", [ExceptionGroup("one", [DamageError("damage")])]), 1),
        (ExceptionGroup("several", [ConfigError("nonsense")]), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_ends_the_server_is_one_line_and_an_exit_code(
    end_with: EndWith,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException,
    code: int,
) -> None:
    end_with(failure)
    assert serve.main([]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_fault_of_ours_is_not_hidden(end_with: EndWith) -> None:
    end_with(AssertionError("impossible"))
    with pytest.raises(AssertionError, match="impossible"):
        serve.main([])


@pytest.mark.parametrize("arguments", [["--tick-ms", "soon"], ["/nowhere/zoo.cfg"]])
def test_a_setting_that_makes_no_sense_is_told_in_one_line(
    end_with: EndWith, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    served = end_with(None)
    assert serve.main(arguments) == 2
    assert served == []
    error = capsys.readouterr().err
    assert error.startswith("zkstore serve: ")
    assert error.count("\n") == 1


def test_an_unknown_flag_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        serve.main(["--no-such-flag", "1"])
    assert leaving.value.code == 2


def test_every_setting_has_a_flag_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        serve.main(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    for setting in SETTINGS:
        assert f"--{setting.field.replace('_', '-')} VALUE" in text
    assert "example:" in text
