"""From Apache ZooKeeper to zkstore and back, with real servers: nobody who uses the tree sees a difference."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException
from kazoo.retry import KazooRetry
from kazoo.security import make_acl

from tests.exchange.apache_server import ApacheServer, require_apache
from tests.exchange.filling import everything, fill
from tests.interop.processes import ServerProcess, run_zkstore, wait_until
from tests.interop.raw import RawClient, request
from tests.interop.test_ensemble import Ensemble
from tools import contestants, differential
from tools.differential_run import SETTINGS, Pair
from zkstore.exchange.apache.conversion import password_of
from zkstore.wire.opcodes import Opcode

pytestmark = pytest.mark.interop

SUPER = ("--super-digest", SETTINGS["DigestAuthenticationProvider.superDigest"])


@pytest.fixture
def apaches() -> Iterator[list[ApacheServer]]:
    """Servers that are killed in the end, whatever happens."""
    require_apache()
    servers: list[ApacheServer] = []
    yield servers
    for server in servers:
        server.kill()


@pytest.fixture
def zkstores() -> Iterator[list[ServerProcess]]:
    servers: list[ServerProcess] = []
    yield servers
    for server in servers:
        server.close()


@contextmanager
def connected(hosts: str) -> Iterator[KazooClient]:
    """A client that comes back whenever it can. It does not close its session if it cannot."""
    retry = KazooRetry(max_tries=-1, delay=0.05, backoff=1, max_jitter=0.1)
    client = KazooClient(hosts, timeout=40.0, connection_retry=retry)
    client.start(timeout=20)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def assert_goes_on(port: int, session_id: int, password: bytes) -> None:
    """A session is there, for whoever has its password."""
    with RawClient(port) as stranger:
        stranger.session_id, stranger.password = session_id, bytes(16)
        assert stranger.hello(40_000).session_id == 0
    with RawClient(port) as owner:
        owner.session_id, owner.password = session_id, password
        assert owner.hello(40_000).session_id == session_id


def assert_digests_fit(server: ApacheServer) -> None:
    """The server has not met a digest that it would not have made itself."""
    assert "zk_digest_mismatches_count\t0\n" in server.figures()


def served(zkstores: list[ServerProcess], data_dir: Path, port: int = 0) -> ServerProcess:
    server = ServerProcess(data_dir, *SUPER)
    server.port = port
    zkstores.append(server)
    server.start()
    return server


def run(*arguments: str | Path) -> dict[str, object]:
    """A subcommand that has to succeed."""
    done = run_zkstore(*map(str, arguments), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("compression", ["", "gz", "snappy"])
def test_a_server_that_was_killed_is_replaced_under_its_clients_and_replaces_in_turn(
    tmp_path: Path, apaches: list[ApacheServer], zkstores: list[ServerProcess], compression: str
) -> None:
    settings = {"snapshot.compression.method": compression} if compression else {}
    apache = ApacheServer(tmp_path / "apache", settings=settings)
    apaches.append(apache)
    apache.start()
    with RawClient(apache.port) as raw, connected(apache.hosts) as client:
        raw.hello(40_000)
        raw_session = raw.session_id, raw.password
        fill(client, raw)
    apache.kill()
    apache.start()  # which writes a snapshot of what it has recovered
    with connected(apache.hosts) as client:
        states: list[str] = []
        client.add_listener(states.append)
        session = client.client_id
        client.set("/app", b"three")
        client.create("/app/mine", b"", ephemeral=True)
        before = everything(apache.hosts)
        apache.kill()

        run("import", apache.data_dir, tmp_path / "imported")
        zkstore = served(zkstores, tmp_path / "imported", apache.port)
        wait_until(lambda: states[-1:] == [KazooState.CONNECTED])
        assert (client.client_id, KazooState.LOST in states) == (session, False)
        assert_goes_on(zkstore.port, *raw_session)
        assert everything(zkstore.hosts) == before
        client.create("/app/job-", b"", sequence=True)
        client.set_acls("/app/binary", before["/secret"].acl)
        after = everything(zkstore.hosts)
        assert {"/raw-mine", "/app/mine"} < set(after)
        zkstore.kill()

        run("export", "--format", "apache", tmp_path / "imported", tmp_path / "exported" / "data")
        again = ApacheServer(tmp_path / "exported")
        apaches.append(again)
        again.start()
        for session_id, password in (session, raw_session):
            assert_goes_on(again.port, session_id, password)
        assert everything(again.hosts) == after
        assert_digests_fit(again)


def test_what_was_imported_and_exported_is_the_same_for_apache(tmp_path: Path, apaches: list[ApacheServer]) -> None:
    first = ApacheServer(tmp_path / "first")
    apaches.append(first)
    first.start()
    with RawClient(first.port) as raw, connected(first.hosts) as client:
        raw.hello(40_000)
        fill(client, raw)
        before = everything(first.hosts)
        first.kill()
    run("import", first.data_dir, tmp_path / "imported")
    found = run("export", "--format", "apache", tmp_path / "imported", tmp_path / "second" / "data")
    assert found["notes"] == [
        "1 TTL znode: start the server with -Dzookeeper.extendedTypesEnabled=true, else it takes them for ephemerals"
        " of sessions that are gone"
    ]
    second = ApacheServer(tmp_path / "second")
    apaches.append(second)
    second.start()
    assert everything(second.hosts) == before
    assert_digests_fit(second)


def test_snapshots_that_were_taken_under_fire_become_the_exact_tree(
    tmp_path: Path, apaches: list[ApacheServer], zkstores: list[ServerProcess]
) -> None:
    apache = ApacheServer(tmp_path / "apache", settings={"snapCount": "200", "preAllocSize": "64"})
    apaches.append(apache)
    apache.start()
    threads = [threading.Thread(target=fire, args=(apache.hosts, number, 2.5)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    apache.kill()
    snapshots = sorted((apache.data_dir / "version-2").glob("snapshot.*"), key=lambda path: int(path.suffix[1:], 16))
    assert len(snapshots) > 11
    shutil.copytree(apache.data_dir, tmp_path / "copy")
    # All of them lead to the same tree; all digests in the logs are compared on the way.
    digests = set()
    for count in range(6):
        for snapshot in snapshots[len(snapshots) - count * 2 :]:
            (tmp_path / "copy" / "version-2" / snapshot.name).unlink(missing_ok=True)
        found = run("import", tmp_path / "copy", tmp_path / f"imported-{count}")
        assert found["notes"] == []
        digests.add((found["digest"], found["zxid"]))
    assert len(digests) == 1
    apache.start()
    assert everything(served(zkstores, tmp_path / "imported-0").hosts) == everything(apache.hosts)


def fire(hosts: str, number: int, for_s: float) -> None:
    """Write whatever comes to mind, by one session after another."""
    rng = random.Random(number)
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        client = KazooClient(hosts, timeout=40)
        client.start(timeout=20)
        for _ in range(40):
            pending = []
            for _ in range(10):
                path = "/" + "/".join(rng.choice("abc") for _ in range(rng.randint(1, 3)))
                step = rng.randrange(6)
                if step < 3:
                    pending.append(client.create_async(path, b"%d" % rng.randrange(99), ephemeral=step == 2))
                elif step == 3:
                    pending.append(client.delete_async(path))
                elif step == 4:
                    pending.append(client.set_async(path, b"%d" % rng.randrange(99)))
                else:
                    acl = make_acl("ip", f"10.0.0.{rng.randrange(4)}", all=True)
                    pending.append(client.set_acls_async(path, [acl, make_acl("world", "anyone", all=True)]))
            for each in pending:
                with suppress(KazooException):
                    each.get(timeout=20)
        client.stop()
        client.close()


def test_an_ensemble_goes_on_where_the_apache_one_was(tmp_path: Path) -> None:
    samples = Path(__file__).parents[2] / "data" / "samples" / "apache-3.8.0" / "ensemble"
    ensemble = Ensemble(tmp_path, *SUPER)
    try:
        for number in (1, 2, 3):
            run("import", samples / "data", tmp_path / str(number))
        ensemble.start()
        seen = everything(ensemble.hosts)
        assert set(json.loads((samples / "seen.json").read_text())) == set(seen)
        assert seen["/app"].data == b"three"
        assert b"server.1=127.0.0.1:" in seen["/zookeeper/config"].data
        assert seen["/zookeeper/config"].stat.mzxid >> 32 == 2  # the epoch behind the old ensemble's
        with RawClient(ensemble.servers[1].port) as raw:
            raw.session_id = seen["/raw-mine"].stat.ephemeralOwner
            raw.password = password_of(raw.session_id)
            assert raw.hello(40_000).session_id == seen["/raw-mine"].stat.ephemeralOwner
    finally:
        for server in ensemble.servers.values():
            server.close()


def test_json_lines_hold_everything(tmp_path: Path, zkstores: list[ServerProcess]) -> None:
    server = served(zkstores, tmp_path / "first")
    with RawClient(server.port) as raw, connected(server.hosts) as client:
        raw.hello(40_000)
        fill(client, raw)
        before = everything(server.hosts)
        server.kill()
    exported = run("export", "--format", "jsonl", tmp_path / "first", tmp_path / "tree.jsonl")
    imported = run("import", tmp_path / "tree.jsonl", tmp_path / "second")
    assert [imported[key] for key in ("digest", "zxid", "znodes", "sessions")] == [
        exported[key] for key in ("digest", "zxid", "znodes", "sessions")
    ]
    again = served(zkstores, tmp_path / "second")
    assert_goes_on(again.port, raw.session_id, raw.password)
    assert everything(again.hosts) == before


def test_apache_and_the_server_that_was_imported_from_it_answer_alike(
    tmp_path: Path,
    apaches: list[ApacheServer],
    zkstores: list[ServerProcess],
    capsys: pytest.CaptureFixture[str],
) -> None:
    apache = ApacheServer(tmp_path / "apache")
    apaches.append(apache)
    apache.start()
    with RawClient(apache.port) as raw, connected(apache.hosts) as client:
        raw.hello(40_000)
        fill(client, raw)
        # Else it expires amid the scripts, and hardly at the same step on both.
        assert raw.ask(request(99, Opcode.CLOSE_SESSION)).code == 0
    apache.kill()
    shutil.copytree(apache.data_dir, tmp_path / "copy")
    run("import", tmp_path / "copy", tmp_path / "zkstore" / "data")
    apache.start()
    config = tmp_path / "zkstore" / "zoo.cfg"
    port = contestants.free_port()
    config.write_text(contestants.zoo_cfg(tmp_path / "zkstore" / "data", port, 100_000, SETTINGS))
    zkstore = ServerProcess(tmp_path / "zkstore" / "data", str(config))
    zkstores.append(zkstore)
    zkstore.port = port
    zkstore.start()
    pair = Pair({"Apache": ("127.0.0.1", apache.port), "zkstore": ("127.0.0.1", zkstore.port)})
    code = differential.compare(pair, range(1, 16), 60)
    assert code == 0, capsys.readouterr().out
