"""Frames and introductions: bytes that come in any pieces make the same messages, or a complaint."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore import limits
from zkstore.errors import ProtocolError
from zkstore.net.peer_frames import (
    GOSSIP,
    LINK,
    Answer,
    FrameReader,
    Hello,
    decode_answer,
    decode_hello,
    encode_answer,
    encode_hello,
    frames_of,
    urgent_frame,
)
from zkstore.wire.messages import VERSION

_PART = limits.PEER_PART_BYTES_MAX
_BODIES = st.lists(st.integers(1, 3 * _PART).map(bytes) | st.binary(min_size=1, max_size=50), max_size=8)
_IDS = st.integers(0, 0xFFFFFFFF)
_ENSEMBLES = st.sampled_from([b"", bytes(range(16))])


@given(_BODIES, st.lists(st.integers(1, 5 * _PART), max_size=12))
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame for body in bodies for frame in frames_of(body))
    reader = FrameReader(3 * _PART)
    found: list[bytes] = []
    for size in [*cuts, len(stream)]:
        found += reader.read(stream[:size])
        stream = stream[size:]
    assert found == bodies
    assert reader.held_bytes == 0


def test_messages_come_out_of_single_bytes() -> None:
    stream = b"".join([*frames_of(b"one"), urgent_frame(b"two"), *frames_of(b"three")])
    reader = FrameReader(100)
    found = [body for at in range(len(stream)) for body in reader.read(stream[at : at + 1])]
    assert found == [b"one", b"two", b"three"]


def test_what_overtakes_comes_out_before_the_message_in_whose_midst_it_came() -> None:
    first, *others = frames_of(bytes(_PART + 1))
    stream = b"".join([first, urgent_frame(b"urgent"), *others])
    assert list(FrameReader(2 * _PART).read(stream)) == [b"urgent", bytes(_PART + 1)]


def test_no_frame_is_longer_than_a_part() -> None:
    frames = frames_of(bytes(5 * _PART))
    assert [len(frame) for frame in frames] == [_PART + 4] * 5


def test_a_message_that_is_too_long_is_refused_before_it_is_all_there() -> None:
    reader = FrameReader(3 * _PART)
    frames = frames_of(bytes(4 * _PART))
    for frame in frames[:3]:
        assert list(reader.read(frame)) == []
    with pytest.raises(ProtocolError, match=f"a message of more than {3 * _PART} bytes"):
        list(reader.read(frames[3][:4]))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_complaint(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        for body in FrameReader(100).read(data):
            decode_hello(body)


_ADDRESSES = st.lists(st.tuples(st.text("ab.é", min_size=1, max_size=200), st.integers(1, 65_535)), max_size=4)


@given(st.sampled_from([GOSSIP, LINK]), _IDS, _IDS, _ENSEMBLES, _ADDRESSES)
def test_a_hello_survives_the_wire(
    purpose: str, sender: int, receiver: int, ensemble_id: bytes, addresses: list[tuple[str, int]]
) -> None:
    hello = Hello(VERSION, purpose, sender, receiver, ensemble_id, tuple(addresses))
    assert decode_hello(encode_hello(hello)) == hello
    assert len(encode_hello(hello)) <= limits.PEER_HELLO_BYTES_MAX


@given(_IDS, _ENSEMBLES, st.text(max_size=60))
def test_an_answer_survives_the_wire(sender: int, ensemble_id: bytes, refusal: str) -> None:
    answer = Answer(VERSION, sender, ensemble_id, refusal)
    assert decode_answer(encode_answer(answer)) == answer


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["zkstore peer"],
        ["zkstore peer", "1", LINK, 1, 2, b""],
        ["zkstore peer", VERSION],
        ["zkstore peer", VERSION, "chat", 1, 2, b"", []],
        ["zkstore peer", VERSION, LINK, 1, 2],
        ["zkstore peer", VERSION, LINK, 1, 2, b"", 3],
        ["zkstore peer", VERSION, LINK, 1, None, b""],
        ["zkstore peer", VERSION, LINK, 1 << 40, 2, b"", []],
        ["zookeeper", VERSION, LINK, 1, 2, b"", []],
        {"zkstore peer": VERSION},
        None,
    ],
)
def test_an_introduction_that_makes_no_sense_is_refused(fields: object) -> None:
    body = msgpack.packb(fields)
    with pytest.raises(ProtocolError):
        decode_hello(body)
    with pytest.raises(ProtocolError):
        decode_answer(body)


@pytest.mark.parametrize("address", [["h"], ["", 1], ["h", 0], ["h", 70_000], [1, 1], ["h" * 300, 1], "h:1"])
def test_an_address_that_makes_no_sense_is_refused(address: object) -> None:
    body = msgpack.packb(["zkstore peer", VERSION, LINK, 1, 2, b"", [address]])
    with pytest.raises(ProtocolError, match="names an address that makes no sense"):
        decode_hello(body)


def test_another_version_is_named_whatever_its_introduction_looks_like() -> None:
    with pytest.raises(ProtocolError, match=f"version 9 of the servers' protocol, this server {VERSION};"):
        decode_hello(msgpack.packb(["zkstore peer", 9, {"anything": "else"}]))
