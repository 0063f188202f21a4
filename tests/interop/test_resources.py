"""A server that runs out of something: of memory, of descriptors, of a disk that is quick enough."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path

import pytest
from kazoo.exceptions import KazooException

from tests.interop.conftest import Connect, StartServer
from tests.interop.processes import ServerProcess, wait_until
from tests.interop.raw import RawClient, create, greeting
from zkstore.failpoints import VARIABLE

pytestmark = pytest.mark.interop

_ROOM_BYTES = 48 << 20


def _address_space_bytes(server: ServerProcess) -> int:
    fields = Path(f"/proc/{server.pid}/statm").read_text().split()
    return int(fields[0]) * resource.getpagesize()


def test_without_memory_it_stops_with_a_sentence_and_keeps_what_it_acknowledged(start_server: StartServer) -> None:
    server = start_server("--tick-ms", "500", "--memory-bytes-max", "64G")
    most = _address_space_bytes(server) + _ROOM_BYTES
    with RawClient(server.port) as client:
        client.hello(10_000)
        resource.prlimit(server.pid, resource.RLIMIT_AS, (most, most))
        acknowledged = 0
        while True:
            try:
                client.send(create(acknowledged + 1, b"/n%d" % acknowledged, bytes(500_000)))
                reply = client.reply()
            except OSError:
                break
            if reply is None:
                break
            assert reply.code == 0
            acknowledged += 1
            assert acknowledged < 2_000, "the limit does not hold"
    assert server.wait() == 1
    assert "Traceback" not in server.log_text()
    assert server.logged("no memory is left")
    server.start()
    with RawClient(server.port) as client:
        client.hello()
        found = client.children(b"/")
    assert {b"n%d" % number for number in range(acknowledged)} <= set(found)


def test_with_a_disk_that_takes_seconds_reads_go_on_and_sessions_live(
    start_server: StartServer, connect: Connect
) -> None:
    slow = {VARIABLE: "log.append.before_sync=delay(3000)@6-8"}
    server = start_server("--tick-ms", "500", environment=slow)
    client, reader = connect(server), connect(server)
    session = client.client_id
    client.create("/early", b"there")
    longest_s = 0.0
    writer = threading.Thread(target=lambda: [client.create(f"/n{number}") for number in range(10)])
    writer.start()
    wait_until(lambda: server.logged("failpoint log.append.before_sync"))
    time.sleep(3.5)  # the first slow commit may run in the loop itself; from then on a thread has them
    until_s = time.monotonic() + 4.0
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        assert reader.get("/early")[0] == b"there"
        longest_s = max(longest_s, time.monotonic() - began_s)
        time.sleep(0.05)
    assert longest_s < 2.5, "a read has waited for the disk"
    writer.join(30)
    assert len(client.get_children("/")) == 1 + 1 + 10
    assert client.client_id == session


def test_without_descriptors_it_says_so_once_and_goes_on(start_server: StartServer) -> None:
    server = start_server("--tick-ms", "500", environment={VARIABLE: "client.accept=fail(EMFILE)@3-6"})
    clients: list[RawClient] = []

    def join() -> None:
        client = RawClient(server.port)
        clients.append(client)
        client.send(greeting())
        client.receive_frame()

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "somebody was never let in"
    for client in clients:
        client.close()
    assert len(server.logged("cannot accept connections: Too many open files")) == 1
    assert server.stop() == 0


@pytest.mark.parametrize(
    "place",
    [
        "log.append.before_write",
        "log.append.before_sync",
        "checkpoint.put",
        "checkpoint.finish.before_commit",
        "snapshot.copy",
        "snapshot.take.before_rename",
        "file.sync",
        "environment.zeros.before",
    ],
)
def test_where_space_is_short_for_a_while_writes_go_on_by_themselves(
    start_server: StartServer, connect: Connect, place: str
) -> None:
    times = {"log": "@6-12", "file": "@4-5"}.get(place.partition(".")[0], "@2-3")
    full = {VARIABLE: f"{place}=fail(ENOSPC){times}"}
    server = start_server("--tick-ms", "500", "--checkpoint-txns", "5", environment=full)
    client = connect(server)
    made = []
    for number in range(30):
        try:
            made.append(client.create(f"/n{number:02}", b"x").removeprefix("/"))
        except KazooException:
            time.sleep(0.05)
    assert len(made) >= 20
    assert client.create("/last") == "/last"
    server.kill()
    server.start()
    again = connect(server)
    assert {*made, "last", "zookeeper"} <= set(again.get_children("/"))
    assert len(again.get_children("/")) == len(made) + 2
