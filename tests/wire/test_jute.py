"""The encoding itself: null differs from empty, and no length on the wire is believed."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import TruncatedRecordError
from zkstore.wire import jute
from zkstore.wire.jute import Reader, WireAcl

READS = ["int32", "int64", "boolean", "buffer", "string", "acl"]


@given(number=st.integers(-(2**31), 2**31 - 1), wide=st.integers(-(2**63), 2**63 - 1), flag=st.booleans())
def test_numbers_come_back(number: int, wide: int, flag: bool) -> None:
    reader = Reader(jute.int32(number) + jute.int64(wide) + jute.boolean(flag))
    assert (reader.int32(), reader.int64(), reader.boolean(), reader.remaining) == (number, wide, flag, 0)


@given(data=st.none() | st.binary(max_size=50), text=st.none() | st.text(max_size=50))
def test_buffers_and_strings_come_back_and_null_is_not_empty(data: bytes | None, text: str | None) -> None:
    reader = Reader(jute.buffer(data) + jute.string(text))
    assert (reader.buffer(), reader.string(), reader.remaining) == (data, text, 0)


@given(items=st.none() | st.lists(st.none() | st.binary(max_size=9), max_size=9))
def test_vectors_come_back(items: list[bytes | None] | None) -> None:
    reader = Reader(jute.buffers(items))
    assert reader.vector(Reader.buffer) == (None if items is None else tuple(items))


def test_an_acl_comes_back_with_its_null_strings() -> None:
    acl = (WireAcl(31, "world", "anyone"), WireAcl(1, "auth", None))
    assert Reader(jute.acl(acl)).acl() == acl
    assert Reader(jute.acl(None)).acl() is None
    assert Reader(jute.acl(())).acl() == ()


def test_any_byte_but_zero_is_true() -> None:
    assert Reader(b"\x07").boolean()


def test_bytes_that_are_not_utf8_become_the_replacement_character() -> None:
    assert Reader(jute.buffer(b"a\xff")).string() == "a\ufffd"


def test_a_negative_count_other_than_null_reads_as_empty() -> None:
    assert Reader(jute.int32(-7)).vector(Reader.buffer) == ()


@pytest.mark.parametrize("length", [-2, -(2**31), 4, 2**31 - 1])
def test_a_length_that_points_outside_is_refused(length: int) -> None:
    with pytest.raises(TruncatedRecordError):
        Reader(jute.int32(length) + b"abc").buffer()


def test_an_absurd_count_is_refused_before_anything_is_allocated() -> None:
    tracemalloc.start()
    with pytest.raises(TruncatedRecordError, match="2147483647 elements"):
        Reader(jute.int32(2**31 - 1) + bytes(1000)).acl()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_reader_stays_within_its_part_of_the_bytes() -> None:
    data = b"--" + jute.buffer(b"abc") + b"--"
    assert Reader(data, 2, 9).buffer() == b"abc"
    with pytest.raises(TruncatedRecordError):
        Reader(data, 2, 8).buffer()


@given(data=st.binary(max_size=40), read=st.sampled_from(READS))
def test_garbage_is_read_or_refused_and_nothing_else(data: bytes, read: str) -> None:
    reader = Reader(data)
    try:
        getattr(reader, read)()
    except TruncatedRecordError:
        return
    assert 0 <= reader.offset <= len(data)
