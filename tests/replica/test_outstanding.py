"""The view of what is under way, by itself."""

from __future__ import annotations

import pytest

from zkstore.model import apply
from zkstore.model.record import CONTAINER_OWNER, ttl_owner
from zkstore.model.tree import Tree
from zkstore.model.txns import CREATE, CreateTxn
from zkstore.replica.outstanding import Outstanding, Prospect

SESSION = 0x1234


@pytest.fixture
def tree() -> Tree:
    return Tree.new()


@pytest.fixture
def outstanding(tree: Tree) -> Outstanding:
    return Outstanding(tree)


def prospect(zxid: int, **changes: object) -> Prospect:
    return Prospect(zxid, True, 0, 0, 0, 0, 0, ())._replace(**changes)


def test_without_prospects_the_tree_says_it(tree: Tree, outstanding: Outstanding) -> None:
    apply.create(tree, 5, CreateTxn(CREATE, 0, 0, 0, b"/c", b"data", ((1, "ip", "::1"),), CONTAINER_OWNER))
    apply.create(tree, 6, CreateTxn(CREATE, 0, 0, 0, b"/c/n", None, None, SESSION))
    container, ephemeral = outstanding.look(b"/c"), outstanding.look(b"/c/n")
    assert container == (0, True, 0, 0, 1, 1, CONTAINER_OWNER, ((1, "ip", "::1"),))
    assert ephemeral == (0, True, 0, 0, 0, 0, SESSION, ((31, "world", "anyone"),))
    assert outstanding.look(b"/none") is None
    assert outstanding.look(b"/") == (0, True, 0, 0, 1, 2, 0, ((31, "world", "anyone"),))


@pytest.mark.parametrize(("owner", "is_ephemeral"), [(0, False), (SESSION, True), (-5, True)])
def test_only_a_sessions_znode_is_ephemeral(owner: int, is_ephemeral: bool) -> None:
    assert prospect(1, owner=owner).is_ephemeral is is_ephemeral
    assert not prospect(1, owner=CONTAINER_OWNER).is_ephemeral
    assert not prospect(1, owner=ttl_owner(1)).is_ephemeral


def test_the_last_prospect_of_a_znode_holds_until_its_own_txn_is_applied(outstanding: Outstanding) -> None:
    outstanding.expect(b"/a", prospect(7))
    outstanding.expect(b"/a", prospect(8, version=1))
    outstanding.retire(b"/a", 7)
    assert outstanding.look(b"/a") == prospect(8, version=1)
    outstanding.retire(b"/a", 8)
    assert outstanding.look(b"/a") is None
    assert len(outstanding) == 0


def test_what_will_be_deleted_is_not_there(outstanding: Outstanding) -> None:
    outstanding.expect(b"/zookeeper", prospect(7, exists=False))
    assert outstanding.look(b"/zookeeper") is None
    outstanding.clear()
    assert outstanding.look(b"/zookeeper") is not None


def test_what_was_begun_can_be_taken_back(outstanding: Outstanding) -> None:
    outstanding.expect(b"/a", prospect(7))
    outstanding.begin()
    outstanding.expect(b"/a", prospect(8, exists=False))
    outstanding.expect(b"/a", prospect(8, version=3))
    outstanding.expect(b"/b", prospect(8))
    outstanding.take_back()
    assert outstanding.look(b"/a") == prospect(7)
    assert outstanding.look(b"/b") is None
    assert len(outstanding) == 1


def test_what_was_begun_can_be_kept(outstanding: Outstanding) -> None:
    outstanding.begin()
    outstanding.expect(b"/a", prospect(8))
    outstanding.keep()
    assert outstanding.look(b"/a") == prospect(8)


def test_a_sessions_ephemerals_are_those_of_the_tree_and_those_under_way(tree: Tree, outstanding: Outstanding) -> None:
    for name in (b"/kept", b"/deleted", b"/taken"):
        apply.create(tree, 5, CreateTxn(CREATE, 0, 0, 0, name, None, None, SESSION))
    outstanding.expect(b"/deleted", prospect(6, exists=False))
    outstanding.expect(b"/taken", prospect(6, owner=99))
    outstanding.expect(b"/born", prospect(6, owner=SESSION))
    outstanding.note_birth(SESSION, b"/born")
    outstanding.note_birth(SESSION, b"/born")
    outstanding.retire_birth(SESSION, b"/born")
    assert outstanding.ephemerals(SESSION) == [b"/kept", b"/born"]
    outstanding.retire_birth(SESSION, b"/born")
    outstanding.retire_birth(SESSION, b"/never born")
    assert outstanding.ephemerals(SESSION) == [b"/kept"]
    assert outstanding.ephemerals(99) == []
