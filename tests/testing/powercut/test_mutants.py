"""A checker that finds nothing proves nothing: bugs put into the real storage, each of which a cut must show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from zkstore.storage import aside, checkpoint, directory, env, retention, salvage, snapshots
from zkstore.storage.env import Environment
from zkstore.storage.log import Log
from zkstore.storage.retention import DropLog, DropSnapshot, History
from zkstore.storage.snapshots import Snapshots
from zkstore.testing.powercut import damaged, loads
from zkstore.testing.powercut.campaign import Campaign

Patch = pytest.MonkeyPatch

IMAGES_MAX = 1_500


def nothing(*_: object, **__: object) -> None:
    """In place of a step that was forgotten."""


def _an_append_that_does_not_wait_for_the_disk(patch: Patch) -> None:
    opened = lmdb.open
    patch.setattr(lmdb, "open", lambda *arguments, **keywords: opened(*arguments, **keywords, sync=False))


def _no_salvage(patch: Patch) -> None:
    patch.setattr(salvage, "find", lambda *_: [])


def _promises_without_a_sync(patch: Patch) -> None:
    patch.setattr(Environment, "sync", nothing)


def _a_rename_before_the_content_is_safe(patch: Patch) -> None:
    patch.setattr(directory, "sync_file", nothing)


def _a_snapshot_that_is_not_synced(patch: Patch) -> None:
    patch.setattr(snapshots, "sync_file", nothing)


def _no_directory_is_synced(patch: Patch) -> None:
    for module in (checkpoint, directory, env, snapshots):
        patch.setattr(module, "sync_directory", nothing)


def _a_new_tree_whose_name_is_not_safe_when_the_old_one_goes(patch: Patch) -> None:
    patch.setattr(checkpoint, "sync_directory", nothing)


def _a_snapshot_whose_name_is_not_safe_when_its_files_go(patch: Patch) -> None:
    def remove(self: Snapshots, zxid: int) -> None:
        with patch.context() as once:
            once.setattr(snapshots, "sync_directory", nothing)
            removing(self, zxid)

    removing = Snapshots.remove
    patch.setattr(Snapshots, "remove", remove)


def _a_cut_that_leaves_its_segments_valid(patch: Patch) -> None:
    def cut(self: Log, zxid: int) -> None:
        with patch.context() as once:
            once.setattr(Log, "_end_generation", nothing)
            cutting(self, zxid)

    cutting = Log.truncate_after
    patch.setattr(Log, "truncate_after", cut)


def _a_refused_append_that_stays_valid(patch: Patch) -> None:
    def append(self: Log, segments: Any) -> None:
        with patch.context() as once:
            once.setattr(Log, "_end_generation", nothing)
            appending(self, segments)

    appending = Log.append
    patch.setattr(Log, "append", append)


def _a_new_environment_under_its_own_name(patch: Patch) -> None:
    patch.setattr(env, "_create", lambda file, databases, map_bytes: None)
    opened = lmdb.open

    def open_or_make(*arguments: Any, **keywords: Any) -> Any:
        return opened(*arguments, **(keywords | {"create": not keywords["readonly"]}))

    patch.setattr(lmdb, "open", open_or_make)


def _a_log_that_is_dropped_up_to_the_checkpoint(patch: Patch) -> None:
    def next_drop(history: History, **bounds: int) -> DropSnapshot | DropLog | None:
        if history.log_start_zxid < history.checkpoint_zxid:
            return DropLog(history.checkpoint_zxid)
        return dropping(history, **bounds)

    dropping = retention.next_drop
    patch.setattr(retention, "next_drop", next_drop)


def _a_setting_aside_that_is_not_finished(patch: Patch) -> None:
    patch.setattr(aside, "unfinished", lambda directory: None)


def _a_setting_aside_whose_note_is_not_safe(patch: Patch) -> None:
    def write(path: Path, content: bytes) -> None:
        path.write_bytes(content)

    patch.setattr(aside, "replace_file", write)


MUTANTS: dict[Callable[[Patch], None], str] = {
    _an_append_that_does_not_wait_for_the_disk: "appends",
    _no_salvage: "appends",
    _promises_without_a_sync: "agreement",
    _a_rename_before_the_content_is_safe: "first start",
    _a_snapshot_that_is_not_synced: "checkpoints",
    _no_directory_is_synced: "first start",
    _a_new_tree_whose_name_is_not_safe_when_the_old_one_goes: "installs",
    _a_snapshot_whose_name_is_not_safe_when_its_files_go: "checkpoints",
    _a_cut_that_leaves_its_segments_valid: "agreement",
    _a_refused_append_that_stays_valid: "refusals",
    _a_new_environment_under_its_own_name: "first start",
    _a_log_that_is_dropped_up_to_the_checkpoint: "checkpoints",
    _a_setting_aside_that_is_not_finished: damaged.LOAD,
    _a_setting_aside_whose_note_is_not_safe: damaged.LOAD,
}

SLOW = {_a_snapshot_whose_name_is_not_safe_when_its_files_go, _a_log_that_is_dropped_up_to_the_checkpoint}
"""Found behind some hundred images only."""


def _quick_and_slow() -> Iterator[Any]:
    for mutate in MUTANTS:
        yield pytest.param(mutate, id=mutate.__name__.strip("_"), marks=[pytest.mark.long] if mutate in SLOW else [])


@pytest.mark.parametrize("mutate", list(_quick_and_slow()))
def test_a_bug_in_the_storage_is_found(mutate: Callable[[Patch], None], tmp_path: Path, monkeypatch: Patch) -> None:
    mutate(monkeypatch)
    load, root = MUTANTS[mutate], tmp_path / "recorded"
    recording = damaged.record(0, root) if load == damaged.LOAD else loads.record(load, 0, root)
    assert next(Campaign(recording, tmp_path / "image").run(IMAGES_MAX), None) is not None
