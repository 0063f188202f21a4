"""What the benchmark prints: figures with their goals, as markdown tables and as an SVG picture. Pure text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from html import escape
from statistics import median

from tools.load import LoadResult


class Sense(Enum):
    """Which number a goal bounds, and from which side."""

    RATIO_AT_LEAST = "≥ {:g} ×"
    RATIO_AT_MOST = "≤ {:g} ×"
    VALUE_AT_MOST = "≤ {:g}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What zkstore should reach: a bound on its ratio to Apache ZooKeeper, or on its own value."""

    sense: Sense
    bound: float

    def text(self, unit: str = "") -> str:
        """The bound for a person; `unit` is used for a bound on the value."""
        shown = self.sense.value.format(self.bound)
        return f"{shown} {unit}" if self.sense is Sense.VALUE_AT_MOST else shown

    def reached(self, value: float, ratio: float | None) -> bool | None:
        """Whether the goal is met; None if it takes a ratio and there is none."""
        if self.sense is Sense.VALUE_AT_MOST:
            return value <= self.bound
        if ratio is None:
            return None
        return ratio >= self.bound if self.sense is Sense.RATIO_AT_LEAST else ratio <= self.bound


@dataclass(slots=True)
class LoadRow:
    """One load: a result of ours and, beside it in time, one of theirs for each round."""

    name: str
    goal: Goal
    ours: list[LoadResult] = field(default_factory=list)
    theirs: list[LoadResult] = field(default_factory=list)

    def ratio(self) -> float | None:
        """The median over the rounds of ours divided by theirs."""
        return median_ratio([r.requests_per_s for r in self.ours], [r.requests_per_s for r in self.theirs])

    def reached(self) -> bool | None:
        """Whether the goal is met."""
        return self.goal.reached(middle_value([r.requests_per_s for r in self.ours]), self.ratio())

    def figures(self) -> dict[str, object]:
        """All figures of all rounds, for JSON."""
        ours, theirs = ([asdict(result) for result in results] for results in (self.ours, self.theirs))
        judged = {"goal": self.goal.text(), "ratio": self.ratio(), "reached": self.reached()}
        return {"load": self.name, "ours": ours, "theirs": theirs, **judged}


@dataclass(slots=True)
class ValueRow:
    """One other figure, smaller being better: a value of ours and one of theirs for each round."""

    name: str
    unit: str
    goal: Goal | None = None
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def ratio(self) -> float | None:
        """The median over the rounds of ours divided by theirs."""
        return median_ratio(self.ours, self.theirs)

    def reached(self) -> bool | None:
        """Whether the goal is met; None without one."""
        return self.goal.reached(middle_value(self.ours), self.ratio()) if self.goal else None

    def figures(self) -> dict[str, object]:
        """All figures of all rounds, for JSON."""
        goal = self.goal.text(self.unit) if self.goal else None
        judged = {"goal": goal, "ratio": self.ratio(), "reached": self.reached()}
        return {"measure": self.name.strip(), "unit": self.unit, "ours": self.ours, "theirs": self.theirs, **judged}


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the ratios round by round: what slows both of a round's runs cancels out."""
    ratios = [our / their for our, their in zip(ours, theirs, strict=False) if their]
    return median(ratios) if ratios else None


def middle_value(values: Sequence[float]) -> float:
    """The median, 0 of nothing."""
    return median(values) if values else 0.0


