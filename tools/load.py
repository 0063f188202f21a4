"""A light load generator that speaks the ZooKeeper client protocol.

    python tools/load.py 127.0.0.1:2181 get 100 16 5

CONNS connections keep DEPTH requests each in flight for SECONDS; one line of figures comes out.

The generator shares the machine with the server it measures, so it must cost little per request. Requests
are built ahead (`load_requests.py`), in a ring that all connections walk along from random places, and a batch
is one slice of it. Replies are never decoded while the clock runs: every reply's size is known from its request,
so counting the bytes received says how many requests are done. That each reply is right is checked before the
clock starts (`verify`), its size and error code at the start of every receive, and the exact number of
bytes at the end (`drain`).

It imports nothing of zkstore: an instrument must not share a mistake with what it measures.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import select
import socket
import struct
import sys
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.load_requests import (
    CLOSE_SESSION,
    CREATE,
    CREATE_PREFIX,
    EXISTS,
    GET_DATA,
    LISTED_CHILDREN,
    MODES,
    REPLY_HEADER_BYTES,
    RING_REQUESTS,
    STAT_BYTES,
    Nodes,
    Ring,
    build_ring,
    connect_request,
    create_request,
    read_request,
    request,
    sync_request,
)

HANDSHAKE_REPLY_BYTES = 41
"""A ConnectResponse to a client that sends the readOnly byte: length prefix included."""

CONNECT_CHUNK = 50
"""Connections opened at once: what an Apache server's accept queue holds by default."""

FILL_CHUNK = 500
"""Creates sent at once while filling; two chunks are in flight."""

RECEIVE_BYTES = 1 << 18
EVENTS_PER_TURN = 256
PATIENCE_S = 30.0
"""How long a single answer may take before the load gives up."""

NODE_EXISTS, NO_NODE = -110, -101

_REPLY = struct.Struct(">iiqi")
_SIZE_AND_ERROR = struct.Struct(">i12xi")
_INT = struct.Struct(">i")


Address = tuple[str, int]
"""Host and port."""


class LoadError(Exception):
    """The server answered something else than the load expects, or closed the connection."""


# --- figures --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load gave. `client_cpu` is the cores that the generator itself used."""

    mode: str
    conns: int
    depth: int
    requests: int
    requests_per_s: float
    p50_us: int
    p99_us: int
    p999_us: int
    longest_us: int
    client_cpu: float

    def line(self) -> str:
        """The figures for a person."""
        return (
            f"mode={self.mode} conns={self.conns} depth={self.depth} requests_per_s={self.requests_per_s:.0f} "
            f"p50_us={self.p50_us} p99_us={self.p99_us} p999_us={self.p999_us} longest_us={self.longest_us} "
            f"client_cpu={self.client_cpu:.2f}"
        )


def percentile(counts: dict[int, int], fraction: float) -> int:
    """The smallest key at or below which `fraction` of all counted lie; 0 if nothing was counted."""
    rank = fraction * sum(counts.values())
    seen = 0
    for key in sorted(counts):
        seen += counts[key]
        if seen >= rank:
            return key
    return 0


# --- connections ----------------------------------------------------------------------------------


def parse_addresses(given: str) -> list[Address]:
    """`HOST:PORT[,HOST:PORT...]`, the servers of an ensemble; ValueError if it is not that."""
    return [parse_address(address) for address in given.split(",")]


