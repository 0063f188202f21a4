"""What an image says of itself: how much it is, and that an older zkstore's are read without it."""

from __future__ import annotations

from pathlib import Path

import msgpack

from tests.storage.histories import History, create
from zkstore.storage import image, snapshots
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.image import Counts, Mark
from zkstore.storage.page_file import PageFile
from zkstore.storage.tables import tables


def written(path: Path, history: History, counts: Counts | None) -> Mark:
    """A checkpoint of the history's tree, or of what changed since the last one."""
    capture = history.tree.begin_capture()
    checkpoint = Checkpoint(path)
    checkpoint.begin()
    while znodes := capture.take(100):
        checkpoint.put(znodes)
    mark = Mark(capture.zxid, capture.digest, 7)
    checkpoint.finish(mark, capture.sessions, counts)
    history.tree.end_capture()
    return mark


def counts_in(path: Path, mark: Mark) -> Counts | None:
    with PageFile(path / "data.mdb") as file:
        return image.decode_counts(tables(file, file.newest())[b"meta"].get(b"counts"), mark)


def test_a_capture_knows_how_much_the_tree_is(tmp_path: Path) -> None:
    history = History()
    history.add(create(b"/a", b"12345"), create(b"/a/e", b"1", owner=77))
    capture = history.tree.begin_capture()
    assert (capture.tree_znodes, capture.tree_ephemerals) == (6, 1)
    assert capture.tree_data_bytes == history.tree.data_bytes
    history.add(create(b"/later"))
    assert capture.tree_znodes == 6


def test_counts_are_written_with_the_mark(tmp_path: Path) -> None:
    history = History()
    history.add(create(b"/a"))
    mark = written(tmp_path, history, Counts(5, 100, 0))
    assert counts_in(tmp_path, mark) == Counts(5, 100, 0)
    env = snapshots.open_image(tmp_path)
    assert image.read_mark(env) == mark
    env.close()


def test_counts_of_an_earlier_mark_count_for_nothing(tmp_path: Path) -> None:
    history = History()
    history.add(create(b"/a"))
    written(tmp_path, history, Counts(5, 100, 0))
    history.add(create(b"/b"))
    mark = written(tmp_path, history, None)  # as a zkstore does that knows no counts
    assert counts_in(tmp_path, mark) is None


def test_counts_that_cannot_be_read_are_none() -> None:
    mark = Mark(3, 0, 0)
    for content in (
        None,
        b"",
        b"\xc1",
        msgpack.packb([1]),
        msgpack.packb({"zxid": 3}),
        msgpack.packb({"zxid": 3, "x": 1}),
    ):
        assert image.decode_counts(content, mark) is None
    content = msgpack.packb({"zxid": 3, "znodes": 1, "data_bytes": 2, "ephemerals": 3})
    assert image.decode_counts(content, mark) == Counts(1, 2, 3)
