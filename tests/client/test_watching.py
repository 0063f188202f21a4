"""Whom an event concerns, what is forgotten, and what a new connection is told."""

from __future__ import annotations

import pytest
import trio

from zkstore.client.chroot import Chroot
from zkstore.client.watching import EventType, Kind, Watch, WatchEvent, WatchTable
from zkstore.errors import SessionLostError, WatchOverflowError
from zkstore.limits import SET_WATCHES_BYTES_MAX, WATCH_EVENTS_MAX
from zkstore.model.watches import WatchKind
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import SetWatches, SetWatches2
from zkstore.wire.responses import WatcherEvent

CREATED, DELETED, DATA, CHILDREN = (
    EventType.NODE_CREATED,
    EventType.NODE_DELETED,
    EventType.NODE_DATA_CHANGED,
    EventType.NODE_CHILDREN_CHANGED,
)


@pytest.fixture
def table() -> WatchTable:
    return WatchTable(Chroot("/app").to_user)


def fire(table: WatchTable, event_type: EventType, path: bytes) -> None:
    table.fire(WatcherEvent(event_type, 3, path), 5)


def events(watch: Watch) -> list[tuple[EventType, str]]:
    taken: list[tuple[EventType, str]] = []
    while True:
        try:
            event = watch.receive_nowait()
        except trio.WouldBlock:
            return taken
        taken.append((event.type, event.path))


@pytest.mark.parametrize(
    ("kind", "heard"),
    [
        (Kind.DATA, {CREATED, DELETED, DATA}),
        (Kind.EXIST, {CREATED, DELETED, DATA}),
        (Kind.CHILD, {DELETED, CHILDREN}),
        (Kind.PERSISTENT, {CREATED, DELETED, DATA, CHILDREN}),
        (Kind.PERSISTENT_RECURSIVE, {CREATED, DELETED, DATA}),
    ],
)
def test_each_kind_hears_of_its_events(table: WatchTable, kind: Kind, heard: set[EventType]) -> None:
    for event_type in (CREATED, DELETED, DATA, CHILDREN):
        watch = Watch()
        table.add(kind, b"/app/a", watch)
        fire(table, event_type, b"/app/a")
        assert events(watch) == ([(event_type, "/a")] if event_type in heard else [])
        watch.close()


def test_a_standard_watch_fires_once_and_a_persistent_one_goes_on(table: WatchTable) -> None:
    once, always = Watch(), Watch()
    table.add(Kind.DATA, b"/app/a", once)
    table.add(Kind.PERSISTENT, b"/app/a", always)
    for _ in range(2):
        fire(table, DATA, b"/app/a")
    assert (len(events(once)), len(events(always))) == (1, 2)


def test_a_recursive_watch_hears_of_descendants_and_not_of_neighbours(table: WatchTable) -> None:
    watch = Watch()
    table.add(Kind.PERSISTENT_RECURSIVE, b"/app", watch)
    for path in (b"/app/a/b", b"/app", b"/apple", b"/"):
        fire(table, CREATED, path)
    assert events(watch) == [(CREATED, "/a/b"), (CREATED, "/")]


def test_a_watch_registered_in_several_ways_hears_of_a_change_once(table: WatchTable) -> None:
    watch = Watch()
    for kind in Kind:
        table.add(kind, b"/app/a", watch)
    fire(table, DELETED, b"/app/a")
    assert events(watch) == [(DELETED, "/a")]


def test_removing_tells_the_watch_what_kind_it_lost(table: WatchTable) -> None:
    watch = Watch()
    for kind in (Kind.DATA, Kind.CHILD, Kind.PERSISTENT):
        table.add(kind, b"/app/a", watch)
    assert table.remove(WatchKind.CHILDREN, b"/app/a")
    assert table.remove(WatchKind.ANY, b"/app/a")
    assert not table.remove(WatchKind.ANY, b"/app/a")
    assert [event_type for event_type, _ in events(watch)] == [
        EventType.CHILD_WATCH_REMOVED,
        EventType.DATA_WATCH_REMOVED,
        EventType.PERSISTENT_WATCH_REMOVED,
    ]


def test_a_new_connection_is_told_of_standard_watches_only_by_the_older_request(table: WatchTable) -> None:
    for kind, path in ((Kind.DATA, b"/d"), (Kind.EXIST, b"/e"), (Kind.CHILD, b"/c")):
        table.add(kind, path, Watch())
    ((opcode, body),) = table.set_watches(42)
    assert opcode is Opcode.SET_WATCHES
    assert SetWatches.decode(Reader(body)) == SetWatches(42, (b"/d",), (b"/e",), (b"/c",))


def test_persistent_watches_take_the_newer_request(table: WatchTable) -> None:
    table.add(Kind.PERSISTENT, b"/p", Watch())
    table.add(Kind.PERSISTENT_RECURSIVE, b"/r", Watch())
    ((opcode, body),) = table.set_watches(42)
    assert opcode is Opcode.SET_WATCHES2
    assert SetWatches2.decode(Reader(body)) == SetWatches2(42, (), (), (), (b"/p",), (b"/r",))


def test_many_watches_are_told_in_bounded_pieces_that_leave_none_out(table: WatchTable) -> None:
    paths = {b"/%06d" % number + b"x" * 1000 for number in range(300)}
    for path in paths:
        table.add(Kind.CHILD, path, Watch())
    bodies = [body for _, body in table.set_watches(1)]
    assert len(bodies) == 3
    assert max(map(len, bodies)) < SET_WATCHES_BYTES_MAX + 2000
    assert {path for body in bodies for path in SetWatches.decode(Reader(body)).child} == paths


def test_a_closed_watch_is_not_set_again(table: WatchTable) -> None:
    with Watch() as watch:
        table.add(Kind.DATA, b"/a", watch)
    assert list(table.set_watches(1)) == []


async def collect(watch: Watch) -> list[WatchEvent]:
    return [event async for event in watch]


@pytest.mark.trio
async def test_a_lost_session_ends_every_watch_after_the_events_that_had_come(table: WatchTable) -> None:
    watch = Watch()
    table.add(Kind.PERSISTENT, b"/app/a", watch)
    fire(table, DATA, b"/app/a")
    table.fail(SessionLostError("gone"))
    assert (await watch.receive()).path == "/a"
    with pytest.raises(SessionLostError):
        await watch.receive()


@pytest.mark.trio
async def test_a_closed_watch_ends_quietly() -> None:
    watch = Watch()
    watch.close()
    assert await collect(watch) == []


@pytest.mark.trio
async def test_a_watch_that_nobody_reads_overflows_instead_of_growing(table: WatchTable) -> None:
    watch = Watch()
    table.add(Kind.PERSISTENT, b"/app/a", watch)
    for _ in range(WATCH_EVENTS_MAX + 5):
        fire(table, DATA, b"/app/a")
    for _ in range(WATCH_EVENTS_MAX):
        watch.receive_nowait()
    with pytest.raises(WatchOverflowError, match="/a was dropped"):
        await watch.receive()
