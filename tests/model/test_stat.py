"""Stat's layout, and arithmetic that wraps at 32 bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.model.stat import STAT, Stat, children_created, next_version, wrap32

INT_MAX, INT_MIN = 0x7FFFFFFF, -0x80000000


def test_fields_stand_where_the_protocol_has_them() -> None:
    packed = STAT.pack(*Stat(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11))
    assert len(packed) == 68
    for offset, size, value in (
        (0, 8, 1),
        (8, 8, 2),
        (16, 8, 3),
        (24, 8, 4),
        (32, 4, 5),
        (36, 4, 6),
        (40, 4, 7),
        (44, 8, 8),
        (52, 4, 9),
        (56, 4, 10),
        (60, 8, 11),
    ):
        assert int.from_bytes(packed[offset : offset + size], "big") == value


@given(created=st.integers(0, INT_MAX), data=st.data())
def test_the_counter_of_creations_comes_back_from_what_is_shown(created: int, data: st.DataObject) -> None:
    present = data.draw(st.integers(0, created))
    shown = wrap32(2 * created - present)
    assert children_created(shown, present) == created


@pytest.mark.parametrize(("version", "after"), [(0, 1), (INT_MAX, INT_MIN), (INT_MIN, INT_MIN + 1), (-2, 0), (-1, 0)])
def test_the_next_version_wraps_and_is_never_minus_one(version: int, after: int) -> None:
    assert next_version(version) == after


@pytest.mark.parametrize(("number", "wrapped"), [(0, 0), (INT_MAX, INT_MAX), (INT_MAX + 1, INT_MIN), (-1, -1)])
def test_numbers_wrap_at_32_bits(number: int, wrapped: int) -> None:
    assert wrap32(number) == wrapped
