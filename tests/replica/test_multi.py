"""multi: all or nothing, under one zxid; multiRead: each for itself."""

from __future__ import annotations

import struct

import pytest

from tests.replica.clients import Client
from zkstore.wire import jute
from zkstore.wire.multi import TERMINATOR, MultiRequest, Op
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import CreateRequest, CreateTtlRequest, DeleteRequest

SEQUENTIAL = 2


def test_every_operation_has_its_result_and_all_share_one_zxid(client: Client) -> None:
    ops = client.world.ops
    client.create(b"/old", b"x")
    answer = client.multi(
        ops.create(b"/a", b"1"),
        ops.create(b"/a/b", b"2", opcode=Opcode.CREATE2),
        ops.create(b"/c", opcode=Opcode.CREATE_CONTAINER),
        ops.set_data(b"/a", b"3", version=0),
        ops.check(b"/a", 1),
        ops.delete(b"/old"),
    )
    created, created2, container, changed, checked, deleted = answer.results
    assert answer.code == 0
    assert [result.opcode for result in answer.results] == [1, 15, 15, 5, 13, 2]
    assert created.response == (b"/a",)
    assert created2.response is not None
    assert container.response is not None
    assert changed.response is not None
    assert (checked.response, deleted.response) == (None, None)
    stat = client.stat(b"/a")
    assert (stat.czxid, stat.mzxid, stat.pzxid, stat.version, stat.num_children) == (answer.zxid,) * 3 + (1, 1)
    assert client.stat(b"/a/b").czxid == answer.zxid == 3


def test_results_carry_the_stat_as_of_their_operation(client: Client) -> None:
    ops = client.world.ops
    results = client.multi(
        ops.create(b"/a", b"1", opcode=Opcode.CREATE2), ops.set_data(b"/a", b"22"), ops.create(b"/a/b")
    ).results
    assert results[0].response[1][4:10] == (0, 0, 0, 0, 1, 0)
    assert results[1].response[0][4:10] == (1, 0, 0, 0, 2, 0)


def test_create_then_delete_in_one_batch_is_fine(client: Client) -> None:
    ops = client.world.ops
    assert client.multi(ops.create(b"/a"), ops.create(b"/a/b"), ops.delete(b"/a/b"), ops.delete(b"/a")).codes == [0] * 4
    assert b"/a" not in client.world.tree.records
    assert client.stat(b"/").cversion == 1


def test_delete_then_create_in_one_batch_makes_a_new_znode(client: Client) -> None:
    ops = client.world.ops
    client.create(b"/a", b"old")
    client.set_data(b"/a", b"older")
    answer = client.multi(ops.delete(b"/a"), ops.create(b"/a", b"new"), ops.set_data(b"/a", b"newer", version=0))
    assert answer.codes == [0, 0, 0]
    assert (client.stat(b"/a").czxid, client.stat(b"/a").version) == (answer.zxid, 1)


def test_numbers_go_on_within_a_batch(client: Client) -> None:
    ops = client.world.ops
    client.create(b"/p")
    results = client.multi(*[ops.create(b"/p/s", flags=SEQUENTIAL) for _ in range(3)]).results
    assert [result.response[0] for result in results] == [b"/p/s%010d" % number for number in range(3)]


def test_a_failing_batch_changes_nothing_fires_nothing_and_takes_a_zxid(client: Client) -> None:
    ops = client.world.ops
    watcher = client.world.client()
    client.create(b"/a", b"x")
    watcher.add_watch(b"/", 1)
    watcher.get_children(b"/", watch=True)
    records = dict(client.world.tree.records)
    zxid = client.world.tree.zxid
    answer = client.multi(
        ops.create(b"/b"), ops.set_data(b"/a", b"y"), ops.delete(b"/none"), ops.create(b"/c"), ops.delete(b"/a")
    )
    assert (answer.code, answer.zxid) == (0, zxid + 1)
    assert [result.opcode for result in answer.results] == [-1] * 5
    assert answer.codes == [0, 0, -101, -2, -2]
    assert client.world.tree.records == records
    assert watcher.events() == []
    assert client.create(b"/d").zxid == zxid + 2


def test_a_failing_batch_gives_its_numbers_back(client: Client) -> None:
    ops = client.world.ops
    client.create(b"/p")
    client.send.create(b"/p/s", flags=SEQUENTIAL)
    client.send.multi(ops.create(b"/p/s", flags=SEQUENTIAL), ops.create(b"/p/s", flags=SEQUENTIAL), ops.check(b"/p", 9))
    client.send.create(b"/p/s", flags=SEQUENTIAL)
    client.world.run_disk()
    first, failed, second = client.answers()
    assert failed.codes == [0, 0, -103]
    assert (first.path, second.path) == (b"/p/s0000000000", b"/p/s0000000001")


