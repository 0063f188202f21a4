"""One failpoint with one action: a load until it strikes, then starts without help, calm, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from signal import SIGTERM
from typing import Any, Final

from zkstore.failpoints import FAILPOINTS
from zkstore.storage.directory import locate
from zkstore.testing.checkers.check import Allowances
from zkstore.testing.checkers.history import History
from zkstore.testing.clients.workloads import Workload
from zkstore.testing.nemesis.judging import Clocks, Shelf, judge
from zkstore.testing.nemesis.servers import ClockStep
from zkstore.testing.nemesis.sockets import Sockets
from zkstore.testing.sweeping import servers as processes
from zkstore.testing.sweeping.loads import Load, StruckError, loads_of, servers_of
from zkstore.testing.sweeping.servers import SYNC_LIMIT, TICK_MS, Server

TIMEOUT_MS: Final = 1_500

_CLIENTS: Final = 6
_THINK_US: Final = 15_000
_STEP_US: Final = 50_000
_SERVE_US_MAX: Final = 180_000_000  # on a machine that is busy with other things
_STOP_US_MAX: Final = 60_000_000
_AFTER_US: Final = 1_200_000
_AGAIN_US: Final = 1_500_000
_REST_US: Final = 2 * TIMEOUT_MS * 1000 + 4 * TICK_MS * 1000
_FAREWELL_US: Final = 1_500_000
_KEEPS_ALL: Final = ("--history-bytes-max", str(1 << 40))
_KEEPS_LITTLE: Final = ("--history-bytes-max", "200K")
_CHECKPOINTS: Final = ("--checkpoint-txns", "40")

ACTIONS: Final = ("crash", "delay(250)@1-4")


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        problems: all that is wrong; empty where nothing is.
        has_struck: the failpoint was reached.
        answered: requests that were answered.
        refused: the server ended by itself, with a sentence, for the error that it met.
    """

    name: str
    action: str
    load: str
    has_struck: bool = False
    answered: int = 0
    refused: bool = False
    took_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def trials(name: str) -> list[tuple[str, str, Load]]:
    """All that is tried at one failpoint: every action in every load, every error once."""
    found = [(name, action, load) for load in loads_of(name) for action in ACTIONS]
    for error in FAILPOINTS[name].errors:
        if error not in ("EDQUOT", "ENFILE", "EROFS"):  # which are handled as ENOSPC, EMFILE and EIO are
            found.append((name, f"fail({error})@1-3", loads_of(name)[-1]))
    return found


