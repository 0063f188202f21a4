"""What each txn does to the tree: fields of znode and parent, and nothing else."""

from __future__ import annotations

import pytest

from zkstore.model import apply
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.paths import CONFIG
from zkstore.model.record import CONTAINER_OWNER, data_of, extras_of, make, stat_bytes_of, ttl_owner
from zkstore.model.stat import Stat
from zkstore.model.tree import Tree
from zkstore.model.txns import (
    CLOSE_SESSION,
    CREATE,
    CREATE_SESSION,
    DELETE,
    ERROR,
    MULTI,
    RECONFIG,
    SET_ACL,
    SET_DATA,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    ReconfigTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
)

SESSION = 0x0100000000000001
READ_ONLY = (Acl(1, "world", "anyone"),)
PARENT_DATA = b"data of the parent"


@pytest.fixture
def tree() -> Tree:
    """Has /p with data, at zxid 5."""
    tree = Tree.new()
    tree.zxid = 4
    apply.apply(tree, 5, create(b"/p", PARENT_DATA))
    return tree


def create(path: bytes, data: bytes | None = b"", acl: object = None, owner: int = 0) -> CreateTxn:
    return CreateTxn(CREATE, SESSION, 1, 1_000, path, data, acl, owner)


def everything_but(tree: Tree, *paths: bytes) -> dict[bytes, bytes]:
    return {path: record for path, record in tree.records.items() if path not in paths}


@pytest.mark.parametrize(
    ("data", "acl", "owner", "shown_owner"),
    [
        (None, None, 0, 0),
        (b"", None, 0, 0),
        (b"data", READ_ONLY, 0, 0),
        (b"data", None, SESSION, SESSION),
        (b"data", READ_ONLY, SESSION, SESSION),
        (None, None, CONTAINER_OWNER, 0),
        (b"data", READ_ONLY, ttl_owner(5), 0),
        (b"data", None, -5, -5),  # a session of a server with a high id
    ],
)
def test_a_create(tree: Tree, data: bytes | None, acl: object, owner: int, shown_owner: int) -> None:
    others, parent = everything_but(tree, b"/p"), tree.stat(b"/p")
    apply.apply(tree, 6, create(b"/p/n", data, acl, owner))
    stat = Stat(6, 6, 1_000, 1_000, 0, 0, 0, shown_owner, len(data or b""), 0, 6)
    assert tree.records[b"/p/n"] == make(data, stat, acl or OPEN_ACL, owner)
    assert tree.stat(b"/p") == parent._replace(cversion=1, num_children=1, pzxid=6)
    assert data_of(tree.records[b"/p"]) == PARENT_DATA
    assert everything_but(tree, b"/p", b"/p/n") == others
    assert tree.zxid == 6


def test_a_delete(tree: Tree) -> None:
    apply.apply(tree, 6, create(b"/p/n"))
    parent = tree.stat(b"/p")
    apply.apply(tree, 9, DeleteTxn(DELETE, 0, 0, 0, b"/p/n"))
    assert b"/p/n" not in tree.records
    assert tree.stat(b"/p") == parent._replace(cversion=2, num_children=0, pzxid=9)


@pytest.mark.parametrize("data", [None, b"", b"short", b"longer than before" * 5])
@pytest.mark.parametrize("acl", [None, READ_ONLY])
def test_new_data(tree: Tree, data: bytes | None, acl: object) -> None:
    apply.apply(tree, 6, create(b"/p/n", b"before", acl))
    before, others = tree.stat(b"/p/n"), everything_but(tree, b"/p/n")
    stat = apply.set_data(tree, 7, SetDataTxn(SET_DATA, 0, 0, 2_000, b"/p/n", data, 4))
    record = tree.records[b"/p/n"]
    assert stat_bytes_of(record) == stat
    assert tree.stat(b"/p/n") == before._replace(mzxid=7, mtime_ms=2_000, version=4, data_length=len(data or b""))
    assert data_of(record) == data
    assert tree.acl(b"/p/n") == (acl or OPEN_ACL)
    assert everything_but(tree, b"/p/n") == others


@pytest.mark.parametrize("owner", [0, SESSION, CONTAINER_OWNER])
@pytest.mark.parametrize(("first", "then"), [(None, READ_ONLY), (READ_ONLY, OPEN_ACL)])
def test_a_new_acl(tree: Tree, owner: int, first: object, then: tuple[Acl, ...]) -> None:
    apply.apply(tree, 6, create(b"/p/n", b"data", first, owner))
    before = tree.stat(b"/p/n")
    apply.apply(tree, 7, SetAclTxn(SET_ACL, 0, 0, 2_000, b"/p/n", then, 1))
    assert tree.stat(b"/p/n") == before._replace(aversion=1)
    assert (tree.acl(b"/p/n"), tree.stored_owner(b"/p/n")) == (then, owner)
    assert data_of(tree.records[b"/p/n"]) == b"data"
    assert tree.special.get(b"/p/n") == extras_of(tree.records[b"/p/n"])
    assert (b"/p/n" in tree.reapable) == (owner == CONTAINER_OWNER)


