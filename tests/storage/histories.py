"""Shared makers of the storage tests: a server's history of txns, and damage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import lmdb
from hypothesis import strategies as st

from zkstore.model.apply import apply_segment
from zkstore.model.tree import Tree
from zkstore.model.txns import (
    CLOSE_SESSION,
    CREATE,
    CREATE_SESSION,
    DELETE,
    SET_DATA,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    SetDataTxn,
    Txn,
)
from zkstore.storage import salvage
from zkstore.storage.log import Log
from zkstore.storage.store import Store
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment

SESSION = 0x1000000000001


def create(path: bytes, data: bytes | None = b"data", owner: int = 0) -> CreateTxn:
    return CreateTxn(CREATE, SESSION, 1, 1_700_000_000_000, path, data, None, owner)


def set_data(path: bytes, data: bytes, version: int) -> SetDataTxn:
    return SetDataTxn(SET_DATA, SESSION, 1, 1_700_000_000_001, path, data, version)


def delete(path: bytes) -> DeleteTxn:
    return DeleteTxn(DELETE, SESSION, 1, 1_700_000_000_002, path)


def open_session(session_id: int = SESSION) -> CreateSessionTxn:
    return CreateSessionTxn(CREATE_SESSION, session_id, 0, 1_700_000_000_003, 30_000, b"p" * 16)


class History:
    """A leader's side of a log: makes segments that continue each other, and keeps the tree they lead to."""

    def __init__(self) -> None:
        self.tree = Tree.new()
        self.segments: list[Segment] = []

    def add(self, *txns: Txn, epoch: int = 1, wrong_digest: bool = False) -> Segment:
        """The next segment, with these txns."""
        last = self.segments[-1] if self.segments else None
        first_zxid = max(self.tree.zxid, epoch << 32) + 1
        segment = segments_.encode(
            txns,
            prev_zxid=self.tree.zxid,
            first_zxid=first_zxid,
            digest_zxid=self.tree.zxid,
            digest=self.tree.digest ^ wrong_digest,
            prev_crc=0 if last is None else last.crc,
        )
        apply_segment(self.tree, first_zxid, txns)
        self.segments.append(segment)
        return segment

    def fill(self, count: int, data: bytes = b"data") -> list[Segment]:
        """`count` segments of one new znode each; the new ones."""
        before = len(self.segments)
        return [self.add(create(b"/n%d" % (before + index), data)) for index in range(count)]

    def checkpoint(self, store: Store) -> None:
        """Bring the store's checkpoint to where the history is, as the server does."""
        capture = self.tree.begin_capture()
        store.begin_checkpoint()
        while znodes := capture.take(500):
            store.put_checkpoint(znodes)
        store.finish_checkpoint(capture.zxid, capture.digest, capture.sessions)
        self.tree.end_capture()


def same(tree: Tree, other: Tree) -> bool:
    """Whether two trees hold the same, without trust in the digest."""
    return (tree.records, tree.sessions, tree.zxid) == (other.records, other.sessions, other.zxid)


@st.composite
def txn_lists(draw: st.DrawFn) -> list[list[Txn]]:
    """Segments' worth of txns that fit an empty tree: znodes with short, long and null values come, change and go."""
    segments: list[list[Txn]] = []
    versions: dict[bytes, int] = {}
    sessions: set[int] = set()
    for _ in range(draw(st.integers(1, 12))):
        segments.append([_txn(draw, versions, sessions) for _ in range(draw(st.integers(1, 4)))])
    return segments


def _txn(draw: st.DrawFn, versions: dict[bytes, int], sessions: set[int]) -> Txn:
    name = draw(st.sampled_from([b"/a", b"/b", b"/c", b"/" + b"d" * 600, b"/" + b"d" * 601, b"/e" * 255 + b"x"]))
    name = b"/" + name.replace(b"/", b"-")
    if name not in versions:
        versions[name] = 0
        return create(name, draw(st.none() | st.binary(max_size=40)))
    what = draw(st.sampled_from(["set", "delete", "session"]))
    if what == "set":
        versions[name] += 1
        return set_data(name, draw(st.binary(max_size=40)), versions[name])
    if what == "delete":
        del versions[name]
        return delete(name)
    session_id = draw(st.sampled_from([-5, 7]))
    if session_id in sessions:
        sessions.remove(session_id)
        return CloseSessionTxn(CLOSE_SESSION, session_id, 0, 1_700_000_000_004, ())
    sessions.add(session_id)
    return open_session(session_id)


# --- damage -----------------------------------------------------------------------------------------------


def rewrite_segment(path: Path, number: int, data: bytes | None) -> None:
    """Replace the log's `number`-th segment, behind the store's back; None removes it."""
    env = lmdb.open(str(path), max_dbs=4)
    with env.begin(write=True, db=env.open_db(b"segments")) as batch:
        keys = list(batch.cursor().iternext(values=False))
        if data is None:
            batch.delete(keys[number])
        else:
            batch.put(keys[number], bytes(salvage.ENVELOPE_BYTES) + data)
    env.close()


def flip(data: bytes, at: int) -> bytes:
    """The same bytes but for one bit."""
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def flip_in_file(file: Path, content: bytes) -> None:
    """Change one bit in the middle of some stored bytes, wherever in the file they lie."""
    whole = file.read_bytes()
    assert content in whole
    for piece in _places(whole, content):
        whole = flip(whole, piece + len(content) // 2)
    file.write_bytes(whole)


def zero_page(file: Path, content: bytes) -> None:
    """Blank the pages that hold some content, as a disk does that loses a write."""
    whole = bytearray(file.read_bytes())
    for place in list(_places(bytes(whole), content)):
        whole[place & ~4095 : (place & ~4095) + 4096] = bytes(4096)
    file.write_bytes(whole)


def _places(whole: bytes, content: bytes) -> Iterable[int]:
    at = whole.find(content)
    while at >= 0:
        yield at
        at = whole.find(content, at + 1)


def log_zxids(log: Log, after_zxid: int = 0) -> list[int]:
    """The first zxids of all segments behind `after_zxid`."""
    return [segment.first_zxid for segment in log.read(after_zxid)]
