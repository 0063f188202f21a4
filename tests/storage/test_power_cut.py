"""Power cuts: an acknowledged segment is there whatever the disk kept; what was refused or cut off never comes back."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.histories import History, create, log_zxids
from tests.storage.power import content, cut, referenced, restarted, torn, without_meta
from zkstore.errors import DiskFullError, StorageError
from zkstore.storage import salvage
from zkstore.storage.env import Environment
from zkstore.storage.generation import GenerationFile
from zkstore.storage.log import Epochs, Link, Log
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment

T = TypeVar("T")

EPOCH = 1 << 32
VALUE_BYTES = st.sampled_from([10, 400, 1_500, 3_000, 9_000])


class Draw(Protocol):
    """How hypothesis draws."""

    def __call__(self, strategy: st.SearchStrategy[T]) -> T: ...


class PowerCutError(StorageError):
    """Raised in place of a step that was not reached."""


@pytest.fixture
def history() -> History:
    return History()


def key_of(path: Path) -> bytes:
    """The key of a log's generation."""
    file = GenerationFile(path / "generation", read_only=True)
    file.close()
    return file.current.key


def file_of(descriptor: int) -> str:
    """The name of an open file."""
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


# --- acknowledged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value_bytes", [10, 1_500, 9_000, 300_000])
def test_a_segment_whose_meta_page_was_lost_is_salvaged(tmp_path: Path, history: History, value_bytes: int) -> None:
    path = tmp_path / "log"
    log = Log(path)
    log.append(history.fill(3, bytes(value_bytes)))
    before = content(path)
    log.append(history.fill(2, bytes(value_bytes)))
    after = cut(path, without_meta(before, content(path)))
    log.close()
    assert referenced(after) == 3
    assert restarted(after) == history.segments
    assert restarted(after) == history.segments


