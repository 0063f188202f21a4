"""What the crash test says of its runs: figures, sentences, and a picture."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from tools.crash_report import picture, summary, text


def record(*problems: str, lane: int = 1, took_ms: tuple[int, ...] = (100, 300, 900)) -> dict[str, Any]:
    return {
        "lane": lane,
        "began_s": 1.0,
        "servers": 1,
        "problems": list(problems),
        "struck": {"Kill": 3},
        "starts": 4,
        "calls": 1_000,
        "answers": 990,
        "txns": 400,
        "dropped_zxid": 7,
        "judged": True,
        "checks": {"survival": 400, "reads": 500},
        "kept": "here/crash-test-1" if problems else None,
        "case_file": "here/crash-test-1.json" if problems else None,
        "timeline": {
            "seconds": 10.0,
            "faults": [{"kind": "Kill", "at_ms": at_ms, "until_ms": at_ms, "server": 1} for at_ms in (1_000, 2_000)],
            "recoveries": [{"kind": "Kill", "at_ms": 1_000, "took_ms": each} for each in took_ms],
            "hit_again_before_recovery": 2,
            "outages": [[1_000, 2_000], [3_000, 4_000]],
            "slice_ms": 250,
            "answered": [25] * 40,
        },
    }


def report(*records: dict[str, Any]) -> str:
    return "\n".join(text(summary(records, ("kill",), 11.0)))


def test_figures_of_all_runs_are_added_up() -> None:
    found = summary([record(), record(lane=2)], ("kill",), 11.0)
    assert (found["runs"], found["faults"], found["starts"], found["answered"]) == (2, {"Kill": 6}, 8, 1_980)
    assert found["recovery_ms"]["all"] == {"count": 6, "median": 300, "p99": 900, "worst": 900}
    assert (found["unavailable_s"], found["load_s"], found["history_was_dropped_in"]) == (4.0, 20.0, 2)


def test_a_sound_test_says_that_nothing_was_lost() -> None:
    said = report(record())
    assert "Kill 3" in said
    assert "lost       nothing: 400 answers" in said
    assert "wrong      nothing, in 900 checks" in said
    assert "in 20% of the time" in said
    assert "2 more were hit again" in said
    assert "| Kill " in said


def test_what_was_lost_and_what_else_was_wrong_is_told_with_the_case_to_replay() -> None:
    said = report(record("survival at 0x7: gone", "reads at 0x8: odd"))
    assert "lost       1 PROBLEMS" in said
    assert "wrong      2 PROBLEMS" in said
    assert "survival at 0x7: gone" in said
    assert "data and logs are kept in here/crash-test-1; to try again" in said
    assert "--replay here/crash-test-1.json" in said


def test_runs_that_nobody_could_judge_are_told() -> None:
    assert "CANNOT" not in report(record())
    assert "1 of the runs CANNOT BE JUDGED" in report(record(), {**record(), "judged": False})


def test_only_so_many_problems_are_listed() -> None:
    said = report(record(*(f"reads at {number:#x}: odd" for number in range(30))))
    assert "and 20 more" in said


def test_a_test_without_any_recovery_has_no_table() -> None:
    assert "median" not in report(record(took_ms=()))


def test_a_picture_is_sound_xml_and_has_a_row_for_each_lane() -> None:
    drawn = picture([record(), record(lane=2)], "kill & more")
    root = ElementTree.fromstring(drawn)
    said = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "kill & more" in said
    assert {"lane 1", "lane 2"} <= set(said)
    assert "100 /s" in said


def test_a_picture_of_nothing_can_be_drawn() -> None:
    assert ElementTree.fromstring(picture([], "nothing")).tag.endswith("svg")
