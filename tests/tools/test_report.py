"""Goals, medians, tables and the picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tools.load import LoadResult
from tools.report import Goal, LoadRow, Sense, ValueRow, load_table, median_ratio, picture, table, value_table

AT_LEAST = Goal(Sense.RATIO_AT_LEAST, 1.5)


def result(requests_per_s: float) -> LoadResult:
    """A result of which only the throughput matters."""
    return LoadResult("get", 16, 1, 1000, requests_per_s, 120, 3400, 5000, 9000, 0.3)


def load_row(*pairs: tuple[float, float]) -> LoadRow:
    """A row with one pair of throughputs, ours and theirs, for each round."""
    return LoadRow("get 16x1", AT_LEAST, [result(our) for our, _ in pairs], [result(their) for _, their in pairs])


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    assert median_ratio([10, 20, 90], [10, 10, 30]) == 2.0
    assert median_ratio([10], []) is None


@pytest.mark.parametrize(
    ("goal", "value", "ratio", "reached"),
    [
        (AT_LEAST, 0, 1.5, True),
        (AT_LEAST, 0, 1.49, False),
        (AT_LEAST, 0, None, None),
        (Goal(Sense.RATIO_AT_MOST, 0.5), 900, 0.5, True),
        (Goal(Sense.RATIO_AT_MOST, 0.5), 900, 0.51, False),
        (Goal(Sense.VALUE_AT_MOST, 0.6), 0.6, None, True),
        (Goal(Sense.VALUE_AT_MOST, 0.6), 0.7, 0.1, False),
    ],
)
def test_a_goal_bounds_a_ratio_or_a_value(goal: Goal, value: float, ratio: float | None, reached: bool | None) -> None:
    assert goal.reached(value, ratio) is reached


def test_a_goal_says_its_bound() -> None:
    assert AT_LEAST.text() == "≥ 1.5 ×"
    assert Goal(Sense.VALUE_AT_MOST, 0.6).text("s") == "≤ 0.6 s"


def test_tables_are_aligned_markdown() -> None:
    assert table(["load", "n"], [["get", "1"], ["create", "1,000"]]) == (
        "| load   |     n |\n|--------|------:|\n| get    |     1 |\n| create | 1,000 |"
    )


def test_a_load_is_judged_in_its_row() -> None:
    last = load_table([load_row((30_000, 10_000), (20_000, 10_000), (10_000, 10_000))]).splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells == ["get 16x1", "20,000", "120 / 3,400", "10,000", "120 / 3,400", "2.00", "≥ 1.5 ×", "reached"]


def test_without_apache_there_is_a_figure_but_no_verdict() -> None:
    last = load_table([LoadRow("get 16x1", AT_LEAST, [result(5000)])]).splitlines()[-1]
    assert [cell.strip() for cell in last.strip("|").split("|")][3:] == ["–", "–", "–", "≥ 1.5 ×", "–"]


def test_values_carry_their_unit_and_a_missed_goal_is_said() -> None:
    rows = [
        ValueRow("memory", "MiB", Goal(Sense.RATIO_AT_MOST, 0.5), [1234.5], [2000.0]),
        ValueRow("fill", "s", None, [1.234]),
    ]
    memory, fill = value_table(rows).splitlines()[-2:]
    assert [cell.strip() for cell in memory.strip("|").split("|")] == [
        "memory", "1,234 MiB", "2,000 MiB", "0.62", "≤ 0.5 ×", "NOT reached",
    ]  # fmt: skip
    assert [cell.strip() for cell in fill.strip("|").split("|")] == ["fill", "1.23 s", "–", "–", "–", "–"]


def test_figures_keep_every_round() -> None:
    figures = load_row((30, 10), (20, 10)).figures()
    assert (figures["load"], figures["ratio"], figures["reached"]) == ("get 16x1", 2.5, True)
    assert isinstance(figures["ours"], list)
    assert [one["requests_per_s"] for one in figures["ours"]] == [30, 20]


def test_the_picture_has_a_bar_for_every_row_with_ratio_and_goal() -> None:
    rows: list[LoadRow | ValueRow] = [
        load_row((30, 10)),
        ValueRow("memory < all", "MiB", Goal(Sense.RATIO_AT_MOST, 0.5), [10], [10]),
        ValueRow("no goal", "s", None, [1], [1]),
        ValueRow("no ratio", "s", AT_LEAST, [1]),
    ]
    svg = ElementTree.fromstring(picture(rows, "conditions & all"))
    bars = svg.findall("{http://www.w3.org/2000/svg}g")
    assert [bar[0].text for bar in bars] == ["get 16x1", "memory < all (MiB)"]
    widths = [float(bar[1].get("width", "0")) for bar in bars]
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.01)
