"""Recovery, outages and throughput, drawn from a recording that is written by hand."""

from __future__ import annotations

from zkstore.testing.checkers.history import Channel, History
from zkstore.testing.nemesis.timeline import SLICE_US, Outage, Strike, drawn_from
from zkstore.wire.opcodes import Opcode

SECOND_US = 1_000_000
REFUSED = -112


def channel_of(history: History) -> Channel:
    return history.welcomed(1, 4 * SECOND_US, b"p" * 16, 1, 0, 0)


def write(history: History, channel: Channel, called_us: int, returned_us: int, code: int = 0) -> None:
    call = history.called(channel, 1 + history.calls_count, Opcode.SET_DATA, None, called_us)
    history.answered(call, 1, code, b"", returned_us)


def steady(*without: tuple[int, int]) -> History:
    """A write every 100 ms for ten seconds but in those times."""
    history = History(report_us=0)
    channel = channel_of(history)
    for time_us in range(0, 10 * SECOND_US, SECOND_US // 10):
        if not any(since_us < time_us < until_us for since_us, until_us in without):
            write(history, channel, time_us, time_us + 1_000)
    return history


def strike(at_us: int, until_us: int, *, kind: str = "Kill", hit_all: bool = False, hit_leader: bool = True) -> Strike:
    return Strike(kind, at_us, until_us, 1, hit_leader, hit_all)


def test_what_goes_on_steadily_has_no_outage() -> None:
    timeline = drawn_from(steady(), [], 0, 10 * SECOND_US)
    assert timeline.outages == []
    assert sum(timeline.answered) == 100
    assert len(timeline.answered) == 10 * SECOND_US // SLICE_US


def test_a_recovery_is_counted_from_the_fault_where_others_go_on() -> None:
    history = steady((3 * SECOND_US - 1, 5 * SECOND_US))
    timeline = drawn_from(history, [strike(3 * SECOND_US, 4 * SECOND_US)], 0, 10 * SECOND_US)
    ((kind, at_us, took_us),) = timeline.recoveries
    assert (kind, at_us, took_us) == ("Kill", 3 * SECOND_US, 2 * SECOND_US + 1_000)
    assert timeline.outages == [Outage(3 * SECOND_US - 99_000, 5 * SECOND_US + 1_000)]


def test_a_recovery_is_counted_from_the_restart_where_nobody_was_left() -> None:
    history = steady((3 * SECOND_US - 1, 5 * SECOND_US))
    timeline = drawn_from(history, [strike(3 * SECOND_US, 4 * SECOND_US, hit_all=True)], 0, 10 * SECOND_US)
    assert [one.took_us for one in timeline.recoveries] == [SECOND_US + 1_000]


def test_who_is_hit_again_before_it_has_recovered_is_counted_once() -> None:
    history = steady((3 * SECOND_US - 1, 6 * SECOND_US))
    strikes = [strike(at_us, at_us, hit_all=True) for at_us in (3 * SECOND_US, 4 * SECOND_US)]
    timeline = drawn_from(history, strikes, 0, 10 * SECOND_US)
    assert [one.took_us for one in timeline.recoveries] == [2 * SECOND_US + 1_000]
    assert timeline.hit_again == 1


def test_what_hits_a_follower_or_stops_nobody_needs_no_recovery() -> None:
    strikes = [strike(SECOND_US, SECOND_US, hit_leader=False), strike(SECOND_US, SECOND_US, kind="ClockStep")]
    timeline = drawn_from(steady(), strikes, 0, 10 * SECOND_US)
    assert (timeline.recoveries, timeline.hit_again) == ([], 0)


def test_a_refusal_in_the_sessions_name_is_no_service() -> None:
    history = History(report_us=0)
    channel = channel_of(history)
    write(history, channel, 2 * SECOND_US, 2 * SECOND_US, REFUSED)
    write(history, channel, 3 * SECOND_US, 3 * SECOND_US)
    timeline = drawn_from(history, [strike(SECOND_US, SECOND_US, hit_all=True)], 0, 4 * SECOND_US)
    assert [one.took_us for one in timeline.recoveries] == [2 * SECOND_US]


def test_times_in_a_report_count_from_when_clients_began() -> None:
    timeline = drawn_from(steady(), [strike(3 * SECOND_US, 3 * SECOND_US)], 2 * SECOND_US, 10 * SECOND_US)
    report = timeline.to_json()
    assert (report["seconds"], report["faults"][0]["at_ms"], report["slice_ms"]) == (8.0, 1_000, 250)
