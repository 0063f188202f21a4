"""Messages between servers: whatever goes in comes out, and nothing else passes."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore import limits
from zkstore.errors import PeerMessageError, ProtocolError
from zkstore.wire import messages as m
from zkstore.wire.messages import Message

servers = st.integers(0, 255)
epochs = st.integers(0, limits.EPOCH_MAX)
zxids = st.integers(0, (1 << 63) - 1)
counts = st.integers(0, (1 << 63) - 1)
longs = st.integers(-(1 << 63), (1 << 63) - 1)
ints = st.integers(-(1 << 31), (1 << 31) - 1)
crcs = st.integers(0, 0xFFFFFFFF)
blobs = st.binary(max_size=40)
texts = st.text(max_size=20)
ensembles = st.binary(min_size=16, max_size=16)
claims = st.lists(st.tuples(st.integers(0, 4095), counts, ints, blobs), max_size=3).map(tuple)
sessions = st.lists(st.tuples(longs, ints, blobs), max_size=3).map(tuple)
anything = st.one_of(
    st.builds(m.Vote, st.just(m.VOTE), servers, st.integers(0, 3), counts, servers, st.integers(-1, 99), zxids, counts),
    st.builds(m.Join, st.just(m.JOIN), counts, servers, st.just(b"") | ensembles, epochs, counts, st.integers(0, 3)),
    st.builds(m.NewEpoch, st.just(m.NEW_EPOCH), epochs, ensembles),
    st.builds(m.EpochAck, st.just(m.EPOCH_ACK), epochs, st.just(-1) | epochs, zxids, crcs),
    st.builds(m.Truncate, st.just(m.TRUNCATE), zxids),
    st.builds(m.Position, st.just(m.POSITION), zxids, crcs),
    st.builds(m.SnapshotBegin, st.just(m.SNAPSHOT_BEGIN), zxids, crcs, st.integers(0, (1 << 64) - 1)),
    st.builds(m.SnapshotRows, st.just(m.SNAPSHOT_ROWS), st.lists(st.tuples(blobs, blobs), max_size=3).map(tuple)),
    st.builds(m.SnapshotEnd, st.just(m.SNAPSHOT_END), sessions),
    st.builds(m.Propose, st.just(m.PROPOSE), blobs, zxids, claims),
    st.builds(m.NewLeader, st.just(m.NEW_LEADER), epochs, zxids, crcs),
    st.builds(m.NewLeaderAck, st.just(m.NEW_LEADER_ACK), epochs),
    st.builds(m.Enrol, st.just(m.ENROL), epochs),
    st.builds(m.UpToDate, st.just(m.UP_TO_DATE), epochs, zxids),
    st.builds(m.Ack, st.just(m.ACK), zxids),
    st.builds(m.Commit, st.just(m.COMMIT), zxids),
    st.builds(m.Ping, st.just(m.PING), counts, zxids),
    st.builds(m.Pong, st.just(m.PONG), counts, zxids, st.lists(longs, max_size=3).map(tuple)),
    st.builds(m.HandOver, st.just(m.HAND_OVER), servers),
    st.builds(m.Refusal, st.just(m.REFUSAL), texts),
    st.builds(
        m.Forward,
        st.sampled_from([m.FORWARD, m.FORWARD_LOCAL]),
        counts,
        longs,
        ints,
        ints,
        blobs,
        st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    ),
    st.builds(m.Revalidate, st.just(m.REVALIDATE), counts, longs, ints, blobs),
    st.builds(m.Revalidated, st.just(m.REVALIDATED), counts, ints),
    st.builds(m.SyncRequest, st.just(m.SYNC_REQUEST), counts),
    st.builds(m.Synced, st.just(m.SYNCED), counts, zxids),
)


@given(message=anything)
def test_whatever_goes_in_comes_out(message: Message) -> None:
    decoded = m.decode(m.encode(message))
    assert decoded == message and type(decoded) is type(message)


@given(message=anything, data=st.data())
def test_a_cut_or_lengthened_message_is_refused(message: Message, data: st.DataObject) -> None:
    encoded = m.encode(message)
    for wrong in (encoded[: data.draw(st.integers(0, len(encoded) - 1))], encoded + b"\x00"):
        with pytest.raises(PeerMessageError):
            m.decode(wrong)


@given(data=st.binary(max_size=60))
def test_random_bytes_are_a_message_or_an_error(data: bytes) -> None:
    try:
        message = m.decode(data)
    except PeerMessageError:
        return
    assert m.decode(m.encode(message)) == message


@given(
    message=anything,
    wrong=st.sampled_from([None, True, 1.5, "x", b"\xff", -(1 << 63), (1 << 64) - 1, [], [[]], {}]),
    data=st.data(),
)
def test_a_field_of_another_type_or_beyond_its_bounds_never_passes_unchecked(
    message: Message, wrong: Any, data: st.DataObject
) -> None:
    fields: list[Any] = list(message)
    fields[data.draw(st.integers(0, len(fields) - 1))] = wrong
    try:
        decoded = m.decode(msgpack.packb(fields))
    except PeerMessageError:
        return
    # What passed is of its declared types: it survives another round, and no True stands for a number.
    assert m.decode(m.encode(decoded)) == decoded
    assert not any(isinstance(field, bool) or field is None or isinstance(field, float) for field in decoded)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([m.ACK, -1], "Ack.zxid is -1"),
        ([m.ACK, True], "Ack.zxid is True"),
        ([m.ACK], "a Ack with 1 fields; it has 2"),
        ([m.JOIN, 1, 1, b"short", 0, 0, 3], "Join.ensemble_id is b'short'"),
        ([m.JOIN, 1, 1, b"", 0, 0, 4], "Join.enrolment is 4"),
        ([m.NEW_EPOCH, 1 << 31, b"e" * 16], "NewEpoch.epoch is 2147483648"),
        ([m.VOTE, 1, 4, 1, 1, 0, 0, 0], "Vote.state is 4"),
        ([m.REFUSAL, "x" * 4097], "Refusal.reason is 'xxx"),
        ([m.PROPOSE, b"", 0, [[4096, 1, 0, b""]]], "Propose.claims is"),
        ([m.SNAPSHOT_ROWS, [[b"k"]]], "SnapshotRows.rows is"),
        ([m.FORWARD, 1, 1, 1, 1, b"", [["ip", 7]]], "Forward.identities is"),
        ([99, 1], "of no kind that this zkstore knows"),
        ([], "of no kind that this zkstore knows"),
        (7, "of no kind that this zkstore knows"),
    ],
)
def test_what_is_wrong_is_named(fields: object, text: str) -> None:
    with pytest.raises(PeerMessageError) as caught:
        m.decode(msgpack.packb(fields))
    assert text in str(caught.value)
    assert isinstance(caught.value, ProtocolError)


def test_text_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(PeerMessageError, match="are no message"):
        m.decode(b"\x92\x13\xa1\xff")


def test_a_message_that_is_too_long_is_not_even_looked_at() -> None:
    with pytest.raises(PeerMessageError, match="the most is"):
        m.decode(b"\x00" * (limits.PEER_MESSAGE_BYTES_MAX + 1))


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(PeerMessageError):
        m.decode(b"\x91" * 100_000)
