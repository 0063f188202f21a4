"""The past over the network, from a real server process: reads, resumed watches and backups; and clients beside it."""

from __future__ import annotations

import json
import random
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from kazoo.client import KazooClient
from kazoo.retry import KazooRetry
from kazoo.security import make_digest_acl

from tests.interop.conftest import Connect, StartServer
from tests.interop.processes import ENVIRONMENT, ServerProcess, run_zkstore, wait_until
from tests.interop.raw import RawClient, create, get_data, request
from tests.interop.test_ensemble import Ensemble
from zkstore.client import Client, WatchEvent
from zkstore.client import connect as connect_to
from zkstore.client.resuming import Resumption
from zkstore.errors import HistoryError, NoAuthError, NoNodeError, UnimplementedError
from zkstore.inspection.source import open_source
from zkstore.model.acl import digest_id
from zkstore.server import past_events
from zkstore.wire.history import HISTORY, HistoryRequest, Kind

T = TypeVar("T")
SUPER = f"super:{secrets.token_hex(8)}"
FLAGS = ("--tick-ms", "500", "--history-enabled", "true", "--super-digest", digest_id(SUPER.encode()))
WITHIN_S = 30.0


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server(*FLAGS)


def asked(server: ServerProcess, use: Callable[[Client], Awaitable[T]], *, is_super: bool = False) -> T:
    """What comes of a client's use."""

    async def main() -> T:
        with trio.fail_after(WITHIN_S):
            auth = [("digest", SUPER.encode())] if is_super else []
            async with connect_to(server.hosts, auth=auth) as client:
                return await use(client)

    return trio.run(main)


def restarted(server: ServerProcess) -> None:
    server.kill()
    server.start()


def test_kazoo_goes_on_beside_it_and_the_past_stays_what_it_was(server: ServerProcess, connect: Connect) -> None:
    kazoo = connect(server)
    kazoo.create("/app")
    states: list[tuple[int, bytes, list[str]]] = []
    for number in range(30):
        data = b"%d" % number
        zxid = kazoo.set("/app", data).mzxid
        if number % 3:
            kazoo.create(f"/app/n{number}")
        else:
            kazoo.create("/app/last", ephemeral=True)
            kazoo.delete("/app/last")
        states.append((zxid, data, sorted(f"n{before}" for before in range(number) if before % 3)))
    kazoo.delete("/app", recursive=True)

    async def look(client: Client) -> None:
        for zxid, data, children in random.Random(1).sample(states, len(states)):
            found, stat = await client.history.get_at("/app", zxid)
            assert (found, stat.mzxid) == (data, zxid)
            assert await client.history.children_at("/app", zxid) == (children, stat)
        with pytest.raises(NoNodeError):
            await client.history.get_at("/app", await client.history.resolve("now"))
        assert await client.exists("/app") is None

    asked(server, look)
    assert kazoo.create("/again") == "/again"
    assert kazoo.client_state == "CONNECTED"
    restarted(server)
    zxid, data, _ = states[3]
    assert asked(server, lambda client: client.history.get_at("/app", zxid))[0] == data


def test_without_the_setting_the_request_is_unknown_and_the_client_says_what_to_set(start_server: StartServer) -> None:
    server = start_server("--tick-ms", "500")
    with RawClient(server.port) as client:
        client.hello()
        assert client.ask(request(1, HISTORY, HistoryRequest(Kind.FACTS).encode())).code == UnimplementedError.code
        assert client.ask(create(2, b"/a")).code == 0
    with pytest.raises(HistoryError, match="--history-enabled"):
        asked(server, lambda client: client.history.facts())
    shell = run_zkstore("shell", "-server", server.hosts, "get", "--at", "1", "/a")
    assert (shell.returncode, shell.stdout) == (1, "")
    assert "zkstore.historyEnabled=true" in shell.stderr
    backup = run_zkstore("backup", server.hosts, str(server.data_dir.parent / "none.zkb"))
    assert backup.returncode == 1
    assert "zkstore.historyEnabled=true" in backup.stderr
    assert not (server.data_dir.parent / "none.zkb").exists()


