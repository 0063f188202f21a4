"""How proposals become segments."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from zkstore import limits
from zkstore.wire import segment


def test_what_is_proposed_while_a_segment_is_written_forms_the_next_one(client: Client) -> None:
    client.send.create(b"/a")
    first = client.world.seal()
    for name in (b"/b", b"/c", b"/d"):
        client.send.create(name)
    second = client.world.seal()
    assert first is not None
    assert second is not None
    assert client.world.seal() is None
    assert (first.first_zxid, first.last_zxid) == (2, 2)
    assert (second.prev_zxid, second.first_zxid, second.last_zxid) == (2, 3, 5)
    assert second.prev_crc == first.crc
    assert [txn.path for txn in segment.txns(second)] == [b"/b", b"/c", b"/d"]


def test_a_segment_names_the_digest_of_what_was_applied_when_it_was_sealed(client: Client) -> None:
    tree = client.world.tree
    zxid, digest = tree.zxid, tree.digest
    client.send.create(b"/a")
    first = client.world.seal()
    client.send.create(b"/b")
    second = client.world.seal()
    client.world.run_disk()
    client.send.create(b"/c")
    third = client.world.seal()
    assert [(sealed.digest_zxid, sealed.digest) for sealed in (first, second) if sealed] == [(zxid, digest)] * 2
    assert third is not None
    assert (third.digest_zxid, third.digest) == (tree.zxid, tree.digest)


@pytest.mark.parametrize(("count_max", "counts"), [(4, [4, 4, 2]), (10, [10]), (9, [9, 1])])
def test_a_segment_has_only_so_many_txns(
    client: Client, monkeypatch: pytest.MonkeyPatch, count_max: int, counts: list[int]
) -> None:
    monkeypatch.setattr(limits, "SEGMENT_TXNS_MAX", count_max)
    for number in range(10):
        client.send.create(b"/n%d" % number)
    while client.world.seal():
        pass
    assert [sealed.last_zxid - sealed.first_zxid + 1 for sealed in client.world.sealed] == counts
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0] * 10


def test_a_segment_has_only_so_many_bytes_but_at_least_one_txn(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT_BYTES_MAX", 1_000)
    for size in (400, 400, 400, 5_000, 10, 10):
        client.send.set_data(b"/", bytes(size))
    while client.world.seal():
        pass
    assert [sealed.last_zxid - sealed.first_zxid + 1 for sealed in client.world.sealed] == [2, 1, 1, 2]


def test_too_many_writes_under_way_stop_those_who_have_one(client: Client) -> None:
    replica, other = client.world.replica, client.world.client()
    replica.settings = type(replica.settings)(outstanding_max=2)
    for number in range(3):
        client.send.create(b"/n%d" % number)
    assert replica.role.is_overloaded
    assert client.conversation.is_blocked
    assert not other.conversation.is_blocked
    client.world.run_disk()
    assert not client.conversation.is_blocked


def test_too_many_requests_of_one_connection_stop_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAITING_REQUESTS_MAX", 3)
    client.send.create(b"/a")
    client.send.exists(b"/a")
    assert not client.conversation.is_blocked
    client.send.exists(b"/a")
    assert client.conversation.is_blocked
