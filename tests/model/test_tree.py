"""The tree by itself: how it starts, loads, counts, and is captured. Its laws: tests/replica/test_laws.py."""

from __future__ import annotations

import pytest

from zkstore.errors import DamageError
from zkstore.model import apply
from zkstore.model.acl import Acl
from zkstore.model.record import CONTAINER_OWNER, digest_of
from zkstore.model.tree import SessionRecord, Tree, session_digest
from zkstore.model.txns import CREATE, DELETE, SET_DATA, CreateTxn, DeleteTxn, SetDataTxn, Txn

SESSION = 0x0123456789ABCDEF


@pytest.fixture
def tree() -> Tree:
    return Tree.new()


def grow(tree: Tree, *txns: Txn) -> Tree:
    apply.apply_segment(tree, tree.zxid + 1, txns)
    return tree


def created(path: bytes, data: bytes | None = b"", owner: int = 0, acl: tuple[Acl, ...] | None = None) -> CreateTxn:
    return CreateTxn(CREATE, SESSION, 1, 1_000, path, data, acl, owner)


def changed(path: bytes, data: bytes, version: int = 1) -> SetDataTxn:
    return SetDataTxn(SET_DATA, SESSION, 1, 2_000, path, data, version)


def deleted(path: bytes) -> DeleteTxn:
    return DeleteTxn(DELETE, SESSION, 1, 2_000, path)


# --- the start ------------------------------------------------------------------------------------


def test_a_new_tree_has_zookeepers_reserved_znodes(tree: Tree) -> None:
    assert list(tree.records) == [b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config"]
    assert list(tree.children) == [b"/", b"/zookeeper"]
    assert tree.acl(b"/zookeeper/config") == ((1, "world", "anyone"),)
    assert (tree.zxid, tree.data_bytes) == (0, len(b"//zookeeper/zookeeper/quota/zookeeper/config"))
    assert tree.digest == sum(digest_of(*item) for item in tree.records.items())


def test_equal_new_trees_have_equal_digests() -> None:
    assert Tree.new().digest == Tree.new().digest != 0


# --- indexes --------------------------------------------------------------------------------------


def test_indexes_follow_creates_and_deletes(tree: Tree) -> None:
    read_only = (Acl(1, "world", "anyone"),)
    grow(
        tree,
        created(b"/e", owner=SESSION),
        created(b"/c", owner=CONTAINER_OWNER),
        created(b"/r", acl=read_only),
        created(b"/r/n", b"data"),
    )
    assert tree.ephemerals == {SESSION: {b"/e": None}}
    assert tree.reapable == {b"/c": CONTAINER_OWNER}
    assert set(tree.special) == {b"/zookeeper/config", b"/c", b"/r"}
    assert tree.children[b"/r"] == {b"/r/n": None}
    assert [tree.stored_owner(path) for path in (b"/e", b"/c", b"/r")] == [SESSION, CONTAINER_OWNER, 0]
    assert tree.acl(b"/r/n") == ((31, "world", "anyone"),)
    grow(tree, deleted(b"/e"), deleted(b"/c"), deleted(b"/r/n"), deleted(b"/r"))
    assert (tree.ephemerals, tree.reapable, set(tree.special)) == ({}, {}, {b"/zookeeper/config"})
    assert b"/r" not in tree.children


def test_the_size_of_the_data_is_that_of_paths_and_data(tree: Tree) -> None:
    empty = tree.data_bytes
    grow(tree, created(b"/abc", b"12345"))
    assert tree.data_bytes == empty + 4 + 5
    grow(tree, changed(b"/abc", b"1"))
    assert tree.data_bytes == empty + 4 + 1
    grow(tree, created(b"/null", None), deleted(b"/abc"))
    assert tree.data_bytes == empty + 5


# --- sessions and the digest ----------------------------------------------------------------------


def test_sessions_count_in_the_digest_and_may_be_closed_twice(tree: Tree) -> None:
    before, session = tree.digest, SessionRecord(30_000, b"p" * 16)
    tree.open_session(SESSION, session)
    assert tree.digest == (before + session_digest(SESSION, session)) % (1 << 64)
    tree.close_session(SESSION)
    tree.close_session(SESSION)
    assert (tree.digest, tree.sessions) == (before, {})


def test_two_ways_to_the_same_content_have_the_same_digest() -> None:
    def records_at(*txns: Txn) -> int:
        tree = grow(Tree.new(), *txns)
        return tree.digest

    one = records_at(created(b"/a"), created(b"/b"), changed(b"/a", b"x"))
    other = Tree.new()
    for txn in (created(b"/a"), created(b"/b"), changed(b"/a", b"x")):
        grow(other, txn)
    assert other.digest == one
    assert records_at(created(b"/a"), created(b"/b"), changed(b"/a", b"y")) != one


# --- loading --------------------------------------------------------------------------------------


def test_a_loaded_tree_may_come_in_any_order(tree: Tree) -> None:
    grow(tree, created(b"/e", owner=SESSION), created(b"/c", owner=CONTAINER_OWNER), created(b"/c/n", b"data"))
    tree.open_session(SESSION, SessionRecord(30_000, b"p" * 16))
    items = list(tree.records.items())
    for order in (items, items[::-1], sorted(items, key=lambda item: item[1])):
        loaded = Tree.load(order, tree.sessions, tree.zxid, tree.digest)
        for name in ("records", "children", "ephemerals", "special", "reapable", "sessions", "data_bytes", "zxid"):
            assert getattr(loaded, name) == getattr(tree, name), name
        assert loaded.dirty_count == 0


def test_a_loaded_tree_goes_on_as_the_one_that_was_stored(tree: Tree) -> None:
    grow(tree, created(b"/a"))
    loaded = Tree.load(tree.records.items(), tree.sessions, tree.zxid, tree.digest)
    for each in (tree, loaded):
        grow(each, created(b"/a/b"), changed(b"/a", b"x"))
    assert loaded.records == tree.records
    assert loaded.digest == tree.digest


def damaged(record: bytes, at: int) -> bytes:
    return record[:at] + bytes([record[at] ^ 0x40]) + record[at + 1 :]


@pytest.mark.parametrize("at", [0, 1, 3, 4, 10, 50, -1])
def test_a_changed_bit_is_found(tree: Tree, at: int) -> None:
    items = dict(tree.records)
    items[b"/zookeeper/config"] = damaged(items[b"/zookeeper/config"], at % len(items[b"/zookeeper/config"]))
    with pytest.raises(DamageError):
        Tree.load(items.items(), tree.sessions, tree.zxid, tree.digest)


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items.pop(b"/"),
        lambda items: items.pop(b"/zookeeper/quota"),
        lambda items: items.update({b"/more": items[b"/"]}),
        lambda items: items.update({b"no slash": items[b"/"]}),
        lambda items: items.update({b"/": b""}),
        lambda items: items.update({b"/": b"\x7f\xff\xff\xff"}),
        lambda items: items.update({b"/": items[b"/"] + b"\xc1"}),
        lambda items: items.update({b"/": items[b"/"] + b"\x01"}),
    ],
)
def test_a_missing_a_foreign_and_a_broken_znode_are_found(tree: Tree, change: object) -> None:
    items = dict(tree.records)
    change(items)
    with pytest.raises(DamageError):
        Tree.load(items.items(), {}, tree.zxid, tree.digest)


