"""A server that is killed and started again under its clients: they go on, with their sessions and what is theirs."""

from __future__ import annotations

import queue
import threading

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import ConnectionLoss, KazooException
from kazoo.retry import KazooRetry

from tests.interop.conftest import Connect, StartServer
from tests.interop.processes import WAIT_S, ServerProcess, wait_until
from tests.interop.raw import RawClient, create

pytestmark = pytest.mark.interop


def watch_states(client: KazooClient) -> list[str]:
    """All states that the client goes through from now on."""
    states: list[str] = []
    client.add_listener(states.append)
    return states


def test_a_session_and_its_ephemerals_outlive_kill_and_restart(server: ServerProcess, connect: Connect) -> None:
    client = connect(server)
    session = client.client_id
    client.create("/kept", b"data")
    client.create("/e", ephemeral=True)
    states = watch_states(client)
    server.kill()
    server.start()
    wait_until(lambda: states[-1:] == [KazooState.CONNECTED])
    assert client.client_id == session
    assert KazooState.LOST not in states
    assert client.get("/kept")[0] == b"data"
    assert client.exists("/e").owner_session_id == session[0]
    client.stop()
    other = connect(server)
    assert other.exists("/e") is None


def test_a_session_and_its_ephemerals_outlive_an_orderly_restart(server: ServerProcess, connect: Connect) -> None:
    client = connect(server)
    session = client.client_id
    client.create("/e", ephemeral=True)
    states = watch_states(client)
    assert server.stop() == 0
    server.start()
    wait_until(lambda: states[-1:] == [KazooState.CONNECTED])
    assert client.client_id == session
    assert client.exists("/e").owner_session_id == session[0]


def test_ephemerals_of_a_client_that_never_comes_back_go_after_the_restart(
    server: ServerProcess, connect: Connect
) -> None:
    with RawClient(server.port) as client:
        client.hello(timeout_ms=400)
        client.ask(create(1, b"/e", flags=1))
        session = f"{client.session_id:#x}".encode()
        server.kill()
    server.start()
    other = connect(server)
    assert other.exists("/e") is not None
    assert session in server.ask(b"dump")
    wait_until(lambda: other.exists("/e") is None, within_s=5)
    assert session not in server.ask(b"dump")


def test_retried_requests_pass_over_a_restart(server: ServerProcess, connect: Connect) -> None:
    client = connect(server, command_retry=KazooRetry(max_tries=-1, delay=0.02, backoff=1))
    client.create("/counter", b"0")
    server.kill()
    restart = threading.Timer(0.3, server.start)
    restart.start()
    assert client.retry(client.set, "/counter", b"1").version == 1
    restart.join()
    assert client.get("/counter")[0] == b"1"


def test_a_held_lock_is_still_held_after_a_restart(server: ServerProcess, connect: Connect) -> None:
    holder, waiting = connect(server), connect(server)
    lock = holder.Lock("/lock", "holder")
    assert lock.acquire(timeout=WAIT_S)
    states = watch_states(holder)
    server.kill()
    server.start()
    wait_until(lambda: states[-1:] == [KazooState.CONNECTED])
    other = waiting.Lock("/lock", "waiting")
    assert not waiting.retry(other.acquire, blocking=False)
    lock.release()
    assert waiting.retry(other.acquire, timeout=WAIT_S)


def test_sequential_names_go_on_where_they_were(server: ServerProcess, connect: Connect) -> None:
    client = connect(server)
    for _ in range(3):
        last = client.create("/s-", sequence=True)
    client.delete(last)
    server.kill()
    server.start()
    assert client.retry(client.create, "/s-", sequence=True) == "/s-0000000003"


def test_acls_hold_after_a_restart(server: ServerProcess, connect: Connect) -> None:
    from kazoo.security import make_digest_acl

    owner = connect(server, auth_data=[("digest", "user:secret")])
    owner.create("/mine", b"x", acl=[make_digest_acl("user", "secret", all=True)])
    before = owner.get_acls("/mine")
    server.kill()
    server.start()
    assert owner.retry(owner.get_acls, "/mine") == before
    with RawClient(server.port) as stranger:
        stranger.hello()
        assert stranger.get(b"/mine") is None


