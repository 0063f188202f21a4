"""One whole run: servers, clients, faults; then calm, rest, the end of all servers at once, and the verdict.

Attributes of the machine decide what can go wrong: without the right to make network namespaces no packet is lost,
without the right to mount no disk is full. Who asks for such a kind all the same is told so.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from zkstore.errors import ConfigError
from zkstore.testing.checkers.check import Allowances
from zkstore.testing.checkers.history import History
from zkstore.testing.checkers.verdict import Verdict
from zkstore.testing.clients.workloads import Workload
from zkstore.testing.nemesis import faults as planning
from zkstore.testing.nemesis.disk import SmallDisk
from zkstore.testing.nemesis.faults import KINDS, OF_THE_DISK, OF_THE_NETWORK
from zkstore.testing.nemesis.judging import judge
from zkstore.testing.nemesis.network import Loopback, Network, best
from zkstore.testing.nemesis.servers import SYNC_LIMIT, TICK_MS, Ensemble
from zkstore.testing.nemesis.sockets import Sockets
from zkstore.testing.nemesis.striking import Striker

TIMEOUTS_MS: Final = (2_000, 4_000)

_START_US_MAX: Final = 60_000_000
_STEP_US: Final = 100_000
_CALM_US: Final = 10_000_000
_REST_US: Final = 2 * max(TIMEOUTS_MS) * 1000 + 4 * TICK_MS * 1000
_FAREWELL_US: Final = 2_000_000
_ALIKE_US_MAX: Final = 20_000_000
_PROGRESS_US: Final = 5_000_000
_ASK_S: Final = 1.0

_ALLOWANCES: Final = Allowances(
    tick_us=TICK_MS * 1000,
    clock_error=0.02,
    settle_us=10_000_000,
    quiet_us=(SYNC_LIMIT + 3) * TICK_MS * 1000,
    behind_us=20_000_000,
    serve_us=20_000_000,
)


@dataclass(frozen=True, slots=True)
class Case:
    """What to run: everything but the time that things take follows from it.

    Attributes:
        for_ms: how long faults come.
        kinds: of faults; empty for all that this machine allows.
        think_us: the mean pause of a client between two recipes.
    """

    seed: int
    servers: int = 3
    for_ms: int = 20_000
    clients: int = 8
    kinds: tuple[str, ...] = ()
    think_us: int = 60_000


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        findings: what was wrong beside the verdict's violations.
        epochs: how many leaders there were.
        late_us: how much too late the clients were called at most: how busy the machine was.
    """

    case: Case
    kinds: tuple[str, ...]
    findings: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    struck: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    answers: int = 0
    txns: int = 0
    epochs: int = 0
    late_us: int = 0

    @property
    def problems(self) -> list[str]:
        """All that is wrong, as text."""
        violations = self.verdict.violations if self.verdict is not None else []
        return [*self.findings, *map(str, violations)]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        verdict = self.verdict
        return {
            "seed": self.case.seed,
            "servers": self.case.servers,
            "kinds": list(self.kinds),
            "problems": self.problems,
            "struck": self.struck,
            "calls": self.calls,
            "answers": self.answers,
            "txns": self.txns,
            "leaders": self.epochs,
            "late_ms": self.late_us // 1000,
            "checks": verdict.counts if verdict is not None else {},
            "never_checked": verdict.never() if verdict is not None else [],
            "first_answer_ms": verdict.served_us // 1000 if verdict is not None else -1,
            "behind_ms": verdict.behind_us // 1000 if verdict is not None else 0,
        }


def run(case: Case, root: Path, tell: Callable[[str], None], keep: Callable[[], object]) -> Outcome:
    """Run a case with its files below `root`, which is empty. Raises ConfigError for kinds that cannot be had here.

    `keep` is called if something was wrong, while all of the files, also those of the small disk, are still there.
    """
    unknown = set(case.kinds) - set(KINDS)
    if unknown:
        raise ConfigError(f"there is no kind {min(unknown)!r}; choose from {', '.join(KINDS)}")
    with ExitStack() as stack:
        ids = range(1, case.servers + 1)
        wants_network = not case.kinds or bool(OF_THE_NETWORK.intersection(case.kinds))
        network = best(ids) if wants_network else Loopback(ids)
        stack.callback(network.close)
        disk = None
        if not case.kinds or OF_THE_DISK.intersection(case.kinds):
            with suppress(OSError):
                disk = SmallDisk(root / "small-disk")
                stack.callback(disk.close)
        kinds = _possible(case, network, disk)
        directories = {} if disk is None else {case.servers: disk.path / str(case.servers)}
        ensemble = Ensemble(root, network, case.servers, directories)
        stack.callback(ensemble.kill)
        outcome = Run(case, kinds, ensemble, disk, tell).play()
        if outcome.problems:
            keep()
        return outcome


def _possible(case: Case, network: Network, disk: SmallDisk | None) -> tuple[str, ...]:
    impossible = (set() if network.can_fail else OF_THE_NETWORK) | (set() if disk is not None else OF_THE_DISK)
    for kind in case.kinds:
        if kind in impossible:
            what = "mount a small disk" if kind in OF_THE_DISK else "make network namespaces (ip netns, ip link)"
            raise ConfigError(f"{kind}: this user may not {what} here; run as root, or leave this kind away")
    return tuple(kind for kind in case.kinds or KINDS if kind not in impossible)