def test_requests_of_one_connection_are_answered_in_their_order(server: ServerProcess) -> None:
    with RawClient(server.port) as client:
        client.hello()
        frames = []
        for number in range(0, 60, 3):
            frames.append(create(number + 1, b"/n%d" % number))
            frames.append(request(number + 2, HISTORY, HistoryRequest(Kind.GET, path=b"/n%d" % number).encode()))
            frames.append(get_data(number + 3, b"/n%d" % number))
        client.send(b"".join(frames))
        replies = [client.reply() for _ in range(60)]
        assert [(reply.xid, reply.code) for reply in replies if reply is not None] == [
            (number, 0) for number in range(1, 61)
        ]
        assert client.ask(request(61, HISTORY, b"\0\0")).code == -5
        assert client.ask(request(62, HISTORY, HistoryRequest(99).encode())).code == -8
        assert client.ask(request(63, HISTORY, HistoryRequest(Kind.GET, path=None).encode())).code == 0


def test_moments_that_cannot_be_seen_are_refused_in_plain_words(server: ServerProcess, connect: Connect) -> None:
    connect(server).create("/a")
    for at, words in (("0x999999", "there is no 0x999999 yet"), ("1999-01-01", "before history"), ("x", "no moment")):
        shell = run_zkstore("shell", "-server", server.hosts, "get", "--at", at, "/a")
        assert shell.returncode == 1
        assert words in shell.stderr
    assert run_zkstore("shell", "-server", server.hosts, "ls", "--at", "0", "/").stdout == "[zookeeper]\n"
    watching = run_zkstore("shell", "-server", server.hosts, "ls", "-w", "--at", "0", "/")
    assert (watching.returncode, watching.stderr) == (2, "-w cannot be combined with --at\n")


def test_what_is_older_than_the_history_budget_is_refused(start_server: StartServer, connect: Connect) -> None:
    server = start_server(*FLAGS, "--history-bytes-max", "1", "--checkpoint-txns", "50")
    kazoo = connect(server)
    kazoo.create("/a")
    before = kazoo.get("/a")[1].mzxid

    def is_gone() -> bool:
        for number in range(60):
            kazoo.set("/a", b"%d" % number * 1000)
        return asked(server, lambda client: client.history.facts()).first_zxid > before

    wait_until(is_gone)
    with pytest.raises(HistoryError, match="cannot be seen any more"):
        asked(server, lambda client: client.history.get_at("/a", before))

    async def events(client: Client) -> None:
        async for _ in client.history.events("/", before):
            pass

    with pytest.raises(HistoryError, match="not kept"):
        asked(server, events)


def test_acls_of_that_time_decide_who_sees_what(server: ServerProcess, connect: Connect) -> None:
    kazoo = connect(server)
    mine = [make_digest_acl("me", "mine", all=True)]
    kazoo.add_auth("digest", "me:mine")
    kazoo.create("/open", b"1")
    kazoo.create("/closed", b"secret", acl=mine)
    closed = kazoo.create("/closes", b"public") and kazoo.get("/closes")[1].mzxid
    kazoo.set_acls("/closes", mine)
    hidden = kazoo.set("/closes", b"hidden").mzxid

    async def look(client: Client) -> list[str]:
        assert (await client.history.get_at("/closes", closed))[0] == b"public"
        for path in ("/closed", "/closes"):
            with pytest.raises(NoAuthError, match=path):
                await client.history.get_at(path, hidden)
            with pytest.raises(NoAuthError, match=path):
                await client.history.children_at(path, hidden)
        with pytest.raises(NoAuthError, match="/closed"):
            [found async for found in client.history.slices()]
        with pytest.raises(NoAuthError):
            await client.history.segments(0)
        with pytest.raises(NoAuthError, match="/closes"):
            [found async for found in client.history.events("/closes", 0)]
        return [event.path async for events, _ in client.history.events("/", 0) for event in events]

    assert asked(server, look) == ["/open", "/closes"]

    async def look_as_me(client: Client) -> None:
        await client.add_auth("digest", b"me:mine")
        assert (await client.history.get_at("/closes", hidden))[0] == b"hidden"
        found = [found async for found in client.history.slices()]
        assert {password for each in found for _, password in (each.sessions or {}).values()} == {b""}

    asked(server, look_as_me)

    async def look_as_super(client: Client) -> list[str]:
        assert (await client.history.get_at("/closed", hidden))[0] == b"secret"
        segments, is_last = await client.history.segments(0)
        assert segments
        assert is_last
        return [event.path async for events, _ in client.history.events("/", 0) for event in events]

    paths = asked(server, look_as_super, is_super=True)
    assert [path for path in paths if path != "/zookeeper/config"] == ["/open", "/closed", "/closes", "/closes"]


