"""Watch fan-out: how long one set takes to reach everybody who watches the znode.

    python tools/fanout.py 127.0.0.1:2181 1000

CONNS connections watch one znode; another one sets it, and the clock runs from there until the last connection has
the whole event. Then all watch again, for so many rounds.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.load import (
    EVENTS_PER_TURN,
    NODE_EXISTS,
    PATIENCE_S,
    Caller,
    LoadError,
    allow_descriptors,
    caller,
    parse_address,
    positive,
    receive_exactly,
    sessions,
)
from tools.load_requests import (
    GET_DATA,
    REPLY_HEADER_BYTES,
    Nodes,
    create_request,
    read_request,
    reply_bytes,
    set_request,
)

PATH = b"/bench-fanout"
WARM_UP_ROUNDS = 3
"""Rounds that do not count: a JVM has compiled little before them."""

ROUNDS = 8
CHUNK = 100
"""Requests in flight while nothing is measured."""

_DATA = b"x" * 100
_EVENT_BYTES = REPLY_HEADER_BYTES + 4 + 4 + 4 + len(PATH)


@dataclass(frozen=True, slots=True)
class FanoutResult:
    """Medians over the rounds: when the first and when the last connection had its event."""

    conns: int
    first_ms: float
    last_ms: float
    rounds: int

    def line(self) -> str:
        """The figures for a person."""
        return f"conns={self.conns} first_ms={self.first_ms:.2f} last_ms={self.last_ms:.2f} rounds={self.rounds}"


def watch(socks: Sequence[socket.socket]) -> None:
    """Every connection leaves a watch at the one znode."""
    frame = read_request(1, GET_DATA, PATH, watch=True)
    for first in range(0, len(socks), CHUNK):
        chunk = socks[first : first + CHUNK]
        for sock in chunk:
            sock.sendall(frame)
        for sock in chunk:
            receive_exactly(sock, reply_bytes("get", len(_DATA)))


def read_all(socks: Sequence[socket.socket], nodes: Nodes, size: int, *, watch: bool) -> None:
    """All znodes are read once, each connection reads its share; `watch` leaves a watch at each."""
    for number, sock in enumerate(socks):
        mine = range(number, nodes.count, len(socks))
        for first in range(0, len(mine), CHUNK):
            chunk = mine[first : first + CHUNK]
            sock.sendall(b"".join(read_request(1, GET_DATA, nodes.path(node), watch=watch) for node in chunk))
            receive_exactly(sock, len(chunk) * reply_bytes("get", size))


def one_round(writer: Caller, socks: Sequence[socket.socket], epoll: select.epoll) -> tuple[float, float]:
    """All watch, then one set: seconds until the first connection has its whole event, and until the last has."""
    watch(socks)
    by_descriptor = {sock.fileno(): sock for sock in socks}
    left = dict.fromkeys(by_descriptor, _EVENT_BYTES)
    first_s = 0.0
    began = perf_counter()
    writer.sock.sendall(set_request(1, PATH, _DATA))
    while left:
        ready = epoll.poll(PATIENCE_S, EVENTS_PER_TURN)
        if not ready:
            raise LoadError(f"{len(left)} connections were not told")
        for descriptor, _ in ready:
            missing = left[descriptor] - len(by_descriptor[descriptor].recv(left[descriptor]))
            if missing == left[descriptor]:
                raise LoadError("the server closed a connection that watches")
            if missing:
                left[descriptor] = missing
            else:
                del left[descriptor]
                first_s = first_s or perf_counter() - began
    last_s = perf_counter() - began
    if writer.receive()[1]:
        raise LoadError("the set failed")
    return first_s, last_s


def run(address: tuple[str, int], conns: int, rounds: int) -> FanoutResult:
    """Connect, warm up, measure."""
    allow_descriptors(conns)
    with caller(address) as writer, sessions([address], conns) as socks, select.epoll() as epoll:
        error, _ = writer.call(create_request(1, PATH, _DATA))
        if error not in (0, NODE_EXISTS):
            raise LoadError(f"the create failed with error {error}")
        for sock in socks:
            epoll.register(sock.fileno(), select.EPOLLIN)
        gc.disable()  # a collection would count as the server's time
        try:
            times = [one_round(writer, socks, epoll) for _ in range(WARM_UP_ROUNDS + rounds)]
        finally:
            gc.enable()
        firsts, lasts = zip(*times[WARM_UP_ROUNDS:], strict=True)
    return FanoutResult(conns, median(firsts) * 1000, median(lasts) * 1000, rounds)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        description="Measure how long one set takes to reach everybody who watches the znode.",
        epilog="example: python tools/fanout.py 127.0.0.1:2181 1000",
    )
    arguments.add_argument("address", type=parse_address, metavar="HOST:PORT")
    arguments.add_argument("conns", type=positive, help="connections that watch")
    arguments.add_argument("--rounds", type=positive, default=ROUNDS, help=f"sets that count (default {ROUNDS})")
    arguments.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    return arguments


def main() -> int:
    """Measure once; 1 if the server failed it."""
    options = parser().parse_args()
    try:
        result = run(options.address, options.conns, options.rounds)
    except (LoadError, OSError) as error:
        host, port = options.address
        print(f"fanout: {host}:{port}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)) if options.json else result.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
