"""Watches: who wants to hear of which path, and whom a change concerns.

Two tables, as in ZooKeeper. Reads of data and `exists` register in the *data* table, reads of children in the *child*
table, a persistent watch in both, a recursive one in the data table, where it stands for all descendants as well.
A standard watch fires once and is forgotten in the same moment.

A watcher is any hashable object (the server uses its connections); this module only hands it back. The common cases
decide the layout: nobody watches, which must cost one or two look-ups per change, and a hundred thousand paths with
one standard watch each, which is why a path's only watcher stands in the table itself, without a container.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

from zkstore.errors import MarshallingError
from zkstore.model import paths

W = TypeVar("W", bound=Hashable)


class EventType(IntEnum):
    """What happened, as numbered in a WatcherEvent."""

    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4


class WatchKind(IntEnum):
    """Which watches a checkWatches or removeWatches means (there: `type`)."""

    CHILDREN = 1
    DATA = 2
    ANY = 3
    PERSISTENT = 4
    PERSISTENT_RECURSIVE = 5


class Event(NamedTuple, Generic[W]):
    """One event and all who get it, each once. A path's own watchers come first, in the order they registered."""

    event_type: EventType
    path: bytes
    watchers: list[W]


_STANDARD: Final = 1
_PERSISTENT: Final = 2
_RECURSIVE: Final = 4
_ALL: Final = _STANDARD | _PERSISTENT | _RECURSIVE

# kind -> modes in the data table, modes in the child table
_MODES_OF_KIND: Final[dict[int, tuple[int, int]]] = {
    WatchKind.CHILDREN: (0, _STANDARD),
    WatchKind.DATA: (_STANDARD, 0),
    WatchKind.ANY: (_ALL, _ALL),
    WatchKind.PERSISTENT: (_PERSISTENT, _PERSISTENT),
    WatchKind.PERSISTENT_RECURSIVE: (_RECURSIVE, 0),
}


class _Crowd(dict[W, None]):
    """Several watchers of one path, in order. A class of its own, so that no watcher can be taken for it."""

    __slots__ = ()


class _Table(Generic[W]):
    """One table, by path and by watcher. Both views name the same pairs; the modes stand in the second."""

    __slots__ = ("at", "of", "recursive_at")

    def __init__(self) -> None:
        self.at: dict[bytes, W | _Crowd[W]] = {}
        # A watcher stays here without paths once its last watch has fired: it still counts as watching.
        self.of: dict[W, dict[bytes, int]] = {}
        # An index of the recursive ones, so that a change looks at its ancestors only if there are any.
        self.recursive_at: dict[bytes, dict[W, None]] = {}

    def add(self, path: bytes, watcher: W, mode: int) -> None:
        held = self.of.get(watcher)
        if held is None:
            held = self.of[watcher] = {}
        modes = held.get(path, 0)
        held[path] = modes | mode
        if mode == _RECURSIVE:
            self.recursive_at.setdefault(path, {})[watcher] = None
        if modes:
            return
        if path not in self.at:
            self.at[path] = watcher
            return
        there = self.at[path]
        if isinstance(there, _Crowd):
            there[watcher] = None
        else:
            self.at[path] = _Crowd({there: None, watcher: None})

    def watchers(self, path: bytes) -> list[W]:
        """All who registered at exactly `path`, in any mode."""
        if path not in self.at:
            return []
        there = self.at[path]
        return list(there) if isinstance(there, _Crowd) else [there]

    def fire(self, path: bytes) -> list[W]:
        """The same, and forget their standard watches."""
        if path not in self.at:
            return []
        fired = self.watchers(path)
        left: _Crowd[W] = _Crowd()
        for watcher in fired:  # thousands, where all wait for one znode
            held = self.of[watcher]
            modes = held[path]
            if modes == _STANDARD:
                del held[path]
            else:
                held[path] = modes & ~_STANDARD
                left[watcher] = None
        if not left:
            del self.at[path]
        elif len(left) < len(fired):
            self.at[path] = left
        return fired

    def modes(self, path: bytes, watcher: W) -> int:
        held = self.of.get(watcher)
        return 0 if held is None else held.get(path, 0)

    def clear(self, path: bytes, watcher: W, modes: int) -> bool:
        """Forget `watcher`'s watches at `path` in these modes. True if there was one."""
        before = self.modes(path, watcher)
        if not before & modes:
            return False
        if before & ~modes:
            self.of[watcher][path] = before & ~modes
        else:
            del self.of[watcher][path]
            self._leave(path, watcher)
        if before & modes & _RECURSIVE:
            self._leave_recursive(path, watcher)
        return True

    def drop(self, watcher: W) -> None:
        for path, modes in self.of.pop(watcher, {}).items():
            self._leave(path, watcher)
            if modes & _RECURSIVE:
                self._leave_recursive(path, watcher)

    def pairs(self) -> int:
        """How many (path, watcher) pairs there are; a pair in several modes counts once."""
        return sum(map(len, self.of.values()))

    def _leave(self, path: bytes, watcher: W) -> None:
        there = self.at[path]
        if isinstance(there, _Crowd):
            del there[watcher]
            if there:
                return
        del self.at[path]

    def _leave_recursive(self, path: bytes, watcher: W) -> None:
        del self.recursive_at[path][watcher]
        if not self.recursive_at[path]:
            del self.recursive_at[path]


