"""The versions of a znode: the same as looking at its record after every txn; and the lives of sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inspection.directories import EPOCH, OTHER_SESSION, Made, make
from tests.storage.histories import SESSION, History, create, delete, open_session, set_data
from zkstore.errors import StorageError
from zkstore.inspection import history
from zkstore.inspection.blame import blame
from zkstore.inspection.history import What
from zkstore.inspection.source import open_source
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL
from zkstore.model.txns import MULTI, MultiTxn
from zkstore.storage.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("history") / "data")


def seen(record: bytes | None) -> tuple[object, ...] | None:
    """What a version tells, out of a record."""
    if record is None:
        return None
    stat, extras = records_.stat_of(record), records_.extras_of(record)
    acl = OPEN_ACL if extras is None else extras.acl
    return stat.czxid, stat.version, records_.data_of(record), acl, stat.ephemeral_owner


def test_versions_are_the_changes_of_the_record(made: Made) -> None:
    paths = {path for records in made.states.values() for path in records if not path.startswith(b"/zookeeper")}
    with open_source(made.root) as source:
        for path in [*sorted(paths)[::3], b"/app/a", b"/app/other", b"/new"]:
            expected, before = [], seen(made.states[0].get(path))
            for zxid, records in sorted(made.states.items()):
                now = seen(records.get(path))
                if now != before:
                    expected.append((zxid, now))
                    before = now
            found = [
                (
                    each.zxid,
                    None if each.what is What.DELETED else (each.czxid, each.version, each.data, each.acl, each.owner),
                )
                for each in history.versions(source, path)
                if each.what is not What.FOUND
            ]
            assert found == expected, path


def test_a_znode_created_anew_is_another_one(tmp_path: Path) -> None:
    story, store = History(), Store.open(tmp_path)
    store.recover()
    store.append([story.add(open_session(), create(b"/a", b"1"), delete(b"/a"))])
    again = MultiTxn(MULTI, SESSION, 1, 9, (create(b"/a", b"2"), set_data(b"/a", b"3", 1), delete(b"/a")))
    store.append([story.add(again)])
    store.close()
    with open_source(tmp_path) as source:
        found = list(history.versions(source, b"/a"))
    assert [(each.what, each.czxid, each.part, each.parts) for each in found] == [
        (What.CREATED, EPOCH + 2, 0, 0),
        (What.DELETED, EPOCH + 2, 0, 0),
        (What.CREATED, EPOCH + 4, 1, 3),
        (What.DATA, EPOCH + 4, 2, 3),
        (What.DELETED, EPOCH + 4, 3, 3),
    ]
    assert [(each.was, each.data) for each in found[2:]] == [(None, b"2"), (b"2", b"3"), (b"3", None)]


def test_an_ephemeral_that_ends_with_its_session_is_told(made: Made) -> None:
    with open_source(made.root) as source:
        created, deleted = history.versions(source, b"/app/other")
    assert created.owner == OTHER_SESSION
    assert (deleted.what, deleted.ends_session, deleted.session_id) == (What.DELETED, True, OTHER_SESSION)


def test_children_that_come_and_go_are_told_where_wanted(made: Made) -> None:
    with open_source(made.root) as source:
        plain = list(history.versions(source, b"/app"))
        full = list(history.versions(source, b"/app", has_children=True))
    assert [each for each in full if not each.child] == plain
    told = [(each.what, each.child) for each in full if each.child]
    assert (What.CHILD_CREATED, b"a") in told
    assert (What.CHILD_DELETED, b"null") in told
    assert (What.CHILD_DELETED, b"other") in told
    assert all(b"/" not in child for _, child in told)
    cversion = records_.stat_of(made.states[made.end][b"/app"]).cversion
    assert len(told) == cversion


def test_what_was_there_when_history_begins_is_found(tmp_path: Path) -> None:
    purged = make(tmp_path / "data", purges=True)
    with open_source(purged.root) as source:
        begin = history.begin_of(source)
        found = list(history.versions(source, b"/app/a"))
        assert begin > EPOCH
        assert found[0].what is What.FOUND
        assert (found[0].czxid, found[0].data) == (EPOCH + 5, records_.data_of(purged.states[begin][b"/app/a"]))
        assert found[-1].data == b"m"
        with pytest.raises(StorageError, match="history begins at"):
            list(history.versions(source, b"/app/a", 1))


def test_a_session_has_a_life(made: Made) -> None:
    with open_source(made.root) as source:
        lives = history.lives(source, {SESSION, OTHER_SESSION, 77, 0})
    assert lives.keys() == {SESSION, OTHER_SESSION, 77}
    assert (lives[SESSION].opened_zxid, lives[SESSION].is_alive) == (EPOCH + 1, True)
    other = lives[OTHER_SESSION]
    assert (other.opened_zxid, other.is_alive, other.timeout_ms) == (EPOCH + 2, False, 30_000)
    assert other.closed_zxid > other.opened_zxid
    assert lives[77] == history.Life(77)


def test_blame_names_the_last_change_of_each_aspect(made: Made) -> None:
    with open_source(made.root) as source:
        found = blame(history.versions(source, b"/app/a", has_children=True))
        gone = blame(history.versions(source, b"/app/null"))
    assert {aspect: version.version for aspect, version in found.items()} == {
        "created": 0,
        "data": 5,
        "acl": 4,
        "children": 4,
    }
    assert gone.keys() == {"created", "data", "deleted"}
