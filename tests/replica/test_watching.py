"""Watch events as clients get them: when, in what order, and who."""

from __future__ import annotations

from tests.replica.clients import Client
from zkstore.model.acl import digest_id

CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4


def test_an_event_comes_before_the_answer_to_the_writers_own_write(client: Client) -> None:
    client.create(b"/a")
    client.get_data(b"/a", watch=True)
    client.send.set_data(b"/a", b"x")
    client.world.run_disk()
    event, answer = client.take()
    assert event == (DATA_CHANGED, b"/a", answer.zxid)


def test_an_event_comes_before_any_answer_that_shows_the_change(client: Client) -> None:
    other = client.world.client()
    client.create(b"/a", b"old")
    other.get_data(b"/a", watch=True)
    client.send.set_data(b"/a", b"new")
    other.send.create(b"/b")
    other.send.get_data(b"/a")
    client.world.run_disk()
    event, created, read = other.take()
    assert event == (DATA_CHANGED, b"/a", 4)
    assert created.zxid == 5
    assert read.data == b"new"


def test_events_come_in_the_order_of_txns(client: Client) -> None:
    client.add_watch(b"/", 1)
    for send in (
        lambda: client.send.create(b"/a"),
        lambda: client.send.set_data(b"/a", b"x"),
        lambda: client.send.create(b"/b"),
        lambda: client.send.delete(b"/a"),
    ):
        send()
    client.world.run_disk()
    assert client.events() == [(CREATED, b"/a"), (DATA_CHANGED, b"/a"), (CREATED, b"/b"), (DELETED, b"/a")]


def test_a_watch_fires_once(client: Client) -> None:
    client.create(b"/a")
    client.get_data(b"/a", watch=True)
    client.set_data(b"/a", b"1")
    client.set_data(b"/a", b"2")
    assert client.events() == [(DATA_CHANGED, b"/a")]


def test_a_watch_may_be_set_again_by_the_read_behind_the_write(client: Client) -> None:
    client.create(b"/a")
    client.get_data(b"/a", watch=True)
    client.send.set_data(b"/a", b"1")
    client.send.get_data(b"/a", watch=True)
    client.send.set_data(b"/a", b"2")
    client.world.run_disk()
    assert [type(item).__name__ for item in client.take()] == ["Told", "Answer", "Answer", "Told", "Answer"]


def test_exists_watches_for_what_is_not_there_yet(client: Client) -> None:
    client.exists(b"/a", watch=True)
    client.create(b"/a")
    client.delete(b"/a")
    assert client.events() == [(CREATED, b"/a")]


def test_a_write_that_fails_fires_nothing(client: Client) -> None:
    client.create(b"/a")
    client.get_data(b"/a", watch=True)
    client.get_children(b"/", watch=True)
    client.set_data(b"/a", b"x", version=7)
    client.create(b"/a")
    client.delete(b"/a", version=7)
    assert client.events() == []


def test_a_new_acl_fires_nothing(client: Client) -> None:
    client.add_watch(b"/", 0)
    client.set_acl(b"/", ((31, "ip", "127.0.0.1"),))
    assert client.events() == []


def test_who_watches_data_and_children_hears_of_a_deletion_once(client: Client) -> None:
    client.create(b"/a")
    client.get_data(b"/a", watch=True)
    client.get_children(b"/a", watch=True)
    client.get_children(b"/", watch=True)
    client.delete(b"/a")
    assert client.events() == [(DELETED, b"/a"), (CHILDREN_CHANGED, b"/")]


def test_a_watch_of_a_read_that_waits_is_set_when_it_is_answered(client: Client) -> None:
    other = client.world.client()
    client.send.create(b"/a")
    client.send.get_data(b"/a", watch=True)
    client.world.run_disk()
    other.set_data(b"/a", b"x")
    assert client.events() == [(DATA_CHANGED, b"/a")]


def test_a_session_that_ends_fires_for_each_ephemeral_under_one_zxid(client: Client) -> None:
    other = client.world.client()
    client.create(b"/e", flags=1)
    client.create(b"/f", flags=1)
    other.exists(b"/e", watch=True)
    other.add_watch(b"/f", 0)
    other.get_children(b"/", watch=True)
    zxid = client.close().zxid
    assert other.take() == [(DELETED, b"/e", zxid), (CHILDREN_CHANGED, b"/", zxid), (DELETED, b"/f", zxid)]
    assert other.stat(b"/").pzxid == zxid


def test_a_lost_connection_is_told_nothing_more(client: Client) -> None:
    other = client.world.client()
    other.add_watch(b"/", 1)
    other.vanish()
    client.create(b"/a")
    assert other.output() == b""
    assert client.world.replica.watches.watch_count == 0


# --- who may hear of it ---------------------------------------------------------------------------

CLOSED = ((31, "digest", digest_id(b"user:secret")),)


def test_events_go_to_those_who_may_read_the_znode(client: Client) -> None:
    client.add_auth("digest", b"user:secret")
    stranger = client.world.client()
    for watcher in (client, stranger):
        watcher.add_watch(b"/n", 1)
    client.create(b"/n", acl=CLOSED)
    client.set_data(b"/n", b"x")
    client.delete(b"/n")
    assert client.events() == [(CREATED, b"/n"), (DATA_CHANGED, b"/n"), (DELETED, b"/n")]
    assert stranger.events() == []


def test_changed_children_are_for_those_who_may_read_the_parent(client: Client) -> None:
    client.create(b"/open")
    client.create(b"/closed")
    stranger = client.world.client()
    for path in (b"/open", b"/closed"):
        stranger.get_children(path, watch=True)
    client.add_auth("digest", b"user:secret")
    client.set_acl(b"/closed", CLOSED)
    client.create(b"/open/n", acl=CLOSED)
    client.create(b"/closed/n")
    assert stranger.events() == [(CHILDREN_CHANGED, b"/open")]


def test_a_watch_that_may_not_be_told_is_consumed_all_the_same(client: Client) -> None:
    stranger = client.world.client()
    stranger.exists(b"/n", watch=True)
    client.add_auth("digest", b"user:secret")
    client.create(b"/n", acl=CLOSED)
    assert stranger.events() == []
    assert stranger.check_watches(b"/n", 3).code == -121
