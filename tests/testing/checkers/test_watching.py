"""The plain statement of watches agrees with the server's quick one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.paths import parent_of
from zkstore.model.stat import STAT, Stat
from zkstore.model.tree import Tree
from zkstore.model.watches import EventType, Watches, WatchKind
from zkstore.testing.checkers.watching import Watcher
from zkstore.wire.records import SetWatches2

PATHS = (b"/", b"/a", b"/a/b", b"/a/b/c", b"/ab", b"/d")
ME = "me"

paths = st.sampled_from(PATHS)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("data", "child", "persistent", "recursive")), paths),
        st.tuples(st.sampled_from(("created", "changed", "deleted")), st.sampled_from(PATHS[1:])),
        st.tuples(st.sampled_from(tuple(WatchKind)), paths),
    ),
    max_size=40,
)


@given(steps)
def test_both_tell_the_same(taken: list[tuple[str | WatchKind, bytes]]) -> None:
    watches: Watches[str] = Watches()
    watcher = Watcher(())
    told: list[tuple[int, int, bytes]] = []
    for zxid, (step, path) in enumerate(taken):
        parent = parent_of(path)
        events = []
        if isinstance(step, WatchKind):
            assert watches.remove(path, ME, step) == watcher.has(path, step)
            watcher.remove(path, step)
        elif step == "created":
            events = watches.created(path, parent)
            watcher.created(zxid, path, OPEN_ACL, parent, OPEN_ACL)
        elif step == "changed":
            events = watches.changed(path)
            watcher.changed(zxid, path, OPEN_ACL)
        elif step == "deleted":
            events = watches.deleted(path, parent)
            watcher.deleted(zxid, path, OPEN_ACL, parent, OPEN_ACL)
        else:
            _leave(watches, watcher, step, path)
        told += [(zxid, event.event_type, event.path) for event in events]
    assert list(watcher.expected) == told


def _leave(watches: Watches[str], watcher: Watcher, kind: str, path: bytes) -> None:
    if kind == "data":
        watches.watch_data(path, ME)
        watcher.data.add(path)
    elif kind == "child":
        watches.watch_children(path, ME)
        watcher.child.add(path)
    else:
        watches.add_persistent(path, ME, recursive=kind == "recursive")
        (watcher.recursive if kind == "recursive" else watcher.persistent).add(path)


def test_who_may_not_read_is_told_nothing_and_has_no_watch_any_more() -> None:
    watcher = Watcher(())
    watcher.data.add(b"/a")
    watcher.changed(1, b"/a", (Acl(31, "digest", "alice:x"),))
    assert not watcher.expected
    assert not watcher.watches


def _tree() -> Tree:
    """/old was changed at zxid 5, /new at zxid 9, and each has got a child then."""
    tree = Tree.new()
    for path, zxid in ((b"/old", 5), (b"/new", 9)):
        tree.add(path, b"/", bytes(4) + _stat_bytes(zxid))
    return tree


def _stat_bytes(zxid: int) -> bytes:
    return STAT.pack(*Stat(1, zxid, 0, 0, 0, 0, 0, 0, 0, 0, zxid))


def test_what_was_missed_is_told_and_the_rest_is_watched() -> None:
    every = (b"/old", b"/new", b"/gone")
    watcher = Watcher(())
    missed = watcher.restore(_tree(), SetWatches2(7, every, every, every, (b"/p",), (b"/r",)))
    assert missed == [
        (EventType.DATA_CHANGED, b"/new"),
        (EventType.DELETED, b"/gone"),
        (EventType.CREATED, b"/old"),
        (EventType.CREATED, b"/new"),
        (EventType.CHILDREN_CHANGED, b"/new"),
        (EventType.DELETED, b"/gone"),
    ]
    assert watcher.data == {b"/old", b"/gone"}
    assert watcher.child == {b"/old"}
    assert (watcher.persistent, watcher.recursive) == ({b"/p"}, {b"/r"})
