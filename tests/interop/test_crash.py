"""kill -9 in the middle of a load, again and again on one data directory: nothing that was acknowledged is missing.

Each writer sends a sequence of writes over one connection, many in flight. They are answered in order and recovered in
order, so what is found after a crash must be exactly what the first k writes make, for one k between those that were
acknowledged and those that were sent.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Final, NamedTuple

import pytest

from tests.interop.conftest import StartServer
from tests.interop.processes import ServerProcess, wait_until
from tests.interop.raw import RawClient, create, request, set_data
from zkstore.model.acl import OPEN_ACL
from zkstore.wire.multi import MultiRequest, Op
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import CreateRequest, SetDataRequest

pytestmark = pytest.mark.interop

_WRITERS: Final = 4
_IN_FLIGHT: Final = 16
_SESSION_MS: Final = 3_000


class Found(NamedTuple):
    """What stands below a writer's znode."""

    value: bytes | None
    pair: bytes | None
    names: frozenset[bytes]


class Writer:
    """One connection's writes, numbered from 1.

    Attributes:
        sent, acknowledged: how many of the writes; the three that prepare count as number 0.
    """

    def __init__(self, port: int, path: bytes) -> None:
        self.path = path
        self.sent = self.acknowledged = 0
        self._client = RawClient(port)
        self._client.hello(_SESSION_MS)
        for made in (path, path + b"/value", path + b"/pair"):
            assert self._client.ask(create(0, made, b"0")).code == 0
        self.session_id, self.password = self._client.session_id, self._client.password
        self._thread = threading.Thread(target=self._write, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait until the server has hung up."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server is gone and the writer has not noticed"
        self._client.close()

    def _write(self) -> None:
        try:
            while True:
                self._client.send(b"".join(map(self._frame, range(self.sent + 1, self.sent + _IN_FLIGHT + 1))))
                self.sent += _IN_FLIGHT
                while self.acknowledged < self.sent:
                    reply = self._client.reply()
                    if reply is None:
                        return
                    assert (reply.xid, reply.code) == (self.acknowledged + 1, 0)
                    self.acknowledged += 1
        except OSError:
            # What could not be sent as a whole may have been sent in part.
            self.sent += _IN_FLIGHT

    def _frame(self, number: int) -> bytes:
        path, data = self.path, b"%d" % number
        kind = number % 8
        if kind < 4:
            return set_data(number, path + b"/value", data)
        if kind == 4:
            return create(number, path + b"/n" + data, data)
        if kind == 5:
            return create(number, path + b"/e" + data, data, flags=1)
        ops = (
            Op(Opcode.CREATE, CreateRequest(path + b"/a" + data, b"", OPEN_ACL, 0)),
            Op(Opcode.SET_DATA, SetDataRequest(path + b"/pair", data, -1)),
            Op(Opcode.CREATE, CreateRequest(path + b"/b" + data, b"", OPEN_ACL, 0)),
        )
        return request(number, Opcode.MULTI, MultiRequest(ops).encode())

    def expect(self, count: int, *, with_ephemerals: bool) -> Found:
        """What the first `count` writes make."""
        value = pair = 0
        names = [b"value", b"pair"]
        for number in range(1, count + 1):
            kind = number % 8
            if kind < 4:
                value = number
            elif kind == 4:
                names.append(b"n%d" % number)
            elif kind == 5:
                if with_ephemerals:
                    names.append(b"e%d" % number)
            else:
                pair = number
                names += [b"a%d" % number, b"b%d" % number]
        return Found(b"%d" % value, b"%d" % pair, frozenset(names))

    def find(self, client: RawClient) -> Found:
        """What is there."""
        names = client.children(self.path)
        return Found(client.get(self.path + b"/value"), client.get(self.path + b"/pair"), frozenset(names))

    def check(self, found: Found, *, with_ephemerals: bool = True) -> int:
        """Assert that `found` is what some first writes make, all acknowledged ones among them; how many."""
        for count in range(self.acknowledged, self.sent + 1):
            if found == self.expect(count, with_ephemerals=with_ephemerals):
                return count
        expected = self.expect(self.acknowledged, with_ephemerals=with_ephemerals)
        pytest.fail(
            f"{self.path!r}: {self.acknowledged} writes were acknowledged, {self.sent} sent;"
            f" value {found.value!r}, pair {found.pair!r}, missing {sorted(expected.names - found.names)[:10]},"
            f" unexpected {sorted(found.names - expected.names)[:10]}"
        )


def crash_and_check(server: ServerProcess, round_: int, chance: random.Random) -> list[Writer]:
    """A load, a kill in its middle, a start, and a look at everything that the load has done."""
    with RawClient(server.port) as client:
        client.hello()
        assert client.ask(create(1, b"/r%d" % round_)).code == 0
    writers = [Writer(server.port, b"/r%d/w%d" % (round_, number)) for number in range(_WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(chance.uniform(0.0, 0.45))
    if chance.random() < 0.15:
        assert server.stop() == 0
    else:
        server.kill()
    for writer in writers:
        writer.join()
    server.start()
    with RawClient(server.port) as client:
        client.hello()
        for number, writer in enumerate(writers):
            count = writer.check(writer.find(client))
            writer.acknowledged = writer.sent = count
            if number % 2:
                end_session(server, writer)
                writer.check(writer.find(client), with_ephemerals=False)
    return writers


def end_session(server: ServerProcess, writer: Writer) -> None:
    """Come back to a writer's session, as its client would, and close it."""
    with RawClient(server.port) as client:
        client.session_id, client.password = writer.session_id, writer.password
        assert client.hello(_SESSION_MS).session_id == writer.session_id, "the session did not survive"
        assert client.ask(request(1, Opcode.CLOSE_SESSION)).code == 0


def run_crashes(start_server: StartServer, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    server = start_server(
        "--tick-ms", "200", "--checkpoint-txns", "200", "--history-bytes-max", "2M", "--snapshots-kept", "1"
    )
    writers: list[Writer] = []
    for round_ in range(rounds):
        writers += crash_and_check(server, round_, chance)
    assert sum(writer.acknowledged for writer in writers) > rounds * 20, "hardly anything was written"
    with RawClient(server.port) as client:
        client.hello()
        last = writers[-2]  # its session was not closed: it expires
        ephemerals = (
            last.expect(last.acknowledged, with_ephemerals=True).names
            - last.expect(last.acknowledged, with_ephemerals=False).names
        )
        wait_until(lambda: not ephemerals & client.children(last.path))
        for writer in writers:
            writer.check(writer.find(client), with_ephemerals=False)
    assert server.stop() == 0
    server.start()
    with RawClient(server.port) as client:
        client.hello()
        for writer in writers:
            writer.check(writer.find(client), with_ephemerals=False)


@pytest.mark.thorough
def test_no_acknowledged_write_is_lost_in_thirty_crashes(start_server: StartServer) -> None:
    run_crashes(start_server, rounds=30, seed=20)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_no_acknowledged_write_is_lost_in_hundreds_of_crashes(start_server: StartServer, seed: int) -> None:
    run_crashes(start_server, rounds=80, seed=seed)