def test_a_missing_and_a_changed_session_are_found(tree: Tree) -> None:
    tree.open_session(SESSION, SessionRecord(30_000, b"p" * 16))
    for sessions in ({}, {SESSION: SessionRecord(30_001, b"p" * 16)}, {SESSION + 1: tree.sessions[SESSION]}):
        with pytest.raises(DamageError, match="digest"):
            Tree.load(tree.records.items(), sessions, tree.zxid, tree.digest)


# --- captures -------------------------------------------------------------------------------------


def test_the_first_capture_has_everything_and_the_next_what_has_changed(tree: Tree) -> None:
    grow(tree, created(b"/a"), created(b"/b"))
    first = tree.begin_capture()
    assert dict(first.take(100)) == tree.records
    tree.end_capture()
    assert tree.dirty_count == 0
    grow(tree, changed(b"/a", b"x"), deleted(b"/b"))
    assert tree.dirty_count == 3
    second = tree.begin_capture()
    assert (second.zxid, second.digest, second.count) == (tree.zxid, tree.digest, 3)
    taken = dict(second.take(100))
    assert taken == {b"/a": tree.records[b"/a"], b"/b": None, b"/": tree.records[b"/"]}
    assert second.take(100) == []


def test_a_capture_does_not_see_what_happens_after_it_began(tree: Tree) -> None:
    grow(tree, created(b"/a", b"old"), created(b"/b", b"old"))
    expected = dict(tree.records)
    tree.open_session(SESSION, SessionRecord(1, b""))
    capture = tree.begin_capture()
    tree.close_session(SESSION)
    grow(tree, changed(b"/a", b"new"), deleted(b"/b"), created(b"/c"))
    grow(tree, changed(b"/a", b"newer", version=2), created(b"/b", b"again"))
    assert capture.sessions == {SESSION: (1, b"")}
    assert dict(capture.take(100)) == expected
    assert tree.dirty_count == 4


def test_slices_are_of_the_asked_size_and_together_everything_once(tree: Tree) -> None:
    capture = tree.begin_capture()
    slices = [capture.take(3), capture.take(3), capture.take(3)]
    assert [len(taken) for taken in slices] == [3, 1, 0]
    assert dict(slices[0] + slices[1]) == tree.records


def test_what_an_abandoned_capture_had_is_in_the_next_one(tree: Tree) -> None:
    tree.begin_capture().take(100)
    tree.end_capture()
    grow(tree, created(b"/a"))
    tree.begin_capture().take(1)
    grow(tree, created(b"/b"))
    tree.abandon_capture()
    assert set(dict(tree.begin_capture().take(100))) == {b"/", b"/a", b"/b"}


def test_only_one_capture_at_a_time_and_only_between_segments(tree: Tree) -> None:
    apply.apply(tree, 1, created(b"/a"))
    with pytest.raises(AssertionError, match="between segments"):
        tree.begin_capture()
    tree.seal()
    tree.begin_capture()
    with pytest.raises(AssertionError, match="under way"):
        tree.begin_capture()
    tree.end_capture()
    with pytest.raises(AssertionError, match="no capture"):
        tree.abandon_capture()