class Model:
    """A log that steps are taken on, and what it must hold: `chain`, but for those before `start` that were dropped."""

    def __init__(self, path: Path, draw: Draw) -> None:
        self.log = Log(path, map_bytes=1 << 17)
        self.chain: list[Segment] = []
        self.start = 0
        self.epochs = Epochs(0, 0)
        self._draw = draw
        self._made = 0

    def step(self, kinds: list[str]) -> str:
        """One call that writes; its kind."""
        kind = self._draw(st.sampled_from(kinds))
        if kind == "append":
            new = self._segments(self._draw(st.integers(1, 3)), self._draw(VALUE_BYTES))
            self.log.append(new)
            self.chain += new
        elif kind == "drop" and self.start < len(self.chain):
            start = self._draw(st.integers(self.start, len(self.chain) - 1))
            assert self.log.drop_before(self.chain[start].prev_zxid, at_most=99) == start - self.start
            self.start = start
        elif kind == "truncate":
            left = self._draw(st.integers(self.start, len(self.chain)))
            self.log.truncate_after(self.chain[left - 1].last_zxid if left else 0)
            del self.chain[left:]
        elif kind == "epochs":
            self.epochs = Epochs(self.epochs.accepted + 1, self.epochs.current)
            self.log.set_epochs(self.epochs)
        return kind

    def _segments(self, count: int, value_bytes: int) -> list[Segment]:
        """New ones, which differ from all others made before."""
        chain = self.chain[-1:]
        for _ in range(count):
            self._made += 1
            prev_zxid, prev_crc = (chain[-1].last_zxid, chain[-1].crc) if chain else (0, 0)
            txns = [create(b"/n", b"%010d" % self._made * (value_bytes // 10))]
            chain.append(
                segments_.encode(
                    txns, prev_zxid=prev_zxid, first_zxid=prev_zxid + 1, digest_zxid=0, digest=0, prev_crc=prev_crc
                )
            )
        return chain[-count:]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_the_disk_kept_acknowledged_segments_are_there_and_others_whole_or_not(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        model = Model(path, data.draw)
        kind, start, image = "", 0, content(path)
        for _ in range(data.draw(st.integers(1, 8), label="steps")):
            before, start_before = image, start
            kind = model.step(["append", "append", "drop", "truncate", "epochs"])
            image, start = content(path), model.start
        acknowledged, epochs = list(model.chain), model.epochs
        pattern = data.draw(st.binary(min_size=1, max_size=8), label="kept of the commit under way")

        model.step(["append", "drop", "epochs"])
        under_way = content(path)
        if kind in ("append", "drop") and data.draw(st.booleans(), label="newest meta page lost"):
            image, start = without_meta(before, image), start_before
        image = torn(image, under_way, lambda number: bool(pattern[number // 8 % len(pattern)] >> number % 8 & 1))
        after = cut(path, image)
        model.log.close()

        found = restarted(after)
        assert found in [model.chain[start:end] for end in range(len(acknowledged), len(model.chain) + 1)]
        log = Log(after)
        assert log.epochs == epochs
        log.close()


def interrupted_salvage(path: Path, at: tuple[object, str]) -> tuple[bytes, Path, list[Segment]]:
    """A log that lost a meta page, and whose salvage does not come further than `at`.

    LMDB's file before the salvage, the log's directory after it, and what must be in the log. A reader held back free
    pages from the append that was lost, so that the salvage writes elsewhere: also where the lost segments lie.
    """
    history = History()
    log = Log(path)
    for segment in history.fill(6, bytes(20_000)):
        log.append([segment])
    with log._env.view():
        log.drop_before(EPOCH + 1, at_most=1)
        log.set_epochs(Epochs(1, 1))
        before = content(path)
        log.append(history.fill(3, b"lost" * 5_000))
    lost = cut(path, without_meta(before, content(path)))
    log.close()
    before = content(lost)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(*at, power_cut)
        Log(lost)
    return before, lost.rename(path.with_name("interrupted")), history.segments[1:]


@pytest.mark.parametrize("is_spared", [True, False])
def test_a_power_cut_while_salvage_writes_loses_nothing(tmp_path: Path, is_spared: bool) -> None:
    before, path, kept = interrupted_salvage(tmp_path / "log", (Environment, "sync"))
    after = content(path)
    assert restarted(cut(path, after)) == kept
    losses = 0
    for sectors in range(1, 10):
        again = cut(path, torn(before, after, striped(sectors)))
        if not is_spared:
            (again / "salvaged").unlink()
        losses += restarted(again) != kept
    assert (losses == 0) == is_spared  # without that file there would be losses


@pytest.mark.parametrize("at", [(salvage, "wrap"), (GenerationFile, "replace"), (Path, "unlink")])
def test_a_power_cut_between_the_steps_of_salvage_loses_nothing(tmp_path: Path, at: tuple[object, str]) -> None:
    before, path, kept = interrupted_salvage(tmp_path / "log", at)
    assert (content(path) == before) == (at == (salvage, "wrap"))  # nothing is written before the finds are safe
    assert restarted(cut(path, content(path))) == kept


def striped(sectors: int) -> Callable[[int], bool]:
    """So many sectors, and then as many not."""
    return lambda number: number // sectors % 2 == 0


def power_cut(*_: object, **__: object) -> None:
    raise PowerCutError("the power went")


def test_a_purge_that_was_lost_is_done_again(tmp_path: Path, history: History) -> None:
    path = tmp_path / "log"
    log = Log(path)
    log.append(history.fill(5))
    before = content(path)
    log.drop_before(EPOCH + 3, at_most=9)
    after = cut(path, without_meta(before, content(path)))
    log.close()
    log = Log(after)
    assert log.start == Link(0, 0)
    assert log.drop_before(EPOCH + 3, at_most=9) == 3
    assert log_zxids(log, EPOCH + 3) == [EPOCH + 4, EPOCH + 5]
    log.close()


def test_after_an_orderly_stop_there_is_nothing_to_salvage(tmp_path: Path, history: History) -> None:
    path = tmp_path / "log"
    log = Log(path)
    log.append(history.fill(5))
    log.close()
    assert referenced(path) == 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(salvage, "find", power_cut)
        Log(path).close()
        Log(path)  # not closed in order
        with pytest.raises(PowerCutError):
            Log(cut(path, content(path)))


# --- refused or cut off -------------------------------------------------------------------------------------------


def test_a_refused_append_never_comes_back(small_disk: Path, tmp_path: Path, history: History) -> None:
    path = small_disk / "log"
    log = Log(path)
    log.append(history.fill(3))
    key = key_of(path)
    (small_disk / "ballast").write_bytes(bytes(1_500_000))
    refused = history.fill(900, bytes(3_000))
    with pytest.raises(DiskFullError):
        log.append(refused)
    assert salvage.find([path / "data.mdb"], key, *log.end)  # whole ones are in the file
    (small_disk / "ballast").unlink()
    kept = history.segments[:3]
    other = History()
    other.fill(3)
    instead = other.add(create(b"/instead"))

    (tmp_path / "small").mkdir()
    copy = tmp_path / "small" / "log"
    shutil.copytree(path, copy)
    assert restarted(cut(copy, content(copy))) == kept
    before = content(path)
    log.append([instead])
    shutil.copytree(path, copy, dirs_exist_ok=True)
    log.close()
    assert restarted(cut(copy, without_meta(before, content(copy)))) == [*kept, instead]


def test_segments_that_were_cut_off_never_come_back(tmp_path: Path, history: History) -> None:
    path = tmp_path / "log"
    log = Log(path)
    log.append(history.fill(3))
    log.append(history.fill(3))
    key = key_of(path)
    log.truncate_after(EPOCH + 2)
    assert salvage.find([path / "data.mdb"], key, *log.end) == history.segments[2:]
    assert restarted(cut(path, content(path))) == history.segments[:2]
    log.close()


def test_segments_before_a_restart_never_come_back(tmp_path: Path, history: History) -> None:
    path = tmp_path / "log"
    log = Log(path)
    log.append(history.fill(6))
    key = key_of(path)
    log.restart(Link(EPOCH + 2, history.segments[1].crc))
    assert salvage.find([path / "data.mdb"], key, *log.end) == history.segments[2:]
    assert restarted(cut(path, content(path))) == []
    log.close()


@pytest.mark.parametrize("step", ["write", "sync"])
def test_a_power_cut_in_the_middle_of_cutting_off_leaves_all_or_nothing_cut(
    tmp_path: Path, history: History, step: str
) -> None:
    path = tmp_path / "log"
    log = Log(path)
    log.append(history.fill(3, bytes(3_000)))
    log.append(history.fill(3, bytes(3_000)))
    before = content(path)
    with pytest.MonkeyPatch.context() as patch:
        log._end_generation()
        patch.setattr(Log, "_end_generation", lambda _: None)
        patch.setattr(Environment, step, power_cut)
        with pytest.raises(PowerCutError):
            log.truncate_after(EPOCH + 2)
    for image in (without_meta(before, content(path)), torn(before, content(path), lambda number: number % 3 > 0)):
        assert restarted(cut(path, image)) == history.segments
    assert restarted(cut(path, content(path))) == history.segments[: 6 if step == "write" else 2]
    log.close()


def test_a_generation_ends_only_when_what_stays_is_on_disk_and_facts_are_synced(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LMDB's own syncs, one for each commit, do not come by here."""
    log = Log(tmp_path)
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(file_of(descriptor)))

    def syncs() -> list[str]:
        found = list(synced)
        synced.clear()
        return found

    log.append(history.fill(5))
    log.drop_before(EPOCH + 1, at_most=1)
    assert syncs() == []
    log.set_epochs(Epochs(1, 1))
    assert syncs() == ["data.mdb"]
    log.truncate_after(EPOCH + 4)
    assert syncs() == ["data.mdb", "generation", "data.mdb"]
    log.restart(Link(EPOCH + 3, 7))
    assert syncs() == ["data.mdb", "generation", "data.mdb"]
    other = History()
    with pytest.raises(StorageError), monkeypatch.context() as patch:
        patch.setattr(log, "_put_segments", power_cut)
        log.append([dataclasses.replace(other.add(create(b"/n")), prev_zxid=EPOCH + 3, prev_crc=7)])
    assert syncs() == ["data.mdb", "generation"]
    log.close()
    assert syncs() == ["data.mdb", "generation"]
    Log(tmp_path).close()
    assert syncs() == ["data.mdb", "generation"] * 2


# --- a disk that fails --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["generation", "data.mdb"])
def test_an_append_whose_failure_cannot_be_recorded_stops_the_server(
    small_disk: Path, history: History, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_disk / "log"
    log = Log(path)
    log.append(history.fill(1))
    kept = history.segments[:1]
    (small_disk / "ballast").write_bytes(bytes(1_500_000))
    sync = os.fdatasync

    def fail(descriptor: int) -> None:
        if file_of(descriptor) == broken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StorageError) as caught:
        log.append(history.fill(900, bytes(3_000)))
    assert not isinstance(caught.value, DiskFullError)
    monkeypatch.undo()
    (small_disk / "ballast").unlink()
    with pytest.raises(StorageError, match="since the disk failed"):
        log.append(history.segments[1:2])
    with pytest.raises(StorageError, match="since the disk failed"):
        log.set_epochs(Epochs(1, 1))
    log.close()
    log = Log(path)
    assert list(log.read(0))[:1] == kept
    log.close()
