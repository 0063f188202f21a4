"""Disks that fail when they are told to: one that gets full, one whose power goes, and one that is slow.

All need the system's help: the right to mount, or to trace a process. Each raises OSError where that is not to be had.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final

from zkstore.storage.directory import locate

_MEGABYTES: Final = 1024
_SPARE_BYTES: Final = 16 << 10
_IMAGE_BYTES: Final = 4 << 30
_SHUTDOWN: Final = 0x8004587D  # FS_IOC_SHUTDOWN of ext4, XFS and F2FS, made for tests of them
_WITHOUT_FLUSH: Final = Struct("I").pack(2)
_WAITS: Final = "fdatasync,fsync,msync"
_PAGE_BYTES: Final = 4096
_META_PAGES: Final = 2
_END_S: Final = 5.0
_TRY_S: Final = 0.2


class SmallDisk:
    """A file system in memory, made smaller and larger."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m", "zkstore-nemesis", str(path))

    def fill(self) -> None:
        """From now on there is no space but for a few pages."""
        found = os.statvfs(self.path)
        used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
        _run("mount", "-o", f"remount,size={(used_bytes + _SPARE_BYTES) // 1024}k", str(self.path))

    def free(self) -> None:
        """There is space again."""
        _run("mount", "-o", f"remount,size={_MEGABYTES}m", str(self.path))

    def close(self) -> None:
        """Let go of it; what is on it is lost."""
        _run("umount", "--lazy", str(self.path))


class PoweredDisk:
    """An ext4 file system of its own, in a sparse file: its power can go, and with it all that nobody synced.

    The kernel forgets the pages it has not written, as it does when the machine loses its power; what it has written
    is kept, as by a drive that keeps its word about its cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        image = path.with_name(f"{path.name}.image")
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(image))
        self._device = _run("losetup", "--find", "--show", str(image))
        try:
            self._mount()
        except OSError:
            _run("losetup", "--detach", self._device)
            raise

    def _mount(self) -> None:
        _run("mount", "-o", "noatime", self._device, str(self.path))

    def cut(self) -> None:
        """The power goes, and comes back. Nobody may have a file open on it any more."""
        here = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(here, _SHUTDOWN, _WITHOUT_FLUSH)
        finally:
            os.close(here)
        _run("umount", str(self.path))
        self._mount()

    def close(self) -> None:
        """Let go of it; what is on it is lost."""
        with suppress(OSError):
            _run("umount", "--lazy", str(self.path))
        with suppress(OSError):
            _run("losetup", "--detach", self._device)


class SlowSyncs:
    """While it is there, whenever a process waits for its disk that takes `sync_ms` longer; strace sees to it.

    All other calls of the process take somewhat longer, too, for strace looks at each.
    """

    def __init__(self, pid: int, sync_ms: int) -> None:
        command = ["strace", "-f", "-qqq", "-p", str(pid), "-o", "/dev/null", "-e", f"trace={_WAITS}"]
        command += ["-e", f"inject={_WAITS}:delay_enter={sync_ms * 1000}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """As fast as ever again, in a moment."""
        self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Stop, and wait for that."""
        self.stop()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def damage(directory: Path, of_log: bool, place_permille: int) -> None:
    """Overwrite a page in use of the log's file, or the checkpoint's, in a data directory that no server uses.

    The first two pages of such a file say where everything is; they are spared, for what they say is there twice.
    """
    located = locate(directory)
    path = (located.log if of_log else located.tree) / "data.mdb"
    if not path.exists():
        return
    data = path.read_bytes()
    starts = range(_META_PAGES * _PAGE_BYTES, len(data), _PAGE_BYTES)
    # Such a file is lengthened in advance, by zeros.
    used = [start for start in starts if data.count(0, start, start + _PAGE_BYTES) < _PAGE_BYTES]
    if used:
        with path.open("r+b") as file:
            file.seek(used[len(used) * place_permille // 1000])
            file.write(b"\xa5" * _PAGE_BYTES)
            os.fsync(file.fileno())


def refuse_tracing() -> None:
    """Raises OSError where this user cannot slow down the disk of a process that was started here."""
    if shutil.which("strace") is None:
        raise OSError("strace is not installed")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    command = ["strace", "-qqq", "-o", "/dev/null", "-p", str(child.pid)]
    with child, subprocess.Popen(command, stderr=subprocess.PIPE) as it:
        with suppress(subprocess.TimeoutExpired):
            it.wait(_TRY_S)
        child.kill()
        _, said = it.communicate()
    if it.returncode == 1:
        raise OSError(said.decode(errors="replace").strip() or "strace may not look at processes here")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise OSError(f"{command[0]} is not installed") from None
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()
