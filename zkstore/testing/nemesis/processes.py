"""What is done to the servers' processes: they are ended in all ways, and started again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Final

from zkstore.testing.nemesis.disk import SlowSyncs
from zkstore.testing.nemesis.servers import Server
from zkstore.testing.nemesis.stage import LOOK_MS, Stage

_STOP_MS_MAX: Final = 20_000


class Processes:
    """Ends servers and starts them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tracers: list[SlowSyncs] = []
        self._damaged: Server | None = None

    def start(self, server: Server, crash_at: str = "") -> None:
        """Start a server whose process has ended."""
        self._stage.ended(server)
        server.start(self._stage.sockets.now_us, crash_at=crash_at)

    def kill(self, servers: Sequence[Server], down_ms: int, *, with_power: bool = False) -> None:
        """kill -9 of some servers at once; of their machines, too, if `with_power`."""
        for server in servers:
            server.is_wanted = False
            server.send(signal.SIGKILL)
        for server in servers:
            server.kill()
            if with_power and server.server_id in self._stage.places.powered:
                self._stage.places.powered[server.server_id].cut()

        def start() -> None:
            for server in servers:
                if not server.is_wanted and server.is_meant:
                    self.start(server)

        if down_ms:
            self._stage.until(down_ms, start)
        else:
            start()

    def crash_at(self, server: Server, failpoint: str) -> None:
        """kill -9, and a start of which the process kills itself sooner or later."""
        server.kill()
        self.start(server, failpoint)

    def damage(self, server: Server, down_ms: int, damage: Callable[[], None]) -> bool:
        """kill -9 and damage to what is on the disk; not while another one has not recovered from the same."""
        if self._damaged is not None and not self._damaged.serves:
            return False
        self._damaged = server
        server.kill()
        damage()
        self._stage.until(down_ms, lambda: None if server.is_wanted else self.start(server))
        return True

    def pause(self, server: Server, for_ms: int) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        pid = server.pid
        server.send(signal.SIGSTOP)
        self._stage.until(for_ms, lambda: server.send(signal.SIGCONT) if server.pid == pid else None)

    def restart(self, server: Server) -> None:
        """SIGTERM, and a new start."""
        self.stop(server)
        self.start_again(server)

    def stop(self, server: Server) -> None:
        """SIGTERM."""
        server.terminate(self._stage.sockets.now_us)
        server.send(signal.SIGCONT)  # One that was paused could not hear.

    def start_again(self, server: Server, since_us: int = -1) -> None:
        """Start a server once its process has ended, which it was told to; or has been killed."""
        stage = self._stage
        since_us = stage.sockets.now_us if since_us < 0 else since_us
        if server.is_wanted:
            return
        if not server.is_running:
            allowed = (0, -signal.SIGKILL, None, *((-signal.SIGTERM,) if server.may_break_off else ()))
            if server.exit_code not in allowed:
                text = f"{server.exit_code} when it was told to stop:\n{server.last_words()}"
                stage.find(f"server {server.server_id} ended with {text}")
            stage.disturbed()
            if server.is_meant:
                self.start(server)
            return
        if stage.sockets.now_us > since_us + _STOP_MS_MAX * 1000:
            stage.find(f"server {server.server_id} does not stop within {_STOP_MS_MAX} ms:\n{server.last_words()}")
            server.kill()
        stage.later(LOOK_MS, lambda: self.start_again(server, since_us))

    def roll(self, servers: list[Server], gap_ms: int) -> None:
        """One restart after the other."""
        server = servers.pop(0)
        if server.is_running and server.is_wanted:
            self.restart(server)
        if servers:
            self._stage.until(gap_ms, lambda: self.roll(servers, gap_ms))

    def slow_disk(self, server: Server, for_ms: int, sync_ms: int) -> None:
        """Let it wait longer for its disk for a while."""
        tracer = SlowSyncs(server.pid, sync_ms)
        self._tracers.append(tracer)

        self._stage.until(for_ms, tracer.stop)

    def heal(self) -> None:
        """Everybody who is meant to runs, and nobody is held up."""
        while self._tracers:
            self._tracers.pop().close()
        for server in self._stage.ensemble.servers.values():
            server.send(signal.SIGCONT)
            if not server.is_wanted and server.is_meant:
                self.start_again(server)
