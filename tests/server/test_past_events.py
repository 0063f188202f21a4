"""Events of the past: those that a persistent recursive watch was told when they happened."""

from __future__ import annotations

import pytest

from tests.replica.clients import Told
from tests.replica.world import World
from zkstore.model.acl import OPEN_ACL, READ, Acl, allows, ip_identity
from zkstore.model.txns import RECONFIG, ReconfigTxn
from zkstore.model.watches import EventType
from zkstore.server import past_events
from zkstore.wire.opcodes import AddWatchMode
from zkstore.wire.segment import encode

CLOSED = (Acl(31, "digest", "me:x"),)
HERE = (Acl(READ, "ip", "127.0.0.1"), Acl(31, "ip", "127.0.0.1"))


@pytest.fixture
def world() -> World:
    return World()


def live_and_past(world: World, path: bytes) -> tuple[list[Told], list[Told]]:
    """What a watcher of `path` hears of a life, and what the log tells of it afterwards."""
    watcher, client = world.client(), world.client()
    watcher.add_watch(path, AddWatchMode.PERSISTENT_RECURSIVE)
    begin = world.tree.zxid
    ops = world.ops
    client.create(b"/a", b"1")
    client.create(b"/ab")
    client.create(b"/a/b", acl=HERE)
    client.set_data(b"/a/b", b"2")
    client.set_acl(b"/a/b", HERE[:1])
    client.set_data(b"/a", b"3")
    client.multi(ops.create(b"/a/c"), ops.set_data(b"/a/c", b"4"), ops.delete(b"/a/c"), ops.check(b"/a"))
    client.delete(b"/nothing")
    client.create(b"/a/e", flags=1)
    client.create(b"/e", flags=1)
    client.delete(b"/a/b")
    client.close()
    live = [item for item in watcher.take() if isinstance(item, Told)]
    found, looked_to, end = past_events.find(world.segments, begin, world.tree.zxid, path, None, 1 << 20)
    assert looked_to == end == world.tree.zxid
    return live, [Told(kind, where, zxid) for zxid, _, kind, where in found]


def test_the_past_tells_what_a_watch_of_a_subtree_told(world: World) -> None:
    live, past = live_and_past(world, b"/a")
    assert len(live) == 10
    assert past == live


def test_the_past_tells_what_a_watch_of_everything_told(world: World) -> None:
    live, past = live_and_past(world, b"/")
    assert len(live) == 13
    assert past == live


def test_whose_acl_lets_nobody_read_is_not_told(world: World) -> None:
    client = world.client()
    client.create(b"/open")
    client.create(b"/closed", acl=CLOSED)
    client.create(b"/closes")
    client.set_data(b"/closes", b"1")
    client.set_acl(b"/closes", CLOSED)
    client.delete(b"/closes")
    client.delete(b"/before")
    me = (ip_identity("127.0.0.1"),)

    found, _, _ = past_events.find(
        world.segments,
        0,
        world.tree.zxid,
        b"/",
        (lambda acl: allows(acl, READ, me), lambda path: OPEN_ACL),
        1 << 20,
    )
    assert [(kind, path) for _, _, kind, path in found] == [
        (EventType.CREATED, b"/open"),
        (EventType.CREATED, b"/closes"),
        (EventType.DATA_CHANGED, b"/closes"),
    ]


def test_a_znode_from_before_has_the_acl_that_it_had_then(world: World) -> None:
    client = world.client()
    client.create(b"/a")
    client.create(b"/b")
    begin = world.tree.zxid
    client.set_data(b"/a", b"1")
    client.set_data(b"/b", b"1")
    found, _, _ = past_events.find(
        world.segments,
        begin,
        world.tree.zxid,
        b"/",
        (lambda acl: acl == OPEN_ACL, lambda path: CLOSED if path == b"/a" else OPEN_ACL),
        1 << 20,
    )
    assert [path for _, _, _, path in found] == [b"/b"]


def test_long_answers_are_cut_between_txns_and_nothing_is_lost(world: World) -> None:
    live, past = live_and_past(world, b"/")
    begin, end = live[0].zxid - 1, world.tree.zxid
    pieces: list[Told] = []
    looked_to, calls = begin, 0
    while looked_to < end:
        found, looked_to, _ = past_events.find(world.segments, looked_to, end, b"/", None, 1)
        pieces += [Told(kind, where, zxid) for zxid, _, kind, where in found]
        calls += 1
    assert pieces == past
    assert calls > 5


def test_nothing_behind_the_end_is_told(world: World) -> None:
    client = world.client()
    client.create(b"/a")
    end = world.tree.zxid
    client.create(b"/b")
    found, looked_to, _ = past_events.find(world.segments, 0, end, b"/", None, 1 << 20)
    assert [path for _, _, _, path in found] == [b"/a"]
    assert looked_to == end


@pytest.mark.parametrize("path", [b"/", b"/zookeeper", b"/zookeeper/config"])
def test_a_reconfiguration_is_told_as_new_data_though_its_txn_names_no_path(path: bytes) -> None:
    txn = ReconfigTxn(RECONFIG, 0, 0, 5, b"server.1=a:1:2:participant")
    segment = encode([txn], prev_zxid=6, first_zxid=7, digest_zxid=6, digest=0, prev_crc=0)
    found, _, _ = past_events.find([segment], 6, 7, path, None, 1 << 20)
    assert found == [(7, 5, EventType.DATA_CHANGED, b"/zookeeper/config")]