def test_a_failing_batch_takes_back_what_it_did_to_znodes_under_way(client: Client) -> None:
    ops = client.world.ops
    client.send.create(b"/a")
    client.send.multi(ops.set_data(b"/a", b"x"), ops.create(b"/a/b"), ops.delete(b"/none"))
    client.send.set_data(b"/a", b"y", version=0)
    client.send.delete(b"/a", version=1)
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0, 0, 0, 0]


def test_ephemerals_of_a_failing_batch_are_not_deleted_at_the_end(client: Client) -> None:
    ops = client.world.ops
    client.send.multi(ops.create(b"/e", flags=1), ops.delete(b"/none"))
    client.send.close()
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0, 0]


def test_ephemerals_of_a_batch_under_way_go_with_their_session(client: Client) -> None:
    ops = client.world.ops
    client.send.multi(ops.create(b"/e", flags=1), ops.create(b"/f", flags=1), ops.delete(b"/f"))
    client.send.close()
    client.world.run_disk()
    assert set(client.world.tree.records) == {b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config"}


def test_events_of_a_batch_come_operation_by_operation_and_before_its_answer(client: Client) -> None:
    ops = client.world.ops
    client.exists(b"/a", watch=True)
    client.get_children(b"/", watch=True)
    client.send.multi(ops.create(b"/a"), ops.set_data(b"/a", b"x"), ops.delete(b"/a"))
    client.world.run_disk()
    created, children, answer = client.take()
    assert created == (1, b"/a", 2)
    assert children == (4, b"/", 2)
    assert answer.zxid == 2


def test_an_empty_batch_succeeds(client: Client) -> None:
    answer = client.multi()
    assert (answer.code, answer.body) == (0, TERMINATOR)


def test_a_batch_may_only_check(client: Client) -> None:
    ops = client.world.ops
    assert client.multi(ops.check(b"/"), ops.check(b"/", 0)).codes == [0, 0]


def test_a_ttl_znode_in_a_batch_answers_as_create2(client: Client) -> None:
    request = CreateTtlRequest(b"/t", b"", ((31, "world", "anyone"),), 5, 1_000)
    op = client.world.ops.check(b"/")._replace(opcode=Opcode.CREATE_TTL, request=request)
    (result,) = client.multi(op).results
    assert result.opcode == 15
    assert client.world.tree.reapable


def _op(opcode: int, record: bytes) -> bytes:
    return struct.pack(">i?i", opcode, False, -1) + record


@pytest.mark.parametrize(
    "body",
    [
        b"",
        _op(Opcode.DELETE, DeleteRequest(b"/a", -1).encode()),  # no terminator
        _op(Opcode.GET_DATA, jute.buffer(b"/") + b"\0") + TERMINATOR,
        _op(Opcode.SET_ACL, b"") + TERMINATOR,
        _op(Opcode.DELETE, b"\0\0") + TERMINATOR,
        _op(Opcode.CREATE, jute.buffer(b"/x") + jute.NULL * 2 + jute.int32(9)) + TERMINATOR,
    ],
)
def test_a_batch_that_does_not_parse_fails_as_a_whole(client: Client, body: bytes) -> None:
    client.create(b"/a")
    client.request(Opcode.MULTI, body)
    client.world.run_disk()
    (answer,) = client.answers()
    assert (answer.code, answer.body, answer.zxid) == (-5, b"", 3)


def test_an_operation_that_makes_no_sense_fails_the_whole_and_leaves_nothing(client: Client) -> None:
    ops = client.world.ops
    nameless = Op(Opcode.CREATE, CreateRequest(b"/b", b"", ((31, "digest", None),), 0))
    for senseless in (ops.delete(None), nameless):
        answer = client.multi(ops.create(b"/a"), senseless)
        assert (answer.code, answer.body) == (-5, b"")
        assert client.exists(b"/a").code == -101
    assert client.create(b"/a").code == 0


# --- multiRead ------------------------------------------------------------------------------------


def test_each_read_succeeds_or_fails_for_itself(client: Client) -> None:
    ops = client.world.ops
    client.create(b"/a", b"x")
    client.create(b"/a/b")
    client.create(b"/hidden", acl=((2, "world", "anyone"),))
    answer = client.multi_read(
        ops.get_data(b"/a"), ops.get_data(b"/none"), ops.get_children(b"/a"), ops.get_children(b"/hidden")
    )
    data, absent, children, denied = answer.results
    assert answer.zxid == 4
    assert (data.opcode, absent.opcode, children.opcode, denied.opcode) == (4, -1, 8, -1)
    assert data.response == (b"x", client.stat(b"/a"))
    assert children.response == ((b"b",),)
    assert (absent.code, denied.code) == (-101, -102)


def test_a_multi_read_leaves_no_watch(client: Client) -> None:
    get = client.world.ops.get_data(b"/")
    watching = get._replace(request=get.request._replace(watch=True))
    client.request(Opcode.MULTI_READ, MultiRequest((watching,)).encode())
    client.answers()
    assert client.world.replica.watches.total == 0


def test_a_write_in_a_multi_read_fails_the_whole(client: Client) -> None:
    assert client.multi_read(client.world.ops.delete(b"/a")).code == -5
