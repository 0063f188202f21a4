"""Four-letter words over real sockets, asked as kazoo, nc and monitoring scripts ask them."""

from __future__ import annotations

import shutil
import socket
import subprocess
from functools import partial

import pytest

from tests.interop.conftest import Connect, StartServer
from tests.interop.processes import ServerProcess
from tests.interop.raw import RawClient

pytestmark = pytest.mark.interop

WORDS = [
    *("ruok", "srvr", "stat", "mntr", "cons", "conf", "dump", "wchs"),
    *("wchc", "wchp", "isro", "envi", "dirs", "srst", "crst"),
]


def test_kazoo_asks(lasting_server: ServerProcess, connect: Connect) -> None:
    client = connect(lasting_server)
    assert client.command(b"ruok") == "imok"
    assert client.command(b"isro") == "rw"
    assert "Mode: standalone" in client.command(b"stat")


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_answered_and_the_connection_closed(lasting_server: ServerProcess, word: str) -> None:
    answer = lasting_server.ask(word.encode())
    assert answer
    assert b"whitelist" not in answer
    assert b"not currently serving" not in answer


def test_a_newline_behind_the_word_and_a_half_closed_socket_change_nothing(lasting_server: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", lasting_server.port), 5) as asking:
        asking.sendall(b"ruok\n")
        asking.shutdown(socket.SHUT_WR)
        assert b"".join(iter(partial(asking.recv, 100), b"")) == b"imok"


def test_a_large_answer_reaches_a_half_closed_socket_as_a_whole(
    lasting_server: ServerProcess, root: str, connect: Connect
) -> None:
    client = connect(lasting_server, root)
    watches = [client.exists_async("/" + "x" * 200 + f"{number:06}", watch=print) for number in range(3000)]
    for watch in watches:
        watch.get(timeout=20)
    with socket.create_connection(("127.0.0.1", lasting_server.port), 5) as asking:
        asking.sendall(b"wchc\n")
        asking.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(partial(asking.recv, 65536), b""))
    assert answer.count(b"x" * 200) == 3000


@pytest.mark.skipif(shutil.which("nc") is None, reason="there is no nc here")
def test_nc_asks(lasting_server: ServerProcess) -> None:
    asked = subprocess.run(
        ["nc", "-w", "5", "127.0.0.1", str(lasting_server.port)], input=b"ruok\n", capture_output=True, check=False
    )
    assert asked.stdout == b"imok"


def test_a_word_in_pieces_is_understood(lasting_server: ServerProcess) -> None:
    with RawClient(lasting_server.port) as client:
        for byte in (b"r", b"u", b"o"):
            client.send(byte)
            assert lasting_server.ask(b"ruok") == b"imok"  # and meanwhile it serves others
        client.send(b"k")
        assert client.socket.recv(100) == b"imok"


def test_by_default_only_srvr_is_answered(start_server: StartServer) -> None:
    server = start_server()
    assert server.ask(b"srvr").startswith(b"Zookeeper version: ")
    for word in WORDS:
        if word != "srvr":
            refusal = f"{word} is not executed because it is not in the whitelist.\n"
            assert server.ask(word.encode()) == refusal.encode()


def test_figures_follow_what_clients_do(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--four-letter-words", "mntr,stat,cons,srst,dump,wchp,wchc")

    def figures() -> dict[str, str]:
        return dict(line.split("\t", 1) for line in server.ask(b"mntr").decode().splitlines())

    before = figures()
    client = connect(server)
    client.create("/a", b"12345", ephemeral=True)
    client.get("/a", watch=print)
    after = figures()
    assert int(after["zk_znode_count"]) == int(before["zk_znode_count"]) + 1
    assert (after["zk_ephemerals_count"], after["zk_watch_count"], after["zk_server_state"]) == ("1", "1", "standalone")
    assert int(after["zk_packets_received"]) > int(before["zk_packets_received"])
    session = f"{client.client_id[0]:#x}".encode()
    assert session in server.ask(b"cons")
    assert server.ask(b"dump").count(session) == 3  # among sessions, owners of ephemerals and connections
    assert server.ask(b"wchp").split() == [b"/a", session]
    assert server.ask(b"wchc").split() == [session, b"/a"]
    assert server.ask(b"srst") == b"Server stats reset.\n"
