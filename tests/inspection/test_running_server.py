"""Beside a writer that never rests: what is shown is one state of many, whole, or the reader is told."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

from tests.storage.histories import History, create, set_data
from zkstore.errors import StorageError
from zkstore.inspection.source import open_source
from zkstore.storage.store import Store


class Writer(threading.Thread):
    """Appends, writes checkpoints, takes snapshots and purges, and remembers the digest at each end of a segment."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.digests: dict[int, int] = {}
        self.is_enough = threading.Event()
        self._root = root

    def run(self) -> None:
        history, dice = History(), random.Random(1)
        store = Store.open(self._root, history_bytes_max=2 << 20)
        store.recover()
        versions: dict[bytes, int] = {}
        number = 0
        while not self.is_enough.is_set():
            number += 1
            txns = []
            for path in {b"/n%04d" % dice.randrange(500) for _ in range(10)}:
                versions[path] = versions.get(path, -1) + 1
                data = b"%d " % number * dice.randrange(60)
                txns.append(set_data(path, data, versions[path]) if versions[path] else create(path, data))
            segment = history.add(*txns)
            self.digests[history.tree.zxid] = history.tree.digest
            store.append([segment])
            del history.segments[:-1]
            if number % 10 == 0:
                history.checkpoint(store)
            if number % 50 == 0:
                store.take_snapshot()
                store.purge()
        store.close()


def test_a_reader_sees_whole_states_only(tmp_path: Path) -> None:
    make_first(tmp_path)
    writer = Writer(tmp_path)
    writer.start()
    seen: set[int] = set()
    lost = 0
    try:
        for _ in range(60):
            try:
                with open_source(tmp_path) as source:
                    view = source.view()
                    count = sum(1 for _ in view.znodes())  # which compares the digest
                    assert count >= 4
                    before = [zxid for zxid, _ in source.txns()]
                    assert before == sorted(set(before))
                    assert source.damage == []
                    assert source.facts.troubles == []
                    if view.zxid:
                        assert writer.digests[view.zxid] == view.digest
                    seen.add(view.zxid)
            except StorageError as error:
                assert "running server" in str(error)
                lost += 1
    finally:
        writer.is_enough.set()
        writer.join()
    assert len(seen) > 10
    assert lost < 20


def make_first(root: Path) -> None:
    store = Store.open(root)
    store.recover()
    store.close()


def test_a_real_server_is_not_disturbed(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "zkstore", "serve", "--data-dir", str(tmp_path), "--client-port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            inspect = [sys.executable, "-m", "zkstore", "inspect", str(tmp_path)]
            found = subprocess.run(inspect, capture_output=True, text=True, check=False)
            assert f"in use by pid {server.pid}" in found.stdout, found.stderr
            found = subprocess.run([*inspect, "verify"], capture_output=True, text=True, check=False)
            assert found.stdout.startswith("all is well"), found.stdout
        finally:
            server.terminate()
        assert server.wait() == 0
