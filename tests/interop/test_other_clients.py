"""Clients of other languages, each at its first steps: create, get, set, watch, ephemeral, multi, reconnect."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.interop.c_library import EPHEMERAL, NAME, SEQUENTIAL, CClient, Event
from tests.interop.processes import ServerProcess
from tests.interop.raw import RawClient, set_data
from tests.interop.shells import OpenShell
from zkstore.model.watches import EventType

pytestmark = pytest.mark.interop

CLI_MT = Path("/usr/lib/zookeeper/bin/cli_mt")
NODE_PACKAGE = "node-zookeeper-client@1.1.3"
NODE_PROGRAM = Path(__file__).with_name("node_client.js")
AIOZK_PROGRAM = Path(__file__).with_name("aiozk_client.py")
PROGRAM_S = 60.0


def missing(what: str) -> NoReturn:
    """Continuous integration installs all clients; elsewhere one that is not there is not tested."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


# --- the C client ---------------------------------------------------------------------------------

ConnectC = Callable[[ServerProcess], CClient]


@pytest.fixture
def connect_c() -> Iterator[ConnectC]:
    clients: list[CClient] = []

    def connect(server: ServerProcess) -> CClient:
        try:
            client = CClient(server.hosts)
        except OSError:
            missing(f"{NAME} is not here; Debian's package `libzookeeper-mt2` has it")
        clients.append(client)
        client.wait_until_connected()
        return client

    yield connect
    for client in clients:
        client.close()


def test_the_c_client_reads_what_it_writes(lasting_server: ServerProcess, root: str, connect_c: ConnectC) -> None:
    client, top = connect_c(lasting_server), root.encode()
    assert client.create(top + b"/a", b"one") == (0, top + b"/a")
    assert client.create(top + b"/null", None)[0] == 0
    assert client.create(top + b"/a", b"")[0] == -110
    code, data, stat = client.get(top + b"/a")
    assert (code, data, stat.version, stat.dataLength) == (0, b"one", 0, 3)
    assert client.get(top + b"/null")[:2] == (0, None)
    assert client.set(top + b"/a", b"two", 0) == 0
    assert client.set(top + b"/a", b"three", 0) == -103
    assert client.children(top) == (0, {b"a", b"null"})
    assert client.delete(top) == -111
    assert client.delete(top + b"/a", 1) == 0
    assert client.get(top + b"/a")[0] == client.exists(top + b"/a") == -101


def test_the_c_client_is_told_by_its_watches(lasting_server: ServerProcess, root: str, connect_c: ConnectC) -> None:
    client, other, top = connect_c(lasting_server), connect_c(lasting_server), root.encode()
    assert client.exists(top + b"/a", watch=True) == -101
    assert client.children(top, watch=True) == (0, set())
    other.create(top + b"/a", b"")
    told = {client.next_event(), client.next_event()}
    assert told == {Event(EventType.CREATED, 3, top + b"/a"), Event(EventType.CHILDREN_CHANGED, 3, top)}
    client.get(top + b"/a", watch=True)
    other.set(top + b"/a", b"new")
    assert client.next_event() == Event(EventType.DATA_CHANGED, 3, top + b"/a")


def test_the_c_client_multi_is_all_or_nothing(lasting_server: ServerProcess, root: str, connect_c: ConnectC) -> None:
    client, top = connect_c(lasting_server), root.encode()
    assert client.multi(
        ("create", top + b"/a", b"one"), ("check", top + b"/a", 0), ("set", top + b"/a", b"two", 0)
    ) == (0, [0, 0, 0])
    assert client.get(top + b"/a")[1] == b"two"
    code, results = client.multi(
        ("delete", top + b"/a", -1), ("check", top + b"/none", -1), ("create", top + b"/b", b"")
    )
    assert (code, results) == (-101, [0, -101, -2])
    assert client.children(top) == (0, {b"a"})


def test_the_c_client_proves_an_identity(lasting_server: ServerProcess, connect_c: ConnectC) -> None:
    client = connect_c(lasting_server)
    client.add_auth(b"digest", b"user:password")
    assert client.exists(b"/") == 0


