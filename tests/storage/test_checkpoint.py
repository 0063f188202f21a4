"""The checkpoint: exact, sparse, all or nothing."""

from __future__ import annotations

from pathlib import Path

import lmdb
import msgpack
import pytest

from tests.storage.histories import flip_in_file
from zkstore.errors import DamageError, DiskFullError, FormatTooNewError
from zkstore.model.record import make
from zkstore.model.stat import Stat
from zkstore.model.tree import SessionRecord, Tree
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.image import Mark

STAT = Stat(1, 1, 5, 5, 0, 0, 0, 0, 0, 0, 1)


def changed(tree: Tree, znodes: dict[bytes, bytes | None], zxid: int) -> list[tuple[bytes, bytes | None]]:
    """Change a tree in memory and say what a capture would."""
    for path, record in znodes.items():
        if record is None:
            tree.remove(path, b"/")
        elif path in tree.records:
            tree.put(path, record)
        else:
            tree.add(path, b"/", record)
    tree.seal()
    tree.zxid = zxid
    capture = tree.begin_capture()
    taken = capture.take(1_000_000)
    tree.end_capture()
    return taken


def write(checkpoint: Checkpoint, tree: Tree, znodes: list[tuple[bytes, bytes | None]]) -> None:
    checkpoint.begin()
    for at in range(0, len(znodes), 50):
        checkpoint.put(znodes[at : at + 50])
    checkpoint.finish(Mark(tree.zxid, tree.digest, crc=7), tree.sessions)


def loaded(checkpoint: Checkpoint) -> Tree:
    found = checkpoint.load()
    assert found is not None
    return found[0]


def record(data: bytes | None) -> bytes:
    return make(data, STAT)


def test_there_is_nothing_to_load_before_the_first_checkpoint(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "tree")
    assert (checkpoint.load(), checkpoint.mark()) == (None, None)
    assert not (tmp_path / "tree").exists()


def test_a_checkpoint_gives_back_the_tree(tmp_path: Path) -> None:
    tree = Tree.new()
    tree.open_session(-5, SessionRecord(30_000, b"p" * 16))
    write(Checkpoint(tmp_path), tree, changed(tree, {b"/a": record(b"x"), b"/b": record(None)}, 9))
    found = Checkpoint(tmp_path).load()
    assert found is not None
    assert (found[0].records, found[0].sessions, found[0].zxid) == (tree.records, tree.sessions, 9)
    assert found[1] == Mark(9, tree.digest, 7, restarts_log=False)


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    tree = Tree.new()
    checkpoint = Checkpoint(tmp_path)
    write(checkpoint, tree, changed(tree, {b"/n%d" % number: record(b"x") for number in range(300)}, 1))
    second = changed(tree, {b"/n7": record(b"y"), b"/n8": None, b"/new": record(b"z")}, 2)
    assert len(second) == 3
    write(checkpoint, tree, second)
    assert loaded(checkpoint).records == tree.records


@pytest.mark.parametrize("length", [510, 511, 512, 513, 3_000])
def test_paths_longer_than_a_key_come_change_and_go(tmp_path: Path, length: int) -> None:
    path = b"/" + b"p" * (length - 1)
    twin = path[:-1] + b"q"
    tree = Tree.new()
    checkpoint = Checkpoint(tmp_path)
    write(checkpoint, tree, changed(tree, {path: record(b"1"), twin: record(b"2")}, 1))
    assert loaded(checkpoint).records == tree.records
    write(checkpoint, tree, changed(tree, {path: record(b"3"), twin: None}, 2))
    assert loaded(checkpoint).records == tree.records


def test_an_abandoned_checkpoint_leaves_the_one_before(tmp_path: Path) -> None:
    tree = Tree.new()
    checkpoint = Checkpoint(tmp_path)
    write(checkpoint, tree, changed(tree, {b"/a": record(b"1")}, 1))
    before = dict(tree.records)
    checkpoint.begin()
    checkpoint.put(changed(tree, {b"/a": record(b"2")}, 2))
    checkpoint.abandon()
    checkpoint.abandon()
    assert loaded(checkpoint).records == before
    assert checkpoint.mark() == Mark(1, loaded(checkpoint).digest, 7)


