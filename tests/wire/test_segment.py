"""Segments: whatever goes in comes out, and no damaged byte passes."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import DamageError
from zkstore.model import txns
from zkstore.model.txns import Txn
from zkstore.wire import segment
from zkstore.wire.segment import Segment

longs = st.integers(-(1 << 63), (1 << 63) - 1)
ints = st.integers(-(1 << 31), (1 << 31) - 1)
paths = st.binary(min_size=1, max_size=30)
contents = st.one_of(st.none(), st.binary(max_size=100))
acls = st.lists(st.tuples(ints, st.text(max_size=8), st.text(max_size=8)), max_size=3).map(tuple)
head = (longs, ints, longs)
creates = st.builds(txns.CreateTxn, st.just(txns.CREATE), *head, paths, contents, st.none() | acls, longs)
deletes = st.builds(txns.DeleteTxn, st.just(txns.DELETE), *head, paths)
sets = st.builds(txns.SetDataTxn, st.just(txns.SET_DATA), *head, paths, contents, ints)
set_acls = st.builds(txns.SetAclTxn, st.just(txns.SET_ACL), *head, paths, acls, ints)
changes = st.one_of(creates, deletes, sets, set_acls)
any_txn = st.one_of(
    changes,
    st.builds(txns.MultiTxn, st.just(txns.MULTI), *head, st.lists(changes, max_size=3).map(tuple)),
    st.builds(txns.CreateSessionTxn, st.just(txns.CREATE_SESSION), *head, ints, st.binary(min_size=16, max_size=16)),
    st.builds(txns.CloseSessionTxn, st.just(txns.CLOSE_SESSION), *head, st.lists(paths, max_size=3).map(tuple)),
    st.builds(txns.ErrorTxn, st.just(txns.ERROR), *head, ints),
    st.builds(txns.ReconfigTxn, st.just(txns.RECONFIG), *head, st.binary()),
)
zxids = st.integers(0, (1 << 63) - 1_000)


def sealed(*contained: Txn, prev_zxid: int = 6) -> Segment:
    return segment.encode(
        contained or [txns.DeleteTxn(txns.DELETE, 1, 2, 3, b"/a")],
        prev_zxid=prev_zxid,
        first_zxid=prev_zxid + 1,
        digest_zxid=prev_zxid,
        digest=0xFFFFFFFFFFFFFFFF,
        prev_crc=0xFFFFFFFF,
    )


@given(contained=st.lists(any_txn, min_size=1, max_size=5), prev_zxid=zxids)
def test_whatever_goes_in_comes_out(contained: list[Txn], prev_zxid: int) -> None:
    written = sealed(*contained, prev_zxid=prev_zxid)
    read = segment.decode(written.data)
    assert read == written
    assert (read.first_zxid, read.last_zxid) == (prev_zxid + 1, prev_zxid + len(contained))
    found = segment.txns(read)
    assert found == contained
    assert [type(txn) for txn in found] == [type(txn) for txn in contained]
    for txn in found:
        if isinstance(txn, txns.MultiTxn):
            assert all(type(part) is txns.RECORDS[part.kind] for part in txn.changes)


def test_the_header_stands_as_documented() -> None:
    written = segment.encode(
        [txns.ErrorTxn(txns.ERROR, 1, 2, 3, -101)], prev_zxid=1, first_zxid=2, digest_zxid=3, digest=4, prev_crc=5
    )
    body = msgpack.packb([[8, 1, 2, 3, -101]])
    assert written.data[:4] == b"zkS\x01"
    fields = [
        written.data[at : at + size] for at, size in ((4, 8), (12, 8), (20, 8), (28, 8), (36, 4), (40, 4), (44, 4))
    ]
    assert [int.from_bytes(field, "big") for field in fields] == [1, 2, 3, 4, 5, 1, len(body)]
    assert int.from_bytes(written.data[48:52], "big") == written.crc
    assert written.data[52:] == body


@given(data=st.data())
def test_any_changed_bit_is_found(data: st.DataObject) -> None:
    written = bytearray(sealed().data)
    bit = data.draw(st.integers(0, len(written) * 8 - 1))
    written[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamageError):
        segment.decode(bytes(written))


@given(data=st.data())
def test_any_cut_and_any_addition_is_found(data: st.DataObject) -> None:
    written = sealed().data
    with pytest.raises(DamageError):
        segment.decode(written[: data.draw(st.integers(0, len(written) - 1))])
    with pytest.raises(DamageError):
        segment.decode(written + data.draw(st.binary(min_size=1, max_size=5)))


@given(data=st.binary(max_size=200))
def test_random_bytes_are_no_segment(data: bytes) -> None:
    with pytest.raises(DamageError):
        segment.decode(data)


def test_what_is_wrong_is_named() -> None:
    good = sealed().data
    for data, message in (
        (good[:10], "10 bytes is shorter than its header"),
        (b"PK\x03" + good[3:], "this is no segment: it begins with b'PK"),
        (good[:3] + b"\x09" + good[4:], "segment format 9; this zkstore reads 1 at zxid 0x7"),
        (good + b"x", "says it has"),
        (good[:-1] + b"x", "checksum does not fit its content at zxid 0x7"),
    ):
        with pytest.raises(DamageError, match=message):
            segment.decode(data)


@pytest.mark.parametrize(
    "body",
    [
        7,
        [7],
        [[]],
        [[99, 1, 2, 3]],
        [[4, 1, 2, 3]],
        [[4, 1, 2, 3, b"/a", 5]],
        [["x", 1, 2, 3, b"/a"]],
        [[7, 1, 2, 3, 4]],
        [[7, 1, 2, 3, [[99]]]],
        [],
        [[4, 1, 2, 3, b"/a"]] * 2,
    ],
)
def test_a_body_that_holds_something_else_is_damage(body: object) -> None:
    """Such a segment has a good checksum: it was written so."""
    packed = msgpack.packb(body)
    good = sealed()
    forged = Segment(
        prev_zxid=6, first_zxid=7, last_zxid=7, digest_zxid=6, digest=0, prev_crc=0, crc=0, data=good.data[:52] + packed
    )
    with pytest.raises(DamageError, match="at zxid 0x7") as caught:
        segment.txns(forged)
    assert caught.value.zxid == 7


def test_a_body_that_is_cut_is_damage() -> None:
    good = sealed()
    forged = Segment(**{name: getattr(good, name) for name in good.__slots__} | {"data": good.data[:-1]})
    with pytest.raises(DamageError, match="no txn"):
        segment.txns(forged)


@pytest.mark.parametrize(("contained", "first_zxid"), [([], 7), ([txns.ErrorTxn(txns.ERROR, 1, 2, 3, -1)], 6)])
def test_nothing_and_the_past_are_never_written(contained: list[Txn], first_zxid: int) -> None:
    with pytest.raises(AssertionError):
        segment.encode(contained, prev_zxid=6, first_zxid=first_zxid, digest_zxid=0, digest=0, prev_crc=0)
