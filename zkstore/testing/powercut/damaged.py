"""A member of an ensemble that finds its data damaged, sets it aside and begins anew: cut while it does so.

Whenever the power goes, the next start must know that this server has lost something, what epoch it had promised and
to which ensemble it belongs: one that took itself for a fresh server would vote as if it had never promised anything.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import Any, Final

from zkstore.model.tree import Tree
from zkstore.storage.log import Epochs
from zkstore.testing.powercut import opening
from zkstore.testing.powercut.events import Recording
from zkstore.testing.powercut.oracle import BEGINNING
from zkstore.testing.powercut.recorder import Recorder
from zkstore.testing.powercut.witness import witnessed
from zkstore.testing.powercut.writer import Writer
from zkstore.wire.messages import LOST

LOAD: Final = "damaged member"

_PROMISED: Final = 4
_ENSEMBLE: Final = bytes(range(16))


def record(seed: int, root: Path) -> Recording:
    """The start of such a member, and some appends behind it."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    about = {"load": LOAD, "seed": seed, "is_member": True, "sets_aside": True}
    random = Random(seed)
    _damage(root, random, has_snapshot=bool(seed % 2))
    recorder = Recorder(root, about)
    try:
        recorder.mark("begin", _begun())
        store, _ = opening.open_recovered(root, about)
        with witnessed(recorder):
            writer = Writer(random)
            for _ in range(3):
                store.append(writer.group(1))
    finally:
        recording = recorder.stop()
    store.close()
    return recording


def _damage(root: Path, random: Random, *, has_snapshot: bool) -> None:
    """Leave data of a member whose log does not fit together any more."""
    store = opening.open_store(root, {})
    store.recover()
    store.log.set_ensemble_id(_ENSEMBLE)
    store.log.set_epochs(Epochs(_PROMISED, 1), enrols=True)
    writer = Writer(random)
    segments = writer.group(12)
    store.append(segments)
    if has_snapshot:
        capture = writer.tree.begin_capture()
        store.begin_checkpoint()
        store.put_checkpoint(capture.take(1_000))
        store.finish_checkpoint(capture.zxid, capture.digest, capture.sessions)
        store.take_snapshot()
        segments = writer.group(5)
        store.append(segments)
    store.close()
    file = root / opening.DATA / "log" / "data.mdb"
    content, wanted = file.read_bytes(), segments[2].data
    file.write_bytes(content.replace(wanted, wanted[:-3] + bytes(3)))


def _begun() -> Any:
    """An empty server's tree; what was promised; and that something was lost."""
    tree = Tree.new()
    return [BEGINNING], list(tree.records.items()), [], tree.digest, [], (_PROMISED, 0, LOST), _ENSEMBLE, []
