"""Records what this process does to the files below a directory, in order, whichever library does it.

Nothing that writes may escape unseen, or the images would prove too much: at the end all that was recorded is carried
out once more in memory and must come to what lies on disk, byte for byte. A sync that escaped would only make the disk
look worse than it was.

Calls are taken one at a time, so a sync covers just what was written before it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, Final

from zkstore.errors import InvariantError
from zkstore.testing.powercut.disk import Disk
from zkstore.testing.powercut.events import (
    ROOT,
    Create,
    Event,
    File,
    Mapped,
    Mark,
    Recording,
    Remove,
    Rename,
    Resize,
    Sync,
    Write,
)
from zkstore.testing.powercut.interposing import Interposed

_HERE: Final = -100  # AT_FDCWD
_PROT_WRITE: Final = 2
_MAP_SHARED: Final = 1
_NO_SPACE: Final = 28

_INT, _SIZE, _LONG, _ADDRESS, _TEXT = (
    ctypes.c_int,
    ctypes.c_size_t,
    ctypes.c_int64,
    ctypes.c_void_p,
    ctypes.c_char_p,
)


def _prototype(result: Any, *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments, use_errno=True)


class Recorder:
    """Records from construction until `stop`.

    `is_full` has every write that would lengthen a file fail for want of space. `told`, where set, is asked what a
    mark for some bytes that leave by a socket is worth; None where there is none.
    """

    def __init__(
        self, root: Path, about: dict[str, Any], told: Callable[[int, bytes], Mark | None] | None = None
    ) -> None:
        self.root = root.resolve()
        self.about = about
        self.is_full = False
        self._told = told
        self._lock = RLock()
        self._nodes: dict[tuple[int, int], int] = {}
        self._made = ROOT
        self._recording = Recording(about, [], [])
        self._look(self.root, ROOT, "", ROOT)
        self._interposed = Interposed(self._replacements())

    @property
    def events(self) -> list[Event]:
        """What was recorded so far."""
        return self._recording.events

    def mark(self, kind: str, value: Any) -> None:
        """Note that something was promised."""
        with self._lock:
            self.events.append(Mark(kind, value))

    def stop(self) -> Recording:
        """End, and see that nothing escaped. Raises InvariantError if something did."""
        self._interposed.restore()
        disk = Disk(self._recording)
        for event in self.events:
            disk.take(event)
        for path, content in disk.latest().items():
            file = self.root / path
            if file.name == "lock.mdb":  # memory that processes share; nothing of it means anything later
                continue
            found = file.read_bytes() if content is not None and file.is_file() else None
            if found != content or not file.exists():
                raise InvariantError("recording", 0, f"{path} was written by a way that was not recorded")
        return self._recording

    # --- where things are -------------------------------------------------------------------------

    def _look(self, path: Path, parent: int, name: str, node: int) -> None:
        status = path.lstat()
        self._nodes[status.st_dev, status.st_ino] = node
        is_directory = stat.S_ISDIR(status.st_mode)
        if node != ROOT:
            self._recording.before.append(File(parent, name, node, None if is_directory else path.read_bytes()))
        if is_directory:
            for entry in sorted(path.iterdir()):
                self._made += 1
                self._look(entry, node, entry.name, self._made)

    def _node(self, descriptor: int) -> int | None:
        try:
            status = os.fstat(descriptor)
        except OSError:
            return None  # whoever calls with a closed one will be told
        return self._nodes.get((status.st_dev, status.st_ino))

    def _entry(self, path: str) -> tuple[int, str] | None:
        """The parent's node and the name; None for what lies elsewhere."""
        parent, _, name = path.rstrip("/").rpartition("/")
        try:
            status = Path(parent).stat()
        except OSError:
            return None
        node = self._nodes.get((status.st_dev, status.st_ino))
        return None if node is None else (node, name)

    def _created(self, entry: tuple[int, str], path: str, *, is_directory: bool) -> None:
        status = Path(path).stat()
        self._made += 1
        self._nodes[status.st_dev, status.st_ino] = self._made
        self.events.append(Create(*entry, self._made, is_directory))

    # --- what is called ---------------------------------------------------------------------------

    def _replacements(self) -> dict[str, tuple[Any, Callable[..., Any]]]:
        opening = _prototype(_INT, _TEXT, _INT, _INT)
        opening_at = _prototype(_INT, _INT, _TEXT, _INT, _INT)
        writing_at = _prototype(_LONG, _INT, _ADDRESS, _SIZE, _LONG)
        syncing = _prototype(_INT, _INT)
        mapping = _prototype(_ADDRESS, _ADDRESS, _SIZE, _INT, _INT, _INT, _LONG)
        sending_file = _prototype(_LONG, _INT, _INT, _ADDRESS, _SIZE)
        table: dict[str, tuple[Any, Callable[..., Any]]] = {
            "write": (_prototype(_LONG, _INT, _ADDRESS, _SIZE), self._write),
            "writev": (_prototype(_LONG, _INT, _ADDRESS, _INT), self._write_vector),
            "send": (_prototype(_LONG, _INT, _ADDRESS, _SIZE, _INT), self._send),
            "fsync": (syncing, self._sync),
            "fdatasync": (syncing, self._sync),
            "rename": (_prototype(_INT, _TEXT, _TEXT), self._rename),
            "unlink": (_prototype(_INT, _TEXT), lambda real, path: self._remove(real, _HERE, path, path)),
            "rmdir": (_prototype(_INT, _TEXT), lambda real, path: self._remove(real, _HERE, path, path)),
            "unlinkat": (_prototype(_INT, _INT, _TEXT, _INT), self._remove_at),
            "mkdir": (_prototype(_INT, _TEXT, _INT), self._make_directory),
        }
        for suffix in ("", "64"):
            table |= {
                f"open{suffix}": (opening, lambda real, path, *rest: self._open(real, _HERE, path, path, *rest)),
                f"openat{suffix}": (opening_at, self._open_at),
                f"pwrite{suffix}": (writing_at, self._write_at),
                f"ftruncate{suffix}": (_prototype(_INT, _INT, _LONG), self._truncate),
                f"sendfile{suffix}": (sending_file, self._send_file),
                f"mmap{suffix}": (mapping, self._map),
            }
        return table

    def _open_at(self, real: Any, directory: int, path: bytes, flags: int, mode: int) -> int:
        return self._open(real, directory, path, directory, path, flags, mode)

    def _open(self, real: Any, directory: int, path: bytes, *arguments: Any) -> int:
        flags = arguments[-2]
        if not flags & (os.O_CREAT | os.O_TRUNC):
            return int(real(*arguments))
        with self._lock:
            where = _full(directory, path)
            entry = self._entry(where)
            is_new = entry is not None and not Path(where).exists()
            descriptor = int(real(*arguments))
            if descriptor < 0 or entry is None:
                return descriptor
            if is_new:
                self._created(entry, where, is_directory=False)
            elif flags & os.O_TRUNC:
                node = self._node(descriptor)
                if node is not None:
                    self.events.append(Resize(node, 0))
            return descriptor

    def _write(self, real: Any, descriptor: int, address: int, size: int) -> int:
        node = self._node(descriptor)
        if node is None:
            return int(real(descriptor, address, size))
        with self._lock:
            at = os.fstat(descriptor).st_size if _flags(descriptor) & os.O_APPEND else _position(descriptor)
            return self._written(node, descriptor, at, address, real, descriptor, address, size)

    def _write_at(self, real: Any, descriptor: int, address: int, size: int, offset: int) -> int:
        node = self._node(descriptor)
        if node is None:
            return int(real(descriptor, address, size, offset))
        with self._lock:
            if self.is_full and offset + size > os.fstat(descriptor).st_size:
                ctypes.set_errno(_NO_SPACE)
                return -1
            return self._written(node, descriptor, offset, address, real, descriptor, address, size, offset)

    def _write_vector(self, real: Any, descriptor: int, vectors: int, count: int) -> int:
        node = self._node(descriptor)
        if node is None:
            return int(real(descriptor, vectors, count))
        with self._lock:
            at = _position(descriptor)
            pairs = (ctypes.c_uint64 * (2 * count)).from_address(vectors)
            data = b"".join(ctypes.string_at(pairs[2 * index], pairs[2 * index + 1]) for index in range(count))
            written = int(real(descriptor, vectors, count))
            if written > 0:
                self.events.append(Write(node, at, data[:written], _is_durable(descriptor)))
            return written

    def _written(self, node: int, descriptor: int, at: int, address: int, real: Any, *arguments: Any) -> int:
        written = int(real(*arguments))
        if written > 0:
            self.events.append(Write(node, at, ctypes.string_at(address, written), _is_durable(descriptor)))
        return written

    def _send(self, real: Any, descriptor: int, address: int, size: int, flags: int) -> int:
        mark = None if self._told is None else self._told(descriptor, ctypes.string_at(address, size))
        if mark is not None:
            with self._lock:
                self.events.append(mark)
        return int(real(descriptor, address, size, flags))

    def _send_file(self, real: Any, target: int, source: int, offset: int, size: int) -> int:
        node = self._node(target)
        if node is None:
            return int(real(target, source, offset, size))
        with self._lock:
            at, source_at = _position(target), _position(source)
            sent = int(real(target, source, offset, size))
            if sent > 0:
                self.events.append(Write(node, at, os.pread(source, sent, source_at), _is_durable(target)))
            return sent

    def _truncate(self, real: Any, descriptor: int, size: int) -> int:
        with self._lock:
            result = int(real(descriptor, size))
            node = self._node(descriptor)
            if result == 0 and node is not None:
                self.events.append(Resize(node, size))
            return result

    def _sync(self, real: Any, descriptor: int) -> int:
        with self._lock:
            result = int(real(descriptor))
            node = self._node(descriptor)
            if result == 0 and node is not None:
                self.events.append(Sync(node))
            return result

    def _rename(self, real: Any, old: bytes, new: bytes) -> int:
        with self._lock:
            source, target = self._entry(_full(_HERE, old)), self._entry(_full(_HERE, new))
            result = int(real(old, new))
            if result == 0 and (source or target):
                if source is None or target is None:
                    raise InvariantError("recording", 0, "a rename into or out of the directory is not modelled")
                self.events.append(Rename(*source, *target))
            return result

    def _remove_at(self, real: Any, directory: int, path: bytes, flags: int) -> int:
        return self._remove(real, directory, path, directory, path, flags)

    def _remove(self, real: Any, directory: int, path: bytes, *arguments: Any) -> int:
        with self._lock:
            entry = self._entry(_full(directory, path))
            result = int(real(*arguments))
            if result == 0 and entry is not None:
                self.events.append(Remove(*entry))
            return result

    def _make_directory(self, real: Any, path: bytes, mode: int) -> int:
        with self._lock:
            where = _full(_HERE, path)
            entry = self._entry(where)
            result = int(real(path, mode))
            if result == 0 and entry is not None:
                self._created(entry, where, is_directory=True)
            return result

    def _map(self, real: Any, address: int, size: int, protection: int, flags: int, descriptor: int, at: int) -> int:
        if descriptor >= 0 and protection & _PROT_WRITE and flags & _MAP_SHARED:
            node = self._node(descriptor)
            if node is not None:
                with self._lock:
                    self.events.append(Mapped(node))
        result = real(address, size, protection, flags, descriptor, at)
        return int(result or 0)


def _full(directory: int, path: bytes) -> str:
    text = os.fsdecode(path)
    if text.startswith("/"):
        return text
    base = str(Path.cwd()) if directory == _HERE else str(Path(f"/proc/self/fd/{directory}").readlink())
    return f"{base}/{text}"


def _flags(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL)


def _is_durable(descriptor: int) -> bool:
    return bool(_flags(descriptor) & os.O_DSYNC)


def _position(descriptor: int) -> int:
    return os.lseek(descriptor, 0, os.SEEK_CUR)
