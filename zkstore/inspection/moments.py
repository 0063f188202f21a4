"""Moments as people write them: a zxid, a date, a time of day, or how long ago."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import Final

from zkstore.errors import StorageError

HOW_TO: Final = (
    'Write a zxid (0x100000007 or decimal), a time (2026-03-01T14:00, 14:00, "yesterday 14:00"), or "2h ago"'
)

_ZXID: Final = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19}")
_AGO: Final = re.compile(r"((?:[0-9]+(?:\.[0-9]+)?\s*[a-z]+[\s,]*)+?)\s+ago")
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)")
_CLOCK: Final = re.compile(r"(?:(today|yesterday)(?:\s+(?:at\s+)?)?)?([0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?")
_UNITS_S: Final = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400,
    "w": 604800, "week": 604800,
}  # fmt: skip
_ZXID_MAX: Final = (1 << 63) - 1


def zxid_of(text: str) -> int | None:
    """The zxid that a text is, or None if it is none."""
    text = text.strip()
    if not _ZXID.fullmatch(text):
        return None
    zxid = int(text, 16 if text[:2].lower() == "0x" else 10)
    if zxid > _ZXID_MAX:
        raise StorageError(f"{text} is larger than any zxid")
    return zxid


def time_ms_of(text: str, now_ms: int) -> int:
    """The time that a text is, ms since 1970 UTC; without a zone, that of this machine. Raises StorageError."""
    now = datetime.fromtimestamp(now_ms / 1000).astimezone()
    lowered = " ".join(text.lower().split())
    if lowered == "now":
        return now_ms
    try:
        moment = _ago(lowered, now) or _clock(lowered, now) or _iso(text.strip())
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise StorageError(f"{text!r} is no moment. {HOW_TO}") from error


def _ago(text: str, now: datetime) -> datetime | None:
    found = _AGO.fullmatch(text)
    if found is None:
        return None
    seconds = 0.0
    for number, unit in _PART.findall(found[1]):
        known = _UNITS_S.get(unit) or _UNITS_S.get(unit.removesuffix("s"))
        if known is None:
            raise ValueError(f"unit {unit!r}")
        seconds += float(number) * known
    return now - timedelta(seconds=seconds)


def _clock(text: str, now: datetime) -> datetime | None:
    found = _CLOCK.fullmatch(text)
    if found is None or not text:
        return None
    day = now.date() - timedelta(days=1) if found[1] == "yesterday" else now.date()
    clock = found[2] or "00:00"
    return datetime.fromisoformat(
        f"{day.isoformat()}T{clock.rjust(len(clock) + (clock.find(':') == 1), '0')}"
    ).astimezone()


def _iso(text: str) -> datetime:
    moment = datetime.fromisoformat(text.removesuffix(" UTC") + "+00:00" if text.endswith(" UTC") else text)
    return moment if moment.tzinfo is not None else moment.astimezone()


def now_ms() -> int:
    """This machine's clock, ms since 1970 UTC."""
    return round(time.time() * 1000)
