"""What the crash test prints: text, figures for programs, and a picture of what happened when. Pure.

A run's record is what `Outcome.to_json` gives, with `lane` (which of the servers side by side) and `began_s` (when it
began, since the test did) beside it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from statistics import median
from typing import Any, Final

from tools.report import FAINT, GREY, INK, MISSED_COLOUR, REACHED_COLOUR, table

Record = dict[str, Any]

WIDTH: Final = 900
_LEFT, _RIGHT, _TOP, _BOTTOM = 110, 20, 64, 60
_ROW, _ROW_GAP = 96, 22
_BINS: Final = 260
_LOST_RULES: Final = ("survival", "final state", "agreement")


def summary(records: Sequence[Record], asked: Sequence[str], took_s: float) -> dict[str, Any]:
    """All figures of a test; `asked` are the kinds of faults that were chosen."""
    struck: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    took: defaultdict[str, list[int]] = defaultdict(list)
    for record in records:
        struck.update(record["struck"])
        checks.update(record["checks"])
        for one in record["timeline"]["recoveries"]:
            took[one["kind"]].append(one["took_ms"])
    seconds = sum(record["timeline"]["seconds"] for record in records)
    outages = [until - since for record in records for since, until in record["timeline"]["outages"]]
    everything = [ms for each in took.values() for ms in each]
    return {
        "asked_for": list(asked),
        "runs": len(records),
        "servers": sorted({record["servers"] for record in records}),
        "took_s": round(took_s, 1),
        "load_s": round(seconds, 1),
        "faults": dict(struck.most_common()),
        "starts": sum(record["starts"] for record in records),
        "requests": sum(record["calls"] for record in records),
        "answered": sum(record["answers"] for record in records),
        "txns": sum(record["txns"] for record in records),
        "checks": dict(checks.most_common()),
        "not_judged": sum(not record["judged"] for record in records),
        "history_was_dropped_in": sum(record["dropped_zxid"] > 0 for record in records),
        "recovery_ms": {"all": _spread(everything), **{kind: _spread(each) for kind, each in sorted(took.items())}},
        "hit_again_before_recovery": sum(record["timeline"]["hit_again_before_recovery"] for record in records),
        "unavailable_s": round(sum(outages) / 1000, 1),
        "problems": [problem for record in records for problem in record["problems"]],
        "kept": [record["kept"] for record in records if record.get("kept")],
        "cases": [record["case_file"] for record in records if record.get("case_file")],
    }


def _spread(values: Sequence[int]) -> dict[str, float]:
    if not values:
        return {"count": 0}
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return {"count": len(ordered), "median": median(ordered), "p99": p99, "worst": ordered[-1]}


def text(found: dict[str, Any], shown_max: int = 10) -> Iterator[str]:
    """The report for a person, line by line."""
    faults, problems = found["faults"], found["problems"]
    checks = sum(found["checks"].values())
    yield f"tried      {sum(faults.values()):,} faults in {found['runs']} runs, {found['took_s']:.0f} s:" + (
        f" {', '.join(f'{name} {count:,}' for name, count in faults.items())}" if faults else " none"
    )
    yield (
        f"load       {found['requests']:,} requests, {found['answered']:,} answered; {found['txns']:,} txns;"
        f" {found['starts']:,} starts of servers"
    )
    if found["history_was_dropped_in"]:
        yield f"           old history was dropped meanwhile in {found['history_was_dropped_in']} of the runs"
    if found["not_judged"]:
        yield f"           {found['not_judged']} of the runs CANNOT BE JUDGED: history was dropped before it was read"
    lost, looked_for = [one for one in problems if one.startswith(_LOST_RULES)], found["checks"].get("survival", 0)
    yield (
        f"lost       {f'{len(lost)} PROBLEMS' if lost else 'nothing'}:"
        f" {looked_for:,} answers to writes were looked for in the history"
    )
    yield f"wrong      {f'{len(problems)} PROBLEMS' if problems else 'nothing'}, in {checks:,} checks of what was told"
    for problem in problems[:shown_max]:
        yield f"  {problem}"
    if len(problems) > shown_max:
        yield f"  and {len(problems) - shown_max} more"
    share = found["unavailable_s"] / found["load_s"] if found["load_s"] else 0
    yield f"outages    no write was answered in {share:.0%} of the time that clients asked for one"
    rows = [
        [kind, f"{one['count']:,}", f"{one['median']:,.0f}", f"{one['p99']:,}", f"{one['worst']:,}"]
        for kind, one in found["recovery_ms"].items()
        if one["count"]
    ]
    if rows:
        yield "recovery   until a write is answered again, from the fault, or from the restart where nobody was left:"
        yield ""
        yield table(["after", "times", "median ms", "p99 ms", "worst ms"], rows)
        if found["hit_again_before_recovery"]:
            yield f"\n{found['hit_again_before_recovery']:,} more were hit again before they had recovered."
    for kept, case in zip(found["kept"], found["cases"], strict=True):
        yield f"\ndata and logs are kept in {kept}; to try again: python tools/crash_test.py --replay {case}"


# --- the picture ----------------------------------------------------------------------------------


def picture(records: Sequence[Record], subtitle: str) -> str:
    """An SVG: time to the right, a row for each of the servers or ensembles side by side.

    In a row: answers per second, in red the share of time in which no write was answered, and below it the faults.
    """
    lanes = sorted({record["lane"] for record in records})
    end_s = max((record["began_s"] + record["timeline"]["seconds"] for record in records), default=1.0) or 1.0
    height = _TOP + len(lanes) * (_ROW + _ROW_GAP) + _BOTTOM
    body = [
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        f'<text x="20" y="28" font-size="16" font-weight="600" fill="{INK}">zkstore under failures</text>',
        f'<text x="20" y="48" fill="{GREY}">{escape(subtitle)}</text>',
    ]
    for number, lane in enumerate(lanes):
        mine = [record for record in records if record["lane"] == lane]
        body += _row(mine, _TOP + number * (_ROW + _ROW_GAP), end_s, f"lane {lane}")
    axis = height - _BOTTOM + 14
    for part in range(5):
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * part / 4
        anchor = "end" if part == 4 else "middle"
        body.append(
            f'<text x="{x:.1f}" y="{axis}" text-anchor="{anchor}" fill="{GREY}">{end_s * part / 4:,.0f} s</text>'
        )
    body.append(
        f'<text x="20" y="{height - 16}" fill="{GREY}">Green: requests answered per second. Red, from above: share of'
        " time without an answer to a write. Dark, below: faults.</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="12">\n  ' + "\n  ".join(body) + "\n</svg>\n"
    )


def _row(records: Sequence[Record], top: float, end_s: float, label: str) -> Iterator[str]:
    bin_s = end_s / _BINS
    answered, unserved, faults = [0.0] * _BINS, [0.0] * _BINS, [0] * _BINS
    for record in records:
        line, began_s = record["timeline"], record["began_s"]
        slice_s = line["slice_ms"] / 1000
        for index, count in enumerate(line["answered"]):
            _spill(answered, began_s + index * slice_s, began_s + (index + 1) * slice_s, bin_s, count / slice_s)
        for since_ms, until_ms in line["outages"]:
            _spill(unserved, began_s + since_ms / 1000, began_s + until_ms / 1000, bin_s, 1.0)
        for fault in line["faults"]:
            faults[min(_BINS - 1, int((began_s + fault["at_ms"] / 1000) / bin_s))] += 1
    step = (WIDTH - _LEFT - _RIGHT) / _BINS
    most, most_faults = max(1.0, *(each / bin_s for each in answered)), max(1, *faults)
    high = _ROW - 16
    yield f'<text x="{_LEFT - 10}" y="{top + 12}" text-anchor="end" fill="{INK}">{escape(label)}</text>'
    yield f'<text x="{_LEFT - 10}" y="{top + 28}" text-anchor="end" fill="{GREY}">{most:,.0f} /s</text>'
    wide = WIDTH - _LEFT - _RIGHT
    yield f'<rect x="{_LEFT}" y="{top}" width="{wide}" height="{high}" fill="{FAINT}" opacity="0.35"/>'
    yield _bars(answered, most * bin_s, top + high, -high, step, REACHED_COLOUR)
    yield _bars(unserved, bin_s, top, high, step, MISSED_COLOUR, 'opacity="0.45" ')
    yield _bars([float(each) for each in faults], most_faults, top + high + 2, 14, step, INK)


def _spill(bins: list[float], since_s: float, until_s: float, bin_s: float, rate: float) -> None:
    """Add `rate` times the part of each bin that lies between the two."""
    first, last = int(since_s / bin_s), min(len(bins) - 1, int(until_s / bin_s))
    for index in range(first, last + 1):
        bins[index] += rate * max(0.0, min(until_s, (index + 1) * bin_s) - max(since_s, index * bin_s))


def _bars(
    values: Sequence[float], most: float, base: float, high: float, step: float, colour: str, more: str = ""
) -> str:
    """One path of bars that stand on `base`; a negative `high` lets them grow upwards."""
    parts = [
        f"M{_LEFT + index * step:.1f} {base:.1f}v{high * min(1.0, value / most):.1f}h{step:.2f}V{base:.1f}z"
        for index, value in enumerate(values)
        if value > 0
    ]
    return f'<path {more}fill="{colour}" d="{"".join(parts)}"/>'
