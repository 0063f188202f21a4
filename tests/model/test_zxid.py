"""zxids, and how they are shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zkstore.model import zxid


@given(epoch=st.integers(0, 0x7FFFFFFF), counter=st.integers(0, zxid.COUNTER_MAX))
def test_epoch_and_counter_come_back(epoch: int, counter: int) -> None:
    number = zxid.make(epoch, counter)
    assert (zxid.epoch_of(number), zxid.counter_of(number)) == (epoch, counter)
    assert number < 1 << 63


def test_any_zxid_of_an_epoch_is_greater_than_all_of_the_one_before() -> None:
    assert zxid.make(2, 0) == zxid.make(1, zxid.COUNTER_MAX) + 1


def test_it_is_shown_as_zookeeper_shows_it() -> None:
    assert zxid.text(zxid.make(10, 0xAB)) == "0xa000000ab"
    assert zxid.text(0) == "0x0"
