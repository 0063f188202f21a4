"""Files that appear under their names when all of them is on disk, for the owner alone: they may hold secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zkstore.storage.directory import sync_directory, translated


@contextmanager
def draft(path: Path) -> Iterator[BinaryIO]:
    """A file to be written, which is `path` afterwards, or nothing where the writer fails. Raises StorageError."""
    hidden = path.with_name(f".{path.name}.draft")
    try:
        hidden.touch(mode=0o600)
        with hidden.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise translated(error, path) from error
    finally:
        hidden.unlink(missing_ok=True)
