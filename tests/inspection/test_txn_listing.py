"""Which txns concern a path or a session: the same as looking at each one."""

from __future__ import annotations

import pytest

from tests.inspection.directories import EPOCH, OTHER_SESSION, Made, make
from tests.storage.histories import SESSION
from zkstore.inspection.source import open_source
from zkstore.inspection.txn_listing import NAMES, fields_of, listed, paths_of
from zkstore.model.txns import RECORDS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("listing") / "data")


def ignored(count: int) -> None:
    assert count > 0


@pytest.mark.parametrize("path", [b"/", b"/app", b"/app/a", b"/many/005", b"/new", b"/app/other", b"/zookeeper/config"])
def test_a_path_is_concerned_by_what_changes_it_or_what_lies_below(made: Made, path: bytes) -> None:
    prefix = path.rstrip(b"/") + b"/"
    with open_source(made.root) as source:
        expected = [
            (zxid, txn)
            for zxid, txn in source.txns()
            if any(each == path or each.startswith(prefix) for each in paths_of(txn))
        ]
        assert list(listed(source, 0, made.end, path=path, progress=ignored)) == expected
        assert (path == b"/zookeeper/config") is not bool(expected)


@pytest.mark.parametrize("session_id", [SESSION, OTHER_SESSION, 12345])
def test_a_sessions_txns(made: Made, session_id: int) -> None:
    with open_source(made.root) as source:
        found = list(listed(source, 0, made.end, session_id=session_id, progress=ignored))
        assert found == [(zxid, txn) for zxid, txn in source.txns() if txn.session_id == session_id]
        assert bool(found) is (session_id != 12345)
        both = list(listed(source, EPOCH, made.end, path=b"/app", session_id=session_id, progress=ignored))
        assert set(both) <= set(found)


def test_every_kind_of_txn_has_a_name_and_fields(made: Made) -> None:
    assert NAMES.keys() == RECORDS.keys()
    with open_source(made.root) as source:
        for _, txn in source.txns():
            assert fields_of(txn)
