"""Starts the storage on an image as a server would, and takes down what it finds there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from struct import error as StructError
from typing import Any, Final

import lmdb

from zkstore.errors import DamageError, StorageError, ZkStoreError
from zkstore.server import boot
from zkstore.server import config as configuration
from zkstore.server.config import Config
from zkstore.storage import probe, snapshots
from zkstore.storage.recovery import Recovered
from zkstore.storage.store import Store
from zkstore.testing.powercut.disk import Image
from zkstore.testing.powercut.oracle import Found, content_of

DATA: Final = "data"
"""The data directory below the directory that is recorded."""

LOG: Final = "log-elsewhere"
"""The log's, where it has one of its own."""


def lay_out(image: Image, root: Path) -> None:
    """Write an image below `root`, in place of what is there."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    base = str(root)
    for path, content in image.items():
        if content is None:
            os.mkdir(f"{base}/{path}", 0o700)  # noqa: PTH102
        else:
            descriptor = os.open(f"{base}/{path}", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, content)
            os.close(descriptor)


def open_store(root: Path, about: Mapping[str, Any]) -> Store:
    """The store as the recorded one was opened."""
    log = root / LOG if about.get("has_own_log_directory") else None
    return Store.open(
        root / DATA,
        log_directory=log,
        map_bytes=about.get("map_bytes", 1 << 20),
        history_bytes_max=about.get("history_bytes_max", 1 << 30),
        snapshots_kept=about.get("snapshots_kept", 3),
    )


def open_recovered(root: Path, about: Mapping[str, Any]) -> tuple[Store, Recovered]:
    """The same, and what it has recovered. Where it `sets_aside` what is damaged, as a member of three does it."""
    if about.get("sets_aside"):
        return boot.open_store(replace(_member_of_three(), data_dir=root / DATA))
    store = open_store(root, about)
    try:
        return store, store.recover(committed_only=bool(about.get("is_member")))
    except StorageError:
        store.close()
        raise


def start(root: Path, about: Mapping[str, Any]) -> Found:
    """Open, recover, look at everything, and let go."""
    try:
        store, recovered = open_recovered(root, about)
        try:
            return _look(store, recovered)
        finally:
            store.close()
    except (
        ZkStoreError,
        lmdb.Error,
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AssertionError,
        StructError,
    ) as error:
        return Found(f"{type(error).__name__}: {error}")


def _look(store: Store, recovered: Recovered) -> Found:
    log = store.log
    return Found(
        start=(log.start.zxid, log.start.crc),
        ends=tuple((segment.last_zxid, segment.crc) for segment in log.read(log.start.zxid)),
        epochs=(*log.epochs, log.enrolment),
        ensemble=log.ensemble_id,
        tree_zxid=recovered.tree.zxid,
        content=content_of(recovered.tree),
        snapshots=tuple((snapshot.zxid, _snapshot(snapshot)) for snapshot in store.snapshots.all()),
    )


@contextmanager
def unprobed() -> Iterator[None]:
    """Starts do without the look by a child process, which takes longer than all the rest. The images that need it
    are looked at by a process of their own."""
    original = probe.refuse_fatal
    probe.refuse_fatal = lambda path: None
    try:
        yield
    finally:
        probe.refuse_fatal = original


@cache
def _member_of_three() -> Config:
    lines = "".join(f"server.{number}=127.0.0.{number}:2888:3888;2181\n" for number in (1, 2, 3))
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write(f"dataDir=/nonexistent\n{lines}")
        file.flush()
        return configuration.load(Path(file.name), {"my_id": "1"}, {})[0]


def _snapshot(snapshot: snapshots.Snapshot) -> int | None:
    try:
        tree, _ = snapshots.load(snapshot)
    except DamageError:
        return None
    return content_of(tree)
