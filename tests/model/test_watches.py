"""Whom a change concerns: the triggers one by one, then everything against a naive twin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import MarshallingError
from zkstore.model import paths
from zkstore.model.watches import EventType, Watches, WatchKind

CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = EventType


@pytest.fixture
def watches() -> Watches[str]:
    return Watches()


# --- standard watches -----------------------------------------------------------------------------


def test_nobody_watches_and_nothing_is_fired(watches: Watches[str]) -> None:
    assert watches.created(b"/a", b"/") == []
    assert watches.changed(b"/a") == []
    assert watches.deleted(b"/a", b"/") == []


@pytest.mark.parametrize(
    ("change", "event_type"),
    [
        (lambda watches: watches.created(b"/a/b", b"/a"), CREATED),
        (lambda watches: watches.changed(b"/a/b"), DATA_CHANGED),
        (lambda watches: watches.deleted(b"/a/b", b"/a"), DELETED),
    ],
)
def test_a_data_watch_fires_once(
    watches: Watches[str], change: Callable[[Watches[str]], object], event_type: EventType
) -> None:
    watches.watch_data(b"/a/b", "w")
    assert change(watches) == [(event_type, b"/a/b", ["w"])]
    assert change(watches) == []


def test_a_child_watch_hears_of_children_that_come_and_go(watches: Watches[str]) -> None:
    watches.watch_children(b"/a", "w")
    assert watches.created(b"/a/b", b"/a") == [(CHILDREN_CHANGED, b"/a", ["w"])]
    assert watches.created(b"/a/c", b"/a") == []
    watches.watch_children(b"/a", "w")
    assert watches.deleted(b"/a/b", b"/a") == [(CHILDREN_CHANGED, b"/a", ["w"])]


def test_a_child_watch_ignores_data(watches: Watches[str]) -> None:
    watches.watch_children(b"/a", "w")
    assert watches.changed(b"/a") == []
    assert watches.changed(b"/a/b") == []


def test_the_children_of_the_root_can_be_watched(watches: Watches[str]) -> None:
    watches.watch_children(b"/", "w")
    assert watches.created(b"/a", b"/") == [(CHILDREN_CHANGED, b"/", ["w"])]


def test_the_node_comes_before_its_parent(watches: Watches[str]) -> None:
    watches.watch_children(b"/a", "parent")
    watches.watch_data(b"/a/b", "node")
    assert watches.created(b"/a/b", b"/a") == [
        (CREATED, b"/a/b", ["node"]),
        (CHILDREN_CHANGED, b"/a", ["parent"]),
    ]


def test_a_deletion_is_told_once_to_each_watcher_of_data_or_children(watches: Watches[str]) -> None:
    watches.watch_children(b"/a", "both")
    watches.watch_children(b"/a", "children")
    watches.watch_data(b"/a", "data")
    watches.watch_data(b"/a", "both")
    assert watches.deleted(b"/a", b"/") == [(DELETED, b"/a", ["data", "both", "children"])]
    assert watches.watch_count == 0


def test_registering_twice_is_registering_once(watches: Watches[str]) -> None:
    watches.watch_data(b"/a", "w")
    watches.watch_data(b"/a", "w")
    assert watches.watch_count == 1
    assert watches.changed(b"/a") == [(DATA_CHANGED, b"/a", ["w"])]


def test_watchers_hear_in_the_order_in_which_they_registered(watches: Watches[str]) -> None:
    names = ["c", "a", "d", "b"]
    for name in names:
        watches.watch_data(b"/a", name)
    assert watches.changed(b"/a")[0].watchers == names


# --- persistent and recursive watches -------------------------------------------------------------


def test_a_persistent_watch_hears_everything_of_its_path_again_and_again(watches: Watches[str]) -> None:
    watches.add_persistent(b"/a", "w", recursive=False)
    for _ in range(2):
        assert watches.created(b"/a", b"/") == [(CREATED, b"/a", ["w"])]
        assert watches.changed(b"/a") == [(DATA_CHANGED, b"/a", ["w"])]
        assert watches.created(b"/a/b", b"/a") == [(CHILDREN_CHANGED, b"/a", ["w"])]
        assert watches.changed(b"/a/b") == []
        assert watches.deleted(b"/a", b"/") == [(DELETED, b"/a", ["w"])]


def test_a_recursive_watch_hears_of_itself_and_all_below_but_never_of_changed_children(watches: Watches[str]) -> None:
    watches.add_persistent(b"/a", "w", recursive=True)
    for path, parent in ((b"/a", b"/"), (b"/a/b", b"/a"), (b"/a/b/c", b"/a/b")):
        assert watches.created(path, parent) == [(CREATED, path, ["w"])]
        assert watches.changed(path) == [(DATA_CHANGED, path, ["w"])]
        assert watches.deleted(path, parent) == [(DELETED, path, ["w"])]
    assert watches.changed(b"/ab") == []


def test_a_recursive_watch_at_the_root_hears_of_everything(watches: Watches[str]) -> None:
    watches.add_persistent(b"/", "w", recursive=True)
    assert watches.changed(b"/x/y") == [(DATA_CHANGED, b"/x/y", ["w"])]
    assert watches.changed(b"/") == [(DATA_CHANGED, b"/", ["w"])]


def test_one_event_per_watcher_however_many_registrations_match(watches: Watches[str]) -> None:
    watches.add_persistent(b"/", "w", recursive=True)
    watches.add_persistent(b"/a", "w", recursive=True)
    watches.add_persistent(b"/a", "w", recursive=False)
    watches.watch_data(b"/a", "w")
    assert watches.changed(b"/a") == [(DATA_CHANGED, b"/a", ["w"])]


def test_a_standard_watch_does_not_end_a_persistent_one(watches: Watches[str]) -> None:
    watches.add_persistent(b"/a", "w", recursive=False)
    watches.watch_data(b"/a", "w")
    watches.changed(b"/a")
    assert not watches.has(b"/a", "w", WatchKind.DATA)
    assert watches.has(b"/a", "w", WatchKind.PERSISTENT)


# --- checking and removing ------------------------------------------------------------------------


def test_each_kind_finds_and_removes_its_own_watches(watches: Watches[str]) -> None:
    def register() -> None:
        watches.watch_data(b"/a", "w")
        watches.watch_children(b"/a", "w")
        watches.add_persistent(b"/a", "w", recursive=False)
        watches.add_persistent(b"/a", "w", recursive=True)

    for removed in (WatchKind.CHILDREN, WatchKind.DATA, WatchKind.PERSISTENT, WatchKind.PERSISTENT_RECURSIVE):
        register()
        assert watches.remove(b"/a", "w", removed)
        assert not watches.remove(b"/a", "w", removed)
        assert [kind for kind in WatchKind if not watches.has(b"/a", "w", kind)] == [removed]
    assert watches.remove(b"/a", "w", WatchKind.ANY)
    assert not any(watches.has(b"/a", "w", kind) for kind in WatchKind)
    assert watches.watch_count == 0


def test_watches_are_found_at_their_own_path_and_watcher_only(watches: Watches[str]) -> None:
    watches.add_persistent(b"/a", "w", recursive=True)
    assert not watches.has(b"/a/b", "w", WatchKind.ANY)
    assert not watches.has(b"/a", "v", WatchKind.ANY)
    assert not watches.remove(b"/a", "v", WatchKind.ANY)


@pytest.mark.parametrize("kind", [0, 6, -1])
def test_an_unknown_kind_does_not_parse(watches: Watches[str], kind: int) -> None:
    with pytest.raises(MarshallingError):
        watches.has(b"/a", "w", kind)
    with pytest.raises(MarshallingError):
        watches.remove(b"/a", "w", kind)


@pytest.mark.parametrize("kind", [WatchKind.ANY, WatchKind.PERSISTENT_RECURSIVE])
def test_a_removed_recursive_watch_is_silent_below_its_path(watches: Watches[str], kind: WatchKind) -> None:
    watches.add_persistent(b"/a", "w", recursive=True)
    watches.add_persistent(b"/a", "v", recursive=True)
    assert watches.remove(b"/a", "w", kind)
    assert watches.changed(b"/a/b") == [(DATA_CHANGED, b"/a/b", ["v"])]
    assert watches.remove(b"/a", "v", kind)
    assert watches.changed(b"/a/b") == []


def test_dropping_a_watcher_leaves_the_others(watches: Watches[str]) -> None:
    for watcher in ("w", "v"):
        watches.watch_data(b"/a", watcher)
        watches.watch_children(b"/a", watcher)
        watches.add_persistent(b"/", watcher, recursive=True)
    watches.drop("w")
    watches.drop("nobody")
    assert watches.changed(b"/a") == [(DATA_CHANGED, b"/a", ["v"])]
    assert watches.by_watcher() == {"v": [b"/"]}
    assert watches.connections_watching == 1


# --- figures --------------------------------------------------------------------------------------


def test_figures_speak_of_the_data_table(watches: Watches[str]) -> None:
    watches.watch_data(b"/a", "w")
    watches.watch_data(b"/b", "w")
    watches.watch_data(b"/a", "v")
    watches.watch_children(b"/c", "u")
    assert (watches.connections_watching, watches.paths_watched, watches.total) == (2, 2, 3)
    assert watches.watch_count == 4
    assert watches.by_watcher() == {"w": [b"/a", b"/b"], "v": [b"/a"]}
    assert watches.by_path() == {b"/a": ["w", "v"], b"/b": ["w"]}


def test_a_connection_counts_as_watching_after_its_last_watch_fired(watches: Watches[str]) -> None:
    watches.watch_data(b"/a", "w")
    watches.changed(b"/a")
    assert (watches.connections_watching, watches.paths_watched, watches.total) == (1, 0, 0)


# --- the naive twin -------------------------------------------------------------------------------


class NaiveWatches:
    """The rules as the protocol states them: one list of registrations, searched from end to end."""

    def __init__(self) -> None:
        self.registrations: list[tuple[str, bytes, int, str]] = []  # table, path, watcher, mode

    def add(self, table: str, path: bytes, watcher: int, mode: str) -> None:
        if (table, path, watcher, mode) not in self.registrations:
            self.registrations.append((table, path, watcher, mode))

    def trigger(self, table: str, path: bytes) -> set[int]:
        above = set(paths.ancestors(path))
        hit = [
            r for r in self.registrations if r[0] == table and (r[1] == path or (r[1] in above and r[3] == "recursive"))
        ]
        self.registrations = [r for r in self.registrations if not (r in hit and r[1] == path and r[3] == "standard")]
        return {watcher for _, _, watcher, _ in hit}

    def drop(self, watcher: int) -> None:
        self.registrations = [r for r in self.registrations if r[2] != watcher]

    def remove(self, path: bytes, watcher: int, kind: int) -> bool:
        def meant(table: str, mode: str) -> bool:
            wanted = {1: "child standard", 2: "data standard"}.get(kind)
            if wanted is not None:
                return f"{table} {mode}" == wanted
            return kind == 3 or mode == {4: "persistent", 5: "recursive"}[kind]

        doomed = [r for r in self.registrations if r[1:3] == (path, watcher) and meant(r[0], r[3])]
        self.registrations = [r for r in self.registrations if r not in doomed]
        return bool(doomed)


PATHS = st.sampled_from([b"/", b"/a", b"/a/b", b"/ab"])
WATCHERS = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["data", "child", "persistent", "recursive"]), PATHS, WATCHERS),
    st.tuples(st.sampled_from(["create", "change", "delete"]), PATHS, st.just(0)),
    st.tuples(st.just("drop"), PATHS, WATCHERS),
    st.tuples(st.sampled_from(["remove1", "remove2", "remove3", "remove4", "remove5"]), PATHS, WATCHERS),
)


def naive_events(twin: NaiveWatches, what: str, path: bytes) -> list[tuple[int, bytes, set[int]]]:
    event_type = {"create": CREATED, "change": DATA_CHANGED, "delete": DELETED}[what]
    events = [(event_type, path, twin.trigger("data", path))]
    if what == "delete":
        events[0][2].update(twin.trigger("child", path))
    if what != "change":
        parent = paths.parent_of(path)
        events.append((CHILDREN_CHANGED, parent, twin.trigger("child", parent)))
    return [event for event in events if event[2]]


def register(watches: Watches[int], twin: NaiveWatches, what: str, path: bytes, watcher: int) -> None:
    if what == "data":
        watches.watch_data(path, watcher)
        twin.add("data", path, watcher, "standard")
    elif what == "child":
        watches.watch_children(path, watcher)
        twin.add("child", path, watcher, "standard")
    else:
        watches.add_persistent(path, watcher, recursive=what == "recursive")
        for table in ["data"] if what == "recursive" else ["data", "child"]:
            twin.add(table, path, watcher, what)


@given(st.lists(STEPS, max_size=40))
def test_any_history_fires_what_the_naive_twin_fires(steps: list[tuple[str, bytes, int]]) -> None:
    watches: Watches[int] = Watches()
    twin = NaiveWatches()
    for what, path, watcher in steps:
        if what in ("create", "change", "delete"):
            parent = paths.parent_of(path)
            if what == "create":
                events = watches.created(path, parent)
            elif what == "delete":
                events = watches.deleted(path, parent)
            else:
                events = watches.changed(path)
            assert all(len(event.watchers) == len(set(event.watchers)) for event in events)
            assert [(e.event_type, e.path, set(e.watchers)) for e in events] == naive_events(twin, what, path)
        elif what == "drop":
            watches.drop(watcher)
            twin.drop(watcher)
        elif what.startswith("remove"):
            kind = int(what[-1])
            found = watches.has(path, watcher, kind)
            assert watches.remove(path, watcher, kind) == found == twin.remove(path, watcher, kind)
        else:
            register(watches, twin, what, path, watcher)
        assert watches.watch_count == len({r[:3] for r in twin.registrations})
        assert watches.paths_watched == len({r[1] for r in twin.registrations if r[0] == "data"})
        assert watches.total == len({r[1:3] for r in twin.registrations if r[0] == "data"})
