"""The recorder: whatever a process writes below a directory is seen, by whichever library it does so."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from zkstore.errors import InvariantError
from zkstore.testing.powercut.disk import Disk
from zkstore.testing.powercut.events import Create, Mapped, Mark, Recording, Remove, Rename, Resize, Sync, Write
from zkstore.testing.powercut.recorder import Recorder


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path, {})
    yield made
    made.stop()


def test_what_python_does_is_seen(recorder: Recorder) -> None:
    root = recorder.root
    (root / "d").mkdir()
    (root / "d" / "f").write_bytes(b"one")
    with (root / "d" / "f").open("ab") as opened:
        opened.write(b"two")
        opened.flush()
        os.fsync(opened.fileno())
        os.pwrite(opened.fileno(), b"O", 0)
        os.ftruncate(opened.fileno(), 3)
    (root / "d" / "f").rename(root / "d" / "g")
    (root / "d" / "g").unlink()
    (root / "d").rmdir()
    assert recorder.events == [
        Create(0, "d", 1, True),
        Create(1, "f", 2, False),
        Write(2, 0, b"one", False),
        Write(2, 3, b"two", False),
        Sync(2),
        Write(2, 0, b"O", False),
        Resize(2, 3),
        Rename(1, "f", 1, "g"),
        Remove(1, "g"),
        Remove(0, "d"),
    ]


def test_copies_and_whole_directories_are_seen(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> None:
    root, elsewhere = recorder.root, tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "f").write_bytes(b"content" * 10_000)
    assert recorder.events == []
    shutil.copyfile(elsewhere / "f", root / "f")

    assert b"".join(event.data for event in recorder.events if isinstance(event, Write)) == b"content" * 10_000
    shutil.copytree(elsewhere, root / "d")
    shutil.rmtree(root / "d")
    assert recorder.events[-2:] == [Remove(2, "f"), Remove(0, "d")]
    (root / "f").write_bytes(b"anew")
    assert recorder.events[-2:] == [Resize(1, 0), Write(1, 0, b"anew", False)]


def test_what_lmdb_does_is_seen(recorder: Recorder) -> None:
    with lmdb.open(str(recorder.root / "env"), map_size=1 << 20) as env:
        for number in range(20):
            with env.begin(write=True) as batch:
                batch.put(b"%d" % number, bytes(3_000))
        env.copy(str(recorder.root), compact=True)
    events = recorder.events
    assert any(isinstance(event, Mapped) for event in events)  # its lock
    metas = [event for event in events if isinstance(event, Write) and event.is_durable]
    assert len(metas) == 20 and {event.offset // 4096 for event in metas} == {0, 1}
    for event in metas:
        assert isinstance(events[events.index(event) - 1], Sync)
    assert recorder.stop().events is events


def test_what_was_there_is_known(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"old")
    recorder = Recorder(tmp_path, {})
    with (tmp_path / "d" / "f").open("r+b") as opened:
        opened.write(b"N")
    recording = recorder.stop()
    assert [(file.name, file.content) for file in recording.before] == [("d", None), ("f", b"old")]
    disk = Disk(recording)
    disk.take(recording.events[0])
    assert disk.latest() == {"d": None, "d/f": b"Nld"}


def test_a_write_that_escaped_is_noticed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {})
    (tmp_path / "f").write_bytes(b"seen")
    subprocess.run([sys.executable, "-c", f"open({str(tmp_path / 'f')!r}, 'ab').write(b'unseen')"], check=True)
    with pytest.raises(InvariantError, match="f was written by a way that was not recorded"):
        recorder.stop()


def test_a_full_disk_takes_no_more_bytes_than_it_has(recorder: Recorder) -> None:
    descriptor = os.open(recorder.root / "f", os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, b"0123", 0)
    recorder.is_full = True
    os.pwrite(descriptor, b"ab", 2)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        os.pwrite(descriptor, b"ab", 3)
    os.close(descriptor)


def test_a_failed_call_fails_as_ever_and_leaves_nothing(recorder: Recorder) -> None:
    with pytest.raises(FileNotFoundError):
        (recorder.root / "no").rename(recorder.root / "f")
    with pytest.raises(FileNotFoundError):
        (recorder.root / "no").unlink()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fsync(1_000_000)
    assert recorder.events == []


def test_what_leaves_by_a_socket_is_marked_before_it_leaves(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {}, lambda descriptor, data: Mark("told", len(data)) if data != b"no" else None)
    here, there = socket.socketpair()
    here.send(b"no")
    here.send(b"yes")
    assert there.recv(10) == b"noyes"
    here.close()
    there.close()
    assert recorder.stop().events == [Mark("told", 3)]


def test_nothing_is_seen_any_more_after_the_end(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {})
    recording = recorder.stop()
    (tmp_path / "f").write_bytes(b"x")
    assert recording.events == []


def test_a_recording_is_read_as_it_was_saved(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    recorder = Recorder(tmp_path, {"load": "none"})
    (tmp_path / "f").write_bytes(b"x")
    recorder.mark("told", 7)
    recording = recorder.stop()
    file = tmp_path_factory.mktemp("saved") / "recording"
    recording.save(file)
    assert Recording.load(file) == recording
