"""The damage sweep's command line, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import damage_sweep
from zkstore.testing.sweeping.damage import HEALED, SAME, WRONG, Damage, Found, Sample


def test_all_is_well_with_a_table_of_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert damage_sweep.main(["--only", "format", "--every", "40", "--flips", "0", "--directory", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "damage", "same", "healed", "refused", "wrong"]
    assert lines[-1].endswith("; 0 of them went wrong")
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(sample: Sample, damage: Damage, scratch: Path) -> Found:
        if damage.kind == "missing":
            return Found(WRONG, "a znode is not there")
        return Found(HEALED if damage.file == "tree/data.mdb" else SAME, "")

    monkeypatch.setattr(damage_sweep, "attempt", attempt)
    arguments = ["--only", "tree", "--flips", "0", "--json", "--directory", str(tmp_path)]
    assert damage_sweep.main(arguments) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert ["tree/data.mdb", "missing", "wrong", 2] in report["counts"]
    assert report["wrong"][0] == "tree/data.mdb, missing, after an orderly stop: wrong: a znode is not there"
    assert captured.err.splitlines() == report["wrong"]
