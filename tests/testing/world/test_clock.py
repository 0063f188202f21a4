from __future__ import annotations

from zkstore.testing.world.clock import EPOCH_MS, Agenda, Clock


def never() -> bool:
    return False


def test_things_happen_in_the_order_of_time_then_of_planning() -> None:
    agenda = Agenda()
    seen: list[str] = []
    agenda.call_at(20, seen.append, "late")
    agenda.call_at(10, seen.append, "first")
    agenda.call_at(10, seen.append, "second")
    agenda.call_in(15, seen.append, "between")
    agenda.run(100, never)
    assert seen == ["first", "second", "between", "late"]
    assert agenda.now_us == 100
    assert agenda.count == 4


def test_what_is_due_in_the_past_happens_now() -> None:
    agenda = Agenda()
    agenda.run(50, never)
    times: list[int] = []
    agenda.call_at(10, lambda: times.append(agenda.now_us))
    agenda.run(60, never)
    assert times == [50]


def test_a_run_ends_before_what_is_due_at_its_end_and_as_soon_as_it_is_over() -> None:
    agenda = Agenda()
    seen: list[int] = []
    for at_us in (1, 2, 3):
        agenda.call_at(at_us, seen.append, at_us)
    agenda.run(3, lambda: len(seen) == 1)
    assert seen == [1] and agenda.now_us == 1
    agenda.run(3, never)
    assert seen == [1, 2]


def test_a_clock_drifts_and_its_calendar_jumps_alone() -> None:
    agenda = Agenda()
    exact, fast = Clock(agenda, 0, 1000), Clock(agenda, 20_000, 0)
    agenda.run(10_000_000, never)
    assert exact.now_ms == 11_000
    assert fast.now_ms == 10_200
    assert exact.time_ms == EPOCH_MS + 10_000
    exact.jump(-500)
    assert exact.time_ms == EPOCH_MS + 9_500
    assert exact.now_ms == 11_000