Told = list[tuple[int, str, int]]


def follow(hosts: str, after: int, expected: Told, meanwhile: Callable[[], None]) -> None:
    """Resume a watch while `meanwhile` runs in a thread and fills `expected`, which is what must be told, in order."""
    told: Told = []

    def tell(event: WatchEvent) -> None:
        told.append((event.type, event.path, event.zxid))

    async def main() -> None:
        async with connect_to(hosts, timeout_ms=20_000) as client, trio.open_nursery() as nursery:
            nursery.start_soon(Resumption(client, "/w", after, tell).run)
            await trio.to_thread.run_sync(meanwhile)
            with trio.move_on_after(WITHIN_S):
                while len(told) < len(expected):
                    await trio.sleep(0.02)
                await trio.sleep(0.3)  # for what may come twice
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert told == expected


def write(kazoo: KazooClient, number: int, expected: Told) -> None:
    """A txn with three events below /w, and another one with one."""
    path = f"/w/n{number}"
    transaction = kazoo.transaction()
    transaction.create(path)
    transaction.set_data(path, b"1")
    transaction.set_data("/w", b"%d" % number)
    transaction.commit()
    zxid = kazoo.get(path)[1].czxid
    expected += [(1, path, zxid), (3, path, zxid), (3, "/w", zxid)]
    kazoo.delete(path)
    expected.append((2, path, kazoo.get("/w")[1].pzxid))


def test_a_resumed_watch_has_no_gap_and_nothing_twice_while_writes_go_on(
    server: ServerProcess, connect: Connect
) -> None:
    kazoo = connect(server)
    kazoo.create("/w")
    after = kazoo.get("/w")[1].czxid
    expected: Told = []
    for number in range(200):
        write(kazoo, number, expected)

    def go_on() -> None:
        for number in range(200, 500):
            write(kazoo, number, expected)

    follow(server.hosts, after, expected, go_on)


def test_a_restart_in_the_middle_of_a_resumed_watch_loses_nothing(server: ServerProcess, connect: Connect) -> None:
    kazoo = connect(server)
    kazoo.create("/w")
    after = kazoo.get("/w")[1].czxid
    expected: Told = []

    def go_on() -> None:
        for number in range(60):
            if number in (20, 40):
                restarted(server)
                again = connect(server)  # may well be there before the watch's client is
            write(kazoo if number < 20 else again, number, expected)

    follow(server.hosts, after, expected, go_on)


@pytest.fixture
def ensemble(tmp_path: Path) -> Iterator[Ensemble]:
    ensemble = Ensemble(tmp_path, "--history-enabled", "true", "--session-timeout-ms-max", "20000")
    ensemble.start()
    yield ensemble
    for server in ensemble.servers.values():
        server.close()


