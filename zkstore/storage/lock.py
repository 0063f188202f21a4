"""One server per data directory: an flock on the file `lock`, which names its holder for people.

The kernel lets go of the lock when the process ends, however it ends; the file stays and means nothing by itself.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from zkstore import failpoints
from zkstore.errors import DirectoryInUseError, DirectoryUnusableError


class DirectoryLock:
    """The sole right to a directory, from construction to `release`.

    Raises DirectoryInUseError, which names the holder, and DirectoryUnusableError where the directory cannot be
    written.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / "lock"
        try:
            failpoints.hit("lock.before_open")
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DirectoryUnusableError(
                f"cannot be written: {error.strerror}",
                where=root,
                advice="Let the server's user own the directory, or name another one",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(self._descriptor)
            raise DirectoryInUseError(
                f"in use by {holder}", where=root, advice="Stop that server first, or name another data directory"
            ) from error
        failpoints.hit("lock.taken")
        with suppress(OSError):  # the lock holds on a full disk, too, only without a name
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have the directory."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
