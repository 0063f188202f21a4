"""Throttling connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.replica.world import World
from zkstore.replica.throttle import TokenBucket


def test_an_empty_bucket_fills_at_its_pace() -> None:
    bucket = TokenBucket(2, 100, 1)
    assert [bucket.take(now_ms) for now_ms in (0, 0, 0, 99, 100, 150, 200)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_a_bucket_never_holds_more_than_its_tokens() -> None:
    bucket = TokenBucket(2, 1, 5)
    bucket.take(0)
    assert [bucket.take(1_000_000) for _ in range(3)] == [True, True, False]


def test_no_tokens_are_no_limit() -> None:
    bucket = TokenBucket(0, 1, 1)
    assert all(bucket.take(0) for _ in range(100))


@given(tokens=st.integers(1, 5), fill_ms=st.integers(1, 50), steps=st.lists(st.integers(0, 60), max_size=60))
def test_in_any_time_no_more_are_given_than_were_there_and_came_in(tokens: int, fill_ms: int, steps: list[int]) -> None:
    bucket = TokenBucket(tokens, fill_ms, 1)
    now_ms = taken = 0
    for step in steps:
        now_ms += step
        taken += bucket.take(now_ms)
    assert taken <= tokens + now_ms // fill_ms


def test_a_client_without_a_token_is_disconnected_and_may_come_again() -> None:
    world = World(throttle=TokenBucket(1, 1000, 1))
    world.client()
    late = world.stranger()
    late.greet()
    assert late.is_ended
    assert "connection_throttle_tokens" in (late.conversation.end_reason or "")
    world.replica.now_ms += 1000
    assert world.client().create(b"/n").code == 0
