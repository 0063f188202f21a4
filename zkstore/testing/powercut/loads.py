"""What is done to a store while it is recorded, each load for a way of writing that has its own risks.

Two loads begin on an image that an earlier recording may have left: a power cut while the store recovers from one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

from zkstore.errors import DiskFullError
from zkstore.model.apply import apply_segment
from zkstore.storage.image import Mark
from zkstore.storage.log import Epochs
from zkstore.storage.store import CleanNote, Store
from zkstore.testing.powercut import opening
from zkstore.testing.powercut.campaign import Plan, image_of
from zkstore.testing.powercut.events import Recording
from zkstore.testing.powercut.recorder import Recorder
from zkstore.testing.powercut.witness import witnessed
from zkstore.testing.powercut.writer import Writer
from zkstore.wire import segment as segments_

_SMALL_MAP_BYTES: Final = 1 << 17
"""Too small for nearly everything, so that the map has to grow."""

_HISTORY_BYTES: Final = 60_000
_ROWS: Final = 20


class Desk:
    """A store under a recorder, and the writer who works on it."""

    def __init__(self, recorder: Recorder, random: Random, writer: Writer) -> None:
        self.recorder = recorder
        self.random = random
        self.writer = writer
        self.store = self.open()

    def open(self) -> Store:
        """Start on what is there."""
        self.store, _ = opening.open_recovered(self.recorder.root, self.recorder.about)
        self.is_open = True
        return self.store

    def stop(self, *, with_note: bool = True) -> None:
        """Stop in order."""
        tree = self.writer.tree
        self.is_open = False
        self.store.close(CleanNote(tree.zxid, tree.digest, 1) if with_note else None)

    def append(self, times: int) -> None:
        """Single segments mostly, now and then some that share a commit, and a big one."""
        for _ in range(times):
            count = self.random.choice((1, 1, 1, 2, 6))
            self.store.append(self.writer.group(count, big=self.random.random() < 0.05))

    def checkpoint(self) -> None:
        """As the server does it, in slices."""
        capture = self.writer.tree.begin_capture()
        try:
            self.store.begin_checkpoint()
            while znodes := capture.take(_ROWS):
                self.store.put_checkpoint(znodes)
            self.store.finish_checkpoint(capture.zxid, capture.digest, capture.sessions)
        except DiskFullError:
            self.store.abandon_checkpoint()
            self.writer.tree.abandon_capture()
            raise
        self.writer.tree.end_capture()

    def install(self, writer: Writer) -> None:
        """Another tree arrives and takes the place of this one."""
        incoming = self.store.begin_incoming()
        rows = list(writer.tree.records.items())
        for at in range(0, len(rows), _ROWS):
            incoming.put_for_good(rows[at : at + _ROWS])
        mark = Mark(writer.tree.zxid, writer.tree.digest, writer.crc, restarts_log=True)
        incoming.finish(mark, dict(writer.tree.sessions))
        self.store.install(incoming)
        self.writer = writer


def _first_start(desk: Desk) -> None:
    desk.append(3)
    desk.stop()
    desk.open()
    desk.append(2)
    desk.stop(with_note=False)
    desk.open()
    desk.append(2)


def _appends(desk: Desk) -> None:
    desk.append(30)
    desk.stop()


def _checkpoints(desk: Desk) -> None:
    for turn in range(5):
        desk.append(7)
        desk.checkpoint()
        if turn % 2 == 0:
            desk.store.take_snapshot()
        desk.append(2)
        desk.store.purge()
    desk.stop()
    desk.open()
    desk.append(2)


def _agreement(desk: Desk) -> None:
    store = desk.store
    store.log.set_ensemble_id(bytes(range(16)))
    for _ in range(3):
        epoch = desk.writer.next_epoch()
        store.log.set_epochs(store.log.epochs._replace(accepted=epoch))
        desk.append(2)
        store.log.set_epochs(Epochs(epoch, epoch))
        desk.append(3)
        committed, uncommitted = desk.writer, desk.writer.uncommitted()
        desk.writer = uncommitted
        desk.append(desk.random.randrange(1, 4))
        desk.writer = committed
        store.log.truncate_after(committed.tree.zxid)
    desk.append(2)


def _installs(desk: Desk) -> None:
    desk.append(6)
    desk.checkpoint()
    desk.store.take_snapshot()
    for _ in range(2):
        other = desk.writer.fork()
        other.group(3)
        desk.store.begin_incoming().put_for_good(list(other.tree.records.items()))
        desk.store.begin_incoming().abandon()
        other.group(3)
        desk.install(other.arrived())
        desk.append(3)
        desk.checkpoint()
        desk.store.take_snapshot()
        desk.append(2)


def _refusals(desk: Desk) -> None:
    for _ in range(4):
        desk.append(4)
        desk.recorder.is_full = True
        _append_until_full(desk)
        with suppress(DiskFullError):
            desk.checkpoint()
        desk.recorder.is_full = False
        desk.append(2)
        desk.checkpoint()


def _append_until_full(desk: Desk) -> None:
    while True:
        before = desk.writer.fork()
        try:
            desk.store.append(desk.writer.group(3, big=True))
        except DiskFullError:
            desk.writer = before
            return


LOADS: Final[dict[str, tuple[Callable[[Desk], None], dict[str, Any]]]] = {
    "first start": (_first_start, {}),
    "appends": (_appends, {"map_bytes": _SMALL_MAP_BYTES}),
    "checkpoints": (
        _checkpoints,
        {"map_bytes": _SMALL_MAP_BYTES, "history_bytes_max": _HISTORY_BYTES, "snapshots_kept": 2},
    ),
    "own log directory": (_checkpoints, {"has_own_log_directory": True, "history_bytes_max": _HISTORY_BYTES}),
    "agreement": (_agreement, {"is_member": True}),
    "installs": (_installs, {"is_member": True}),
    "refusals": (_refusals, {}),
}


def record(name: str, seed: int, root: Path) -> Recording:
    """One of `LOADS` on a new directory."""
    work, settings = LOADS[name]
    about = {"load": name, "seed": seed, **settings}
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    return _recorded(root, about, lambda recorder: _run(recorder, seed, None, work))


def record_recovery(recording: Recording, plan: Plan, root: Path) -> Recording:
    """A start on the image of a power cut, and some work behind it."""
    image = image_of(recording, plan)
    opening.lay_out(image, root)
    writer, begun = survey(root, recording.about)
    opening.lay_out(image, root)
    about = {**recording.about, "load": f"recovery after {recording.about['load']}", "after": list(plan)}

    def work(desk: Desk) -> None:
        desk.recorder.mark("recovered", None)
        desk.append(2)

    def run(recorder: Recorder) -> Desk:
        recorder.mark("begin", begun)
        return _run(recorder, plan.number, writer, work)

    return _recorded(root, about, run)


def _run(recorder: Recorder, seed: int, writer: Writer | None, work: Callable[[Desk], None]) -> Desk:
    random = Random(seed)
    desk = Desk(recorder, random, writer or Writer(random))
    work(desk)
    return desk


def _recorded(root: Path, about: dict[str, Any], run: Callable[[Recorder], Desk]) -> Recording:
    recorder = Recorder(root, about)
    try:
        with witnessed(recorder):
            desk = run(recorder)
    finally:
        recording = recorder.stop()
    if desk.is_open:
        desk.store.close()
    return recording


def survey(root: Path, about: Mapping[str, Any]) -> tuple[Writer, Any]:
    """What is on an image: a writer that goes on there, and the first mark of a recording."""
    store, recovered = opening.open_recovered(root, about)
    try:
        tree, log = recovered.tree, store.log
        tail = store.tail(recovered)
        ends = [log.start, *((one.last_zxid, one.crc) for one in log.read(log.start.zxid))]
        rows, sessions = list(tree.records.items()), [(number, *one) for number, one in tree.sessions.items()]
        base = [end[0] for end in ends].index(tree.zxid)
        snapshots = [snapshot.zxid for snapshot in store.snapshots.all()]
        begun = (
            [tuple(end) for end in ends[: base + 1]],
            rows,
            sessions,
            tree.digest,
            [one.data for one in tail],
            (*log.epochs, log.enrolment),
            log.ensemble_id,
            snapshots,
        )
        for one in tail:
            apply_segment(tree, one.first_zxid, segments_.txns(one))
        return Writer(Random(tree.zxid), tree, ends[-1][1]), begun
    finally:
        store.close()