def parse_address(address: str) -> Address:
    """`HOST:PORT` as a pair; ValueError if it is not one."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host, int(port)


def positive(given: str) -> int:
    """A whole number above 0; ValueError if it is not one."""
    number = int(given)
    if number < 1:
        raise ValueError(f"{given} is not above 0")
    return number


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    """The next `count` bytes; LoadError if the server closes before."""
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            raise LoadError("the server closed the connection")
        parts += part
    return bytes(parts)


@contextmanager
def sessions(addresses: Sequence[Address], count: int) -> Iterator[list[socket.socket]]:
    """`count` connections with a new session each, spread evenly over the servers of an ensemble.

    The sessions are ended in order, so that none expires in the middle of the next load; after an error the
    connections are just closed.
    """
    with ExitStack() as stack:
        socks = []
        for first in range(0, count, CONNECT_CHUNK):
            chunk = [
                stack.enter_context(socket.create_connection(addresses[number % len(addresses)], timeout=PATIENCE_S))
                for number in range(first, min(first + CONNECT_CHUNK, count))
            ]
            open_sessions(chunk)
            socks += chunk
        yield socks
        for first in range(0, count, CONNECT_CHUNK):
            close_sessions(socks[first : first + CONNECT_CHUNK])


def open_sessions(socks: Sequence[socket.socket]) -> None:
    """Ask for a session on every connection, then read the answers; LoadError if one is refused."""
    for sock in socks:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(connect_request())
    for sock in socks:
        reply = receive_exactly(sock, HANDSHAKE_REPLY_BYTES)
        if _INT.unpack_from(reply, 8)[0] <= 0:
            raise LoadError("the server refused a session")


def close_sessions(socks: Sequence[socket.socket]) -> None:
    """End the session of every connection, then wait for the answers."""
    for sock in socks:
        sock.settimeout(PATIENCE_S)
        sock.sendall(request(1, CLOSE_SESSION))
    for sock in socks:
        receive_exactly(sock, REPLY_HEADER_BYTES)


@contextmanager
def caller(address: Address) -> Iterator[Caller]:
    """A session of its own for requests that are not measured."""
    with sessions([address], 1) as [sock], sock.makefile("rb") as replies:
        yield Caller(sock, replies)


class Caller:
    """One session for the requests that are not measured: few at a time, every reply read whole."""

    def __init__(self, sock: socket.socket, replies: BinaryIO) -> None:
        self.sock = sock
        self.replies = replies

    def receive(self) -> tuple[int, int, bytes]:
        """The next reply: xid, error code, body."""
        header = self.replies.read(REPLY_HEADER_BYTES)
        if len(header) < REPLY_HEADER_BYTES:
            raise LoadError("the server closed the connection")
        size, xid, _, error = _REPLY.unpack(header)
        return xid, error, self.replies.read(size - 16)

    def call(self, frame: bytes) -> tuple[int, bytes]:
        """Send one request and return its error code and body."""
        self.sock.sendall(frame)
        _, error, body = self.receive()
        return error, body

    def lacks(self, path: bytes) -> bool:
        """Whether there is no such znode."""
        return self.call(read_request(1, EXISTS, path))[0] == NO_NODE

    def create_all(self, paths: Iterator[bytes], data: bytes) -> None:
        """Create znodes, pipelined; those that exist already stay as they are."""
        waiting = 0
        while chunk := list(islice(paths, FILL_CHUNK)):
            self.sock.sendall(b"".join(create_request(1, path, data) for path in chunk))
            self._expect_creates(waiting)
            waiting = len(chunk)
        self._expect_creates(waiting)

    def _expect_creates(self, count: int) -> None:
        for _ in range(count):
            _, error, _ = self.receive()
            if error not in (0, NODE_EXISTS):
                raise LoadError(f"a create failed with error {error}")


def fill(address: Address, nodes: Nodes, size: int) -> None:
    """Make sure that the znodes of every load exist; quick if the last ones do."""
    with caller(address) as client:
        if client.lacks(nodes.path(nodes.count - 1)):
            client.create_all(iter([b"/benchc", *nodes.ancestors()]), b"")
            client.create_all(map(nodes.path, range(nodes.count)), b"x" * size)
        if client.lacks(nodes.listed_path(nodes.listed - 1)):
            client.create_all(iter([nodes.listing]), b"")
            client.create_all(map(nodes.listed_path, range(nodes.listed)), b"")


def verify(address: Address, ring: Ring, count: int) -> None:
    """Send the ring's first `count` requests and look at every reply whole; LoadError if one is wrong.

    A sync goes before them: the server may be behind the one that was filled.
    """
    with caller(address) as client:
        client.call(sync_request(1, b"/"))
        for number in range(count):
            frame = bytes(ring.requests[ring.request_offsets[number] : ring.request_offsets[number + 1]])
            client.sock.sendall(frame)
            check_reply(frame, client.receive(), ring.headers[number][0] - 16)


def check_reply(frame: bytes, reply: tuple[int, int, bytes], expected_bytes: int) -> None:
    """Raise LoadError unless `reply` (xid, error, body) is what the request `frame` must bring."""
    xid, error, body = reply
    sent_xid, opcode = struct.unpack_from(">ii", frame, 4)
    if error:
        raise LoadError(f"request {frame!r} failed with error {error}")
    if (xid, len(body)) != (sent_xid, expected_bytes):
        raise LoadError(f"xid {xid} with {len(body)} bytes where {sent_xid} with {expected_bytes} bytes was due")
    if opcode == GET_DATA and _INT.unpack_from(body, len(body) - 16)[0] != len(body) - STAT_BYTES - 4:
        raise LoadError("the length of the data differs from the one in its Stat")
    if opcode == CREATE and not body[4:].startswith(CREATE_PREFIX):
        raise LoadError(f"a create answered the path {body[4:]!r}")


# --- the measured loop ----------------------------------------------------------------------------


class Walker:
    """One connection's place in the ring.

    `position` is the oldest unanswered request; the next to send is always `depth` further on.
    `received` is how far the replies have come, in the terms of the ring's `reply_offsets`.
    `batches` are the sends not wholly answered yet: (time, requests left).
    """

    __slots__ = ("batches", "position", "receive", "received", "send", "sock")

    def __init__(self, sock: socket.socket, ring: Ring, position: int) -> None:
        # Blocking sockets: a receive follows readiness, and what is in flight always fits the send buffer.
        sock.settimeout(None)
        self.sock = sock
        self.receive: Callable[[bytearray], int] = sock.recv_into
        self.send: Callable[[memoryview], None] = sock.sendall
        self.position = position
        self.received = ring.reply_offsets[position]
        self.batches: deque[tuple[float, int]] = deque()

    def start(self, ring: Ring, depth: int) -> None:
        """Put the first `depth` requests in flight."""
        first, last = ring.request_offsets[self.position], ring.request_offsets[self.position + depth]
        self.batches.append((perf_counter(), depth))
        self.send(ring.requests[first:last])


def drive(walkers: dict[int, Walker], epoll: select.epoll, ring: Ring, depth: int, deadline: float) -> dict[int, int]:
    """Keep every walker at `depth` requests in flight until `deadline`; how many requests took how many µs.

    A reply counts as arrived when the poll returned that announced it: the time the generator itself takes
    for the others of that turn is no latency of the server.
    """
    requests, request_offsets, reply_offsets = ring.requests, ring.request_offsets, ring.reply_offsets
    length, lap = ring.length, ring.reply_offsets[ring.length]
    counts: dict[int, int] = defaultdict(int)
    buffer = bytearray(RECEIVE_BYTES)
    header, clock, search = _SIZE_AND_ERROR.unpack_from, perf_counter, bisect_right
    while True:
        ready = epoll.poll(1.0, EVENTS_PER_TURN)
        now = clock()
        if now >= deadline:
            return counts
        for descriptor, _ in ready:
            walker = walkers[descriptor]
            start = walker.position
            before = walker.received
            received = walker.received = before + walker.receive(buffer)
            if before == reply_offsets[start] and header(buffer) != ring.headers[start]:
                check_header(buffer, received - before, ring.headers[start])
            end = search(reply_offsets, received, start, start + depth + 1) - 1
            done = end - start
            if not done:
                if received == before:
                    raise LoadError("the server closed the connection")
                continue
            sent = (clock(), done)
            walker.send(requests[request_offsets[start + depth] : request_offsets[end + depth]])
            if end >= length:
                end -= length
                walker.received -= lap
            walker.position = end
            # The server works on the new requests while the finished ones are counted.
            batches = walker.batches
            batches.append(sent)
            while done:
                began, taken = batches[0]
                if taken <= done:
                    batches.popleft()
                else:
                    batches[0] = (began, taken - done)
                    taken = done
                counts[int((now - began) * 1e6)] += taken
                done -= taken


def check_header(buffer: bytearray, received: int, expected: tuple[int, int]) -> None:
    """Raise LoadError unless so little was received that the reply's header is not yet whole."""
    if received >= REPLY_HEADER_BYTES:
        size, error = _SIZE_AND_ERROR.unpack_from(buffer)
        raise LoadError(f"a reply of {size} bytes with error {error} where {expected[0]} bytes were due")


