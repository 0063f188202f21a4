"""The network of the servers under test, in which packets get lost at will.

Where this user may, each server lives in a network namespace of its own, all at one bridge, with the clients outside.
A packet is lost because its sender is told a link-layer address that nobody has: no firewall is needed, connections
that stand are hit too, and one direction can be cut without the other. Elsewhere the servers share the loopback, on
which nothing gets lost.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

CLIENTS: Final = 0
"""Stands for the clients where a server's id is expected."""

_NOBODY: Final = "02:00:00:00:00:99"
_CLIENTS_HOST: Final = 254


class Ports(NamedTuple):
    """Where one server listens: for clients, and for other servers (the second of those is only named)."""

    client: int
    peer: int
    election: int


class Network(Protocol):
    """What a run needs of it."""

    can_fail: bool

    def address(self, server_id: int) -> str:
        """A server's address."""

    def ports(self, server_id: int) -> Ports:
        """A server's ports."""

    def inside(self, server_id: int) -> list[str]:
        """What a command line begins with to run at that server's place."""

    def block(self, sender: int, receiver: int) -> None:
        """From now on packets in this direction are lost; blocks add up."""

    def unblock(self, sender: int, receiver: int) -> None:
        """Take one block away."""

    def slow(self, server_id: int, kbit_s: int) -> None:
        """Let a server send so much, or as much as it can for 0."""

    def heal(self) -> None:
        """All is well again."""

    def close(self) -> None:
        """Take it all down."""


class Loopback:
    """All servers at 127.0.0.1. `can_fail` is False: nothing gets lost."""

    can_fail = False

    def __init__(self, servers: Sequence[int]) -> None:
        sockets = [socket.socket() for _ in range(3 * len(servers))]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        free = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        self._ports = {server_id: Ports(*free[3 * n : 3 * n + 3]) for n, server_id in enumerate(servers)}

    def address(self, server_id: int) -> str:
        """See `Network`, also for what follows."""
        return "127.0.0.1"

    def ports(self, server_id: int) -> Ports:
        return self._ports[server_id]

    def inside(self, server_id: int) -> list[str]:
        return []

    def block(self, sender: int, receiver: int) -> None:
        raise AssertionError("no packet is lost on the loopback")

    def unblock(self, sender: int, receiver: int) -> None:
        raise AssertionError("no packet is lost on the loopback")

    def slow(self, server_id: int, kbit_s: int) -> None:
        raise AssertionError("the loopback is not slow")

    def heal(self) -> None:
        """Nothing was wrong."""

    def close(self) -> None:
        """There is nothing to take down."""


class Namespaces:
    """A namespace for each server. Raises OSError where this user may not make some."""

    can_fail = True

    def __init__(self, servers: Sequence[int]) -> None:
        number = os.getpid()
        self._servers = tuple(servers)
        self._tag = f"zkn{number % 1_000_000}"
        self._subnet = f"10.{200 + number // 256 % 50}.{number % 256}"
        self._blocks: Counter[tuple[int, int]] = Counter()
        self._slowed: set[int] = set()
        try:
            self._make()
        except OSError:
            self.close()
            raise

    def _make(self) -> None:
        bridge = f"{self._tag}b"
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self.address(CLIENTS)}/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        for server_id in self._servers:
            name, end = self._name(server_id), f"{self._tag}v{server_id}"
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "link", "set", end, "master", bridge, "up")
            _run("ip", "-n", name, "addr", "add", f"{self.address(server_id)}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "link", "set", "eth0", "up")

    def _name(self, server_id: int) -> str:
        return f"{self._tag}-{server_id}"

    def address(self, server_id: int) -> str:
        """See `Network`, also for what follows."""
        return f"{self._subnet}.{server_id or _CLIENTS_HOST}"

    def ports(self, server_id: int) -> Ports:
        return Ports(2181, 2888, 3888)

    def inside(self, server_id: int) -> list[str]:
        # `ip netns exec` would give it its own view of what is mounted, in which no power can be cut.
        return ["nsenter", f"--net=/run/netns/{self._name(server_id)}"]

    def block(self, sender: int, receiver: int) -> None:
        self._blocks[sender, receiver] += 1
        if self._blocks[sender, receiver] == 1:
            where = (*self._neighbour(sender, "replace", receiver), "lladdr", _NOBODY, "nud", "permanent")
            _run(*where, "dev", self._device(sender))

    def unblock(self, sender: int, receiver: int) -> None:
        self._blocks[sender, receiver] -= 1
        if self._blocks[sender, receiver] == 0:
            _run(*self._neighbour(sender, "del", receiver), "dev", self._device(sender))

    def _neighbour(self, sender: int, action: str, receiver: int) -> tuple[str, ...]:
        at = () if sender == CLIENTS else ("-n", self._name(sender))
        return ("ip", *at, "neigh", action, self.address(receiver))

    def _device(self, sender: int) -> str:
        return f"{self._tag}b" if sender == CLIENTS else "eth0"

    def slow(self, server_id: int, kbit_s: int) -> None:
        discipline = ("dev", "eth0", "root")
        if kbit_s:
            rate = ("tbf", "rate", f"{kbit_s}kbit", "burst", "16kbit", "latency", "500ms")
            _run(*self.inside(server_id), "tc", "qdisc", "replace", *discipline, *rate)
            self._slowed.add(server_id)
        elif server_id in self._slowed:
            self._slowed.discard(server_id)
            _run(*self.inside(server_id), "tc", "qdisc", "del", *discipline)

    def heal(self) -> None:
        for (sender, receiver), count in self._blocks.items():
            if count > 0:
                self._blocks[sender, receiver] = 1
                self.unblock(sender, receiver)
        for server_id in tuple(self._slowed):
            self.slow(server_id, 0)

    def close(self) -> None:
        for server_id in self._servers:
            with suppress(OSError):
                _run("ip", "netns", "del", self._name(server_id))
        with suppress(OSError):
            _run("ip", "link", "del", f"{self._tag}b")


def _run(*command: str) -> None:
    """Raises OSError with what the command says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
