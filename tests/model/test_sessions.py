"""When sessions expire: by example, then against a twin that looks at every session every time."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.model.sessions import LOOKS_PER_EXPIRY, SessionTracker, first_session_id, negotiate

PLENTY = 1_000_000


@pytest.fixture
def tracker() -> SessionTracker:
    return SessionTracker(tick_ms=100)


def test_a_silent_session_dies_at_the_first_tick_after_its_timeout(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=1000, now_ms=50)  # silent since 50, so over at 1050; the tick after that is 1100
    assert tracker.expired(1099, PLENTY) == []
    assert tracker.expired(1100, PLENTY) == [1]


def test_a_session_never_dies_exactly_at_its_timeout(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=1000, now_ms=0)
    assert tracker.expired(1000, PLENTY) == []
    assert tracker.expired(1100, PLENTY) == [1]


def test_a_touch_gives_a_whole_timeout_again(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=300, now_ms=0)
    assert tracker.touch(1, now_ms=399)
    assert tracker.expired(400, PLENTY) == []
    assert tracker.expired(699, PLENTY) == []
    assert tracker.expired(700, PLENTY) == [1]


def test_an_expired_session_is_out(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=300, now_ms=0)
    assert 1 in tracker
    assert tracker.expired(400, PLENTY) == [1]
    assert 1 not in tracker
    assert not tracker.touch(1, now_ms=401)
    assert tracker.expired(10_000, PLENTY) == []


def test_a_removed_session_does_not_expire(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=300, now_ms=0)
    tracker.remove(1)
    tracker.remove(2)
    assert len(tracker) == 0
    assert tracker.expired(10_000, PLENTY) == []
    assert not tracker.touch(1, now_ms=10_000)


def test_a_shorter_timeout_holds_at_once(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=10_000, now_ms=0)
    tracker.touch(1, now_ms=50, timeout_ms=300)
    assert tracker.timeout_ms(1) == 300
    assert tracker.expired(400, PLENTY) == [1]
    assert tracker.timeout_ms(1) is None


def test_a_longer_timeout_holds_at_once(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=300, now_ms=0)
    tracker.touch(1, now_ms=50, timeout_ms=10_000)
    assert tracker.expired(10_050, PLENTY) == []
    assert tracker.expired(10_100, PLENTY) == [1]


def test_adding_again_starts_anew(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=300, now_ms=0)
    tracker.add(1, timeout_ms=500, now_ms=200)
    assert len(tracker) == 1
    assert tracker.expired(700, PLENTY) == []
    assert tracker.expired(800, PLENTY) == [1]


def test_many_expirations_are_spread_over_turns(tracker: SessionTracker) -> None:
    for session_id in range(10):
        tracker.add(session_id, timeout_ms=300, now_ms=0)
    seen: list[int] = []
    for _ in range(4):
        turn = tracker.expired(400, at_most=3)
        assert len(turn) <= 3
        seen += turn
    assert sorted(seen) == list(range(10))
    assert tracker.next_due_ms is None


def test_one_turn_looks_at_a_bounded_number_of_touched_sessions(tracker: SessionTracker) -> None:
    sessions = LOOKS_PER_EXPIRY * 3
    for session_id in range(sessions):
        tracker.add(session_id, timeout_ms=300, now_ms=0)
        tracker.touch(session_id, now_ms=350)
    turns = 0
    while tracker.next_due_ms is not None and tracker.next_due_ms <= 400:
        assert tracker.expired(400, at_most=1) == []
        turns += 1
    assert turns >= 3
    assert len(tracker) == sessions


def test_a_stall_of_the_server_costs_no_session_its_life(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=300, now_ms=0)
    tracker.postpone(5_000)
    assert tracker.next_due_ms == 5_400
    assert tracker.expired(5_399, PLENTY) == []
    assert tracker.expired(5_400, PLENTY) == [1]


def test_after_a_stall_the_ordinary_rule_holds_again(tracker: SessionTracker) -> None:
    tracker.postpone(5_000)
    tracker.add(1, timeout_ms=300, now_ms=5_000)
    tracker.touch(1, now_ms=5_150)
    assert tracker.expired(5_450, PLENTY) == []
    assert tracker.expired(5_500, PLENTY) == [1]


def test_buckets_show_true_deadlines_the_earliest_first(tracker: SessionTracker) -> None:
    tracker.add(1, timeout_ms=900, now_ms=0)
    tracker.add(2, timeout_ms=300, now_ms=0)
    tracker.add(3, timeout_ms=300, now_ms=10)
    tracker.add(4, timeout_ms=300, now_ms=0)
    tracker.touch(4, now_ms=600)
    assert list(tracker.buckets().items()) == [(400, [2, 3]), (1000, [1, 4])]
    tracker.postpone(50)
    assert list(tracker.buckets()) == [450, 1050]


# --- the naive twin -------------------------------------------------------------------------------

TICK_MS = 20
IDS = st.integers(1, 5)
TIMEOUTS_MS = st.integers(1, 200)
STEPS = st.one_of(
    st.tuples(st.just("add"), IDS, TIMEOUTS_MS),
    st.tuples(st.just("touch"), IDS, st.none() | TIMEOUTS_MS),
    st.tuples(st.just("remove"), IDS, st.none()),
    st.tuples(st.just("postpone"), st.just(0), st.integers(0, 100)),
    st.tuples(st.just("wait"), st.just(0), st.integers(1, 150)),
)


@given(st.lists(STEPS, max_size=50), st.integers(1, 3))
def test_sessions_expire_between_their_timeout_and_a_tick_later(
    steps: list[tuple[str, int, int | None]], at_most: int
) -> None:
    tracker = SessionTracker(TICK_MS)
    silent_since: dict[int, int] = {}  # moved on by what was postponed
    timeouts: dict[int, int] = {}
    now_ms = 1_000
    for what, session_id, number in steps:
        if what == "add" and number is not None:
            tracker.add(session_id, number, now_ms)
            silent_since[session_id], timeouts[session_id] = now_ms, number
        elif what == "touch":
            assert tracker.touch(session_id, now_ms, number) == (session_id in silent_since)
            if session_id in silent_since:
                silent_since[session_id] = now_ms
                timeouts[session_id] = timeouts[session_id] if number is None else number
        elif what == "remove":
            tracker.remove(session_id)
            silent_since.pop(session_id, None)
        elif what == "postpone" and number is not None:
            tracker.postpone(number)
            now_ms += number
            silent_since = {session_id: since + number for session_id, since in silent_since.items()}
        elif number is not None:
            now_ms += number

        while tracker.next_due_ms is not None and tracker.next_due_ms <= now_ms:
            expired = tracker.expired(now_ms, at_most)
            assert len(expired) <= at_most
            for gone in expired:
                assert now_ms > silent_since.pop(gone) + timeouts[gone], "expired too early"
        assert tracker.expired(now_ms, PLENTY) == []
        for alive, since in silent_since.items():
            assert alive in tracker
            assert now_ms < since + timeouts[alive] + TICK_MS, "expired too late"
        assert len(tracker) == len(silent_since)
        assert sorted(chain.from_iterable(tracker.buckets().values())) == sorted(silent_since)


# --- numbers --------------------------------------------------------------------------------------


def test_a_timeout_is_kept_within_bounds() -> None:
    assert negotiate(10_000, 4_000, 40_000) == 10_000
    assert negotiate(1, 4_000, 40_000) == 4_000
    assert negotiate(-5, 4_000, 40_000) == 4_000
    assert negotiate(2**31 - 1, 4_000, 40_000) == 40_000


def test_a_session_id_names_its_server_and_the_time() -> None:
    assert first_session_id(1, 0) == 0x0100_0000_0000_0000
    assert first_session_id(1, 0x12_3456_789A_BCDE) == 0x0156_789A_BCDE_0000
    assert first_session_id(255, 1) == -(1 << 56) + 0x1_0000


def test_the_two_forbidden_session_ids_are_skipped() -> None:
    assert first_session_id(0, 0) == 1
    assert first_session_id(128, 0) == -(1 << 63) + 1


@given(st.integers(0, 255), st.integers(0, 2**62))
def test_a_session_id_is_a_signed_long_and_never_zero(server_id: int, now_ms: int) -> None:
    session_id = first_session_id(server_id, now_ms)
    assert -(2**63) <= session_id < 2**63
    assert session_id != 0
    assert (session_id >> 56) & 0xFF == server_id
