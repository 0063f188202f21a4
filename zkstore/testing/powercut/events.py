"""What is recorded: every change of the files below a directory, every sync, and marks of what was promised when.

Files and directories have numbers, `node`s, that outlive a rename. Directory 0 is the one that was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack

ROOT: Final = 0


class Write(NamedTuple):
    """Bytes at an offset. `is_durable`: the descriptor was one whose writes wait for the disk (O_DSYNC)."""

    node: int
    offset: int
    data: bytes
    is_durable: bool


class Resize(NamedTuple):
    """A file was cut off, or lengthened by a hole."""

    node: int
    size: int


class Sync(NamedTuple):
    """fsync or fdatasync has returned: a file's content and size, or a directory's names, are on disk."""

    node: int


class Create(NamedTuple):
    """A new file or directory."""

    parent: int
    name: str
    node: int
    is_directory: bool


class Rename(NamedTuple):
    """An entry has another name, perhaps in another directory; what had that one before is gone."""

    parent: int
    name: str
    new_parent: int
    new_name: str


class Remove(NamedTuple):
    """A file or an empty directory is gone."""

    parent: int
    name: str


class Mapped(NamedTuple):
    """A file's memory was shared for writing: what is in it after a power cut nobody knows."""

    node: int


class Mark(NamedTuple):
    """Something that somebody outside may rely on from here; `witness` says what there is."""

    kind: str
    value: Any


Event: TypeAlias = Write | Resize | Sync | Create | Rename | Remove | Mapped | Mark

_KINDS: Final[tuple[type[Any], ...]] = (Write, Resize, Sync, Create, Rename, Remove, Mapped, Mark)


class File(NamedTuple):
    """A file or directory that was there when the recording began, on disk."""

    parent: int
    name: str
    node: int
    content: bytes | None
    """None: a directory."""


@dataclass(slots=True)
class Recording:
    """One recording. `about` names it, and how the store is to be opened."""

    about: dict[str, Any]
    before: list[File]
    events: list[Event]

    def save(self, path: Path) -> None:
        """To a file."""
        events = [(_KINDS.index(type(event)), *event) for event in self.events]
        path.write_bytes(msgpack.packb((self.about, [tuple(file) for file in self.before], events)))

    @classmethod
    def load(cls, path: Path) -> Recording:
        """From a file that `save` has written. Raises OSError, and ValueError where it is none."""
        about, before, events = msgpack.unpackb(path.read_bytes(), strict_map_key=False, use_list=False)
        return cls(about, [File(*fields) for fields in before], [_KINDS[kind](*fields) for kind, *fields in events])