def test_a_checkpoint_that_was_never_finished_is_none(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.begin()
    checkpoint.put([(b"/a", record(b"1"))])
    checkpoint.abandon()
    assert checkpoint.load() is None


@pytest.mark.parametrize("made", ["the file", "the environment"])
def test_a_checkpoint_whose_making_was_cut_short_is_none(tmp_path: Path, made: str) -> None:
    checkpoint = Checkpoint(tmp_path / "tree")
    checkpoint.path.mkdir()
    if made == "the file":
        (checkpoint.path / "data.mdb").touch()
    else:
        lmdb.open(str(checkpoint.path)).close()
    assert (checkpoint.load(), checkpoint.mark()) == (None, None)
    tree = Tree.new()
    write(checkpoint, tree, changed(tree, {b"/a": record(b"a")}, zxid=1))
    assert loaded(checkpoint).records == tree.records


def test_the_map_grows_in_the_middle_of_a_checkpoint(tmp_path: Path) -> None:
    tree = Tree.new()
    checkpoint = Checkpoint(tmp_path, map_bytes=1 << 16)
    write(checkpoint, tree, changed(tree, {b"/n%d" % number: record(bytes(2_000)) for number in range(500)}, 1))
    assert loaded(checkpoint).records == tree.records
    tree.sessions = {number: SessionRecord(number, b"p" * 16) for number in range(20_000)}
    write(checkpoint, loaded(checkpoint), [])


def test_the_map_grows_for_the_sessions_alone(tmp_path: Path) -> None:
    tree = Tree.new()
    checkpoint = Checkpoint(tmp_path, map_bytes=1 << 16)
    for number in range(20_000):
        tree.open_session(number, SessionRecord(30_000, b"p" * 16))
    write(checkpoint, tree, changed(tree, {b"/a": record(b"1")}, 1))
    assert loaded(checkpoint).sessions == tree.sessions
    assert loaded(checkpoint).records == tree.records


def test_a_full_disk_leaves_the_checkpoint_as_it_was(small_disk: Path) -> None:
    tree = Tree.new()
    checkpoint = Checkpoint(small_disk / "tree")
    write(checkpoint, tree, changed(tree, {b"/a": record(b"1")}, 1))
    before = dict(tree.records)
    with pytest.raises(DiskFullError):
        write(checkpoint, tree, changed(tree, {b"/n%d" % number: record(bytes(3_000)) for number in range(3_000)}, 2))
    assert loaded(checkpoint).records == before
    for number in range(3_000):
        tree.remove(b"/n%d" % number, b"/")
    write(checkpoint, tree, changed(tree, {b"/a": record(b"2")}, 3))
    assert loaded(checkpoint).records == tree.records


def test_a_changed_record_is_found_by_the_digest(tmp_path: Path) -> None:
    tree = Tree.new()
    checkpoint = Checkpoint(tmp_path)
    write(checkpoint, tree, changed(tree, {b"/a": record(b"precious content")}, 5))
    flip_in_file(tmp_path / "data.mdb", b"precious content")
    with pytest.raises(DamageError, match="digest") as caught:
        checkpoint.load()
    assert caught.value.zxid == 5


def test_a_spoilt_file_is_damage(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    write(checkpoint, Tree.new(), [])
    (tmp_path / "data.mdb").write_bytes(b"not LMDB's" * 2_000)
    with pytest.raises(DamageError, match="page 0 of the file is damaged"):
        checkpoint.load()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    write(checkpoint, Tree.new(), [])
    env = lmdb.open(str(tmp_path), max_dbs=4)
    with env.begin(write=True, db=env.open_db(b"meta")) as batch:
        batch.put(b"mark", msgpack.packb({"format_version": 2, "zxid": 1}))
    env.close()
    with pytest.raises(FormatTooNewError):
        checkpoint.mark()
