"""Answers that no client would take."""

from __future__ import annotations

from tests.replica.world import World

MARSHALLING_ERROR = -5


def test_a_list_of_children_too_long_for_a_frame_is_an_error_that_the_log_explains() -> None:
    world = World(frame_bytes_max=1000)
    client = world.client()
    client.create(b"/p")
    for number in range(20):
        client.create(b"/p/%046d" % number)
    answer = client.get_children(b"/p")
    assert answer.code == MARSHALLING_ERROR
    (notice,) = world.replica.notices
    assert "/p has 1004 bytes" in notice
    assert "GET_CHILDREN" in notice


def test_the_connection_goes_on_after_an_answer_that_was_too_large() -> None:
    world = World(frame_bytes_max=1000)
    client = world.client()
    for number in range(20):
        client.create(b"/%050d" % number)
    assert client.get_children2(b"/").code == MARSHALLING_ERROR
    assert client.get_data(b"/").code == 0
    assert sorted(client.get_children(b"/zookeeper").children) == [b"config", b"quota"]


def test_notices_are_bounded() -> None:
    world = World(frame_bytes_max=200)
    client = world.client()
    for number in range(4):
        client.create(b"/%060d" % number)
    for _ in range(100):
        client.get_children(b"/")
    assert len(world.replica.notices) == 20
