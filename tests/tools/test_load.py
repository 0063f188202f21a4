"""The load generator: its arithmetic, and a whole load against a server of a few lines."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tools.load import LoadError, LoadResult, check_reply, parse_address, percentile, positive, run
from tools.load_requests import CREATE, GET_DATA, SET_DATA, Nodes, read_request

STAT = bytes(52) + struct.pack(">iiq", 100, 0, 0)
BODIES = {GET_DATA: struct.pack(">i", 100) + b"x" * 100 + STAT, SET_DATA: STAT, CREATE: b""}


class ToyServer:
    """Answers every request of a get or set load, in pieces of `piece_bytes`, so that replies arrive torn.

    From request number `errors_from` on, it answers getData with NONODE.
    """

    def __init__(self, piece_bytes: int, errors_from: int) -> None:
        self.piece_bytes = piece_bytes
        self.errors_from = errors_from
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.threads: list[threading.Thread] = []
        self.requests = 0

    def accept(self) -> None:
        """Serve every connection in a thread of its own until the listener is shut down."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self.serve, args=(sock,)))
            self.threads[-1].start()

    def serve(self, sock: socket.socket) -> None:
        """One connection: the handshake, then request by request."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, sock.makefile("rb") as frames:
            frames.read(49)
            sock.sendall(struct.pack(">iiiqi16x?", 37, 0, 30_000, 1, 16, False))
            while size := frames.read(4):
                payload = frames.read(struct.unpack(">i", size)[0])
                reply = self.answer(*struct.unpack_from(">ii", payload))
                try:
                    for begin in range(0, len(reply), self.piece_bytes):
                        sock.sendall(reply[begin : begin + self.piece_bytes])
                except ConnectionError:
                    return

    def answer(self, xid: int, opcode: int) -> bytes:
        """The framed reply to one request."""
        self.requests += 1
        failed = opcode == GET_DATA and self.requests > self.errors_from
        body = b"" if failed else BODIES.get(opcode, b"")
        return struct.pack(">iiqi", 16 + len(body), xid, 1, -101 if failed else 0) + body


@contextmanager
def toy_server(*, piece_bytes: int = 1 << 20, errors_from: int = 1 << 60) -> Iterator[tuple[str, int]]:
    """The address of a running toy server."""
    server = ToyServer(piece_bytes, errors_from)
    acceptor = threading.Thread(target=server.accept)
    acceptor.start()
    try:
        yield server.listener.getsockname()
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        acceptor.join()
        server.listener.close()
        for thread in server.threads:
            thread.join()


@pytest.mark.parametrize(("mode", "piece_bytes"), [("get", 1 << 20), ("get", 150), ("mix90", 1 << 20), ("mix90", 7)])
def test_a_load_counts_its_requests_however_the_replies_are_torn(mode: str, piece_bytes: int) -> None:
    with toy_server(piece_bytes=piece_bytes) as address:
        result = run([address], mode, 2, 3, 0.05, nodes=Nodes(10))
    assert result.requests > 0
    assert result.requests_per_s > 0
    assert 0 < result.p50_us <= result.p99_us <= result.p999_us <= result.longest_us


def test_a_load_fails_if_the_server_answers_wrongly_while_it_is_verified() -> None:
    with toy_server(errors_from=10) as address, pytest.raises(LoadError, match="failed with error -101"):
        run([address], "get", 1, 1, 0.05, nodes=Nodes(10))


def test_a_load_fails_if_the_server_answers_wrongly_while_it_is_measured() -> None:
    with toy_server(errors_from=110) as address, pytest.raises(LoadError, match="16 bytes with error -101 where 188"):
        run([address], "get", 1, 1, 5.0, nodes=Nodes(10))


def test_a_reply_of_another_request_is_noticed() -> None:
    frame = read_request(5, GET_DATA, b"/bench/n000001")
    check_reply(frame, (5, 0, BODIES[GET_DATA]), 172)
    with pytest.raises(LoadError, match="xid 4 with 172 bytes where 5"):
        check_reply(frame, (4, 0, BODIES[GET_DATA]), 172)
    with pytest.raises(LoadError, match="differs from the one in its Stat"):
        check_reply(frame, (5, 0, bytes(172)), 172)


def test_percentiles_are_the_smallest_value_that_enough_requests_stay_within() -> None:
    counts = {10: 50, 30: 1, 20: 49}
    assert [percentile(counts, fraction) for fraction in (0.5, 0.51, 0.99, 0.999)] == [10, 20, 20, 30]
    assert percentile({}, 0.5) == 0


@pytest.mark.parametrize("given", ["2181", "host:", ":2181", "host:port"])
def test_an_address_needs_host_and_port(given: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_address(given)


def test_a_count_must_be_above_zero() -> None:
    assert positive("3") == 3
    with pytest.raises(ValueError, match="not above 0"):
        positive("0")


def test_a_result_is_one_line() -> None:
    result = LoadResult("get", 16, 1, 99, 1234.56, 10, 20, 30, 40, 0.333)
    assert result.line() == (
        "mode=get conns=16 depth=1 requests_per_s=1235 p50_us=10 p99_us=20 p999_us=30 longest_us=40 client_cpu=0.33"
    )
