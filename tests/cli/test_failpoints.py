"""`zkstore failpoints`, and a server that is armed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.interop.processes import ENVIRONMENT, ServerProcess
from zkstore.cli import failpoints as command
from zkstore.cli import serve
from zkstore.failpoints import FAILPOINTS, VARIABLE


def test_all_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(FAILPOINTS)
    assert any(line.startswith("log.append.before_sync ") and line.endswith("EROFS]") for line in lines)


def test_a_word_chooses_and_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["log.cut", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed] == ["log.cut.before_write", "log.cut.before_sync", "log.cut.after_sync"]
    assert listed[1]["errors"] == ["ENOSPC", "EDQUOT", "EIO", "EROFS"]
    assert command.main(["nothing-like-this"]) == 1


def test_a_server_does_not_start_with_a_wrong_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "log.apend.before_sync=crash")
    assert serve.main(["--data-dir", str(tmp_path / "data"), "--client-port", "0"]) == 2
    assert "did you mean log.append.before_sync" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_an_armed_server_says_so_once_and_serves(tmp_path: Path) -> None:
    armed = {**ENVIRONMENT, VARIABLE: "log.drop.before_write=delay(1)"}
    server = ServerProcess(tmp_path / "data", environment=armed)
    server.start()
    try:
        (line,) = server.logged("failpoints are armed")
        assert line.endswith("log.drop.before_write=delay(1)")
        assert server.stop() == 0
    finally:
        server.close()
