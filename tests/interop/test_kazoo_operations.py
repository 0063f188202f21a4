"""kazoo's client against a real server: the operations, watches and errors that applications use."""

from __future__ import annotations

import queue
import time

import pytest
from kazoo.exceptions import (
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import EventType, WatchedEvent
from kazoo.security import make_acl, make_digest_acl

from tests.interop.conftest import Connect
from tests.interop.processes import WAIT_S, ServerProcess

pytestmark = pytest.mark.interop


def test_what_was_created_is_read_back(lasting_server: ServerProcess, root: str, connect: Connect) -> None:
    client = connect(lasting_server, root)
    before_s = time.time()
    assert client.create("/a", b"data") == "/a"
    data, stat = client.get("/a")
    assert data == b"data"
    assert stat.czxid == stat.mzxid == stat.pzxid
    assert (stat.version, stat.cversion, stat.aversion) == (0, 0, 0)
    assert (stat.data_length, stat.children_count, stat.owner_session_id) == (4, 0, None)
    assert before_s - 1 < stat.created < time.time() + 1
    assert client.exists("/a") == stat
    assert client.exists("/b") is None


def test_a_create_can_tell_the_stat_and_make_the_path(
    lasting_server: ServerProcess, root: str, connect: Connect
) -> None:
    client = connect(lasting_server, root)
    path, stat = client.create("/deep/er", b"123", makepath=True, include_data=True)
    assert path == "/deep/er"
    assert stat == client.exists("/deep/er")
    client.ensure_path("/deep/er/and/deeper")
    assert client.get_children("/deep/er") == ["and"]
    children, parent = client.get_children("/deep", include_data=True)
    assert children == ["er"]
    assert parent.children_count == 1


def test_a_changed_znode_has_a_new_version_and_a_stale_one_is_refused(
    lasting_server: ServerProcess, root: str, connect: Connect
) -> None:
    client = connect(lasting_server, root)
    client.create("/a", b"0")
    stat = client.set("/a", b"1")
    assert stat.version == 1
    with pytest.raises(BadVersionError):
        client.set("/a", b"2", version=0)
    with pytest.raises(BadVersionError):
        client.delete("/a", version=0)
    assert client.set("/a", b"2", version=1).version == 2
    client.delete("/a", version=2)
    assert client.exists("/a") is None


def test_every_mistake_has_its_own_error(lasting_server: ServerProcess, root: str, connect: Connect) -> None:
    client = connect(lasting_server, root)
    client.create("/parent/child", makepath=True)
    client.create("/brief", ephemeral=True)
    with pytest.raises(NodeExistsError):
        client.create("/parent")
    with pytest.raises(NoNodeError):
        client.create("/nowhere/child")
    with pytest.raises(NoNodeError):
        client.get("/nowhere")
    with pytest.raises(NotEmptyError):
        client.delete("/parent")
    with pytest.raises(NoChildrenForEphemeralsError):
        client.create("/brief/child")
    with pytest.raises(InvalidACLError):
        client.create("/a", acl=[make_acl("nonsense", "who", all=True)])
    with pytest.raises(BadArgumentsError):
        client.create("/bad\x01name")


def test_sequential_names_count_up_over_deleted_ones(
    lasting_server: ServerProcess, root: str, connect: Connect
) -> None:
    client = connect(lasting_server, root)
    assert client.create("/n-", sequence=True) == "/n-0000000000"
    assert client.create("/n-", sequence=True) == "/n-0000000001"
    client.delete("/n-0000000001")
    assert client.create("/n-", sequence=True, ephemeral=True) == "/n-0000000002"


def test_an_ephemeral_goes_with_its_session_and_its_watchers_learn_it(
    lasting_server: ServerProcess, root: str, connect: Connect
) -> None:
    owner, watcher = connect(lasting_server, root), connect(lasting_server, root)
    owner.create("/e", ephemeral=True)
    events: queue.Queue[WatchedEvent] = queue.Queue()
    stat = watcher.exists("/e", watch=events.put)
    assert stat.owner_session_id == owner.client_id[0]
    owner.stop()
    event = events.get(timeout=WAIT_S)
    assert (event.type, event.path) == (EventType.DELETED, "/e")
    assert watcher.exists("/e") is None


def test_each_kind_of_watch_fires_once_for_its_own_changes(
    lasting_server: ServerProcess, root: str, connect: Connect
) -> None:
    client, other = connect(lasting_server, root), connect(lasting_server, root)
    events: queue.Queue[WatchedEvent] = queue.Queue()
    client.exists("/w", watch=events.put)
    other.create("/w", b"0")
    event = events.get(timeout=WAIT_S)
    assert (event.type, event.path) == (EventType.CREATED, "/w")
    client.get("/w", watch=events.put)
    other.set("/w", b"1")
    other.set("/w", b"2")
    event = events.get(timeout=WAIT_S)
    assert (event.type, event.path) == (EventType.CHANGED, "/w")
    client.get_children("/w", watch=events.put)
    other.create("/w/child")
    other.delete("/w/child")
    event = events.get(timeout=WAIT_S)
    assert (event.type, event.path) == (EventType.CHILD, "/w")
    client.sync("/")
    assert events.empty()


def test_a_transaction_happens_as_a_whole(lasting_server: ServerProcess, root: str, connect: Connect) -> None:
    client = connect(lasting_server, root)
    client.create("/checked")
    transaction = client.transaction()
    transaction.check("/checked", version=0)
    transaction.create("/a", b"1")
    transaction.set_data("/a", b"2")
    transaction.create("/a/s-", sequence=True)
    transaction.delete("/checked")
    done, created, stat, sequential, deleted = transaction.commit()
    assert (done, created, sequential, deleted) == (True, "/a", "/a/s-0000000000", True)
    assert stat.version == 1
    a, child = client.exists("/a"), client.exists("/a/s-0000000000")
    assert a.czxid == a.mzxid == child.czxid
    assert client.exists("/checked") is None


def test_a_transaction_that_fails_leaves_nothing(lasting_server: ServerProcess, root: str, connect: Connect) -> None:
    client = connect(lasting_server, root)
    transaction = client.transaction()
    transaction.create("/a")
    transaction.check("/a", version=7)
    transaction.create("/b")
    results = transaction.commit()
    assert [type(result) for result in results] == [RolledBackError, BadVersionError, RuntimeInconsistency]
    assert client.get_children("/") == []


def test_a_digest_acl_keeps_others_out(lasting_server: ServerProcess, root: str, connect: Connect) -> None:
    owner, other = connect(lasting_server, root), connect(lasting_server, root)
    owner.add_auth("digest", "user:secret")
    owner.create("/mine", b"private", acl=[make_digest_acl("user", "secret", all=True)])
    assert owner.get("/mine")[0] == b"private"
    with pytest.raises(NoAuthError):
        other.get("/mine")
    other.add_auth("digest", "user:wrong")
    with pytest.raises(NoAuthError):
        other.set("/mine", b"x")
    other.add_auth("digest", "user:secret")
    assert other.get("/mine")[0] == b"private"
    acl, stat = owner.get_acls("/mine")
    assert [(entry.perms, entry.id.scheme) for entry in acl] == [(31, "digest")]
    assert stat.aversion == 0


def test_an_acl_can_be_opened_again(lasting_server: ServerProcess, root: str, connect: Connect) -> None:
    owner, other = connect(lasting_server, root), connect(lasting_server, root)
    owner.add_auth("digest", "user:secret")
    owner.create("/mine", b"x", acl=[make_acl("auth", "", all=True)])
    with pytest.raises(NoAuthError):
        other.get("/mine")
    stat = owner.set_acls("/mine", [make_acl("world", "anyone", read=True)], version=0)
    assert stat.aversion == 1
    assert other.get("/mine")[0] == b"x"
    with pytest.raises(NoAuthError):
        other.set("/mine", b"y")


def test_an_unknown_scheme_fails_authentication(lasting_server: ServerProcess, connect: Connect) -> None:
    client = connect(lasting_server)
    with pytest.raises(AuthFailedError):
        client.add_auth("nonsense", "x")


def test_null_empty_and_large_data_come_back_as_they_were(
    lasting_server: ServerProcess, root: str, connect: Connect
) -> None:
    client = connect(lasting_server, root)
    large = bytes(range(256)) * 4000  # just below jute.maxbuffer
    client.create("/empty", b"")
    client.create("/large", large)
    client.create("/grüße-数据", "ü".encode())
    assert client.get("/empty")[0] == b""
    assert client.get("/large")[0] == large
    assert client.get("/grüße-数据")[0] == "ü".encode()
    assert sorted(client.get_children("/")) == ["empty", "grüße-数据", "large"]


def test_many_requests_in_flight_are_answered_in_order(
    lasting_server: ServerProcess, root: str, connect: Connect
) -> None:
    client = connect(lasting_server, root)
    creations = [client.create_async(f"/n{number:04}", b"%d" % number) for number in range(500)]
    reads = [client.get_async(f"/n{number:04}") for number in range(500)]
    assert [creation.get(timeout=WAIT_S) for creation in creations] == [f"/n{number:04}" for number in range(500)]
    assert [read.get(timeout=WAIT_S)[0] for read in reads] == [b"%d" % number for number in range(500)]
    zxids = [read.get()[1].czxid for read in reads]
    assert zxids == sorted(zxids)


def test_a_tree_is_deleted_recursively(lasting_server: ServerProcess, root: str, connect: Connect) -> None:
    client = connect(lasting_server, root)
    for path in ("/t/a/b", "/t/a/c", "/t/d"):
        client.create(path, makepath=True)
    client.delete("/t", recursive=True)
    assert client.exists("/t") is None


def test_kazoo_reads_the_servers_version(lasting_server: ServerProcess, connect: Connect) -> None:
    client = connect(lasting_server)
    assert client.server_version() >= (3, 5)
    assert client.command(b"ruok") == "imok"