class Play:
    """One trial, with its files below an empty directory."""

    def __init__(self, name: str, action: str, load: Load, root: Path) -> None:
        self.outcome = Outcome(name, action, load.__name__)
        self._name = name
        self._armed = f"{name}={action}"
        if name in ("log.append.after_failure", "ensemble.disk_failed"):  # Something has to fail first.
            self._armed += ";log.append.before_sync=fail(ENOSPC)@5-9"
        self._load = load
        count = servers_of(load)
        self.servers = processes.make(root, count, {n: self._flags(n, count) for n in range(1, count + 1)})
        self._sockets = Sockets({n: ("127.0.0.1", server.port) for n, server in self.servers.items()})
        self._history = History(report_us=TICK_MS * 1000)
        self._shelf = Shelf()
        self._served_us = 0
        self._workload = Workload(
            self._sockets,
            self._history,
            Random(f"sweep {name} {action}"),
            tuple(self.servers),
            count=_CLIENTS,
            timeouts_ms=(TIMEOUT_MS,),
            think_us=_THINK_US,
        )

    def _flags(self, server_id: int, count: int) -> tuple[str, ...]:
        """Of several servers one keeps all of history, for the verdict; all others may need a tree, and send one."""
        name = self._load.__name__
        keeps_little = name == "history" or (name == "far_behind" and server_id > 1)
        return (*_CHECKPOINTS, *(_KEEPS_LITTLE if keeps_little else _KEEPS_ALL))

    def run(self) -> Outcome:
        """All of it."""
        began_s = time.monotonic()
        outcome = self.outcome
        try:
            self._workload.start()
            with suppress(StruckError):
                self._load(self)
            outcome.has_struck = any(server.has_struck(self._name) for server in self.servers.values())
            if not outcome.has_struck:
                outcome.problems.append("the load never comes there")
            self._recover()
            self._rest()
        finally:
            self._sockets.close()
            for server in self.servers.values():
                server.kill()
        for server in self.servers.values():
            outcome.problems += server.complaints()
        self._judge()
        outcome.took_s = round(time.monotonic() - began_s, 1)
        return outcome

    # --- what loads ask for: `loads.Scene` ----------------------------------------------------------

    def start(self, *ids: int, armed: bool = True) -> None:
        """See `loads.Scene`, also for what follows."""
        for server_id in ids:
            self._launch(self.servers[server_id], self._armed if armed else "")

    def serve(self, *ids: int) -> None:
        def is_served() -> bool:
            return all(self.servers[each].is_ready for each in ids) if ids else self._is_served()

        self._go_on_until(_SERVE_US_MAX, is_served)
        if not is_served():
            self.outcome.problems.append(f"no clients are served within {_SERVE_US_MAX // 1_000_000} s")
            raise StruckError

    def work(self, for_s: float, answers: int = 0) -> None:
        wanted = self._answers() + answers
        self._go_on_until(int(for_s * 1_000_000), lambda: False)
        self._go_on_until(_SERVE_US_MAX, lambda: self._answers() >= wanted)

    def stop(self, *ids: int) -> None:
        for server_id in ids:
            self.servers[server_id].send(SIGTERM)
        self._history.disturbed(self._sockets.now_us)
        self._go_on_until(_STOP_US_MAX, lambda: not any(self.servers[each].is_running for each in ids))
        for server_id in ids:
            if self.servers[server_id].is_running:
                self.outcome.problems.append(f"server {server_id} does not stop")
                self.servers[server_id].kill()

    def kill(self, *ids: int) -> None:
        for server_id in ids:
            self.servers[server_id].kill()
        self._history.disturbed(self._sockets.now_us)

    def leader(self) -> int:
        led = {max(server.epochs(), default=0): server.server_id for server in self.servers.values()}
        return led[max(led)]

    # --- after the strike -----------------------------------------------------------------------------

    def _recover(self) -> None:
        """Whoever has ended is started again, unarmed, and nobody helps. All others go on by themselves: also those
        that the failpoint has struck, but not those that it may still strike. From now on all history is kept."""
        self._run(_AFTER_US)
        self._restart_ended()
        for server in self.servers.values():
            if not self._is_harmless(server):
                server.kill()
                self._restart_ended()
        self._go_on_until(
            _SERVE_US_MAX, lambda: all(server.is_ready for server in self.servers.values()), may_end=False
        )
        self._served_us = self._sockets.now_us
        before = self._answers()
        self._go_on_until(_SERVE_US_MAX, lambda: self._answers() > before, may_end=False)
        self._run(_AGAIN_US)
        if not self._is_served():
            self.outcome.problems.append("nobody is served when all is well again")
        elif self._answers() == before:
            self.outcome.problems.append("nobody is answered when all is well again")

    def _is_harmless(self, server: Server) -> bool:
        if self._load.__name__ == "history":
            return False  # It would drop what the verdict needs.
        return not server.is_armed or ("@" in self._armed and server.has_struck(self._name))

    def _restart_ended(self) -> None:
        for server in self.servers.values():
            if server.is_running:
                continue
            bad = server.bad_end(may_refuse="fail(" in self._armed)
            if bad is not None:
                self.outcome.problems.append(bad)
            elif server.exit_code in (1, 2):
                self.outcome.refused = True
            self._launch(server, "", *_KEEPS_ALL)

    def _rest(self) -> None:
        self._workload.rest()
        self._run(_REST_US + 2 * self._sockets.late_us)
        self._workload.look_once_more()
        self._run(_FAREWELL_US)
        self._history.ended(self._sockets.now_us)
        for server in self.servers.values():
            if not server.is_running:
                text = server.bad_end(may_refuse=False) or f"server {server.server_id} has ended by itself"
                self.outcome.problems.append(text)
            server.send(SIGTERM)
        self._go_on_until(
            _STOP_US_MAX, lambda: not any(server.is_running for server in self.servers.values()), may_end=False
        )
        for server in self.servers.values():
            if server.exit_code != 0:
                self.outcome.problems.append(
                    f"server {server.server_id} ended with {server.exit_code} when it was told to"
                )

    def _judge(self) -> None:
        history, outcome = self._history, self.outcome
        leaders: dict[int, int] = {}
        for server in self.servers.values():
            self._take(server)
            leaders.update(dict.fromkeys(server.epochs(), server.server_id))
        history.led(max(history.calm_us, self._served_us))
        clocks = Clocks(self._sockets.began_ms, leaders, {each: [ClockStep(0, 0)] for each in self.servers})
        directories = {each: server.directory for each, server in self.servers.items()}
        allowances = Allowances(
            tick_us=TICK_MS * 1000,
            clock_error=0.05,
            settle_us=5_000_000,
            quiet_us=(SYNC_LIMIT + 6) * TICK_MS * 1000,
            behind_us=60_000_000,
            serve_us=240_000_000,
        )
        verdict, found = judge(history, self._shelf, directories, clocks, allowances)
        outcome.problems += [*found, *map(str, verdict.violations)]
        outcome.answered = self._answers()

    # --- inside -----------------------------------------------------------------------------------------

    def _launch(self, server: Server, armed: str, *flags: str) -> None:
        if len(self.servers) == 1 and server.starts:
            self._take(server)  # It may drop some of its history.
        self._history.disturbed(self._sockets.now_us)
        server.start(armed, *flags)

    def _take(self, server: Server) -> None:
        """Read what it has logged. Without its format file it has never come so far as to serve anybody."""
        if locate(server.directory).format.exists():
            self._shelf.take(server.server_id, server.directory)

    def _is_served(self) -> bool:
        ready = sum(server.is_ready for server in self.servers.values())
        return ready > len(self.servers) // 2

    def _answers(self) -> int:
        return sum(call.returned_us >= 0 for channel in self._history.channels for call in channel.calls)

    def _run(self, for_us: int) -> None:
        self._sockets.run(self._sockets.now_us + for_us)

    def _go_on_until(self, at_most_us: int, holds: Callable[[], bool], *, may_end: bool = True) -> None:
        """Go on until something holds. Raises StruckError where the failpoint strikes meanwhile, if that may end it."""
        until_us = self._sockets.now_us + at_most_us
        while self._sockets.now_us < until_us and not holds():
            self._run(_STEP_US)
            if may_end and any(server.has_struck(self._name) for server in self.servers.values()):
                self._history.disturbed(self._sockets.now_us)
                raise StruckError
            if may_end and not any(server.is_running for server in self.servers.values()) and not holds():
                break