def test_an_expired_session_is_told_so_and_begins_anew(server: ServerProcess, connect: Connect) -> None:
    client = connect(server)
    session = client.client_id
    client.create("/e", ephemeral=True)
    states = watch_states(client)
    with RawClient(server.port) as thief:
        thief.session_id, thief.password = session
        thief.hello()
        thief.send(bytes.fromhex("00000008 00000001 fffffff5"))  # closeSession
        assert thief.is_closed_by_server()
    wait_until(lambda: states[-1:] == [KazooState.CONNECTED])
    assert KazooState.LOST in states
    assert client.client_id[0] != session[0]
    assert client.exists("/e") is None


def test_a_silent_session_expires_and_its_return_is_refused(server: ServerProcess, connect: Connect) -> None:
    other = connect(server)
    gone: queue.Queue[object] = queue.Queue()
    with RawClient(server.port) as client:
        assert client.hello(timeout_ms=400).timeout_ms == 400
        client.ask(create(1, b"/e", flags=1))
        assert other.exists("/e", watch=gone.put)
        assert client.is_closed_by_server()
        session_id, password = client.session_id, client.password
    gone.get(timeout=WAIT_S)
    with RawClient(server.port) as client:
        client.session_id, client.password = session_id, password
        response = client.hello()
        assert (response.timeout_ms, response.session_id, response.password) == (0, 0, bytes(16))
        assert client.is_closed_by_server()


def test_a_reconnect_takes_the_session_from_the_older_connection(server: ServerProcess) -> None:
    with RawClient(server.port) as old, RawClient(server.port) as new:
        old.hello()
        old.ask(create(1, b"/e", flags=1))
        new.session_id, new.password = old.session_id, old.password
        assert new.hello().session_id == old.session_id
        assert old.is_closed_by_server()
        assert new.get(b"/e") == b""


def test_a_client_that_knows_of_a_later_time_is_sent_away_unheard(server: ServerProcess) -> None:
    from tests.interop.raw import greeting

    with RawClient(server.port) as client:
        client.send(greeting(last_zxid=1 << 40))
        assert client.receive_frame() is None
    assert server.logged("has seen zxid 0x10000000000")


class Application:
    """One of several that share a configuration znode: it changes it, and learns of the others' changes."""

    def __init__(self, client: KazooClient) -> None:
        self.known: list[bytes] = []
        self._client = client
        client.ensure_path("/config")
        client.DataWatch("/config", lambda data, stat: self.known.append(data))

    def change(self, value: bytes) -> None:
        """Set the configuration, however often it takes."""

        def change() -> None:
            try:
                self._client.set("/config", value)
            except ConnectionLoss:
                if self._client.retry(self._client.get, "/config")[0] != value:
                    raise

        self._client.retry(change)


def test_two_applications_that_share_a_znode_go_on_over_kills(server: ServerProcess, connect: Connect) -> None:
    one, two = Application(connect(server)), Application(connect(server))
    for number in range(3):
        one.change(b"one %d" % number)
        wait_until(lambda number=number: two.known[-1] == b"one %d" % number)
        two.change(b"two %d" % number)
        wait_until(lambda number=number: one.known[-1] == b"two %d" % number)
        server.kill()
        server.start()
    one.change(b"the end")
    wait_until(lambda: one.known[-1] == two.known[-1] == b"the end")


def test_a_change_while_a_client_was_cut_off_is_learnt_on_its_return(
    start_server: StartServer, connect: Connect
) -> None:
    server = start_server("--tick-ms", "200")
    reader = connect(server)
    reader.create("/config", b"old")
    known: list[bytes] = []
    reader.DataWatch("/config", lambda data, stat: known.append(data))
    server.kill()
    server.start()
    writer = connect(server)
    writer.set("/config", b"new")
    wait_until(lambda: known[-1] == b"new")


def test_writes_that_were_not_answered_may_be_tried_again(server: ServerProcess, connect: Connect) -> None:
    client = connect(server)
    done: set[int] = set()
    failed: set[int] = set()
    pending = [client.create_async(f"/n{number:03}") for number in range(200)]
    server.kill()
    for number, creation in enumerate(pending):
        try:
            creation.get(timeout=WAIT_S)
            done.add(number)
        except KazooException:
            failed.add(number)
    server.start()
    there = set(client.retry(client.get_children, "/"))
    assert {f"n{number:03}" for number in done} <= there
    for number in failed:
        client.retry(client.ensure_path, f"/n{number:03}")
    assert len(client.get_children("/")) == 201
