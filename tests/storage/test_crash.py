"""Crashes: a process killed at any moment loses nothing that it was told is on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.storage.histories import History, same, zero_page
from zkstore.errors import DamageError
from zkstore.storage import probe
from zkstore.storage.store import Store
from zkstore.storage.verify import verify

# Appends, checkpoints, takes snapshots and purges without end; says what is on disk.
WRITER = """
import sys
from pathlib import Path
from tests.storage.histories import History
from zkstore.storage.store import Store

store = Store.open(Path(sys.argv[1]), history_bytes_max=200_000, snapshots_kept=2)
store.recover()
history = History()
while True:
    store.append(history.fill(1, bytes(500)))
    print(history.tree.zxid, flush=True)
    if len(history.segments) % 20 == 0:
        history.checkpoint(store)
        store.take_snapshot()
        store.purge()
"""


@pytest.mark.parametrize("acknowledged", [1, 19, 20, 41, 130])
def test_every_acknowledged_segment_survives_a_kill(tmp_path: Path, acknowledged: int) -> None:
    root = tmp_path / "data"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(acknowledged)]
    writer.kill()
    lines += writer.stdout.readlines()  # said before it died
    writer.wait()
    writer.stdout.close()
    last_zxid = int([line for line in lines if line.endswith("\n")][-1])

    assert verify(root).findings == []
    store = Store.open(root)
    tree = store.recover().tree
    store.close()
    assert tree.zxid in (last_zxid, last_zxid + 1)  # the one on disk but not yet told may be there, too
    history = History()
    history.fill(tree.zxid & 0xFFFFFFFF, bytes(500))
    assert (tree.records, tree.digest) == (history.tree.records, history.tree.digest)


def test_a_page_that_would_end_the_process_is_found_before_lmdb_sees_it(tmp_path: Path) -> None:
    history = History()
    store = Store.open(tmp_path)
    store.recover()
    store.append(history.fill(300, b"in the checkpoint"))
    history.checkpoint(store)
    store.close()
    zero_page(tmp_path / "tree" / "data.mdb", b"/n150")

    with pytest.raises(DamageError, match="LMDB cannot walk the file"):  # which ends the process that tries
        probe.refuse_fatal(tmp_path / "tree")

    store = Store.open(tmp_path)
    found = store.recover()
    store.close()
    assert same(found.tree, history.tree)
    assert "of the file is damaged: it says that it is page 0 with flags 0x0" in found.report.warnings[0]
    assert not (tmp_path / "opening").exists()
