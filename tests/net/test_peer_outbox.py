"""What waits to be sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zkstore import limits
from zkstore.net.peer_frames import FrameReader, frames_of, urgent_frame
from zkstore.net.peer_outbox import Outbox

_PART = limits.PEER_PART_BYTES_MAX


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3 * _PART)), max_size=10), st.integers(1, 4 * _PART))
def test_everything_goes_out_once_and_each_lane_in_order(puts: list[tuple[bool, int]], wanted: int) -> None:
    outbox = Outbox()
    ordered, urgent = [], []
    for number, (is_urgent, size) in enumerate(puts):
        if is_urgent:
            urgent.append(bytes([number]) * 20)
            outbox.put_first(urgent[-1])
        else:
            ordered.append(bytes([number]) * size)
            outbox.put(ordered[-1])
    reader, found = FrameReader(1 << 30), []
    while data := outbox.take(wanted):
        found += reader.read(data)
    assert found == urgent + ordered
    assert outbox.unsent_bytes == 0


def test_no_more_is_taken_at_a_time_than_is_wanted_and_the_rest_of_a_frame() -> None:
    outbox = Outbox()
    outbox.put(bytes(10 * _PART))
    assert len(outbox.take(3 * _PART)) == 3 * (_PART + 4)


def test_what_goes_first_waits_for_one_part_only() -> None:
    outbox = Outbox()
    outbox.put(bytes(3 * _PART))
    outbox.take(1)
    outbox.put_first(b"ping")
    assert outbox.take(1) == urgent_frame(b"ping")
    assert outbox.unsent_bytes == 2 * (_PART + 4)


def test_bytes_that_wait_are_counted() -> None:
    outbox = Outbox()
    outbox.put(b"x" * 10)
    outbox.put_first(b"y" * 5)
    assert outbox.unsent_bytes == 14 + 9
    outbox.clear()
    assert outbox.unsent_bytes == 0
    assert outbox.take(100) == b""
    outbox.put(b"z")
    assert outbox.take(100) == frames_of(b"z")[0]
