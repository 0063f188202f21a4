"""One whole run: servers, clients, faults; then calm, rest, the end of all servers at once, and the verdict."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from zkstore.testing.checkers.check import Allowances
from zkstore.testing.checkers.history import Call
from zkstore.testing.clients.client import State
from zkstore.testing.clients.workloads import Workload
from zkstore.testing.nemesis import disk, timeline
from zkstore.testing.nemesis.admin import Admin
from zkstore.testing.nemesis.case import Case, Outcome
from zkstore.testing.nemesis.judging import Clocks, Shelf, judge
from zkstore.testing.nemesis.places import Places
from zkstore.testing.nemesis.recording import Recording
from zkstore.testing.nemesis.servers import SYNC_LIMIT, TICK_MS, Ensemble, Server
from zkstore.testing.nemesis.sockets import Sockets
from zkstore.testing.nemesis.stage import Stage, Tell
from zkstore.testing.nemesis.striking import Striker

_START_US_MAX: Final = 60_000_000
_STEP_US: Final = 100_000
_MEMBERS_US_MAX: Final = 60_000_000
_SERVED_US_MAX: Final = 60_000_000
_SLACK: Final = 20
"""What is to be over in a certain time gets so many times longer as clients were called too late at most: a machine
that is busy with something else holds up the servers, too."""
_FAREWELL_US: Final = 2_000_000
_ALIKE_US_MAX: Final = 60_000_000
_PROGRESS_US: Final = 500_000
_TOLD_EVERY: Final = 10
_ASK_S: Final = 1.0


class Progress(NamedTuple):
    """How far a run is: faults that struck, processes started, requests and answers so far."""

    struck: int
    starts: int
    calls: int
    at_us: int


Look = Callable[[Progress], None]


def run(case: Case, root: Path, tell: Tell, keep: Callable[[], object], look: Look | None = None) -> Outcome:
    """Run a case with its files below `root`, which is empty. Raises ConfigError for kinds that cannot be had here.

    `keep` is called if something was wrong, while all of the files, also those on small disks, are still there.
    `look` is called twice a second.
    """
    with ExitStack() as stack:
        # One more than the case has, for somebody to come and go.
        several = case.servers > 1
        ids = range(1, case.servers + (2 if several else 1))
        places = Places(case, ids, root, stack)
        ensemble = Ensemble(case, places, ids, root)
        stack.callback(ensemble.kill)
        outcome = Run(case, ensemble, places, tell, look).play()
        if outcome.problems:
            keep()
        return outcome


class Run:
    """The parts of a run, one after the other."""

    def __init__(self, case: Case, ensemble: Ensemble, places: Places, tell: Tell, look: Look | None = None) -> None:
        self._case = case
        self._look = look
        self._reports = 0
        self._ensemble = ensemble
        self._tell = tell
        self._outcome = Outcome(case, places.kinds)
        network = ensemble.network
        self._addresses = {each: (network.address(each), network.ports(each).client) for each in ensemble.servers}
        self._sockets = Sockets(self._addresses)
        self._history = Recording(
            report_us=TICK_MS * 1000, local_sessions=case.local_sessions, upgrades=case.upgrades_sessions
        )
        self._shelf = Shelf()
        changes_members = "members" in places.kinds
        found = tuple(ensemble.servers if changes_members else ensemble.voters)
        self._admin: Admin | None = None
        if changes_members:
            random, voters = Random(f"admin {case.seed}"), tuple(ensemble.voters)
            self._admin = Admin(
                self._sockets, self._history, random, voters, ensemble.line, timeout_ms=case.timeouts_ms[-1]
            )
        stage = Stage(
            self._sockets,
            ensemble,
            places,
            disturbed=self._disturbed,
            is_served=self._is_served,
            ended=self._ended,
            damage=self._damage,
            tell=tell,
        )
        self._stage = stage
        self._striker = Striker(stage, self._admin)
        self._workload = Workload(
            self._sockets,
            self._history,
            Random(f"clients {case.seed}"),
            found,
            count=case.clients,
            timeouts_ms=case.timeouts_ms,
            think_us=case.think_us,
            are_loyal=case.local_sessions,
        )

    def _disturbed(self) -> None:
        self._history.disturbed(self._sockets.now_us)

    def _is_served(self, since_us: int) -> bool:
        """Whether a client was answered since then."""
        newest = self._history.channels[-2 * self._case.clients :]
        return any(
            isinstance(item, Call) and item.returned_us > since_us
            for channel in newest
            for item in channel.received[-1:]
        )

    def _ended(self, server: Server) -> None:
        """It has forgotten its local sessions. One that stands alone may drop its history, so that is read now."""
        self._history.forgot(server.server_id, self._sockets.now_us)
        if self._case.servers == 1:
            self._shelf.take(server.server_id, server.directory)

    def _damage(self, server: Server, of_log: bool, place_permille: int) -> None:
        """What it had may be nowhere else once it has begun anew: it is read before."""
        self._shelf.take(server.server_id, server.directory)
        self._shelf.put_away(server.server_id)
        disk.damage(server.directory, of_log, place_permille)

    def play(self) -> Outcome:
        """All of it."""
        outcome, stage = self._outcome, self._stage
        try:
            for voter in self._ensemble.voters:
                self._ensemble.servers[voter].start(self._sockets.now_us)
            self._go_on_until(_START_US_MAX, lambda: self._is_led() or bool(self._ensemble.unexpected_ends()))
            for server in self._ensemble.unexpected_ends():
                stage.findings.append(f"server {server.server_id} does not start:\n{server.last_words()}")
            if not stage.findings and not self._is_led():
                stage.findings.append(f"nobody leads within {_START_US_MAX // 1_000_000} s of the start")
            if stage.findings:
                outcome.findings += stage.findings
                return outcome
            began_us = self._sockets.now_us
            self._work(began_us)
            self._rest()
        finally:
            self._sockets.close()
            self._ensemble.kill()
        outcome.timeline = timeline.drawn_from(self._history, self._striker.strikes, began_us, self._history.rested_us)
        self._judge()
        return outcome

    def _work(self, began_us: int) -> None:
        self._workload.start()
        if self._admin is not None:
            self._admin.start()
        self._striker.watch()
        self._report()
        faults = self._case.faults(self._outcome.kinds)
        if self._case.in_turn and faults:
            self._stage.later(faults[0].at_ms, lambda: self._striker.schedule_in_turn(faults))
        else:
            for fault in faults:
                self._striker.schedule(fault, began_us)
        self._sockets.run(began_us + self._case.for_ms * 1000)
        self._striker.heal()
        self._tell(f"{self._sockets.now_us / 1e6:8.3f} s  all is well again")
        self._sockets.run(self._sockets.now_us + self._case.calm_ms * 1000)
        self._go_on_until(_SERVED_US_MAX, self._is_everybody_served)
        admin = self._admin
        if admin is not None:
            self._go_on_until(_MEMBERS_US_MAX, lambda: admin.is_content)
            if not admin.is_content:
                self._stage.find(f"the members do not become {admin.wanted}; they are {admin.found}")
            self._striker.see_off()

    def _rest(self) -> None:
        self._workload.rest()
        if self._admin is not None:
            self._admin.rest()
        rest_us = 2 * max(self._case.timeouts_ms) * 1000 + 4 * TICK_MS * 1000
        self._sockets.run(self._sockets.now_us + rest_us)
        self._go_on_until(_SERVED_US_MAX, self._is_everybody_served)
        self._workload.look_once_more()
        self._sockets.run(self._sockets.now_us + _FAREWELL_US)
        self._history.ended(self._sockets.now_us)
        self._go_on_until(_ALIKE_US_MAX, self._is_alike)
        zxids = self._zxids()
        if not _are_alike(zxids):
            self._stage.findings.append(f"servers are not alike at the end: {zxids}")

    def _judge(self) -> None:
        history, outcome, servers = self._history, self._outcome, self._ensemble.servers
        outcome.struck = dict(self._striker.struck)
        outcome.findings += self._stage.findings
        outcome.late_us = self._sockets.late_us
        outcome.calls = history.calls_count
        outcome.answers = sum(call.returned_us >= 0 for channel in history.channels for call in channel.calls)
        outcome.starts = sum(server.starts for server in servers.values())
        leaders = self._note_leaders()
        began_anew = sum(server.began_anew for server in servers.values())
        if began_anew:
            outcome.struck["BeganAnew"] = began_anew
        for server in servers.values():
            self._shelf.take(server.server_id, server.directory)
        for server in self._ensemble.visitors():
            self._shelf.trim(server.server_id)
        outcome.dropped_zxid = self._shelf.dropped_zxid
        outcome.is_judged = not self._shelf.has_gap
        if not outcome.is_judged:
            outcome.findings += self._shelf.findings
            return
        members = {each: servers[each].directory for each in self._ensemble.voters}
        clocks = Clocks(self._sockets.began_ms, leaders, {each: server.clock for each, server in servers.items()})
        outcome.verdict, found = judge(history, self._shelf, members, clocks, self._allowances())
        outcome.findings += found
        outcome.txns = len(history.txns)

    def _allowances(self) -> Allowances:
        slack_us = _SLACK * self._sockets.late_us
        return Allowances(
            tick_us=TICK_MS * 1000,
            clock_error=0.02,
            settle_us=self._case.calm_ms * 1000 + slack_us,
            quiet_us=(SYNC_LIMIT + 3) * TICK_MS * 1000 + slack_us,
            behind_us=20_000_000 + slack_us,
            serve_us=20_000_000 + slack_us,
            answer_us=5_000_000 + slack_us,
        )

    # --- looking at the servers -------------------------------------------------------------------

    def _go_on_until(self, at_most_us: int, holds: Callable[[], bool]) -> None:
        until_us = self._sockets.now_us + at_most_us
        while self._sockets.now_us < until_us and not holds():
            self._sockets.run(self._sockets.now_us + _STEP_US)
            self._ensemble.follow_logs(self._sockets.now_us)

    def _is_everybody_served(self) -> bool:
        return all(actor.client.state in (State.AT_WORK, State.GONE) for actor in self._workload.actors)

    def _is_led(self) -> bool:
        return self._ensemble.leader() is not None

    def _is_alike(self) -> bool:
        return _are_alike(self._zxids())

    def _zxids(self) -> list[str | None]:
        return [last_zxid(self._addresses[voter]) for voter in self._ensemble.voters]

    def _note_leaders(self) -> dict[int, int]:
        """Who led which epoch. Sessions' time began anew with the last leader."""
        leaders = {}
        self._ensemble.follow_logs(self._sockets.now_us)
        for server in self._ensemble.servers.values():
            for role in server.roles:
                if role.epoch:
                    leaders[role.epoch] = server.server_id
                    self._history.led(max(self._history.calm_us, role.time_us))
        self._outcome.epochs = len(leaders) if self._case.servers > 1 else self._outcome.starts
        return leaders

    def _report(self) -> None:
        if self._look is not None:
            starts = sum(server.starts for server in self._ensemble.servers.values())
            struck = sum(self._striker.struck.values())
            self._look(Progress(struck, starts, self._history.calls_count, self._sockets.now_us))
        if self._reports % _TOLD_EVERY == 0:
            self._tell_progress()
        self._reports += 1
        self._sockets.call_at(self._sockets.now_us + _PROGRESS_US, self._report)

    def _tell_progress(self) -> None:
        history = self._history
        at_work = sum(actor.client.is_at_work for actor in self._workload.actors)
        leader = self._ensemble.leader()
        self._tell(
            f"{self._sockets.now_us / 1e6:8.3f} s  {history.calls_count} requests, {at_work} of"
            f" {len(self._workload.actors)} clients connected, zxid {history.shown_zxid:#x},"
            f" leader {leader.server_id if leader is not None else 'none'}"
        )


def _are_alike(zxids: list[str | None]) -> bool:
    return None not in zxids and len(set(zxids)) == 1


def last_zxid(address: tuple[str, int]) -> str | None:
    """What a server says its last zxid is; None if it serves nobody."""
    try:
        with socket.create_connection(address, _ASK_S) as asking:
            asking.sendall(b"srvr")
            answer = b"".join(iter(lambda: asking.recv(4096), b"")).decode()
    except OSError:
        return None
    for line in answer.splitlines():
        if line.startswith("Zxid: "):
            return line.removeprefix("Zxid: ")
    return None
