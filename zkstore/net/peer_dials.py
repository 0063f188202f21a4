"""Dialling other servers: every one by a task of its own, so that one that does not answer holds up nobody else.

A name is resolved anew at every dial, for machines move; by a thread, at most two at a time for one server, so that a
name server that hangs costs no other dial its turn. All of a server's addresses are tried, each a moment after the
one before, and the first that answers wins.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

import trio

from zkstore import failpoints

Address: TypeAlias = tuple[str, int]
"""Host name or address, and port."""

_NEXT_ADDRESS_AFTER_S: Final = 0.25  # as RFC 8305 has it
_LOOKUPS_MAX: Final = 2
_PAUSE_S_MIN: Final = 0.05
_PAUSE_S_MAX: Final = 2.0

SocketAddress: TypeAlias = tuple[int, tuple[Any, ...]]
"""Family, and what the system connects to."""

Connect: TypeAlias = Callable[[SocketAddress], Awaitable[socket.socket]]
"""Opens a connection. Raises OSError."""


class Dialled(NamedTuple):
    """A connected socket, the address it leads to, and the host by the name it was dialled by."""

    socket: socket.socket
    where: Address
    host: str


async def connect(address: SocketAddress) -> socket.socket:
    """A connected, non-blocking socket. Raises OSError."""
    family, where = address
    connecting = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        failpoints.hit("peer.dial")
        await connecting.connect(where)
    except BaseException:
        connecting.close()
        raise
    return socket.socket(fileno=connecting.detach())


class Dialler:
    """Dials one server, at one or more addresses; `timeout_s` holds for all of one dial."""

    def __init__(self, addresses: Sequence[Address], timeout_s: float, connect: Connect = connect) -> None:
        self.addresses = tuple(addresses)
        self._timeout_s = timeout_s
        self._connect = connect
        self._lookups = trio.CapacityLimiter(_LOOKUPS_MAX)

    @property
    def text(self) -> str:
        """Where it dials, for the log."""
        return " or ".join(f"{host}:{port}" for host, port in self.addresses)

    async def dial(self) -> Dialled:
        """Raises OSError, with the reasons of all addresses."""
        race = _Race()
        with trio.move_on_after(self._timeout_s) as limit:
            async with trio.open_nursery() as nursery:
                race.nursery = nursery
                for number, address in enumerate(self.addresses):
                    nursery.start_soon(self._look_up_and_try, race, number, address)
        while len(race.won) > 1:  # Two may arrive at the same moment.
            race.won.pop().socket.close()
        if race.won:
            return race.won[0]
        if limit.cancelled_caught:
            race.complaints.append(f"no answer within {self._timeout_s:g} s")
        raise OSError("; ".join(dict.fromkeys(race.complaints)))

    async def _look_up_and_try(self, race: _Race, number: int, address: Address) -> None:
        host, port = address
        try:
            found = await self._look_up(host, port)
        except OSError as error:
            race.complaints.append(f"{host}: {_reason(error)}")
            return
        for later, target in enumerate(found, number):
            race.nursery.start_soon(self._try, race, host, target, later * _NEXT_ADDRESS_AFTER_S)

    async def _try(self, race: _Race, host: str, target: SocketAddress, after_s: float) -> None:
        await trio.sleep(after_s)
        try:
            connected = await self._connect(target)
        except OSError as error:
            race.complaints.append(_reason(error))
            return
        race.won.append(Dialled(connected, (target[1][0], target[1][1]), host))
        race.nursery.cancel_scope.cancel()

    async def _look_up(self, host: str, port: int) -> list[SocketAddress]:
        """In the system's order of preference. Raises OSError."""
        try:
            return _addresses(host, port, socket.AI_NUMERICHOST)
        except OSError:
            return await trio.to_thread.run_sync(_addresses, host, port, limiter=self._lookups, abandon_on_cancel=True)


class _Race:
    """One dial: who takes part, who has arrived, and what went wrong with the others."""

    def __init__(self) -> None:
        self.nursery: trio.Nursery
        self.won: list[Dialled] = []
        self.complaints: list[str] = []


def _addresses(host: str, port: int, flags: int = 0) -> list[SocketAddress]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as error:  # Labels that are empty or too long for the domain name system.
        raise OSError(str(error)) from None
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class Arrivals:
    """How dials ended, for a loop that waits for descriptors: server, link or None for gossip, connection or None."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._arrived: list[tuple[int, int | None, Dialled | None]] = []

    def put(self, server_id: int, link: int | None, dialled: Dialled | None) -> None:
        """One more; the descriptor is readable now."""
        self._arrived.append((server_id, link, dialled))
        os.eventfd_write(self.descriptor, 1)

    def take(self) -> list[tuple[int, int | None, Dialled | None]]:
        """All since the last time."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)
        arrived, self._arrived = self._arrived, []
        return arrived

    def close(self) -> None:
        """Nobody takes what has arrived."""
        for _, _, dialled in self.take():
            if dialled is not None:
                dialled.socket.close()
        os.close(self.descriptor)


class Pause:
    """How long to wait until the next dial: doubles from 50 ms to 2 s, within a quarter as chance has it, so that
    servers that start together do not dial each other in step."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._next_s = _PAUSE_S_MIN

    def reset(self) -> None:
        """It went well."""
        self._next_s = _PAUSE_S_MIN

    def next_s(self) -> float:
        """Seconds; longer at every call."""
        pause_s = self._next_s
        self._next_s = min(pause_s * 2, _PAUSE_S_MAX)
        return pause_s * self._chance.uniform(0.75, 1.25)
