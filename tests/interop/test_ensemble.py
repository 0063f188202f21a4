"""Three server processes that are one ensemble, under a real client: what it is for, and what it survives."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from tests.interop.processes import ServerProcess, wait_until

SMALL_HISTORY = ("--history-bytes-max", "300000", "--checkpoint-txns", "200")

Connect = Callable[..., KazooClient]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Ensemble:
    """Three servers. Each keeps its ports from start to start."""

    def __init__(self, directory: Path, *flags: str) -> None:
        ports = free_ports(6)
        lines = "\n".join(f"server.{n}=127.0.0.1:{ports[n - 1]}:{ports[n + 2]}" for n in range(1, 4))
        config = directory / "zoo.cfg"
        config.write_text(f"tickTime=200\ninitLimit=25\nsyncLimit=10\n4lw.commands.whitelist=*\n{lines}\n")
        self.servers = {
            n: ServerProcess(directory / str(n), "--my-id", str(n), *flags, str(config)) for n in range(1, 4)
        }

    def start(self) -> None:
        for server in self.servers.values():
            server.launch()
        for server in self.servers.values():
            server.wait_until_ready()

    @property
    def hosts(self) -> str:
        return ",".join(server.hosts for server in self.servers.values())

    def mode(self, number: int) -> str:
        """What a server says it is."""
        for line in self.servers[number].ask(b"srvr").decode().splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ")
        return "not serving"

    def leader(self) -> int:
        """The one that says it leads, once there is one."""
        found: list[int] = []

        def is_found() -> bool:
            found[:] = [n for n, server in self.servers.items() if server.is_running and self.mode(n) == "leader"]
            return len(found) == 1

        wait_until(is_found)
        return found[0]

    def followers(self) -> list[int]:
        leader = self.leader()
        return [n for n in self.servers if n != leader]


@pytest.fixture
def make_ensemble(tmp_path: Path) -> Iterator[Callable[..., Ensemble]]:
    made: list[Ensemble] = []

    def make(*flags: str) -> Ensemble:
        ensemble = Ensemble(tmp_path, *flags)
        made.append(ensemble)
        ensemble.start()
        return ensemble

    yield make
    for ensemble in made:
        for server in ensemble.servers.values():
            server.close()


@pytest.fixture
def ensemble(make_ensemble: Callable[..., Ensemble]) -> Ensemble:
    return make_ensemble()


@pytest.fixture
def connect_to() -> Iterator[Connect]:
    """Make connected kazoo clients of hosts; all are stopped when the test ends."""
    clients: list[KazooClient] = []

    def make(hosts: str) -> KazooClient:
        retry = KazooRetry(max_tries=-1, delay=0.02, backoff=1, max_jitter=0.1)
        client = KazooClient(hosts, timeout=4.0, connection_retry=retry)
        clients.append(client)
        client.start(timeout=20)
        return client

    yield make
    for client in clients:
        client.stop()
        client.close()


class Writer:
    """Creates znodes one after the other, whatever happens to the servers; remembers which were acknowledged."""

    def __init__(self, client: KazooClient) -> None:
        self.acknowledged: list[str] = []
        self._client = client
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        client.ensure_path("/load")
        self._thread.start()

    def _write(self) -> None:
        number = 0
        while not self._is_over.is_set():
            number += 1
            try:
                self._client.create(f"/load/{number}")
            except (KazooException, KazooTimeoutError):
                continue  # Whether it was done is not known.
            self.acknowledged.append(str(number))

    def wait_for_more(self, count: int = 20) -> None:
        enough = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= enough)

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()


def test_servers_say_what_they_are_when_they_are_ready(ensemble: Ensemble) -> None:
    modes = sorted(server.ready_line.split(", ")[1] for server in ensemble.servers.values())
    assert modes == ["follower", "follower", "leader"]
    assert sorted(map(ensemble.mode, ensemble.servers)) == modes


def test_what_is_written_at_one_server_is_seen_at_all_others(ensemble: Ensemble, connect_to: Connect) -> None:
    clients = [connect_to(server.hosts) for server in ensemble.servers.values()]
    for number, writer in enumerate(clients):
        path = f"/from-{number}"
        seen = threading.Event()
        watching = clients[number - 1]
        assert watching.exists(path, watch=lambda _, seen=seen: seen.set()) is None
        writer.create(path, b"data")
        assert seen.wait(10), "the watch at another server"
        for reader in clients:
            reader.sync(path)
            assert reader.get(path)[0] == b"data"


def test_ephemerals_go_with_their_session_on_every_server(ensemble: Ensemble, connect_to: Connect) -> None:
    first, second, third = (connect_to(server.hosts) for server in ensemble.servers.values())
    first.create("/mine", ephemeral=True)
    for client in (second, third):
        client.sync("/mine")
        assert client.exists("/mine").ephemeralOwner == first.client_id[0]
    first.stop()
    for client in (second, third):
        client.sync("/mine")
        assert client.exists("/mine") is None


def test_a_session_goes_on_at_another_server_when_its_own_is_killed(ensemble: Ensemble, connect_to: Connect) -> None:
    number = ensemble.followers()[0]
    client = connect_to(ensemble.servers[number].hosts)
    client.create("/mine", ephemeral=True)
    session = client.client_id[0]
    client.set_hosts(ensemble.hosts)
    ensemble.servers[number].kill()
    wait_until(lambda: client.connected)
    assert client.retry(client.exists, "/mine").ephemeralOwner == session == client.client_id[0]


def test_what_was_acknowledged_survives_leaders_that_are_killed(ensemble: Ensemble, connect_to: Connect) -> None:
    writer = Writer(connect_to(ensemble.hosts))
    for _ in range(3):
        writer.wait_for_more()
        killed = ensemble.leader()
        ensemble.servers[killed].kill()
        writer.wait_for_more()
        ensemble.servers[killed].start()
    writer.stop()
    for server in ensemble.servers.values():
        reader = connect_to(server.hosts)
        reader.sync("/load")
        assert set(writer.acknowledged) <= set(reader.get_children("/load"))


def test_a_rolling_restart_loses_nothing_and_the_leader_hands_over(ensemble: Ensemble, connect_to: Connect) -> None:
    writer = Writer(connect_to(ensemble.hosts))
    for server in ensemble.servers.values():
        writer.wait_for_more()
        was_leader = ensemble.servers[ensemble.leader()] is server
        assert server.stop() == 0
        if was_leader:
            assert server.logged("leadership was handed over")
        writer.wait_for_more()
        server.start()
    writer.stop()
    reader = connect_to(ensemble.hosts)
    assert set(writer.acknowledged) <= set(reader.get_children("/load"))


def test_a_server_that_was_away_for_a_short_while_gets_what_it_missed(ensemble: Ensemble, connect_to: Connect) -> None:
    away = ensemble.servers[ensemble.followers()[0]]
    away.kill()
    present = connect_to(ensemble.servers[ensemble.leader()].hosts)
    for number in range(50):
        present.create(f"/{number}")
    away.start()
    reader = connect_to(away.hosts)
    reader.sync("/")
    assert reader.exists("/49") is not None
    assert not ensemble.servers[ensemble.leader()].logged("sent the tree")


def test_a_server_that_was_away_for_too_long_gets_the_whole_tree(
    make_ensemble: Callable[..., Ensemble], connect_to: Connect
) -> None:
    ensemble = make_ensemble(*SMALL_HISTORY)
    number = ensemble.followers()[0]
    away = ensemble.servers[number]
    away.kill()
    leader = ensemble.servers[ensemble.leader()]
    present = connect_to(leader.hosts)
    present.create("/large")
    deadline_s = time.monotonic() + 60
    while not any("sent the tree" in message for message in leader.logged("sent the tree")):
        assert time.monotonic() < deadline_s, "history was never purged"
        for _ in range(4):
            pending = [present.set_async("/large", b"x" * 2_000) for _ in range(100)]
            for one in pending:
                one.get(timeout=20)
        time.sleep(0.3)
        away.start()
        if not leader.logged("sent the tree"):
            away.kill()
    present.create("/after")
    reader = connect_to(away.hosts)
    reader.sync("/")
    assert reader.exists("/after") is not None
    assert reader.get("/large")[0] == b"x" * 2_000
    away.stop()
    away.start()
    reader = connect_to(away.hosts)
    reader.sync("/")
    assert reader.exists("/after") is not None


def test_a_server_with_an_empty_directory_gets_everything(ensemble: Ensemble, connect_to: Connect) -> None:
    client = connect_to(ensemble.servers[ensemble.leader()].hosts)
    client.create("/kept", b"data")
    lost = ensemble.servers[ensemble.followers()[0]]
    lost.kill()
    lost.data_dir.rename(lost.data_dir.with_name("lost"))
    lost.start()
    reader = connect_to(lost.hosts)
    reader.sync("/")
    assert reader.get("/kept")[0] == b"data"


def spoil_log(data_dir: Path) -> None:
    """Change a bit of what was written, as a disk does that grows old."""
    file = data_dir / "log" / "data.mdb"
    content = file.read_bytes()
    assert b"precious" in content
    file.write_bytes(content.replace(b"precious", b"Precious"))


def test_a_member_with_a_damaged_log_sets_it_aside_and_gets_everything_from_the_others(
    ensemble: Ensemble, connect_to: Connect
) -> None:
    client = connect_to(ensemble.servers[ensemble.leader()].hosts)
    client.create("/kept", b"precious")
    number = ensemble.followers()[0]
    damaged = ensemble.servers[number]
    reader = connect_to(damaged.hosts)
    reader.sync("/")
    reader.stop()
    damaged.kill()
    spoil_log(damaged.data_dir)
    damaged.start()
    [line] = damaged.logged("the data of this server is damaged", "set aside", "zxid")
    [aside] = damaged.data_dir.glob("damaged-*-log")
    assert str(aside) in line and (aside / "log" / "data.mdb").exists()
    reader = connect_to(damaged.hosts)
    reader.sync("/")
    assert reader.get("/kept")[0] == b"precious"
    wait_until(lambda: damaged.logged("this server has a vote from now on"))
    other = next(n for n in ensemble.servers if n not in (number, ensemble.leader()))
    ensemble.servers[other].kill()
    client.create("/with-its-vote")
    damaged.stop()
    damaged.start()
    assert len(damaged.logged("the data of this server is damaged")) == 1


def test_a_wiped_server_and_one_that_lags_do_not_forget_for_the_one_that_knows(
    ensemble: Ensemble, connect_to: Connect
) -> None:
    leader = ensemble.leader()
    lagging, wiped = ensemble.followers()
    ensemble.servers[lagging].kill()
    client = connect_to(ensemble.servers[leader].hosts)
    client.create("/kept", b"data")
    client.stop()
    ensemble.servers[leader].kill()
    ensemble.servers[wiped].kill()
    ensemble.servers[wiped].data_dir.rename(ensemble.servers[wiped].data_dir.with_name("lost"))
    for number in (lagging, wiped):
        ensemble.servers[number].launch()
    here = [ensemble.servers[lagging], ensemble.servers[wiped]]
    wait_until(lambda: any(one.logged("without a vote", "their data directories were empty") for one in here))
    assert all(b"not currently serving" in one.ask(b"srvr") for one in here)
    ensemble.servers[leader].start()
    for one in here:
        one.wait_until_ready()
        reader = connect_to(one.hosts)
        reader.sync("/")
        assert reader.get("/kept")[0] == b"data"


def test_two_new_servers_of_three_begin_without_the_third(tmp_path: Path, connect_to: Connect) -> None:
    ensemble = Ensemble(tmp_path)
    try:
        for number in (1, 2):
            ensemble.servers[number].launch()
        for number in (1, 2):
            ensemble.servers[number].wait_until_ready()
        connect_to(ensemble.servers[1].hosts).create("/kept", b"data")
        ensemble.servers[3].start()
        reader = connect_to(ensemble.servers[3].hosts)
        reader.sync("/")
        assert reader.get("/kept")[0] == b"data"
    finally:
        for server in ensemble.servers.values():
            server.close()


@pytest.mark.parametrize("number", [3, 1])
def test_a_disk_that_gets_full_costs_its_server_its_part_until_there_is_space(
    tmp_path: Path, connect_to: Connect, number: int
) -> None:
    ensemble = Ensemble(tmp_path)
    full = {"ZKSTORE_FAILPOINTS": "log.append.before_sync=fail(ENOSPC)@30-31"}
    config = str(tmp_path / "zoo.cfg")
    ensemble.servers[number] = ServerProcess(tmp_path / str(number), "--my-id", str(number), config, environment=full)
    try:
        ensemble.start()
        writer = Writer(connect_to(ensemble.hosts))
        writer.wait_for_more(60)
        server = ensemble.servers[number]
        wait_until(lambda: server.logged("takes no part until its disk takes writes", "no space left on the disk"))
        wait_until(lambda: server.logged("the disk takes writes again"))
        writer.wait_for_more()
        writer.stop()
        wait_until(lambda: ensemble.mode(number) in ("leader", "follower"))
        reader = connect_to(server.hosts)
        reader.sync("/load")
        assert set(writer.acknowledged) <= set(reader.get_children("/load"))
    finally:
        for each in ensemble.servers.values():
            each.close()


def test_without_a_quorum_nobody_is_served_and_with_one_everybody_again(
    ensemble: Ensemble, connect_to: Connect
) -> None:
    client = connect_to(ensemble.hosts)
    client.create("/kept", b"data")
    alone, *others = ensemble.servers
    for number in others:
        ensemble.servers[number].kill()
    survivor = ensemble.servers[alone]
    wait_until(lambda: b"not currently serving" in survivor.ask(b"srvr"))
    wait_until(lambda: survivor.logged("no clients are served yet", "no quorum", "servers that are not reached"))
    assert survivor.ask(b"ruok") == b"imok"
    for number in others:
        ensemble.servers[number].start()
    wait_until(lambda: client.connected)
    assert client.retry(client.get, "/kept")[0] == b"data"


def test_a_server_that_waits_for_others_can_be_stopped(tmp_path: Path) -> None:
    ensemble = Ensemble(tmp_path)
    server = ensemble.servers[1]
    server.launch()
    wait_until(lambda: "no clients are served until there is a leader" in server.log_text())
    server.send(signal.SIGTERM)
    assert server.rest_of_stdout() == b"", "it never served, and said so"
    assert server.wait() == 0


def test_what_was_under_way_at_a_kill_of_all_is_there_for_all_or_for_nobody(
    ensemble: Ensemble, connect_to: Connect
) -> None:
    writer = Writer(connect_to(ensemble.hosts))
    writer.wait_for_more(100)
    for server in ensemble.servers.values():
        server.kill()
    for server in ensemble.servers.values():
        server.launch()
    for server in ensemble.servers.values():
        server.wait_until_ready()
    writer.wait_for_more()
    writer.stop()
    seen = []
    for server in ensemble.servers.values():
        reader = connect_to(server.hosts)
        reader.sync("/load")
        seen.append(set(reader.get_children("/load")))
    assert seen[0] == seen[1] == seen[2] >= set(writer.acknowledged)
    with pytest.raises(NoNodeError):
        connect_to(ensemble.hosts).get("/never")