class Run:
    """The parts of a run, one after the other."""

    def __init__(
        self,
        case: Case,
        kinds: tuple[str, ...],
        ensemble: Ensemble,
        disk: SmallDisk | None,
        tell: Callable[[str], None],
    ) -> None:
        self._case = case
        self._ensemble = ensemble
        self._tell = tell
        network = ensemble.network
        self._addresses = {each: (network.address(each), network.ports(each).client) for each in ensemble.servers}
        self._sockets = Sockets(self._addresses)
        self._history = History(report_us=TICK_MS * 1000)
        self._striker = Striker(self._sockets, ensemble, disk, self._disturbed, tell)
        self._workload = Workload(
            self._sockets,
            self._history,
            Random(f"clients {case.seed}"),
            tuple(ensemble.servers),
            count=case.clients,
            timeouts_ms=TIMEOUTS_MS,
            think_us=case.think_us,
        )
        self._outcome = Outcome(case, kinds)

    def _disturbed(self) -> None:
        self._history.disturbed(self._sockets.now_us)

    def play(self) -> Outcome:
        """All of it."""
        outcome = self._outcome
        try:
            for server in self._ensemble.servers.values():
                server.start()
            self._go_on_until(_START_US_MAX, lambda: self._is_led() or bool(self._ensemble.unexpected_ends()))
            for server in self._ensemble.unexpected_ends():
                outcome.findings.append(f"server {server.server_id} does not start:\n{server.last_words()}")
            if not outcome.findings and not self._is_led():
                outcome.findings.append(f"nobody leads within {_START_US_MAX // 1_000_000} s of the start")
            if outcome.findings:
                return outcome
            self._work()
            self._rest()
        finally:
            self._sockets.close()
            self._ensemble.kill()
        self._judge()
        return outcome

    def _work(self) -> None:
        began_us = self._sockets.now_us
        self._workload.start()
        self._striker.watch()
        self._report()
        for fault in planning.plan(self._case.seed, self._case.servers, self._case.for_ms, self._outcome.kinds):
            self._striker.schedule(fault._replace(at_ms=fault.at_ms + began_us // 1000))
        self._sockets.run(began_us + self._case.for_ms * 1000)
        self._striker.heal()
        self._tell(f"{self._sockets.now_us / 1e6:8.3f} s  all is well again")
        self._sockets.run(self._sockets.now_us + _CALM_US)

    def _rest(self) -> None:
        self._workload.rest()
        self._sockets.run(self._sockets.now_us + _REST_US)
        self._workload.look_once_more()
        self._sockets.run(self._sockets.now_us + _FAREWELL_US)
        self._history.ended(self._sockets.now_us)
        self._go_on_until(_ALIKE_US_MAX, self._is_alike)
        if not self._is_alike():
            self._outcome.findings.append(f"servers are not alike at the end: {self._zxids()}")

    def _judge(self) -> None:
        history, outcome = self._history, self._outcome
        outcome.struck = dict(self._striker.struck)
        outcome.findings += self._striker.findings
        outcome.late_us = self._sockets.late_us
        outcome.calls = history.calls_count
        outcome.answers = sum(call.returned_us >= 0 for channel in history.channels for call in channel.calls)
        self._note_leaders()
        directories = {each: server.directory for each, server in self._ensemble.servers.items()}
        outcome.verdict, found = judge(history, directories, self._sockets.began_ms, _ALLOWANCES)
        outcome.findings += found
        outcome.txns = len(history.txns)

    # --- looking at the servers -------------------------------------------------------------------

    def _go_on_until(self, at_most_us: int, holds: Callable[[], bool]) -> None:
        until_us = self._sockets.now_us + at_most_us
        while self._sockets.now_us < until_us and not holds():
            self._sockets.run(self._sockets.now_us + _STEP_US)

    def _is_led(self) -> bool:
        return self._ensemble.leader() is not None

    def _is_alike(self) -> bool:
        zxids = self._zxids()
        return None not in zxids and len(set(zxids)) == 1

    def _zxids(self) -> Sequence[str | None]:
        return [last_zxid(address) for address in self._addresses.values()]

    def _note_leaders(self) -> None:
        """Sessions' time began anew with the last leader."""
        epochs = set()
        for server in self._ensemble.servers.values():
            server.follow_log()
            for role in server.roles:
                if role.epoch:
                    epochs.add(role.epoch)
                    led_us = int((role.time_ms - self._sockets.began_ms) * 1000)
                    self._history.led(max(self._history.calm_us, led_us))
        self._outcome.epochs = len(epochs)

    def _report(self) -> None:
        history = self._history
        at_work = sum(actor.client.is_at_work for actor in self._workload.actors)
        leader = self._ensemble.leader()
        self._tell(
            f"{self._sockets.now_us / 1e6:8.3f} s  {history.calls_count} requests, {at_work} of"
            f" {len(self._workload.actors)} clients connected, zxid {history.shown_zxid:#x},"
            f" leader {leader.server_id if leader is not None else 'none'}"
        )
        self._sockets.call_at(self._sockets.now_us + _PROGRESS_US, self._report)


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