def drain(walkers: Sequence[Walker], ring: Ring, depth: int) -> int:
    """Receive what is still in flight, to the byte; the longest wait in µs. LoadError if bytes are missing."""
    longest_us = 0
    for walker in walkers:
        due = ring.reply_offsets[walker.position + depth] - walker.received
        walker.sock.settimeout(PATIENCE_S)
        receive_exactly(walker.sock, due)
        longest_us = max(longest_us, int((perf_counter() - walker.batches[0][0]) * 1e6))
    return longest_us


def allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 64
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def run(
    addresses: Sequence[Address], mode: str, conns: int, depth: int, seconds: float, *, size: int = 100, nodes: Nodes
) -> LoadResult:
    """One load: fill, verify, warm up for a tenth of the time, measure for `seconds`."""
    allow_descriptors(conns)
    fill(addresses[0], nodes, size)
    rng = random.Random(1)
    # Few requests say little about a large tree: there the ring is long enough to touch much of it.
    ring = build_ring(mode, nodes, size, depth, rng, max(RING_REQUESTS, min(nodes.count // 10, 1 << 16)))
    for address in addresses:
        verify(address, ring, 100)
    with sessions(addresses, conns) as socks:
        walkers = [Walker(sock, ring, rng.randrange(ring.length)) for sock in socks]
        counts, elapsed_s, cpu_s = measure(walkers, ring, depth, seconds)
        longest_us = drain(walkers, ring, depth)
    count = sum(counts.values())
    return LoadResult(
        mode=mode,
        conns=conns,
        depth=depth,
        requests=count,
        requests_per_s=count / elapsed_s,
        p50_us=percentile(counts, 0.5),
        p99_us=percentile(counts, 0.99),
        p999_us=percentile(counts, 0.999),
        longest_us=max(longest_us, *counts, 0),
        client_cpu=cpu_s / elapsed_s,
    )


def measure(walkers: Sequence[Walker], ring: Ring, depth: int, seconds: float) -> tuple[dict[int, int], float, float]:
    """Warm up, then measure: how many requests took how many µs; seconds that passed; CPU seconds used."""
    by_descriptor = {walker.sock.fileno(): walker for walker in walkers}
    gc.disable()  # nothing in the loop makes cycles, and a collection would count as the server's latency
    try:
        with select.epoll() as epoll:
            for descriptor in by_descriptor:
                epoll.register(descriptor, select.EPOLLIN)
            for walker in walkers:
                walker.start(ring, depth)
            drive(by_descriptor, epoll, ring, depth, perf_counter() + seconds / 10)
            began_s, began_cpu_s = perf_counter(), process_cpu_s()
            counts = drive(by_descriptor, epoll, ring, depth, began_s + seconds)
            return counts, perf_counter() - began_s, process_cpu_s() - began_cpu_s
    finally:
        gc.enable()


def process_cpu_s() -> float:
    """User and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        description="Load a ZooKeeper server and print requests per second and latencies.",
        epilog="example: python tools/load.py 127.0.0.1:2181 get 100 16 5",
    )
    arguments.add_argument("addresses", type=parse_addresses, metavar="HOST:PORT[,HOST:PORT...]")
    arguments.add_argument("mode", choices=MODES)
    arguments.add_argument("conns", type=positive, help="connections, each with a session of its own")
    arguments.add_argument("depth", type=positive, help="requests that each connection keeps in flight")
    arguments.add_argument("seconds", type=float, help="how long to measure; a tenth more goes into warming up")
    arguments.add_argument("--size", type=int, default=100, help="bytes of data in a znode (default 100)")
    arguments.add_argument("--nodes", type=positive, default=1000, help="znodes to read and write (default 1000)")
    arguments.add_argument("--parents", type=int, default=0, help="spread them over so many parents below /bench1m")
    arguments.add_argument(
        "--listed", type=positive, default=LISTED_CHILDREN, help="children that `children` lists (default 10)"
    )
    arguments.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    return arguments


def main() -> int:
    """Run one load; 1 if the server failed it."""
    options = parser().parse_args()
    nodes = Nodes(options.nodes, options.parents, options.listed)
    try:
        result = run(
            options.addresses,
            options.mode,
            options.conns,
            options.depth,
            options.seconds,
            size=options.size,
            nodes=nodes,
        )
    except (LoadError, OSError) as error:
        print(f"load: {','.join(f'{host}:{port}' for host, port in options.addresses)}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)) if options.json else result.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