class Watches(Generic[W]):
    """All watches of one server's connections. Registering twice is registering once; modes coexist on a path."""

    def __init__(self) -> None:
        self._data: _Table[W] = _Table()
        self._child: _Table[W] = _Table()
        # The tables' own dicts, one attribute away: every change asks them whether anybody watches at all.
        self._data_at = self._data.at
        self._child_at = self._child.at
        self._recursive_at = self._data.recursive_at

    # --- registering ------------------------------------------------------------------------------

    def watch_data(self, path: bytes, watcher: W) -> None:
        """Tell `watcher` once when the znode is created, deleted or gets data. The znode need not exist."""
        self._data.add(path, watcher, _STANDARD)

    def watch_children(self, path: bytes, watcher: W) -> None:
        """Tell `watcher` once when a child of the znode comes or goes, or the znode itself is deleted."""
        self._child.add(path, watcher, _STANDARD)

    def add_persistent(self, path: bytes, watcher: W, recursive: bool) -> None:
        """Tell `watcher` every time: of all events of `path`, or of those of data at it and below if `recursive`."""
        if recursive:
            self._data.add(path, watcher, _RECURSIVE)
        else:
            self._data.add(path, watcher, _PERSISTENT)
            self._child.add(path, watcher, _PERSISTENT)

    # --- changes: whom to tell, in order ----------------------------------------------------------

    def created(self, path: bytes, parent: bytes) -> list[Event[W]]:
        """The events of a create; standard watches among them are consumed."""
        if path not in self._data_at and parent not in self._child_at and not self._recursive_at:
            return []
        return [*self._data_events(EventType.CREATED, path), *self._children_events(parent)]

    def deleted(self, path: bytes, parent: bytes) -> list[Event[W]]:
        """The events of a delete, from whatever cause. Who watches data and children of `path` hears of it once."""
        nobody_is_near = path not in self._data_at and path not in self._child_at and parent not in self._child_at
        if nobody_is_near and not self._recursive_at:
            return []
        events = self._data_events(EventType.DELETED, path)
        if path in self._child_at:
            told = events[0].watchers if events else []
            watchers = list(dict.fromkeys([*told, *self._child.fire(path)]))
            events = [Event(EventType.DELETED, path, watchers)]
        return events + self._children_events(parent)

    def changed(self, path: bytes) -> list[Event[W]]:
        """The event of new data."""
        if path not in self._data_at and not self._recursive_at:
            return []
        return self._data_events(EventType.DATA_CHANGED, path)

    def _data_events(self, event_type: EventType, path: bytes) -> list[Event[W]]:
        watchers = self._data.fire(path)
        if self._recursive_at:
            told = dict.fromkeys(watchers)
            for ancestor in paths.ancestors(path):
                told.update(self._recursive_at.get(ancestor, {}))
            watchers = list(told)
        return [Event(event_type, path, watchers)] if watchers else []

    def _children_events(self, parent: bytes) -> list[Event[W]]:
        # Recursive watches are not in this table: they never hear of changed children.
        watchers = self._child.fire(parent)
        return [Event(EventType.CHILDREN_CHANGED, parent, watchers)] if watchers else []

    # --- removing ---------------------------------------------------------------------------------

    def drop(self, watcher: W) -> None:
        """Forget everything about `watcher`, in time proportional to its own watches."""
        self._data.drop(watcher)
        self._child.drop(watcher)

    def has(self, path: bytes, watcher: W, kind: int) -> bool:
        """Whether `watcher` has a watch of that `WatchKind` at exactly `path`; MarshallingError for another kind."""
        data_modes, child_modes = _modes_of_kind(path, kind)
        return bool(self._data.modes(path, watcher) & data_modes or self._child.modes(path, watcher) & child_modes)

    def remove(self, path: bytes, watcher: W, kind: int) -> bool:
        """Forget `watcher`'s watches of that `WatchKind` at exactly `path`. False if none; errors as `has`."""
        data_modes, child_modes = _modes_of_kind(path, kind)
        in_data = self._data.clear(path, watcher, data_modes)
        in_child = self._child.clear(path, watcher, child_modes)
        return in_data or in_child

    # --- figures for the four-letter words; all but `watch_count` speak of the data table only, as Apache's do ---

    @property
    def connections_watching(self) -> int:
        """Watchers that registered since they came, also if all their watches have fired."""
        return len(self._data.of)

    @property
    def paths_watched(self) -> int:
        """Paths with at least one watch."""
        return len(self._data.at)

    @property
    def total(self) -> int:
        """Pairs of path and watcher."""
        return self._data.pairs()

    @property
    def watch_count(self) -> int:
        """Pairs of path and watcher, data table and child table together."""
        return self._data.pairs() + self._child.pairs()

    def by_watcher(self) -> dict[W, list[bytes]]:
        """Each watcher with its paths."""
        return {watcher: list(held) for watcher, held in self._data.of.items()}

    def by_path(self) -> dict[bytes, list[W]]:
        """Each path with its watchers."""
        return {path: self._data.watchers(path) for path in self._data.at}


def _modes_of_kind(path: bytes, kind: int) -> tuple[int, int]:
    modes = _MODES_OF_KIND.get(kind)
    if modes is None:
        raise MarshallingError(path)
    return modes
