"""A disk as a power cut finds it: what has reached it, and what may have or not.

The model is weaker than any file system that is in use, so that what survives here survives there:

- A file's content is safe from fsync and fdatasync on, its length, too; a directory's names from the directory's own
  fsync on. (ext4, XFS and Btrfs make a new file's name safe together with the file; here they do not.)
- Everything since may be there or not, in any order, sector by sector; but of one sector's contents it is always one
  that it has had, and later ones come later. 512 bytes are written whole or not at all, as every disk promises.
- A length may be there without the content, which then reads as zeros, or as what lay there before (ext4 with
  data=writeback), and content without the length, which then is lost.
- One change of names (a rename above all) happens whole or not at all, as in every file system with a journal; one
  between two directories is safe when both were synced. Several
  that are not safe yet may be there in any choice, even across directories, but for those of one and the same name,
  whose order holds. (ext4 and XFS keep the order of all.)
- Memory of a file that was shared for writing holds anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from zkstore.testing.powercut.events import (
    ROOT,
    Create,
    Event,
    Mapped,
    Recording,
    Remove,
    Rename,
    Resize,
    Sync,
    Write,
)

SECTOR_BYTES: Final = 512

Naming: TypeAlias = Create | Rename | Remove
Image: TypeAlias = dict[str, bytes | None]
"""Path to content; None for a directory."""


@dataclass(slots=True)
class FileState:
    """One file. Versions and sizes are those since the last sync, each with the number of its event, oldest first."""

    durable: bytes = b""
    latest: bytearray = field(default_factory=bytearray)
    versions: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def changed(self, at: int, first: int, last: int) -> None:
        """Note the sectors from `first` to `last` as they are now."""
        latest, durable = self.latest, self.durable
        for sector in range(first, last + 1):
            content = bytes(latest[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES]).ljust(SECTOR_BYTES, b"\0")
            versions = self.versions.get(sector)
            if versions:
                before = versions[-1][1]
            else:
                before = durable[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES].ljust(SECTOR_BYTES, b"\0")
            if content != before:
                self.versions.setdefault(sector, []).append((at, content))
        size = self.sizes[-1][1] if self.sizes else len(durable)
        if len(latest) != size:
            self.sizes.append((at, len(latest)))

    def sync(self) -> None:
        """All of it is safe."""
        if self.versions or self.sizes:
            self.durable = bytes(self.latest)
            self.versions, self.sizes = {}, []

    def sync_sectors(self, first: int, last: int) -> None:
        """These are safe, and the length."""
        durable = bytearray(self.durable)
        end = len(self.latest)
        durable = durable.ljust(end, b"\0")[:end]
        for sector in range(first, last + 1):
            self.versions.pop(sector, None)
            durable[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES] = self.latest[
                sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES
            ]
        self.durable, self.sizes = bytes(durable), []


@dataclass(slots=True)
class Choice:
    """What of the unsafe has reached the disk.

    Attributes:
        names: the numbers of the changes of names.
        until: file and sector to the number of the last event that counts there.
        size_until: file to the number of the last event that counts for its length.
        lost: what stands in a sector that the length covers and no content has reached, if not zeros.
        shared: what stands in a file whose memory was shared: its length to content.
    """

    names: frozenset[int]
    until: Callable[[int, int], int]
    size_until: Callable[[int], int]
    lost: bytes = b""
    shared: Callable[[int], bytes] = bytes


class Disk:
    """Takes a recording's events one after the other.

    Attributes:
        taken: how many events there were.
        naming: unsafe changes of names with their numbers, oldest first.
    """

    def __init__(self, recording: Recording) -> None:
        self.taken = 0
        self.naming: list[tuple[int, Naming]] = []
        self.files: dict[int, FileState] = {}
        self._durable: dict[int, dict[str, int]] = {ROOT: {}}
        self._latest: dict[int, dict[str, int]] = {ROOT: {}}
        self._shared: set[int] = set()
        self._unsynced: dict[int, set[int]] = {}
        for parent, name, node, content in recording.before:
            self._durable[parent][name] = self._latest[parent][name] = node
            if content is None:
                self._durable[node], self._latest[node] = {}, {}
            else:
                self.files[node] = FileState(content, bytearray(content))

    def take(self, event: Event) -> None:
        """The next event."""
        if isinstance(event, Write):
            self._write(event)
        elif isinstance(event, Resize):
            self._resize(event)
        elif isinstance(event, Sync):
            self._sync(event.node)
        elif isinstance(event, Create | Rename | Remove):
            if isinstance(event, Create):
                if event.is_directory:
                    self._durable[event.node], self._latest[event.node] = {}, {}
                else:
                    self.files[event.node] = FileState()
            self.naming.append((self.taken, event))
            self._unsynced[self.taken] = set(parents(event))
            _apply(self._latest, event)
        elif isinstance(event, Mapped):
            self._shared.add(event.node)
        self.taken += 1

    def latest(self) -> Image:
        """What programs see now."""
        return {
            path: None if node in self._latest else bytes(self.files[node].latest)
            for path, node in _walk(self._latest, ROOT, "")
        }

    def unsafe_files(self) -> list[int]:
        """Files with content or a length that is not safe yet."""
        return [node for node, file in self.files.items() if file.versions or file.sizes]

    def image(self, choice: Choice) -> Image:
        """What a power cut now would leave."""
        entries = dict(self._durable)
        copied: set[int] = set()
        for number, event in self.naming:
            if number in choice.names:
                for parent in parents(event) - copied:
                    entries[parent] = dict(entries[parent])
                    copied.add(parent)
                _apply(entries, event)
        return {
            path: None if node in entries else self._content(node, choice) for path, node in _walk(entries, ROOT, "")
        }

    # --- inside -----------------------------------------------------------------------------------

    def _write(self, event: Write) -> None:
        file = self.files[event.node]
        end = event.offset + len(event.data)
        if len(file.latest) < event.offset:
            file.latest.extend(bytes(event.offset - len(file.latest)))
        file.latest[event.offset : end] = event.data
        first, last = event.offset // SECTOR_BYTES, (end - 1) // SECTOR_BYTES
        file.changed(self.taken, first, last)
        if event.is_durable:
            file.sync_sectors(first, last)

    def _resize(self, event: Resize) -> None:
        file = self.files[event.node]
        before = len(file.latest)
        if event.size < before:
            del file.latest[event.size :]
            file.changed(self.taken, event.size // SECTOR_BYTES, (before - 1) // SECTOR_BYTES)
        else:
            file.latest.extend(bytes(event.size - before))
            file.changed(self.taken, 0, -1)

    def _sync(self, node: int) -> None:
        if node in self.files:
            self.files[node].sync()
            return
        left: list[tuple[int, Naming]] = []
        waiting: set[tuple[int, str]] = set()
        for number, event in self.naming:
            self._unsynced[number].discard(node)
            if self._unsynced[number] or not waiting.isdisjoint(keys(event)):
                waiting.update(keys(event))
                left.append((number, event))
            else:
                _apply(self._durable, event)
        self.naming = left

    def _content(self, node: int, choice: Choice) -> bytes:
        file = self.files[node]
        if node in self._shared:
            return choice.shared(len(file.latest))
        if not file.versions and not file.sizes:
            return file.durable
        size = len(file.durable)
        size_until, until = choice.size_until(node), choice.until
        for number, later in file.sizes:
            if number <= size_until:
                size = later
        content = bytearray(file.durable)
        if len(content) < size:
            content.extend(bytes(size - len(content)))
        for sector, versions in file.versions.items():
            at = sector * SECTOR_BYTES
            last = until(node, sector)
            chosen = None
            for number, version in versions:
                if number <= last:
                    chosen = version
            if chosen is not None:
                if len(content) < at:
                    content.extend(bytes(at - len(content)))
                content[at : at + SECTOR_BYTES] = chosen
            elif choice.lost and len(file.durable) <= at < size:
                content[at : at + SECTOR_BYTES] = choice.lost
        return bytes(content[:size])


def keys(event: Naming) -> list[tuple[int, str]]:
    """The names that a change is about."""
    found = [(event.parent, event.name)]
    if isinstance(event, Rename):
        found.append((event.new_parent, event.new_name))
    return found


def parents(event: Naming) -> set[int]:
    """The directories whose syncs make a change safe: it takes all of them."""
    return {parent for parent, _ in keys(event)}


def _apply(entries: dict[int, dict[str, int]], event: Naming) -> None:
    names = entries[event.parent]
    if isinstance(event, Create):
        names[event.name] = event.node
    elif isinstance(event, Rename):
        entries[event.new_parent][event.new_name] = names.pop(event.name)
    else:
        del names[event.name]


def _walk(entries: dict[int, dict[str, int]], node: int, prefix: str) -> Iterator[tuple[str, int]]:
    for name, child in entries[node].items():
        yield f"{prefix}{name}", child
        if child in entries:
            yield from _walk(entries, child, f"{prefix}{name}/")
