"""A server in the test's own process, as other projects' tests use it: with kazoo from threads, and from trio."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import trio
from kazoo.client import KazooClient, KazooState
from kazoo.retry import KazooRetry

from zkstore.client.client import connect
from zkstore.errors import NoNodeError
from zkstore.testing.servers import Ensemble, Server, ServerFailedError

pytest_plugins = ["pytester"]


def client_of(address: str) -> KazooClient:
    client = KazooClient(address, connection_retry=KazooRetry(max_tries=-1, delay=0.01, max_delay=0.05))
    client.start()
    return client


def wait_for(question: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 20
    while not question():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def test_what_was_answered_survives_a_crash_and_sessions_go_on() -> None:
    with Server() as server:
        client = client_of(server.address)
        client.create("/kept", b"1")
        client.create("/mine", b"", ephemeral=True)
        server.crash()
        assert not server.is_running
        server.start()
        assert client.retry(client.get, "/kept")[0] == b"1"
        assert client.retry(client.exists, "/mine") is not None
        server.restart()
        assert client.retry(client.exists, "/mine") is not None
        client.stop()
        client.close()
    assert not server.data_dir.exists()


def test_an_expired_session_loses_its_ephemerals_and_is_told() -> None:
    with Server() as server:
        client = client_of(server.address)
        states: list[str] = []
        client.add_listener(states.append)
        client.create("/mine", b"", ephemeral=True)
        expired = client.client_id[0]
        assert server.sessions == [expired]
        server.expire(expired)
        wait_for(lambda: KazooState.LOST in states and states[-1] == KazooState.CONNECTED)
        assert client.exists("/mine") is None
        assert client.client_id[0] != expired
        with pytest.raises(KeyError, match="no session"):
            server.expire(expired)
        client.stop()
        client.close()


def test_a_broken_connection_is_no_expiry() -> None:
    with Server() as server:
        client = client_of(server.address)
        states: list[str] = []
        client.add_listener(states.append)
        session = client.client_id[0]
        server.disconnect(session)
        wait_for(lambda: KazooState.CONNECTED in states)
        assert (states, client.client_id[0]) == ([KazooState.SUSPENDED, KazooState.CONNECTED], session)
        client.stop()
        client.close()


@pytest.mark.trio
async def test_it_serves_trio_too() -> None:
    with Server() as server:
        async with connect(server.address) as client:
            await client.create("/a", b"1")
            await trio.to_thread.run_sync(server.crash)
            await trio.to_thread.run_sync(server.start)
            with trio.fail_after(20):
                assert (await client.get("/a"))[0] == b"1"
            with pytest.raises(NoNodeError):
                await client.get("/b")


def test_settings_are_those_of_the_server_and_wrong_ones_are_named(tmp_path: Path) -> None:
    with Server(tmp_path / "data", tick_ms=100, reconfig_enabled=True) as server:
        assert server.run(lambda service: service.replica.settings.tick_ms) == 100
    assert (tmp_path / "data" / "format").exists()
    with pytest.raises(ServerFailedError, match="tick"):
        Server(tmp_path / "other", tick_ms="soon").start()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with Server(tmp_path / "data"):
        other = Server(tmp_path / "data")
        with pytest.raises(ServerFailedError, match="in use by pid"):
            other.start()
        assert not other.is_running
    with pytest.raises(ServerFailedError, match="is not running"):
        other.expire(1)


def test_three_servers_survive_their_leader_and_a_partition() -> None:
    with Ensemble(3) as ensemble:
        client = client_of(ensemble.address)
        client.create("/a", b"1")
        leader = ensemble.leader()
        assert len(ensemble.followers()) == 2
        leader.crash()
        client.retry(client.set, "/a", b"2")
        leader.start()
        ensemble.wait_until_serving()
        old = ensemble.leader()
        others = [number for number in ensemble.servers if number != old.server_id]
        ensemble.partition(others)
        wait_for(lambda: old.mode != "leader" and any(ensemble[number].mode == "leader" for number in others))
        client.retry(client.set, "/a", b"3")
        ensemble.heal()
        ensemble.wait_until_serving()
        assert old.mode == "follower"
        for server in ensemble.servers.values():
            one = client_of(server.address)
            one.sync("/a")
            assert one.get("/a")[0] == b"3"
            one.stop()
            one.close()
        expired = client.client_id[0]
        ensemble.expire(expired)
        wait_for(lambda: client.client_id is not None and client.client_id[0] not in (0, expired))
        client.stop()
        client.close()


def test_the_fixtures_are_there_for_everybody(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(
        """
        def test_one(zk_server):
            assert zk_server.address.startswith("127.0.0.1:")

        def test_three(zk_ensemble):
            assert zk_ensemble.address.count(",") == 2
            assert zk_ensemble.leader().mode == "leader"
        """
    )
    # An installed zkstore brings them along; from a checkout alone they are named.
    is_installed = any(one.name == "zkstore" for one in entry_points(group="pytest11"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    result = pytester.runpytest_subprocess(*([] if is_installed else ["-p", "zkstore.testing.pytest_plugin"]))
    result.assert_outcomes(passed=2)