def test_a_watch_that_moves_between_servers_loses_nothing(ensemble: Ensemble) -> None:
    retry = KazooRetry(max_tries=-1, delay=0.05, backoff=1, max_jitter=0.1)
    kazoo = KazooClient(ensemble.hosts, timeout=15.0, connection_retry=retry.copy(), command_retry=retry.copy())
    kazoo.start(timeout=20)
    kazoo.create("/w")
    after = kazoo.get("/w")[1].czxid
    expected: Told = []

    def go_on() -> None:
        for number in range(45):
            if number % 15 == 10:
                restarted(ensemble.servers[number // 15 + 1])  # each once, so that the watch must move
            kazoo.retry(kazoo.set, "/w", b"%d" % number)
            kazoo.retry(kazoo.ensure_path, f"/w/n{number}")
        kazoo.retry(kazoo.sync, "/w")
        with open_source(ensemble.servers[ensemble.leader()].data_dir) as source:
            end = source.facts.end.zxid
            found, _, _ = past_events.find(source.segments(after, end), after, end, b"/w", None, 1 << 30)
        expected.extend((kind, path.decode(), zxid) for zxid, _, kind, path in found)

    try:
        follow(ensemble.hosts, after, expected, go_on)
        assert len(expected) >= 90
    finally:
        kazoo.stop()
        kazoo.close()


def test_the_shell_prints_the_past_and_then_what_happens(server: ServerProcess, connect: Connect) -> None:
    kazoo = connect(server)
    kazoo.create("/w")
    kazoo.set("/w", b"1")
    command = [sys.executable, "-m", "zkstore", "shell", "--json", "-server", server.hosts]
    shell = subprocess.Popen([*command, "watch", "-R", "--from", "0", "/w"], env=ENVIRONMENT, stdout=subprocess.PIPE)
    try:
        assert shell.stdout is not None
        lines = [json.loads(shell.stdout.readline()) for _ in range(2)]
        kazoo.delete("/w")
        lines.append(json.loads(shell.stdout.readline()))
    finally:
        shell.kill()
        shell.wait()
        assert shell.stdout is not None
        shell.stdout.close()
    assert [(line["type"], line["path"]) for line in lines] == [
        ("NodeCreated", "/w"),
        ("NodeDataChanged", "/w"),
        ("NodeDeleted", "/w"),
    ]


def test_an_online_backup_is_of_one_exact_zxid_while_writes_go_on(
    server: ServerProcess, connect: Connect, tmp_path: Path
) -> None:
    kazoo = connect(server)
    kazoo.create("/big")
    for number in range(40):
        kazoo.create(f"/big/n{number}", bytes([number]) * 50_000)  # several slices
    at = kazoo.get("/big")[1].pzxid
    kazoo.create("/mine", ephemeral=True)
    owner = kazoo.client_id[0]
    kazoo.delete("/big/n7")
    file = tmp_path / "at.zkb"
    arguments = ["--auth", f"digest:{SUPER}", "--at", hex(at), "--history", server.hosts, str(file)]
    made = run_zkstore("backup", "--json", *arguments)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["zxid"] == hex(at)
    with open_source(file) as backup, open_source(server.data_dir) as there:
        assert backup.view().digest == there.view(at).digest
        assert dict(backup.view().znodes()) == dict(there.view(at).znodes())
        assert backup.view().sessions == there.view(at).sessions
        assert list(backup.txns()) == list(there.txns(0, at))
        assert backup.damage == []
    plain = run_zkstore("backup", server.hosts, str(tmp_path / "plain.zkb"))
    assert plain.returncode == 0, plain.stderr
    assert "other passwords" in plain.stderr
    with open_source(tmp_path / "plain.zkb") as backup, open_source(server.data_dir) as there:
        zxid = backup.view().zxid
        assert dict(backup.view().znodes()) == dict(there.view(zxid).znodes())
        assert backup.view().sessions[owner].password != there.view(zxid).sessions[owner].password
    refused = run_zkstore("backup", "--history", server.hosts, str(tmp_path / "no.zkb"))
    assert refused.returncode == 1
    assert "--auth" in refused.stderr
    restored = run_zkstore("restore", str(tmp_path / "plain.zkb"), str(tmp_path / "new"))
    assert restored.returncode == 0, restored.stderr


@pytest.mark.parametrize("auth", ["digest", ":x"])
def test_an_identity_that_makes_no_sense_is_refused(auth: str, tmp_path: Path) -> None:
    made = run_zkstore("backup", "--auth", auth, "127.0.0.1:1", str(tmp_path / "no.zkb"))
    assert made.returncode == 1
    assert made.stderr.count("\n") == 1
    assert "digest:user:password" in made.stderr
