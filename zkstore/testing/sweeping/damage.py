"""Damage to a small store: what is spoilt in turn, and what comes of a start and of `verify` then.

A damage is a file of the store's directory and what is in its place. Each is tried in a process of its own, for what
is looked for is a process that ends without a word. A start may arrive at the very tree that was written, with or
without a warning, or it may refuse with a sentence; nothing else is right. Where it arrives, it also has to go on:
what is written then has to be there at the next start.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, NoReturn

from zkstore import failpoints
from zkstore.errors import StorageError
from zkstore.model.apply import apply_segment
from zkstore.model.tree import Tree
from zkstore.model.txns import CREATE, CREATE_SESSION, DELETE, SET_DATA, CreateSessionTxn, CreateTxn, DeleteTxn
from zkstore.model.txns import SetDataTxn as SetData
from zkstore.storage import probe
from zkstore.storage.store import CleanNote, Store
from zkstore.storage.verify import verify
from zkstore.wire import segment as segments_

PAGE_BYTES: Final = 4096
META_BYTES: Final = 168  # of a meta page: all that LMDB reads there

SAME, HEALED, REFUSED = "same", "healed", "refused"
CRASHED, TRACEBACK, WRONG, UNNAMED, UNFOUND = "crashed", "traceback", "wrong", "unnamed", "unfound"
RIGHT: Final = (SAME, HEALED, REFUSED)

_SESSION: Final = 0x1000000000001
_TIME_MS: Final = 1_700_000_000_000
_MAP_BYTES: Final = 1 << 20
_STDERR: Final = 2


class Damage(NamedTuple):
    """`content` takes the place of a file, or, where `at` is given, of as many bytes there; None if the file is gone.
    `armed` is a failpoint for the start."""

    file: str
    kind: str
    content: bytes | None
    at: int | None = None
    armed: str = ""


class Found(NamedTuple):
    """What came of it: one of the words above, and what was said."""

    outcome: str
    text: str


class Sample:
    """A small store with all that there can be, made below `root`.

    Attributes:
        path: its directory.
        tree: what a start arrives at.
        older: the files as they were some time before.
        files: the content of each file now.
    """

    def __init__(self, root: Path, *, is_clean: bool) -> None:
        self.path = root / "sample"
        self._crc = 0
        self.tree = Tree.new()
        live = root / "live"
        store = Store.open(live, map_bytes=_MAP_BYTES)
        store.recover()
        self._fill(store, 0, 30)
        self._checkpoint(store)
        store.take_snapshot()
        self._fill(store, 30, 45)
        self._checkpoint(store)
        self.older = _content(live)
        self._fill(store, 45, 60)
        store.take_snapshot()
        self._checkpoint(store)
        self._fill(store, 60, 75)
        if is_clean:
            store.close(CleanNote(self.tree.zxid, self.tree.digest, _TIME_MS))
        shutil.copytree(live, self.path)
        if not is_clean:
            store.close()
        shutil.rmtree(live)
        self.files = _content(self.path)

    def add(self, store: Store, number: int) -> None:
        """One more segment."""
        path = b"/n%d" % number if number % 10 else b"/" + b"long" * 150 + b"%d" % number
        txns = [CreateTxn(CREATE, _SESSION, 1, _TIME_MS, path, b"data %d" % number, None, 0)]
        if number == 0:
            txns.insert(0, CreateSessionTxn(CREATE_SESSION, _SESSION, 0, _TIME_MS, 30_000, b"p" * 16))  # type: ignore[arg-type]
        if number % 7 == 3:
            txns.append(SetData(SET_DATA, _SESSION, 1, _TIME_MS, path, b"x" * (5_000 if number % 2 else 50), 1))  # type: ignore[arg-type]
        if number % 11 == 5:
            txns.append(DeleteTxn(DELETE, _SESSION, 1, _TIME_MS, path))  # type: ignore[arg-type]
        first = max(self.tree.zxid, 1 << 32) + 1
        segment = segments_.encode(
            txns,
            prev_zxid=self.tree.zxid,
            first_zxid=first,
            digest_zxid=self.tree.zxid,
            digest=self.tree.digest,
            prev_crc=self._crc,
        )
        apply_segment(self.tree, first, txns)
        self._crc = segment.crc
        store.append([segment])

    def _fill(self, store: Store, first: int, end: int) -> None:
        for number in range(first, end):
            self.add(store, number)

    def _checkpoint(self, store: Store) -> None:
        write_checkpoint(store, self.tree)


def write_checkpoint(store: Store, tree: Tree) -> None:
    """Bring a store's checkpoint to where a tree is."""
    capture = tree.begin_capture()
    store.begin_checkpoint()
    while znodes := capture.take(500):
        store.put_checkpoint(znodes)
    store.finish_checkpoint(capture.zxid, capture.digest, capture.sessions)
    tree.end_capture()


def _content(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in ("lock", "lock.mdb", "opening")
    }


# --- what is spoilt -------------------------------------------------------------------------------


