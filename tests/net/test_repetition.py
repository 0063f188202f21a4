"""Log lines that would repeat."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zkstore.net.repetition import LINE_EVERY_MS, Repetition


def test_one_of_many_lines_alike_is_written_and_the_others_are_counted() -> None:
    lines = Repetition()
    assert [lines.may_say("full", now_ms) for now_ms in (0, 0, 10, 999)] == [True, False, False, False]
    assert lines.may_say("slow", 10)
    assert lines.due(999) == []
    assert lines.due(1_000) == [("full", 3)]
    assert not lines.may_say("full", 1_500), "the line with the count was the one of this second"
    assert lines.due(2_000) == [("full", 1)]
    assert lines.due(3_000) == []
    assert lines.may_say("full", 3_000)


def test_what_is_not_said_any_more_is_forgotten() -> None:
    lines = Repetition()
    for number in range(1_000):
        lines.may_say(str(number), 0)
    assert lines.due(LINE_EVERY_MS) == []
    assert all(lines.may_say(str(number), LINE_EVERY_MS) for number in range(1_000))


@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 700)), max_size=100))
def test_lines_and_counts_add_up_and_come_once_a_second(steps: list[tuple[str, int]]) -> None:
    lines = Repetition()
    now_ms = 0
    written: dict[str, list[int]] = {"a": [], "b": []}
    told = 0
    for what, step_ms in steps:
        now_ms += step_ms
        for late, count in lines.due(now_ms):
            written[late].append(now_ms)
            told += count
        if lines.may_say(what, now_ms):
            written[what].append(now_ms)
            told += 1
    told += sum(count for _, count in lines.due(now_ms + LINE_EVERY_MS))
    assert told == len(steps)
    for times in written.values():
        assert all(later - earlier >= LINE_EVERY_MS for earlier, later in pairwise(times))