def middle_result(results: Sequence[LoadResult]) -> LoadResult | None:
    """The result whose throughput is the median (the lower one of two)."""
    return sorted(results, key=lambda r: r.requests_per_s)[(len(results) - 1) // 2] if results else None


# --- tables ---------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table with aligned columns: the first one to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def verdict(reached: bool | None) -> str:
    """How a table says whether a goal is met."""
    return {True: "reached", False: "NOT reached", None: "–"}[reached]


def ratio_text(ratio: float | None) -> str:
    """A ratio with two digits behind the point."""
    return "–" if ratio is None else f"{ratio:.2f}"


def load_table(rows: Sequence[LoadRow]) -> str:
    """Requests per second and latencies, load by load."""
    head = ["load", "zkstore req/s", "p50 / p99 µs", "Apache req/s", "p50 / p99 µs", "ratio", "goal", ""]
    cells = [
        [
            row.name,
            *load_cells(middle_result(row.ours)),
            *load_cells(middle_result(row.theirs)),
            ratio_text(row.ratio()),
            row.goal.text(),
            verdict(row.reached()),
        ]
        for row in rows
    ]
    return table(head, cells)


def load_cells(result: LoadResult | None) -> list[str]:
    """The two cells of one server in the table of loads."""
    if result is None:
        return ["–", "–"]
    return [f"{result.requests_per_s:,.0f}", f"{result.p50_us:,} / {result.p99_us:,}"]


def value_table(rows: Sequence[ValueRow]) -> str:
    """Start times, memory and stalls."""
    head = ["measure", "zkstore", "Apache", "ratio", "goal", ""]
    cells = [
        [
            row.name,
            value_text(row.ours, row.unit),
            value_text(row.theirs, row.unit),
            ratio_text(row.ratio()),
            row.goal.text(row.unit) if row.goal else "–",
            verdict(row.reached()),
        ]
        for row in rows
    ]
    return table(head, cells)


def value_text(values: Sequence[float], unit: str) -> str:
    """The median of some values with three significant digits or all before the point."""
    if not values:
        return "–"
    value = median(values)
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


# --- the picture ----------------------------------------------------------------------------------

PICTURE_WIDTH = 760
LABEL_WIDTH = 220
FIGURES_WIDTH = 130
BAR_HEIGHT, BAR_GAP = 18, 8
TOP, BOTTOM = 64, 54
REACHED_COLOUR, MISSED_COLOUR, INK, GREY, FAINT = "#2a7f62", "#c8713d", "#1d2733", "#5b6670", "#d7dce1"


def picture(rows: Sequence[LoadRow | ValueRow], subtitle: str) -> str:
    """An SVG bar chart of the ratios: one bar a row, a mark where its goal is, a line at 1.

    Rows without a ratio or a goal are left out.
    """
    bars = [(row, ratio) for row in rows if row.goal and (ratio := row.ratio()) is not None]
    goals = [row.goal.bound for row, _ in bars if row.goal]
    scale_max = max([1.0, *goals, *(ratio for _, ratio in bars)])
    height = TOP + len(bars) * (BAR_HEIGHT + BAR_GAP) + BOTTOM
    unit = (PICTURE_WIDTH - LABEL_WIDTH - FIGURES_WIDTH) / scale_max
    one = LABEL_WIDTH + unit
    body = [
        f'<rect width="{PICTURE_WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        f'<text x="20" y="28" font-size="16" font-weight="600" fill="{INK}">zkstore ÷ Apache ZooKeeper</text>',
        f'<text x="20" y="48" fill="{GREY}">{escape(subtitle)}</text>',
        f'<rect x="{one - 1:.1f}" y="{TOP - 6}" width="2" height="{height - BOTTOM - TOP + 6}" fill="{FAINT}"/>',
        f'<text x="{one:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle" fill="{GREY}">equal</text>',
        *(bar(row, ratio, TOP + index * (BAR_HEIGHT + BAR_GAP), unit) for index, (row, ratio) in enumerate(bars)),
        f'<text x="20" y="{height - 14}" fill="{GREY}">Dark mark: goal. Green: reached. '
        "Loads: more is better. ms, s, MiB: less is better.</text>",
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PICTURE_WIDTH}" height="{height}" '
        f'viewBox="0 0 {PICTURE_WIDTH} {height}" font-family="system-ui, sans-serif" font-size="12">\n  '
        + "\n  ".join(body)
        + "\n</svg>\n"
    )


def bar(row: LoadRow | ValueRow, ratio: float, top: float, unit: float) -> str:
    """One row of the picture: label, bar, goal mark, number."""
    colour = MISSED_COLOUR if row.reached() is False else REACHED_COLOUR
    label = escape(row.name.strip() + (f" ({row.unit})" if isinstance(row, ValueRow) else ""))
    middle, ratio_x, goal_x = top + BAR_HEIGHT - 5, PICTURE_WIDTH - FIGURES_WIDTH + 50, PICTURE_WIDTH - 20
    parts = [
        f'<text x="{LABEL_WIDTH - 10}" y="{middle}" text-anchor="end" fill="{INK}">{label}</text>',
        f'<rect x="{LABEL_WIDTH}" y="{top}" width="{ratio * unit:.1f}" height="{BAR_HEIGHT}" rx="2" fill="{colour}"/>',
        f'<text x="{ratio_x}" y="{middle}" text-anchor="end" fill="{INK}">{ratio:.2f}</text>',
    ]
    if row.goal:
        goal = row.goal.text(row.unit if isinstance(row, ValueRow) else "")
        parts.append(f'<text x="{goal_x}" y="{middle}" text-anchor="end" fill="{GREY}">{goal}</text>')
    if row.goal and row.goal.sense is not Sense.VALUE_AT_MOST:
        x = LABEL_WIDTH + row.goal.bound * unit
        parts.append(f'<rect x="{x - 1:.1f}" y="{top - 3}" width="2" height="{BAR_HEIGHT + 6}" fill="{INK}"/>')
    return "<g>" + "".join(parts) + "</g>"
