"""Reads, who may read what, and watches that a reconnected client brings along."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore.model.acl import OPEN_ACL, digest_id
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import SetWatches, SetWatches2

NO_NODE, NO_AUTH, BAD_ARGUMENTS, NO_WATCHER = -101, -102, -8, -121
CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4
WRITE_ONLY = ((2, "world", "anyone"),)
ADMIN_ONLY = ((16, "world", "anyone"),)


def test_a_fresh_server_has_the_reserved_znodes(client: Client) -> None:
    assert client.get_children(b"/").children == [b"zookeeper"]
    assert client.get_children(b"/zookeeper").children == [b"config", b"quota"]
    assert client.get_all_children_number(b"/").number == 3
    assert client.stat(b"/") == (0, 0, 0, 0, 0, -1, 0, 0, 0, 1, 0)
    assert client.stat(b"/zookeeper") == (0, 0, 0, 0, 0, -2, 0, 0, 0, 2, 0)
    assert client.stat(b"/zookeeper/config") == (0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0)
    assert client.get_data(b"/zookeeper/config").data == b""
    assert client.get_acl(b"/zookeeper/config").acl == ((1, "world", "anyone"),)
    assert client.get_acl(b"/").acl == OPEN_ACL


def test_children_come_with_and_without_stat(client: Client) -> None:
    client.create(b"/p")
    for name in (b"a", b"b", "ü".encode()):
        client.create(b"/p/" + name)
    client.create(b"/p/a/deeper")
    assert client.get_children(b"/p").children == [b"a", b"b", "ü".encode()]
    both = client.children2(b"/p")
    assert sorted(both.children) == [b"a", b"b", "ü".encode()]
    assert both.stat == client.stat(b"/p")
    assert client.get_children(b"/p/b").children == []
    assert client.get_all_children_number(b"/p").number == 4


def test_a_read_of_a_bad_path_finds_nothing(client: Client) -> None:
    for path in (b"/a/", b"a", b"//", b"/.", b"/\x01"):
        answers = [client.get_data(path), client.exists(path), client.get_children(path), client.get_acl(path)]
        assert [answer.code for answer in answers] == [NO_NODE] * 4


def test_the_empty_path_is_the_root(client: Client) -> None:
    assert client.get_data(b"").body == client.get_data(b"/").body
    assert client.get_children(b"").children == [b"zookeeper"]


def test_exists_with_a_nul_is_a_bad_argument_and_leaves_no_watch(client: Client) -> None:
    assert client.exists(b"/a\0", watch=True).code == BAD_ARGUMENTS
    assert client.world.replica.watches.total == 0


def test_only_exists_leaves_a_watch_on_what_is_not_there(client: Client) -> None:
    watches = client.world.replica.watches
    for read in (client.get_data, client.get_children, client.get_children2):
        assert read(b"/none", watch=True).code == NO_NODE
    assert watches.watch_count == 0
    assert client.exists(b"/none", watch=True).code == NO_NODE
    assert watches.watch_count == 1


def test_what_may_not_be_read_leaves_no_watch(client: Client) -> None:
    client.create(b"/n", acl=WRITE_ONLY)
    for read in (client.get_data, client.exists, client.get_children, client.get_children2):
        assert read(b"/n", watch=True).code == NO_AUTH
    assert client.get_all_children_number(b"/n").code == NO_AUTH
    assert client.get_acl(b"/n").code == NO_AUTH
    assert client.world.replica.watches.watch_count == 0


def test_get_acl_needs_read_or_admin_and_shows_secrets_to_admins_only(client: Client) -> None:
    secret = digest_id(b"user:secret")
    entries = ((31, "digest", secret), (1, "ip", "127.0.0.1"))
    client.create(b"/n", acl=entries)
    answer = client.get_acl(b"/n")
    assert answer.acl == ((31, "digest", "user:x"), (1, "ip", "127.0.0.1"))
    client.add_auth("digest", b"user:secret")
    assert client.get_acl(b"/n").acl == entries
    assert client.get_acl(b"/n").stat == client.stat(b"/n")
    client.create(b"/a", acl=ADMIN_ONLY)
    assert client.get_acl(b"/a").acl == ADMIN_ONLY


def test_an_extra_acl_does_not_show_in_the_data(client: Client) -> None:
    client.create(b"/n", b"data", acl=((31, "ip", "127.0.0.1"),))
    answer = client.get_data(b"/n")
    assert (answer.data, len(answer.body)) == (b"data", 4 + 4 + 68)


# --- identities -----------------------------------------------------------------------------------


def test_identities_add_up_on_a_connection(client: Client) -> None:
    assert client.who_am_i().identities == {("ip", "127.0.0.1")}
    client.add_auth("digest", b"one:1")
    client.add_auth("digest", b"two:2")
    client.add_auth("digest", b"one:1")
    client.add_auth("ip", b"")
    assert client.who_am_i().identities == {("ip", "127.0.0.1"), ("digest", "one"), ("digest", "two")}


@pytest.mark.parametrize(("scheme", "credential"), [("digest", None), ("kerberos", b"x"), ("", b""), ("world", b"x")])
def test_a_failed_authentication_is_answered_and_ends_the_conversation(
    client: Client, scheme: str, credential: bytes | None
) -> None:
    assert client.add_auth(scheme, credential) == -115
    assert client.is_ended
    assert client.session_id in client.world.tree.sessions


def test_an_auth_packet_that_does_not_parse_ends_the_conversation_without_an_answer(client: Client) -> None:
    client.request(Opcode.AUTH, b"\0\0\0\0\0\0\0\x7f", xid=-4)
    assert client.is_ended
    assert client.output() == b""


def test_a_read_that_waits_is_answered_under_the_identities_it_was_asked_with(client: Client) -> None:
    client.create(b"/n", acl=((31, "digest", digest_id(b"user:secret")),))
    client.send.create(b"/other")
    client.send.get_data(b"/n")
    client.add_auth("digest", b"user:secret")
    client.send.get_data(b"/n")
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0, NO_AUTH, 0]


# --- ephemerals -----------------------------------------------------------------------------------


def test_get_ephemerals_gives_ones_own_by_a_plain_prefix(client: Client) -> None:
    other = client.world.client()
    for path in (b"/a", b"/ab", b"/b"):
        client.create(path, flags=1)
    other.create(b"/theirs", flags=1)
    client.create(b"/plain")
    for everything in (None, b"", b"/", b" "):
        assert client.get_ephemerals(everything).children == [b"/a", b"/ab", b"/b"]
    assert client.get_ephemerals(b"/a").children == [b"/a", b"/ab"]
    assert client.get_ephemerals(b"/none").children == []
    client.delete(b"/a")
    assert client.get_ephemerals().children == [b"/ab", b"/b"]


# --- watches by name ------------------------------------------------------------------------------


def test_add_watch_answers_with_a_number_and_does_not_look_at_the_path(client: Client) -> None:
    for mode in (0, 1):
        answer = client.add_watch(b"/none", mode)
        assert (answer.code, answer.number, len(answer.body)) == (0, 0, 4)


def test_watches_are_checked_and_removed_without_an_event(client: Client) -> None:
    client.get_data(b"/", watch=True)
    client.get_children(b"/", watch=True)
    assert [client.check_watches(b"/", kind).code for kind in (1, 2, 3, 4, 5)] == [0, 0, 0, NO_WATCHER, NO_WATCHER]
    assert client.remove_watches(b"/", 1).code == 0
    assert [client.check_watches(b"/", kind).code for kind in (1, 2, 3)] == [NO_WATCHER, 0, 0]
    assert client.remove_watches(b"/", 3).body == b""
    assert client.remove_watches(b"/", 3).code == NO_WATCHER
    client.create(b"/a")
    assert client.events() == []


# --- setWatches -----------------------------------------------------------------------------------


@pytest.fixture
def history(client: Client) -> Client:
    """/same is older than zxid 4; /changed and /parent changed after it; /gone is gone."""
    for path in (b"/same", b"/changed", b"/parent"):
        client.create(path)
    assert client.world.tree.zxid == 4
    client.set_data(b"/changed", b"x")
    client.create(b"/parent/child")
    return client


def test_what_happened_while_a_client_was_away_is_told_before_the_answer(history: Client) -> None:
    again = history.reconnect()
    again.send.set_watches(
        SetWatches(
            4,
            data=(b"/same", b"/changed", b"/gone"),
            exist=(b"/same", b"/gone"),
            child=(b"/same", b"/parent", b"/gone"),
        )
    )
    *events, answer = again.take()
    assert events == [
        (DATA_CHANGED, b"/changed", -1),
        (DELETED, b"/gone", -1),
        (CREATED, b"/same", -1),
        (CHILDREN_CHANGED, b"/parent", -1),
        (DELETED, b"/gone", -1),
    ]
    assert (answer.code, answer.body) == (0, b"")


def test_what_did_not_happen_yet_is_watched(history: Client) -> None:
    again = history.reconnect()
    again.set_watches(SetWatches(4, data=(b"/same",), exist=(b"/gone",), child=(b"/same",)))
    assert again.events() == []
    history.world.client().create(b"/gone")
    assert again.events() == [(CREATED, b"/gone")]
    history.world.client().create(b"/same/child")
    assert again.events() == [(CHILDREN_CHANGED, b"/same")]
    history.world.client().set_data(b"/same", b"x")
    assert again.events() == [(DATA_CHANGED, b"/same")]


def test_a_deleted_child_counts_for_a_child_watch(history: Client) -> None:
    zxid = history.delete(b"/parent/child").zxid
    history.set_watches(SetWatches(zxid - 1, (), (), (b"/parent",)))
    assert history.events() == [(CHILDREN_CHANGED, b"/parent")]
    history.set_watches(SetWatches(zxid, (), (), (b"/parent",)))
    assert history.events() == []


def test_a_client_that_watched_the_root_by_the_empty_path_still_does(history: Client) -> None:
    history.set_watches(SetWatches(history.world.tree.zxid, (b"",), (), (b"",)))
    assert history.events() == []
    history.world.client().create(b"/new")
    assert history.events() == [(CHILDREN_CHANGED, b"/")]


def test_persistent_watches_are_taken_up_in_silence(history: Client) -> None:
    again = history.reconnect()
    again.set_watches(SetWatches2(0, (), (), (), persistent=(b"/changed",), persistent_recursive=(b"/parent",)))
    assert again.events() == []
    history.world.client().set_data(b"/changed")
    history.world.client().set_data(b"/parent/child")
    assert again.events() == [(DATA_CHANGED, b"/changed"), (DATA_CHANGED, b"/parent/child")]


def test_a_client_cut_off_while_it_is_told_leaves_no_watches(world: World) -> None:
    client = world.client()
    paths = tuple(b"/" + bytes([97 + number]) * 900_000 for number in range(26))
    for _ in range(2):
        client.receive(b"")
        for path in paths:
            client.send.set_watches(SetWatches(0, (path, b"/"), (), ()))
            if client.is_ended:
                break
    assert client.is_ended
    assert world.replica.watches.watch_count == 0
    assert client.output() == b""