def damages(sample: Sample, random: Random, flips: int) -> Iterator[Damage]:
    """Every damage in turn; `flips` single bits besides, anywhere."""
    for file, content in sample.files.items():
        yield from _whole(sample, file, content, random)
        if len(content) <= PAGE_BYTES or file.endswith("generation"):
            for at in range(len(content) if len(content) < PAGE_BYTES else 80):
                yield _flip(file, "byte", content, at, random.randrange(8))
    for file in sorted(file for file in sample.files if file.endswith("data.mdb")):
        content = sample.files[file]
        for at in range(min(2 * PAGE_BYTES, len(content))):
            # A snapshot has a checksum, before which all bytes are alike.
            is_read = at % PAGE_BYTES < META_BYTES and not file.startswith("snapshots")
            for bit in range(8) if is_read else (random.randrange(8),):
                yield _flip(file, "meta bit", content, at, bit)
        for page in range(len(content) // PAGE_BYTES):
            yield from _page(file, content, page, random)
    names = sorted(sample.files)
    sizes = [len(sample.files[name]) for name in names]
    for _ in range(flips):
        (file,) = random.choices(names, sizes)
        content = sample.files[file]
        if content:
            yield _flip(file, "bit", content, random.randrange(len(content)), random.randrange(8))


def _whole(sample: Sample, file: str, content: bytes, random: Random) -> Iterator[Damage]:
    """The file as a whole."""
    yield Damage(file, "missing", None)
    yield Damage(file, "empty", b"")
    yield Damage(file, "foreign", b"This is a letter to somebody else.\n" * 300)
    yield Damage(file, "random", random.randbytes(max(len(content), 1)))
    yield Damage(file, "zeros", bytes(len(content)))
    for size in {1, len(content) // 2, len(content) - 1, len(content) - PAGE_BYTES, PAGE_BYTES, 2 * PAGE_BYTES}:
        if 0 < size < len(content):
            yield Damage(file, "truncated", content[:size])
    if sample.older.get(file, content) != content:
        yield Damage(file, "older", sample.older[file])
    for other, foreign in sample.files.items():
        if other != file and Path(other).name == Path(file).name:
            yield Damage(file, "another's", foreign)


def _page(file: str, content: bytes, page: int, random: Random) -> Iterator[Damage]:
    """One page of an LMDB file."""
    at = page * PAGE_BYTES
    other = random.randrange(len(content) // PAGE_BYTES) * PAGE_BYTES
    for kind, bytes_ in (
        ("page of zeros", bytes(PAGE_BYTES)),
        ("page of ones", b"\xff" * PAGE_BYTES),
        ("page at random", random.randbytes(PAGE_BYTES)),
        ("page from elsewhere", content[other : other + PAGE_BYTES]),
        ("half a page", content[at : at + PAGE_BYTES // 2] + bytes(PAGE_BYTES // 2)),
    ):
        yield Damage(file, kind, bytes_, at)
    for offset in range(64):  # the header and the first offsets of nodes
        yield _flip(file, "page's head", content, at + offset, random.randrange(8))
    yield Damage(file, "unreadable page", b"", at, f"environment.read=fail(EIO)@{page + 1}")


def _flip(file: str, kind: str, content: bytes, at: int, bit: int) -> Damage:
    return Damage(file, kind, bytes([content[at] ^ 1 << bit]), at)


# --- what comes of it -----------------------------------------------------------------------------


def attempt(sample: Sample, damage: Damage, scratch: Path) -> Found:
    """Start on a copy with this damage, below `scratch`, in a child."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(sample.path, scratch)
    place = scratch / damage.file
    if damage.content is None:
        place.unlink()
    elif damage.at is None:
        place.write_bytes(damage.content)
    else:
        with place.open("r+b") as opened:
            opened.seek(damage.at)
            opened.write(damage.content)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _report(writing, sample, damage, scratch)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Found(CRASHED, signal.Signals(os.WTERMSIG(status)).name)
    return Found(*json.loads(text))


def _report(writing: int, sample: Sample, damage: Damage, scratch: Path) -> NoReturn:
    """In the child: try, and tell the parent."""
    found = Found(TRACEBACK, "")
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDERR)
    try:
        found = _tried(sample, damage, scratch)
    except BaseException:  # noqa: BLE001
        found = Found(TRACEBACK, traceback.format_exc()[-1_500:])
    finally:
        os.write(writing, json.dumps(found).encode())
        os._exit(0)


def _tried(sample: Sample, damage: Damage, scratch: Path) -> Found:
    vars(probe)["refuse_fatal"] = lambda path: None  # which would catch, at a price, what must not get there
    verified = None if damage.armed else verify(scratch)
    failpoints.arm(damage.armed)
    try:
        store = Store.open(scratch, map_bytes=_MAP_BYTES)
        try:
            recovered = store.recover()
            if not _is_same(recovered.tree, sample.tree):
                return Found(WRONG, f"zxid {recovered.tree.zxid:#x} of {sample.tree.zxid:#x}")
            list(store.log.read(store.log.start.zxid))
            warnings = recovered.report.warnings
            sample.tree = recovered.tree
            for number in range(100, 103):
                sample.add(store, number)
            write_checkpoint(store, sample.tree)
            sample.add(store, 103)
        finally:
            store.close()
    except StorageError as error:
        if str(scratch) not in str(error):
            return Found(UNNAMED, str(error))
        return Found(REFUSED if verified is None or verified.findings else UNFOUND, str(error))
    failpoints.arm("")
    again = Store.open(scratch, map_bytes=_MAP_BYTES)
    is_same = _is_same(again.recover().tree, sample.tree)
    again.close()
    if not is_same:
        return Found(WRONG, "what was written afterwards is not there")
    if not warnings:
        return Found(SAME, "")
    # Salvage is no damage to `verify`: it tells of it in another way.
    is_found = verified is None or verified.findings or verified.awaiting
    return Found(HEALED if is_found else UNFOUND, warnings[0])


def _is_same(tree: Tree, other: Tree) -> bool:
    return (tree.records, tree.sessions, tree.zxid) == (other.records, other.sessions, other.zxid)
