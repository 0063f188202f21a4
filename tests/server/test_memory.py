"""How much memory there is and how much is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from zkstore.server import memory


def test_what_the_process_holds_is_plausible() -> None:
    assert 1 << 20 < memory.resident_bytes() < 1 << 40


def test_more_is_held_when_more_is_taken() -> None:
    before = memory.resident_bytes()
    block = bytearray(b"x") * (64 << 20)
    assert memory.resident_bytes() - before > 32 << 20
    del block


@pytest.mark.parametrize(
    ("text", "limit"),
    [("1000000000\n", 900_000_000), ("max\n", None), (f"{1 << 62}\n", None), ("", None)],
)
def test_the_limit_is_nine_tenths_of_the_cgroups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, limit: int | None
) -> None:
    file = tmp_path / "memory.max"
    file.write_text(text)
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (tmp_path / "missing", file))
    assert memory.default_limit_bytes() == limit


def test_where_there_is_no_cgroup_there_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (tmp_path / "missing",))
    assert memory.default_limit_bytes() is None
