"""Hard quotas, when they are enforced: what is refused, and that deletes never are."""

from __future__ import annotations

from tests.replica.clients import Client
from tests.replica.world import World

QUOTA_EXCEEDED = -125


def _limited(world: World, limits: bytes) -> Client:
    client = world.client()
    client.create(b"/app", b"12345")
    client.create(b"/zookeeper/quota/app", None)
    client.create(b"/zookeeper/quota/app/zookeeper_limits", limits)
    client.create(b"/zookeeper/quota/app/zookeeper_stats", b"count=0,bytes=0")
    return client


def test_a_create_beyond_the_hard_count_is_refused_and_a_delete_makes_room() -> None:
    client = _limited(World(enforce_quota=True), b"count=-1,bytes=-1=;countHardLimit=2")
    assert client.create(b"/app/a").code == 0
    assert client.create(b"/app/b").code == QUOTA_EXCEEDED
    assert client.delete(b"/app/a").code == 0
    assert client.create(b"/app/b").code == 0


def test_data_beyond_the_hard_bytes_is_refused_and_as_much_as_before_is_not() -> None:
    client = _limited(World(enforce_quota=True), b"count=-1,bytes=-1=;byteHardLimit=8")
    assert client.create(b"/app/a", b"1234").code == QUOTA_EXCEEDED
    assert client.set_data(b"/app", b"12345678").code == 0
    assert client.set_data(b"/app", b"123456789").code == QUOTA_EXCEEDED
    assert client.set_data(b"/app", b"abcdefgh").code == 0


def test_soft_limits_refuse_nothing() -> None:
    client = _limited(World(enforce_quota=True), b"count=1,bytes=1")
    assert client.create(b"/app/a", b"123456").code == 0


def test_hard_limits_refuse_nothing_where_nobody_counts() -> None:
    client = _limited(World(enforce_quota=True), b"count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=1")
    client.delete(b"/zookeeper/quota/app/zookeeper_stats")
    assert client.create(b"/app/a", b"123456").code == 0


def test_hard_limits_refuse_nothing_unless_told_to() -> None:
    client = _limited(World(), b"count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=1")
    assert client.create(b"/app/a", b"123456").code == 0
    assert client.set_data(b"/app/a", b"1234567").code == 0


def test_usage_fires_no_watch() -> None:
    client = _limited(World(), b"count=5,bytes=50")
    client.get_data(b"/zookeeper/quota/app/zookeeper_stats", watch=True)
    client.create(b"/app/a", b"123456")
    assert client.get_data(b"/zookeeper/quota/app/zookeeper_stats").data == b"count=2,bytes=11"
    assert client.events() == []
