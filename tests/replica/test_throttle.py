"""Throttling connections: the bucket of tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.replica.world import World
from zkstore.replica.throttle import Blue, TokenBucket


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


def test_where_sessions_have_weights_a_new_one_takes_more_than_one_that_comes_back() -> None:
    bucket = TokenBucket(2, 100, 1, new_weight=3, renewed_weight=2)
    assert [bucket.take(0, is_renewed=True) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100, is_renewed=False), bucket.take(100, is_renewed=True)] == [True, False]


def test_at_an_empty_bucket_chance_turns_away_more_and_more_and_at_a_full_one_less_and_less() -> None:
    blue = Blue(lambda: 0.25, freeze_ms=10, increase=0.2, decrease=0.1)
    bucket = TokenBucket(1, 1000, 1, blue=blue)
    assert bucket.take(0)
    assert not bucket.take(100)  # 0.2 now, and no token
    assert not bucket.take(105)  # frozen
    assert not bucket.take(120)  # 0.4: by chance
    assert not bucket.take(1100), "a token is there, but 0.3 is above 0.25"
    assert bucket.take(1120), "0.2 is not"


def test_without_an_empty_bucket_chance_turns_nobody_away() -> None:
    bucket = TokenBucket(5, 10, 5, blue=Blue(lambda: 0.0, freeze_ms=0))
    assert all(bucket.take(now_ms) for now_ms in range(0, 1000, 10))


def test_a_client_that_comes_back_takes_the_tokens_of_one_that_comes_back() -> None:
    world = World(throttle=TokenBucket(1, 1_000_000, 1, new_weight=3, renewed_weight=1))
    client = world.client()
    world.replica.settings.throttle.take(world.replica.now_ms + 1_000_000)  # full, and empty again
    world.replica.now_ms += 2_000_000 - 1
    client.vanish()
    late = world.stranger()
    late.greet()
    assert late.is_ended
    world.replica.now_ms += 1
    for _ in range(3):
        client.reconnect()
    fourth = world.stranger()
    fourth.greet(session_id=client.session_id, password=client.password)
    assert fourth.is_ended
