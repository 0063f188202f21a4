"""Containers and TTL znodes: deleted by the server when their time is over, and never before."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.world import World

CHECK_MS = 60_000
NEVER_USED_MS = 300_000


@pytest.fixture
def keeper(client: Client) -> Client:
    """A client whose session never expires, because it is the one that looks."""
    client.world.replica.tracker.remove(client.session_id)
    client.world.replica.tracker.add(client.session_id, 1 << 40, client.world.replica.now_ms)
    return client


def sweep(world: World, after_ms: int = CHECK_MS) -> None:
    world.pass_time(after_ms)
    world.run_disk()


def test_a_container_goes_when_its_last_child_has_gone(keeper: Client) -> None:
    keeper.create_container(b"/c")
    keeper.create(b"/c/n")
    sweep(keeper.world)
    assert keeper.exists(b"/c").code == 0
    keeper.delete(b"/c/n")
    zxid = keeper.world.tree.zxid
    keeper.exists(b"/c", watch=True)
    sweep(keeper.world)
    assert keeper.exists(b"/c").code == -101
    assert keeper.world.tree.zxid == zxid + 1
    assert keeper.events() == [(2, b"/c")]
    assert not keeper.world.tree.reapable


def test_a_container_that_was_never_used_has_a_longer_time(keeper: Client) -> None:
    keeper.create_container(b"/c")
    sweep(keeper.world, NEVER_USED_MS - CHECK_MS)
    assert keeper.exists(b"/c").code == 0
    sweep(keeper.world, 2 * CHECK_MS)
    assert keeper.exists(b"/c").code == -101


def test_a_ttl_znode_goes_when_it_was_not_changed_for_its_ttl(keeper: Client) -> None:
    keeper.create_ttl(b"/t", 90_000)
    sweep(keeper.world)
    assert keeper.exists(b"/t").code == 0
    keeper.set_data(b"/t", b"still needed")
    sweep(keeper.world)
    assert keeper.exists(b"/t").code == 0
    sweep(keeper.world)
    assert keeper.exists(b"/t").code == -101


def test_a_ttl_znode_with_children_stays(keeper: Client) -> None:
    keeper.create_ttl(b"/t", 1)
    keeper.create(b"/t/n")
    sweep(keeper.world)
    assert keeper.exists(b"/t").code == 0
    keeper.delete(b"/t/n")
    sweep(keeper.world)
    assert keeper.exists(b"/t").code == -101


def test_a_child_under_way_saves_its_container(keeper: Client) -> None:
    keeper.create_container(b"/c")
    keeper.create(b"/c/n")
    keeper.delete(b"/c/n")
    keeper.world.pass_time(CHECK_MS - 1)
    keeper.send.create(b"/c/n")
    keeper.world.pass_time(1)
    keeper.world.run_disk()
    assert [answer.code for answer in keeper.answers()] == [0]
    assert keeper.exists(b"/c/n").code == 0


def test_new_data_under_way_saves_a_ttl_znode(keeper: Client) -> None:
    keeper.create_ttl(b"/t", 1_000)
    keeper.world.pass_time(CHECK_MS - 1)
    keeper.send.set_data(b"/t", b"still needed")
    keeper.world.pass_time(1)
    keeper.world.run_disk()
    assert [answer.code for answer in keeper.answers()] == [0]
    assert keeper.exists(b"/t").code == 0


def test_an_ordinary_znode_under_way_in_the_place_of_a_container_is_not_reaped(keeper: Client) -> None:
    keeper.create_container(b"/c")
    keeper.create(b"/c/n")
    keeper.delete(b"/c/n")
    keeper.world.pass_time(CHECK_MS - 1)
    keeper.send.delete(b"/c")
    keeper.send.create(b"/c", b"precious")
    keeper.world.pass_time(1)
    keeper.world.run_disk()
    assert [answer.code for answer in keeper.answers()] == [0, 0]
    assert keeper.get_data(b"/c").data == b"precious"


def test_containers_under_containers_go_one_sweep_after_the_other(keeper: Client) -> None:
    keeper.create_container(b"/c")
    keeper.create_container(b"/c/d")
    keeper.create(b"/c/d/n")
    keeper.delete(b"/c/d/n")
    sweep(keeper.world)
    assert [path in keeper.world.tree.records for path in (b"/c", b"/c/d")] == [True, False]
    sweep(keeper.world)
    assert b"/c" not in keeper.world.tree.records


def test_a_reaped_znode_comes_back_if_the_disk_was_full(keeper: Client) -> None:
    keeper.create_ttl(b"/t", 1)
    keeper.world.pass_time(CHECK_MS)
    assert keeper.world.replica.has_outstanding
    keeper.world.lose()
    assert keeper.exists(b"/t").code == 0
    sweep(keeper.world)
    assert keeper.exists(b"/t").code == -101


def test_what_is_to_be_reaped_is_known_after_a_recovery(keeper: Client, make_world: type[World]) -> None:
    keeper.create_ttl(b"/t", 1)
    keeper.create_container(b"/c")
    recovered = make_world(keeper.world.check_chain(), last_crc=keeper.world.segments[-1].crc)
    assert recovered.tree.reapable == keeper.world.tree.reapable
    sweep(recovered, NEVER_USED_MS + CHECK_MS)
    assert not recovered.tree.reapable


def test_a_deleted_ttl_znode_is_forgotten(keeper: Client) -> None:
    keeper.create_ttl(b"/t", 1)
    keeper.delete(b"/t")
    keeper.create(b"/t")
    sweep(keeper.world)
    assert keeper.exists(b"/t").code == 0
