"""What would take back a txn or a moment's changes: from the tree as it is to the one before."""

from __future__ import annotations

import pytest

from tests.inspection.directories import EPOCH, Made, make
from zkstore.errors import StorageError
from zkstore.inspection import undo
from zkstore.inspection.source import open_source
from zkstore.inspection.txn_listing import paths_of
from zkstore.model import record as records_
from zkstore.model.txns import CloseSessionTxn, MultiTxn


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("undo") / "data")


def test_a_txn_is_taken_back_by_what_its_znodes_were_before(made: Made) -> None:
    with open_source(made.root) as source:
        for zxid, txn in [*source.txns()][::9]:
            paths = [path for path in paths_of(txn) if not path.startswith(b"/zookeeper")]
            if not paths or isinstance(txn, CloseSessionTxn):
                continue
            found = undo.of_txn(source, zxid)
            changed = {path: (made.states[zxid].get(path), made.states[zxid - 1].get(path)) for path in paths}
            owners = [
                record is not None and records_.stat_of(record).ephemeral_owner
                for pair in changed.values()
                for record in pair
            ]
            if not any(owners):
                assert {each.path: (each.before, each.after) for each in found.differences} == changed
            assert found.back_to_zxid == zxid - 1


def test_a_multi_is_taken_back_whole(made: Made) -> None:
    with open_source(made.root) as source:
        zxid = next(zxid for zxid, txn in source.txns() if isinstance(txn, MultiTxn))
        found = undo.of_txn(source, zxid)
    assert [(each.path, each.after is None) for each in found.differences] == [(b"/app/a", False), (b"/new", True)]


def test_a_subtree_is_taken_back_to_a_moment_without_its_ephemerals(made: Made) -> None:
    with open_source(made.root) as source:
        found = undo.since(source, b"/app", EPOCH + 6)
    assert found.ephemerals == 1
    paths = {each.path for each in found.differences}
    assert {b"/app/a", b"/app/null", b"/app/big"} <= paths
    assert all(path.startswith(b"/app/") for path in paths)
    assert b"/app/eph" not in paths


@pytest.mark.parametrize(
    ("zxid", "words"), [(EPOCH + 1, "is a txn of kind createSession"), (0x900000001, "the log holds 0x1 to 0x2000000")]
)
def test_what_cannot_be_taken_back_is_told(made: Made, zxid: int, words: str) -> None:
    with open_source(made.root) as source, pytest.raises(StorageError, match=words):
        undo.of_txn(source, zxid)


def test_a_subtree_that_never_was_is_told(made: Made) -> None:
    with open_source(made.root) as source, pytest.raises(StorageError, match="there is no /nowhere, neither at"):
        undo.since(source, b"/nowhere", EPOCH + 6)
