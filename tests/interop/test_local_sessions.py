"""Sessions that one server alone knows, in real ensembles, under kazoo and bare bytes; as Apache's server has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from tests.interop.processes import ServerProcess
from tests.interop.raw import RawClient, create, request, set_data
from tests.interop.test_ensemble import Ensemble
from zkstore.errors import EphemeralOnLocalSessionError
from zkstore.wire.opcodes import Opcode

LOCAL = ("--local-sessions", "true")
UPGRADING = (*LOCAL, "--local-sessions-upgrading", "true")
EPHEMERAL = 1


@pytest.fixture
def make_ensemble(tmp_path: Path) -> Iterator[Callable[..., Ensemble]]:
    made: list[Ensemble] = []

    def make(*flags: str) -> Ensemble:
        made.append(Ensemble(tmp_path, *flags))
        made[-1].start()
        return made[-1]

    yield make
    for ensemble in made:
        for server in ensemble.servers.values():
            server.close()


def figures(server: ServerProcess) -> tuple[int, int]:
    """How many sessions are local, and how many everybody's, as mntr counts them."""
    lines = dict(line.split("\t", 1) for line in server.ask(b"mntr").decode().splitlines())
    return int(lines["zk_local_sessions"]), int(lines["zk_global_sessions"])


def zxid(server: ServerProcess) -> bytes:
    return next(line for line in server.ask(b"srvr").splitlines() if line.startswith(b"Zxid"))


Come = Callable[..., RawClient]


@pytest.fixture
def come() -> Iterator[Come]:
    """Make clients of a server, with a session of their own or of another connection; all are closed at the end."""
    clients: list[RawClient] = []

    def make(server: ServerProcess, session: RawClient | None = None, *, timeout_ms: int = 10_000) -> RawClient:
        client = RawClient(server.port)
        clients.append(client)
        if session is not None:
            client.session_id, client.password = session.session_id, session.password
        client.hello(timeout_ms)
        return client

    yield make
    for client in clients:
        client.close()


def test_a_session_stays_local_until_it_owns_something(make_ensemble: Callable[..., Ensemble], come: Come) -> None:
    ensemble = make_ensemble(*UPGRADING)
    for number, path in ((ensemble.followers()[0], b"/of-follower"), (ensemble.leader(), b"/of-leader")):
        server = ensemble.servers[number]
        others = [each for each in ensemble.servers.values() if each is not server]
        before = zxid(ensemble.servers[ensemble.leader()])
        client = come(server)
        assert zxid(ensemble.servers[ensemble.leader()]) == before
        known = figures(server)[1]
        assert figures(server) == (1, known)
        assert all(figures(other)[0] == 0 for other in others)
        assert b"Local Session Sets (1)/(1):" in server.ask(b"dump")

        assert client.ask(create(1, path)).code == 0
        assert client.ask(set_data(2, path, b"x")).code == 0
        assert [come(other, client).session_id for other in others] == [0, 0]
        client = come(server, client)
        assert client.session_id >> 56 == number

        assert client.ask(create(3, path + b"/e", flags=EPHEMERAL)).code == 0
        assert figures(server) == (0, known + 1)
        moved = come(others[0], client)
        assert moved.session_id == client.session_id
        assert moved.ask(request(4, Opcode.CLOSE_SESSION)).code == 0
        reader = come(others[0])
        assert reader.get(path + b"/e") is None
        assert reader.ask(request(1, Opcode.CLOSE_SESSION)).code == 0


def test_without_upgrading_ephemerals_are_refused(make_ensemble: Callable[..., Ensemble], come: Come) -> None:
    ensemble = make_ensemble(*LOCAL)
    for number, path in ((ensemble.followers()[0], b"/of-follower"), (ensemble.leader(), b"/of-leader")):
        client = come(ensemble.servers[number])
        assert client.ask(create(1, path, flags=EPHEMERAL)).code == EphemeralOnLocalSessionError.code
        assert client.ask(create(2, path)).code == 0
        before = zxid(ensemble.servers[number])
        assert client.ask(request(3, Opcode.CLOSE_SESSION)).code == 0
        assert client.is_closed_by_server()
        assert zxid(ensemble.servers[number]) == before
        assert figures(ensemble.servers[number]) == (0, 0)


def test_a_silent_session_is_ended_by_its_own_server(make_ensemble: Callable[..., Ensemble], come: Come) -> None:
    ensemble = make_ensemble(*UPGRADING)
    server = ensemble.servers[ensemble.followers()[0]]
    silent = come(server, timeout_ms=1_000)
    before = zxid(server)
    assert silent.is_closed_by_server()
    assert figures(server) == (0, 0)
    assert zxid(server) == before
    assert come(server, silent).session_id == 0


def test_kazoo_takes_locks_and_sees_watches_and_survives_the_leader(make_ensemble: Callable[..., Ensemble]) -> None:
    ensemble = make_ensemble(*UPGRADING)
    leader = ensemble.leader()
    server = ensemble.servers[ensemble.followers()[0]]
    retry = KazooRetry(max_tries=-1, delay=0.02, backoff=1, max_jitter=0.1)
    watching = KazooClient(server.hosts, timeout=4.0, connection_retry=retry)
    locking = KazooClient(ensemble.hosts, timeout=4.0, connection_retry=KazooRetry(max_tries=-1, delay=0.02))
    try:
        watching.start(timeout=20)
        locking.start(timeout=20)
        session_id = watching.client_id[0]
        seen: list[bytes] = []
        watching.ensure_path("/watched")
        watching.DataWatch("/watched", lambda data, stat: seen.append(data))
        with locking.Lock("/lock", "me"):
            locking.set("/watched", b"locked")
        ensemble.servers[leader].kill()
        ensemble.leader()
        watching.retry(watching.set, "/watched", b"later")
        assert watching.get("/watched")[0] == b"later"
        assert watching.client_id[0] == session_id  # its own server lives, and so does the session
        assert seen[-1] in (b"locked", b"later")
    finally:
        for client in (watching, locking):
            client.stop()
            client.close()


def test_a_server_alone_has_none_and_says_so(tmp_path: Path, come: Come) -> None:
    server = ServerProcess(tmp_path / "alone", *UPGRADING, "--four-letter-words", "mntr")
    try:
        server.start()
        client = come(server)
        assert figures(server) == (0, 1)
        assert client.ask(create(1, b"/e", flags=EPHEMERAL)).code == 0
        assert "a server alone has no local sessions" in server.log_text()
    finally:
        server.close()
