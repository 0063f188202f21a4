"""What a replica is in its ensemble, and what it has learned, by itself."""

from __future__ import annotations

import pytest

from tests.replica.world import World
from zkstore.errors import InvariantError
from zkstore.model.apply import apply_segment
from zkstore.model.tree import Tree
from zkstore.replica.replica import Replica
from zkstore.replica.role import Idle
from zkstore.replica.settings import ReplicaSettings
from zkstore.wire import segment as segments
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode
from zkstore.wire.segment import Segment


def history() -> list[Segment]:
    """What a leader has made durable: one txn in each segment."""
    world = World()
    client = world.client()
    for number in range(4):
        client.create(b"/n%d" % number, flags=1)
    client.multi(world.ops.create(b"/m"), world.ops.check(b"/m"), world.ops.delete(b"/n0"))
    client.set_data(b"/none")
    return world.segments


def learner(tree: Tree | None = None, last_crc: int = 0) -> Replica:
    return Replica(
        tree or Tree.new(),
        ReplicaSettings(),
        now_ms=0,
        time_ms=0,
        last_crc=last_crc,
        make_password=lambda: bytes(16),
    )


def replayed(chain: list[Segment]) -> Tree:
    tree = Tree.new()
    for one in chain:
        apply_segment(tree, one.first_zxid, segments.txns(one))
    return tree


def test_what_is_learned_happens_when_it_is_committed() -> None:
    chain, replica = history(), learner()
    for one in chain:
        assert replica.learn(one) == segments.txns(one)
    assert replica.tree.zxid == 0
    assert replica.pending_count == len(chain)
    replica.commit_to(chain[2].last_zxid)
    assert replica.tree.zxid == chain[2].last_zxid
    replica.commit_to(chain[-1].last_zxid)
    assert replica.tree.records == replayed(chain).records
    assert (replica.learned_zxid, replica.learned_crc) == (chain[-1].last_zxid, chain[-1].crc)
    assert replica.applied_crc == chain[-1].crc
    assert not replica.has_outstanding


def test_what_does_not_follow_is_refused() -> None:
    chain, replica = history(), learner()
    replica.learn(chain[0])
    with pytest.raises(InvariantError, match="I8 is broken"):
        replica.learn(chain[2])


def test_what_was_never_committed_is_dropped_and_something_else_may_come() -> None:
    chain, replica = history(), learner()
    for one in chain:
        replica.learn(one)
    replica.commit_to(chain[1].last_zxid)
    replica.drop_after(chain[2].last_zxid)
    assert replica.pending_count == 1
    replica.learn(chain[3])
    replica.drop_after(chain[1].last_zxid)
    assert (replica.learned_zxid, replica.learned_crc) == (chain[1].last_zxid, chain[1].crc)
    with pytest.raises(InvariantError, match="I14 is broken"):
        replica.drop_after(chain[0].last_zxid)


def test_a_digest_that_differs_is_found_before_more_is_applied() -> None:
    chain, replica = history(), learner()
    for one in chain:
        replica.learn(one)
    replica.commit_to(chain[1].last_zxid)
    replica.tree.touched[b"/"] = replica.tree.records[b"/"]
    replica.tree.records[b"/"] += b"rot"
    with pytest.raises(InvariantError, match="I15 is broken at zxid 0x3"):
        replica.commit_to(chain[-1].last_zxid)
    assert replica.tree.zxid == 3


def test_a_tree_from_elsewhere_takes_the_place_of_all() -> None:
    chain, replica = history(), learner()
    for one in chain[:2]:
        replica.learn(one)
    replica.replace(replayed(chain[:4]), chain[3].crc)
    assert replica.pending_count == 0
    for one in chain[4:]:
        replica.learn(one)
    replica.commit_to(chain[-1].last_zxid)
    assert replica.tree.records == replayed(chain).records
    assert replica.listings.kept_bytes == 0


def test_only_who_has_a_session_is_sent_away_when_a_server_looks() -> None:
    world = World()
    client, stranger = world.client(), world.stranger()
    client.send.create(b"/a")
    world.seal()
    client.send.create(b"/b")
    world.replica.look("the leader is gone")
    assert client.is_ended
    assert not stranger.is_ended
    assert world.replica.notices == ["1 clients' connections closed: the leader is gone"]
    assert world.replica.outstanding_bytes == 0
    assert isinstance(world.replica.role, Idle)
    world.replica.commit_to(world.sealed[0].last_zxid)
    assert b"/a" in world.tree.records
    assert world.replica.outstanding_bytes == 0
    assert client.output() == b""


def test_nobody_asks_a_server_that_serves_nobody() -> None:
    replica = learner()
    role, conversation = replica.role, replica.converse(("127.0.0.1", 1))
    assert not role.is_serving
    assert not role.has_session(1)
    assert not role.touch(1)
    assert not replica.touch(1)
    asked = [
        lambda: role.propose_request(conversation, 1, Opcode.DELETE, Reader(b"")),
        lambda: role.propose_set(conversation, 1, b"", 0, 0),
        lambda: role.propose_create(conversation, 1, Opcode.CREATE, b"", 0, 0),
        lambda: role.sync(conversation, 1, b""),
    ]
    for ask in asked:
        with pytest.raises(AssertionError, match="without a leader"):
            ask()
    replica.tick()
    assert not replica.has_outstanding