def test_the_c_client_keeps_session_ephemerals_and_watches_over_a_restart(
    server: ServerProcess, connect_c: ConnectC
) -> None:
    client = connect_c(server)
    session_id = client.session_id
    _, path = client.create(b"/e-", b"", EPHEMERAL | SEQUENTIAL)
    assert path == b"/e-0000000000"
    assert client.get(b"/", watch=True)[0] == 0
    server.kill()
    server.start()
    client.wait_until_connected()
    assert client.session_id == session_id
    assert client.get(path)[2].ephemeralOwner == session_id
    with RawClient(server.port) as other:
        other.hello()
        other.ask(set_data(1, b"/", b"new"))
    assert client.next_event() == Event(EventType.DATA_CHANGED, 3, b"/")


def test_cli_mt_goes_through_its_commands(lasting_server: ServerProcess, root: str) -> None:
    if not CLI_MT.exists():
        missing(f"{CLI_MT} is not here; Debian's package `zookeeper-bin` has it")
    with OpenShell(["sh", "-c", f"exec {CLI_MT} -h {lasting_server.hosts} 2>&1"]) as shell:
        shell.wait_for("CONNECTED_STATE")
        for line, answer in (
            (f"create {root}/a", f"name = {root}/a"),
            (f"create +e {root}/e", f"name = {root}/e"),
            (f"create2 +s {root}/s-", f"name = {root}/s-0000000002"),
            (f"create +c {root}/container", f"name = {root}/container"),
            (f"create +t=100000 {root}/ttl", f"name = {root}/ttl"),
            (f"set {root}/a hello", "rc = 0"),
            (f"get {root}/a", "value_len = 5"),
            (f"create {root}/a", "rc = -110"),
            (f"get {root}/none", "rc = -101"),
            (f"ls {root}", "container"),
            (f"sync {root}", "rc = 0"),
            (f"wexists {root}/new", "-101"),
            (f"create {root}/new", "CREATED_EVENT"),
            ("addauth digest user:password", ""),
            (f"delete {root}/a", ""),
            (f"exists {root}/a", "-101"),
            ("quit", "Quitting..."),
        ):
            shell.type(line)
            shell.wait_for(answer)


# --- programs that go through the same steps --------------------------------------------------------


def play(server: ServerProcess, command: list[str], environment: dict[str, str]) -> None:
    """A client's program up to its last step; then the server is killed and started, and the session must live on."""
    process = subprocess.Popen(
        [*command, server.hosts, "/top"],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = dict(json.loads(line) for line in itertools.islice(process.stdout, 7))
        session_id = told.pop("ready")
        assert told == {
            "created": "/top",
            "data": ["one", 0],
            "event": ["NODE_DATA_CHANGED", "/top"],
            "ephemeral": "/top/e-0000000000",
            "children": ["a", "e-0000000000"],
            "refused": "NOT_EMPTY",
        }
        server.kill()
        server.start()
        out, _ = process.communicate("go on\n", timeout=PROGRAM_S)
        assert json.loads(out) == ["still there", [session_id, True]]
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_aiozk_goes_through_its_operations(server: ServerProcess) -> None:
    if importlib.util.find_spec("aiozk") is None:
        missing("aiozk is not here; `pip install aiozk`")
    play(server, [sys.executable, str(AIOZK_PROGRAM)], {})


@pytest.fixture(scope="session")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """The client and what it needs, from npm; kept from run to run."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        missing("node or npm is not here; Debian's packages `nodejs` and `npm` have them")
    home = request.config.cache.mkdir(NODE_PACKAGE.replace("@", "-"))
    modules = home / "node_modules"
    if not modules.exists():
        command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(home), NODE_PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_S, check=False)
        if done.returncode:
            missing(f"npm cannot install {NODE_PACKAGE}: {done.stderr.strip()}")
    return modules


def test_the_node_client_goes_through_its_operations(server: ServerProcess, node_modules: Path) -> None:
    play(server, ["node", str(NODE_PROGRAM)], {"NODE_PATH": str(node_modules)})
