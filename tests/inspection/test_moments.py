"""Moments: every way to write one means what it says."""

from __future__ import annotations

from datetime import datetime

import pytest

from zkstore.errors import StorageError
from zkstore.inspection import moments

NOW = datetime(2026, 3, 10, 15, 30).astimezone()
NOW_MS = round(NOW.timestamp() * 1000)
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("text", "zxid"),
    [("0x100000007", (1 << 32) + 7), ("42", 42), ("0XfF", 255), ("2h ago", None), ("2026-03-01", None)],
)
def test_a_zxid_is_decimal_or_hex(text: str, zxid: int | None) -> None:
    assert moments.zxid_of(text) == zxid


def test_a_number_that_no_zxid_can_be_is_refused() -> None:
    with pytest.raises(StorageError, match="larger than any zxid"):
        moments.zxid_of("0xffffffffffffffff")


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2h ago", 2),
        ("90 min ago", 1.5),
        ("1h30m ago", 1.5),
        ("2 days ago", 48),
        ("1 week, 2 hours ago", 170),
        ("0.5 hours ago", 0.5),
        ("now", 0),
    ],
)
def test_how_long_ago(text: str, hours: float) -> None:
    assert moments.time_ms_of(text, NOW_MS) == NOW_MS - round(hours * HOUR_MS)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("14:00", datetime(2026, 3, 10, 14, 0)),
        ("9:05", datetime(2026, 3, 10, 9, 5)),
        ("today", datetime(2026, 3, 10)),
        ("today 14:00:30", datetime(2026, 3, 10, 14, 0, 30)),
        ("Yesterday at 14:00", datetime(2026, 3, 9, 14, 0)),
        ("yesterday", datetime(2026, 3, 9)),
        ("2026-03-01", datetime(2026, 3, 1)),
        ("2026-03-01T14:00", datetime(2026, 3, 1, 14, 0)),
        ("2026-03-01 14:00:05.250", datetime(2026, 3, 1, 14, 0, 5, 250_000)),
    ],
)
def test_a_time_without_a_zone_is_local(text: str, moment: datetime) -> None:
    assert moments.time_ms_of(text, NOW_MS) == round(moment.astimezone().timestamp() * 1000)


@pytest.mark.parametrize("text", ["2026-03-01T14:00Z", "2026-03-01 14:00 UTC", "2026-03-01T15:00+01:00"])
def test_a_zone_counts(text: str) -> None:
    assert moments.time_ms_of(text, NOW_MS) == 1_772_373_600_000


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2026-13-01", "3 moons ago", "ago", "tomorrow 14:00"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(StorageError, match=r'is no moment. Write a zxid .* or "2h ago"'):
        moments.time_ms_of(text, NOW_MS)
