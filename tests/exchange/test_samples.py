"""Directories that a real Apache ZooKeeper has left: what was imported is what its clients saw."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from zkstore.exchange.apache import arrival
from zkstore.exchange.apache.conversion import password_of
from zkstore.model.paths import CONFIG
from zkstore.model.record import data_of
from zkstore.model.tree import Tree
from zkstore.storage.log import Epochs
from zkstore.storage.store import Store

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "apache-3.8.0"


@pytest.mark.parametrize(
    ("name", "files", "epochs"),
    [
        ("plain", ["snapshot.4e", "log.4f"], Epochs(0, 0)),
        ("gz", ["snapshot.4e.gz", "log.4f"], Epochs(0, 0)),
        ("snappy", ["snapshot.4e.snappy", "log.4f"], Epochs(0, 0)),
        ("ensemble", ["snapshot.0", "log.100000001"], Epochs(1, 1)),
    ],
)
def test_a_sample_is_imported_as_its_clients_saw_it(
    tmp_path: Path, name: str, files: list[str], epochs: Epochs
) -> None:
    imported = arrival.import_directory(SAMPLES / name / "data", tmp_path)
    recovery = imported.recovery
    assert recovery.snapshot is not None
    assert [recovery.snapshot.path.name, *(log.path.name for log in recovery.logs)] == files
    assert recovery.notes == []
    store = Store.open(tmp_path)
    tree = store.recover().tree
    assert store.log.epochs == epochs
    store.close()
    seen: dict[str, Any] = json.loads((SAMPLES / name / "seen.json").read_text())
    if name == "ensemble":
        config = seen[CONFIG.decode()]
        assert b64decode(config["data"]).startswith(b"server.1=127.0.0.1:")
        config["data"], config["stat"] = "", list(Tree.new().stat(CONFIG))  # the new ensemble has its own members
    assert {path.encode() for path in seen} == set(tree.records)
    for path, znode in seen.items():
        raw = path.encode()
        assert (data_of(tree.records[raw]) or b"") == b64decode(znode["data"]), path
        assert list(tree.stat(raw)) == znode["stat"], path
        assert [list(entry) for entry in tree.acl(raw)] == znode["acl"], path
    (owner,) = tree.ephemerals
    assert tree.ephemerals[owner] == {b"/raw-mine": None}
    assert tree.sessions[owner] == (40_000, password_of(owner))
