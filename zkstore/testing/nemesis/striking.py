"""Carries out a plan of faults on the servers of a run, and tells of each."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from typing import Final

from zkstore.testing.nemesis.disk import SmallDisk
from zkstore.testing.nemesis.faults import (
    BOTH,
    IN,
    LEADER,
    OUT,
    Fault,
    Flap,
    Full,
    Isolate,
    Kill,
    KillAll,
    Pause,
    Restart,
    Rolling,
    Slow,
    Split,
)
from zkstore.testing.nemesis.network import CLIENTS
from zkstore.testing.nemesis.servers import Ensemble, Server
from zkstore.testing.nemesis.sockets import Sockets

_LOOK_MS: Final = 50
_STOP_MS_MAX: Final = 20_000

Tell = Callable[[str], None]


class Striker:
    """Strikes when the plan says so.

    Attributes:
        struck: how often each kind did something.
        findings: what a server did that it must not: ended by itself, or did not end when it was told to.
    """

    def __init__(
        self, sockets: Sockets, ensemble: Ensemble, disk: SmallDisk | None, disturbed: Callable[[], None], tell: Tell
    ) -> None:
        self._sockets = sockets
        self._ensemble = ensemble
        self._network = ensemble.network
        self._disk = disk
        self._disturbed = disturbed
        self._tell = tell
        self._is_over = False
        self.struck: Counter[str] = Counter()
        self.findings: list[str] = []

    def schedule(self, fault: Fault) -> None:
        """Let it come when it is due."""
        self._later(fault.at_ms - self._sockets.now_us // 1000, lambda: self._strike(fault))

    def watch(self) -> None:
        """From now on look after servers that end by themselves; they are started again."""
        for server in self._ensemble.unexpected_ends():
            self._find(f"server {server.server_id} ended by itself with {server.exit_code}:\n{server.last_words()}")
            server.start()
        self._later(_LOOK_MS, self.watch)

    def heal(self) -> None:
        """No fault any more: everything that was taken away is given back, all servers run."""
        self._is_over = True
        self._disturbed()
        self._network.heal()
        if self._disk is not None:
            self._disk.free()
        for server in self._ensemble.servers.values():
            server.send(signal.SIGCONT)
            if not server.is_wanted:
                self._start_again(server, self._sockets.now_us)

    def _find(self, text: str) -> None:
        self._tell(f"FOUND {text}")
        self.findings.append(text)

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._sockets.call_at(self._sockets.now_us + delay_ms * 1000, action)

    def _until(self, for_ms: int, undo: Callable[[], None]) -> None:
        """Undo something after a while, unless all has been undone by then."""

        def act() -> None:
            if not self._is_over:
                self._disturbed()
                undo()

        self._later(for_ms, act)

    # --- one fault --------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        self._disturbed()
        hit = self._hit(fault)
        self._tell(f"{self._sockets.now_us / 1e6:8.3f} s  {fault}{': nothing to do' if hit is None else hit}")
        if hit is not None:
            self.struck[type(fault).__name__] += 1

    def _hit(self, fault: Fault) -> str | None:
        """What was hit, None if there was nothing to do."""
        if isinstance(fault, KillAll):
            for server in self._ensemble.servers.values():
                server.is_wanted = False
                server.send(signal.SIGKILL)
            for server in self._ensemble.servers.values():
                self._kill(server, fault.down_ms)
            return ""
        if isinstance(fault, Rolling):
            self._roll(list(self._ensemble.servers.values()), fault.gap_ms)
            return ""
        if isinstance(fault, Full):
            assert self._disk is not None, "no plan has this without a small disk"
            self._disk.fill()
            self._until(fault.for_ms, self._disk.free)
            return ""
        if isinstance(fault, Split):
            self._lose(fault.one, {fault.other}, fault.way, fault.for_ms)
            return ""
        if fault.server != LEADER:
            named = self._ensemble.servers[fault.server]
            return self._hit_one(fault, named) if named.is_running and named.is_wanted else None
        leader = self._ensemble.leader()
        if leader is None or not leader.is_wanted:
            return None
        return f"{self._hit_one(fault, leader)} (server {leader.server_id})"

    def _hit_one(self, fault: Kill | Pause | Restart | Isolate | Flap | Slow, server: Server) -> str:
        server_id = server.server_id
        if isinstance(fault, Kill):
            self._kill(server, fault.down_ms)
        elif isinstance(fault, Pause):
            self._pause(server, fault.for_ms)
        elif isinstance(fault, Restart):
            self._restart(server)
        elif isinstance(fault, Isolate):
            others = set(self._ensemble.servers) - {server_id}
            self._lose(server_id, others | {CLIENTS} if fault.clients else others, fault.way, fault.for_ms)
        elif isinstance(fault, Flap):
            self._flap(server_id, fault.for_ms, fault.period_ms)
        else:
            self._network.slow(server_id, fault.kbit_s)
            self._until(fault.for_ms, lambda: self._network.slow(server_id, 0))
        return ""

    # --- processes --------------------------------------------------------------------------------

    def _kill(self, server: Server, down_ms: int) -> None:
        server.kill()
        self._until(down_ms, lambda: None if server.is_wanted else server.start())

    def _pause(self, server: Server, for_ms: int) -> None:
        pid = server.pid
        server.send(signal.SIGSTOP)
        self._until(for_ms, lambda: server.send(signal.SIGCONT) if server.pid == pid else None)

    def _restart(self, server: Server) -> None:
        server.terminate()
        server.send(signal.SIGCONT)  # One that was paused could not hear.
        self._start_again(server, self._sockets.now_us)

    def _start_again(self, server: Server, since_us: int) -> None:
        """Start a server once its process has ended, which it was told to; or has been killed."""
        if server.is_wanted:
            return
        if not server.is_running:
            if server.exit_code not in (0, -signal.SIGKILL):
                text = f"{server.exit_code} when it was told to stop:\n{server.last_words()}"
                self._find(f"server {server.server_id} ended with {text}")
            self._disturbed()
            server.start()
            return
        if self._sockets.now_us > since_us + _STOP_MS_MAX * 1000:
            self._find(f"server {server.server_id} does not stop within {_STOP_MS_MAX} ms:\n{server.last_words()}")
            server.kill()
        self._later(_LOOK_MS, lambda: self._start_again(server, since_us))

    def _roll(self, servers: list[Server], gap_ms: int) -> None:
        server = servers.pop(0)
        if server.is_running and server.is_wanted:
            self._restart(server)
        if servers:
            self._until(gap_ms, lambda: self._roll(servers, gap_ms))

    # --- the network ------------------------------------------------------------------------------

    def _lose(self, server_id: int, others: set[int], way: str, for_ms: int) -> None:
        pairs = [(server_id, other) for other in others if way in (OUT, BOTH)]
        pairs += [(other, server_id) for other in others if way in (IN, BOTH)]
        for pair in pairs:
            self._network.block(*pair)

        def undo() -> None:
            for pair in pairs:
                self._network.unblock(*pair)

        self._until(for_ms, undo)

    def _flap(self, server_id: int, for_ms: int, period_ms: int) -> None:
        if for_ms <= 0:
            return
        self._lose(server_id, set(self._ensemble.servers) - {server_id}, BOTH, period_ms)
        self._until(2 * period_ms, lambda: self._flap(server_id, for_ms - 2 * period_ms, period_ms))
