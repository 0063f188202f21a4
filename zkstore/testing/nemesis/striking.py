"""Carries out a plan of faults on the servers of a run, and tells of each."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from zkstore.testing.nemesis.admin import OBSERVER, VOTER, Admin
from zkstore.testing.nemesis.faults import (
    BOTH,
    IN,
    LEADER,
    OUT,
    ClockStep,
    CrashPoint,
    Damage,
    Fault,
    Flap,
    Full,
    Isolate,
    Kill,
    KillAll,
    Leave,
    Pause,
    Power,
    PowerAll,
    Restart,
    Rolling,
    Slow,
    SlowDisk,
    Split,
    Visit,
)
from zkstore.testing.nemesis.network import CLIENTS
from zkstore.testing.nemesis.processes import Processes
from zkstore.testing.nemesis.servers import Server
from zkstore.testing.nemesis.stage import LOOK_MS, Stage
from zkstore.testing.nemesis.timeline import Strike

_IMPATIENT_ONE_IN: Final = 5
_SERVICE_LOOK_MS: Final = 10
_PATIENCE_US: Final = 15_000_000

_OfOne = Kill | Power | CrashPoint | Damage | Pause | Restart | Isolate | Flap | Slow | SlowDisk | ClockStep | Leave


class Striker:
    """Strikes when the plan says so.

    Attributes:
        struck: how often each kind did something.
        strikes: all that did something, oldest first.
    """

    def __init__(self, stage: Stage, admin: Admin | None) -> None:
        self._stage = stage
        self._ensemble = stage.ensemble
        self._network = stage.ensemble.network
        self._processes = Processes(stage)
        self._admin = admin
        self._is_visited = False
        self.struck: Counter[str] = Counter()
        self.strikes: list[Strike] = []

    def schedule(self, fault: Fault, began_us: int) -> None:
        """Let it come when it is due, counted from then."""
        now_us = self._stage.sockets.now_us
        self._stage.later(fault.at_ms - (now_us - began_us) // 1000, lambda: self._strike(fault))

    def schedule_in_turn(self, faults: Sequence[Fault]) -> None:
        """Let each come so long after the one before as planned, counted from when clients were answered again.

        One in a few is counted from the one before itself, and so comes while a server starts.
        """
        if self._stage.is_over or not faults:
            return
        first, following = faults[0], faults[1:]
        self._strike(first)
        if following:
            since_us, delay_ms = self._stage.sockets.now_us, following[0].at_ms - first.at_ms
            if following[0].at_ms % _IMPATIENT_ONE_IN == 0:
                self._stage.later(delay_ms, lambda: self.schedule_in_turn(following))
            else:
                go_on = partial(self.schedule_in_turn, following)
                self._await_service(since_us, lambda: self._stage.later(delay_ms, go_on))

    def _await_service(self, since_us: int, action: Callable[[], None]) -> None:
        if self._stage.is_served(since_us) or self._stage.sockets.now_us > since_us + _PATIENCE_US:
            action()
        else:
            self._stage.later(_SERVICE_LOOK_MS, lambda: self._await_service(since_us, action))

    def watch(self) -> None:
        """From now on read the logs, and look after servers that end by themselves; they are started again."""
        self._ensemble.follow_logs(self._stage.sockets.now_us)
        for server in self._ensemble.unexpected_ends():
            if server.is_armed and server.exit_code == -signal.SIGKILL:
                self._crashed(server)
                continue
            text = f"ended by itself with {server.exit_code}:\n{server.last_words()}"
            self._stage.find(f"server {server.server_id} {text}")
            self._processes.start(server)
        self._stage.later(LOOK_MS, self.watch)

    def _crashed(self, server: Server) -> None:
        """It came by its failpoint."""
        now_us = self._stage.sockets.now_us
        self._stage.disturbed()
        self._stage.tell(f"{now_us / 1e6:8.3f} s  server {server.server_id} has killed itself at its failpoint")
        self._processes.start(server)
        is_alone = len(self._ensemble.voters) == 1
        self.struck["CrashedAtPoint"] += 1
        self.strikes.append(Strike("CrashPoint", now_us, now_us, server.server_id, is_alone, is_alone))

    def heal(self) -> None:
        """No fault any more: everything that was taken away is given back, all servers run."""
        self._stage.is_over = True
        self._stage.disturbed()
        self._network.heal()
        if self._stage.places.small_disk is not None:
            self._stage.places.small_disk.free()
        if self._admin is not None:
            self._admin.wanted = dict.fromkeys(self._ensemble.voters, VOTER)
        self._processes.heal()

    # --- one fault --------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        stage = self._stage
        if stage.is_over:
            return  # The machine was so busy that it comes too late: nobody would ever undo it.
        stage.disturbed()
        began_us = stage.sockets.now_us
        leader = self._ensemble.leader()
        hit = self._hit(fault, leader)
        named = f" (server {hit[0].server_id})" if hit and getattr(fault, "server", 1) == LEADER else ""
        stage.tell(f"{began_us / 1e6:8.3f} s  {fault}{': nothing to do' if hit is None else named}")
        if hit is None:
            return
        kind = type(fault).__name__
        lasts_ms = getattr(fault, "for_ms", 0) or getattr(fault, "down_ms", 0)
        hit_all = len(hit) >= len(self._ensemble.voters)
        server_id = hit[0].server_id if len(hit) == 1 else 0
        # What hits everybody is over, at the earliest, when this returns: servers have been killed and started.
        until_us = max(stage.sockets.now_us, began_us + lasts_ms * 1000)
        self.struck[kind] += 1
        self.strikes.append(Strike(kind, began_us, until_us, server_id, hit_all or leader in hit, hit_all))

    def _hit(self, fault: Fault, leader: Server | None) -> list[Server] | None:
        """Who was hit, none if it was somebody else; None if there was nothing to do."""
        running = [server for server in self._ensemble.servers.values() if server.is_running]
        if isinstance(fault, KillAll | PowerAll):
            self._processes.kill(running, fault.down_ms, with_power=isinstance(fault, PowerAll))
            return running
        if isinstance(fault, Rolling):
            self._processes.roll(list(self._ensemble.servers.values()), fault.gap_ms)
            return []
        if isinstance(fault, Full):
            disk = self._stage.places.small_disk
            assert disk is not None, "no plan has this without a small disk"
            disk.fill()
            self._stage.until(fault.for_ms, disk.free)
            return []
        if isinstance(fault, Split):
            self._lose(fault.one, {fault.other}, fault.way, fault.for_ms)
            return []
        if isinstance(fault, Visit):
            return self._invite(fault.for_ms)
        server = leader if fault.server == LEADER else self._ensemble.servers[fault.server]
        if server is None or not server.is_wanted or not server.is_running:
            return None
        return [server] if self._hit_one(fault, server) else None

    def _hit_one(self, fault: _OfOne, server: Server) -> bool:
        server_id = server.server_id
        if isinstance(fault, Kill | Power):
            self._processes.kill([server], fault.down_ms, with_power=isinstance(fault, Power))
        elif isinstance(fault, CrashPoint):
            self._processes.crash_at(server, f"{fault.point}=crash@{fault.hit}")
        elif isinstance(fault, Damage):
            if server_id not in self._ensemble.voters:
                return False
            damage = partial(self._stage.damage, server, fault.of_log, fault.place_permille)
            return self._processes.damage(server, fault.down_ms, damage)
        elif isinstance(fault, Pause):
            self._processes.pause(server, fault.for_ms)
        elif isinstance(fault, Restart):
            self._processes.restart(server)
        elif isinstance(fault, SlowDisk):
            self._processes.slow_disk(server, fault.for_ms, fault.sync_ms)
        elif isinstance(fault, ClockStep):
            server.step_clock(fault.by_ms, self._stage.sockets.now_us)
        elif isinstance(fault, Isolate):
            others = set(self._ensemble.servers) - {server_id}
            self._lose(server_id, others | {CLIENTS} if fault.clients else others, fault.way, fault.for_ms)
        elif isinstance(fault, Flap):
            self._flap(server_id, fault.for_ms, fault.period_ms)
        elif isinstance(fault, Slow):
            self._network.slow(server_id, fault.kbit_s)
            self._stage.until(fault.for_ms, lambda: self._network.slow(server_id, 0))
        else:
            return self._send_away(server_id, fault.for_ms)
        return True

    # --- the members ------------------------------------------------------------------------------

    def _send_away(self, server_id: int, for_ms: int) -> bool:
        """The ensemble goes on without a server for a while; without one at a time."""
        admin = self._admin
        assert admin is not None, "no plan has this without somebody who changes the members"
        if not set(self._ensemble.voters) <= set(admin.wanted) or server_id not in self._ensemble.voters:
            return False
        del admin.wanted[server_id]
        self._stage.until(for_ms, lambda: admin.wanted.update({server_id: VOTER}))
        return True

    def _invite(self, for_ms: int) -> list[Server] | None:
        """One server more, an observer first, then a voter; one visit at a time."""
        admin = self._admin
        assert admin is not None, "no plan has this without somebody who changes the members"
        (visitor,) = self._ensemble.visitors()
        if self._is_visited or visitor.is_running:
            return None
        self._is_visited = True
        self._processes.start(visitor)
        admin.wanted[visitor.server_id] = OBSERVER
        self._stage.until(for_ms // 2, lambda: admin.wanted.update({visitor.server_id: VOTER}))
        self._stage.until(for_ms, lambda: self._see_off(visitor))
        return [visitor]

    def see_off(self) -> None:
        """At the end nobody visits."""
        for visitor in self._ensemble.visitors():
            visitor.is_meant = False
            self._processes.stop(visitor)

    def _see_off(self, visitor: Server) -> None:
        """The visitor goes, and is stopped once the others go on without it."""
        admin = self._admin
        assert admin is not None, "it was invited"
        admin.wanted.pop(visitor.server_id, None)
        if admin.is_member(visitor.server_id) or not admin.is_content:
            self._stage.until(LOOK_MS, lambda: self._see_off(visitor))
            return
        self._is_visited = visitor.is_meant = False
        self._processes.stop(visitor)
        self._processes.start_again(visitor)

    # --- the network ------------------------------------------------------------------------------

    def _lose(self, server_id: int, others: set[int], way: str, for_ms: int) -> None:
        pairs = [(server_id, other) for other in others if way in (OUT, BOTH)]
        pairs += [(other, server_id) for other in others if way in (IN, BOTH)]
        for pair in pairs:
            self._network.block(*pair)

        def undo() -> None:
            for pair in pairs:
                self._network.unblock(*pair)

        self._stage.until(for_ms, undo)

    def _flap(self, server_id: int, for_ms: int, period_ms: int) -> None:
        if for_ms <= 0:
            return
        self._lose(server_id, set(self._ensemble.servers) - {server_id}, BOTH, period_ms)
        self._stage.until(2 * period_ms, lambda: self._flap(server_id, for_ms - 2 * period_ms, period_ms))
