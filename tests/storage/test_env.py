"""An environment's file: pages at its end that were never written, and pages that are missing."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from zkstore.errors import DamageError
from zkstore.storage import pages
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.env import Environment
from zkstore.storage.image import Mark

DATABASE = b"rows"


def put_and_delete(path: Path, *, is_lengthened: bool) -> tuple[int, int]:
    """Make an environment whose last pages were taken and freed by one batch; its file's bytes, and its pages'."""
    env = Environment(path, (DATABASE,))
    random = Random(5)
    for _ in range(60):
        env.write(lambda batch: change(batch, env.databases[DATABASE], random))
        found, needed = (path / "data.mdb").stat().st_size, env._needed_bytes()
        if found < needed:
            break
    env.close()
    if not is_lengthened:
        os.truncate(path / "data.mdb", found)  # as a crash before the end leaves it
    return found, needed


def change(batch: Any, database: Any, random: Random) -> None:
    """Much comes, and now and then all of it goes again."""
    keys = [b"%05d" % random.randrange(800) for _ in range(random.randrange(1, 600))]
    for key in keys:
        if random.random() < 0.5:
            batch.put(key, bytes(random.choice((10, 300, 1_500, 9_000))), db=database)
        else:
            batch.delete(key, db=database)
    if random.random() < 0.6:
        for key in keys:
            batch.delete(key, db=database)
    batch.put(b"kept", b"value", db=database)


@pytest.mark.parametrize("is_lengthened", [True, False])
@pytest.mark.parametrize("read_only", [True, False])
def test_pages_that_were_freed_before_they_were_written_are_not_missed(
    tmp_path: Path, is_lengthened: bool, read_only: bool
) -> None:
    found, needed = put_and_delete(tmp_path / "env", is_lengthened=is_lengthened)
    assert found < needed
    pages.check(tmp_path / "env" / "data.mdb")
    env = Environment(tmp_path / "env", (DATABASE,), read_only=read_only)
    with env.view() as view:
        assert view.get(b"kept", db=env.databases[DATABASE]) == b"value"
    env.close()
    file_bytes = (tmp_path / "env" / "data.mdb").stat().st_size
    assert file_bytes == (found if read_only and not is_lengthened else needed)


def test_pages_in_use_that_are_missing_are_named(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.begin()
    checkpoint.put([(b"/n%04d" % number, bytes(900)) for number in range(500)])
    checkpoint.finish(Mark(1, 0, 0), {})
    file = tmp_path / "data.mdb"
    needed = file.stat().st_size
    os.truncate(file, needed // 2)
    with pytest.raises(DamageError, match=f"the file has {needed // 2} bytes where {needed} were written"):
        checkpoint.mark()
