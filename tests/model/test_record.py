"""Records: whatever goes in comes out, and ordinary znodes have nothing behind their image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.model import record as records
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import Stat
from zkstore.wire.jute import Reader
from zkstore.wire.responses import DataResponse

longs = st.integers(-(1 << 63), (1 << 63) - 1)
ints = st.integers(-(1 << 31), (1 << 31) - 1)
stats = st.builds(Stat, longs, longs, longs, longs, ints, ints, ints, longs, ints, ints, longs)
entries = st.builds(Acl, ints, st.sampled_from(["world", "digest", "ip"]), st.text(max_size=20))
acls = st.one_of(st.just(OPEN_ACL), st.lists(entries, max_size=3).map(tuple))
contents = st.one_of(st.none(), st.binary(max_size=300))


@given(data=contents, stat=stats, acl=acls, owner=longs)
def test_whatever_goes_in_comes_out(data: bytes | None, stat: Stat, acl: tuple[Acl, ...], owner: int) -> None:
    record = records.make(data, stat, acl, owner)
    extras = records.extras_of(record)
    assert records.data_of(record) == data
    assert records.stat_of(record) == stat
    assert records.stat_bytes_of(record) == record[records.image_end(record) - 68 : records.image_end(record)]
    if extras is None:
        assert (acl, owner) == (OPEN_ACL, stat.ephemeral_owner)
    else:
        assert extras == (owner, acl)
        assert all(isinstance(entry, Acl) for entry in extras.acl)


@given(data=contents, stat=stats, acl=acls)
def test_the_image_is_the_body_of_a_get_data_answer(data: bytes | None, stat: Stat, acl: tuple[Acl, ...]) -> None:
    record = records.make(data, stat, acl)
    image = record[: records.image_end(record)]
    assert image == DataResponse(data, stat).encode()
    assert DataResponse.decode(Reader(image)) == (data, stat)


def test_an_ordinary_znode_has_no_extras() -> None:
    persistent = Stat(*[0] * 11)
    assert len(records.make(b"data", persistent)) == 4 + 4 + 68
    assert len(records.make(None, persistent._replace(ephemeral_owner=7), OPEN_ACL, 7)) == 4 + 68
    assert records.extras_of(records.make(b"", persistent, OPEN_ACL, records.CONTAINER_OWNER)) is not None


@given(ttl_ms=st.integers(1, records.TTL_MS_MAX))
def test_a_ttl_comes_back_from_its_owner(ttl_ms: int) -> None:
    owner = records.ttl_owner(ttl_ms)
    assert -(1 << 63) <= owner < 0
    assert records.ttl_ms_of(owner) == ttl_ms


@pytest.mark.parametrize("owner", [0, 1, -1, records.CONTAINER_OWNER, 0x0100000000000000, (1 << 63) - 1])
def test_other_owners_are_no_ttl(owner: int) -> None:
    assert records.ttl_ms_of(owner) is None


def test_a_ttl_is_stored_as_zookeeper_stores_it() -> None:
    assert records.ttl_owner(0x1234) & 0xFFFFFFFFFFFFFFFF == 0xFF00000000001234


@given(data=contents, stat=stats, acl=acls)
def test_the_digest_depends_on_path_and_record(data: bytes | None, stat: Stat, acl: tuple[Acl, ...]) -> None:
    record = records.make(data, stat, acl)
    changed = bytes([record[0] ^ 1]) + record[1:]
    digest = records.digest_of(b"/a", record)
    assert digest == records.digest_of(b"/a", record)
    assert digest != records.digest_of(b"/b", record)
    assert digest != records.digest_of(b"/a", changed)