def test_a_parent_with_extras_keeps_them(tree: Tree) -> None:
    apply.apply(tree, 6, create(b"/c", b"data", READ_ONLY, CONTAINER_OWNER))
    apply.apply(tree, 7, create(b"/c/n"))
    assert (tree.acl(b"/c"), tree.stored_owner(b"/c")) == (READ_ONLY, CONTAINER_OWNER)
    assert extras_of(tree.records[b"/c"]) == (CONTAINER_OWNER, READ_ONLY)


def test_a_childs_cversion_wraps(tree: Tree) -> None:
    stat = tree.stat(b"/p")._replace(cversion=0x7FFFFFFF)
    tree.put(b"/p", make(b"", stat))
    apply.apply(tree, 6, create(b"/p/n"))
    assert tree.stat(b"/p").cversion == -0x80000000


def test_sessions_open_and_close_with_their_ephemerals(tree: Tree) -> None:
    apply.apply(tree, 6, CreateSessionTxn(CREATE_SESSION, SESSION, 0, 0, 30_000, b"p" * 16))
    assert tree.sessions == {SESSION: (30_000, b"p" * 16)}
    apply.apply(tree, 7, create(b"/p/e", owner=SESSION))
    apply.apply(tree, 8, create(b"/p/f", owner=SESSION))
    apply.apply(tree, 9, CloseSessionTxn(CLOSE_SESSION, SESSION, 0, 0, (b"/p/e", b"/p/f")))
    assert (tree.sessions, tree.ephemerals) == ({}, {})
    assert (tree.stat(b"/p").pzxid, tree.stat(b"/p").num_children) == (9, 0)


def test_a_session_that_leaves_ephemerals_behind_is_an_impossible_state(tree: Tree) -> None:
    apply.apply(tree, 6, create(b"/p/e", owner=SESSION))
    with pytest.raises(AssertionError, match="left ephemerals behind"):
        apply.apply(tree, 7, CloseSessionTxn(CLOSE_SESSION, SESSION, 0, 0, ()))


def test_a_multi_is_its_changes_under_one_zxid(tree: Tree) -> None:
    changes = (create(b"/p/n"), SetDataTxn(SET_DATA, 0, 0, 1_000, b"/p/n", b"x", 1), create(b"/p/n/c"))
    apply.apply(tree, 6, MultiTxn(MULTI, 0, 0, 1_000, changes))
    assert tree.stat(b"/p/n") == Stat(6, 6, 1_000, 1_000, 1, 1, 0, 0, 1, 1, 6)
    assert tree.stat(b"/p/n/c").czxid == 6


def test_new_members_are_the_data_of_one_znode_without_a_version() -> None:
    tree = Tree.new()
    before = tree.stat(CONFIG)
    apply.apply(tree, 6, ReconfigTxn(RECONFIG, SESSION, 1, 1_000, b"server.1=..."))
    assert data_of(tree.records[CONFIG]) == b"server.1=..."
    assert tree.stat(CONFIG) == before._replace(mzxid=6, mtime_ms=1_000, version=-1, data_length=12)
    assert tree.acl(CONFIG) == Tree.new().acl(CONFIG)
    assert tree.zxid == 6


def test_an_error_only_takes_a_zxid(tree: Tree) -> None:
    before = dict(tree.records)
    apply.apply(tree, 6, ErrorTxn(ERROR, SESSION, 1, 0, -101))
    assert (tree.records, tree.zxid) == (before, 6)


def test_a_segment_seals_and_its_zxids_are_consecutive(tree: Tree) -> None:
    tree.seal()
    txns: list[Txn] = [create(b"/a"), create(b"/b"), DeleteTxn(DELETE, 0, 0, 0, b"/a")]
    apply.apply_segment(tree, 1 << 32 | 1, txns)
    assert tree.zxid == 1 << 32 | 3
    assert tree.stat(b"/b").czxid == 1 << 32 | 2
    assert tree.touched == {}
    whole = tree.digest
    assert Tree.load(tree.records.items(), {}, tree.zxid, whole).digest == whole


def test_a_segment_from_the_past_is_an_impossible_state(tree: Tree) -> None:
    with pytest.raises(AssertionError, match="does not follow"):
        apply.apply_segment(tree, 5, [create(b"/a")])


@pytest.mark.parametrize(
    ("owner", "is_stored_only"), [(0, False), (SESSION, False), (-5, False), (CONTAINER_OWNER, True)]
)
def test_which_owners_a_stat_does_not_show(owner: int, is_stored_only: bool) -> None:
    assert apply.is_stored_only(owner) is is_stored_only
    assert apply.is_stored_only(ttl_owner(1))
