"""The servers under test: `zkstore serve`, started, stopped, paused, killed, and listened to by their logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import zkstore
from zkstore.failpoints import VARIABLE
from zkstore.model import acl as acls
from zkstore.testing.clients import operating
from zkstore.testing.nemesis import clock
from zkstore.testing.nemesis.case import Case
from zkstore.testing.nemesis.network import Network
from zkstore.testing.nemesis.places import Places

TICK_MS: Final = 300
INIT_LIMIT: Final = 30
SYNC_LIMIT: Final = 8

_SETTINGS: Final = f"""\
tickTime={TICK_MS}
initLimit={INIT_LIMIT}
syncLimit={SYNC_LIMIT}
maxClientCnxns=0
reconfigEnabled=true
4lw.commands.whitelist=*
DigestAuthenticationProvider.superDigest={acls.digest_id(operating.CREDENTIAL)}
"""

_LEADS: Final = "this server leads epoch "
_ALONE: Final = "this server is alone, and leads"
_FOLLOWS: Final = ("this server follows ", "this server observes ")
_LOOKS: Final = "no clients are served until there is a leader"
_SET_ASIDE: Final = "It was set aside, nothing is deleted"
_HEARS_US: Final = 200_000
"""So long after its first word of what it is, a server surely hears a SIGTERM."""


class RoleChange(NamedTuple):
    """What a line of a server's log says it is now, and when that was read: `epoch` is 0 unless it leads."""

    time_us: int
    epoch: int


class ClockStep(NamedTuple):
    """From then on a server's wall clock was off by so much."""

    time_us: int
    offset_us: int


class Server:
    """One server's process and files.

    Attributes:
        server_id: its number.
        directory: of its data.
        pid: of the process; 0 while there is none.
        is_wanted: it was started, and nobody has ended it since.
        is_meant: it is to run, now or after a while.
        is_armed: its process may kill itself at a failpoint.
        starts: how often its process was started.
        began_anew: how often it found its data damaged and set it aside.
        may_break_off: its process was told to stop before it could know what to do about that.
        roles: what it said of itself, oldest first; as of the last `follow_log`.
        clock: how its wall clock was moved, oldest first.
    """

    def __init__(self, server_id: int, directory: Path, root: Path, config: str, case: Case, network: Network) -> None:
        self.server_id = server_id
        self.directory = directory
        self.log_path = root / f"{server_id}.log"
        self.pid = 0
        self.is_wanted = self.is_meant = False
        self.is_armed = False
        self.starts = self.began_anew = 0
        self.may_break_off = False
        self._spoke_us, self._serves = -1, False
        self.roles: list[RoleChange] = []
        self.clock = [ClockStep(0, 0)]
        self._clock_file = root / f"{server_id}.clock"
        clock.write(self._clock_file, 0)
        config_file = root / f"{server_id}.cfg"
        config_file.write_text(config, encoding="utf-8")
        self._command = [*network.inside(server_id), sys.executable, "-m", clock.__name__, str(self._clock_file)]
        self._command += ["serve", str(config_file), "--data-dir", str(directory)]
        self._command += ["--my-id", str(server_id)] if case.servers > 1 else []
        self._command += ["--checkpoint-txns", str(case.checkpoint_txns)]
        self._command += ["--history-bytes-max", str(case.history_bytes_max)]
        self._command += ["--host", network.address(server_id), "--client-port", str(network.ports(server_id).client)]
        self._process: subprocess.Popen[bytes] | None = None
        self._read_bytes = 0
        self.log_path.touch()

    def start(self, now_us: int, *, crash_at: str = "") -> None:
        """Start the process; nobody waits until it serves. It may be told to kill itself: `failpoint=crash@N`."""
        self.follow_log(now_us)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("ZKSTORE_", "ZOO_"))}
        environ["PYTHONPATH"] = str(Path(zkstore.__file__).parents[1])
        if crash_at:
            environ[VARIABLE] = crash_at
        self.is_armed = bool(crash_at)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=environ, stdout=log, stderr=log)
        self.pid, self.is_wanted, self.is_meant = self._process.pid, True, True
        self.starts += 1
        self._spoke_us, self._serves = -1, False

    @property
    def is_running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the process that has ended; minus the number of the signal that ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def serves(self) -> bool:
        """Whether its process has said that it leads or follows; as of the last `follow_log`."""
        return self.is_running and self._spoke_us >= 0 and self._serves

    def send(self, number: signal.Signals) -> None:
        """A signal, if there is a process."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.is_wanted = False
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def terminate(self, now_us: int) -> None:
        """SIGTERM; its end takes a moment."""
        self.is_wanted = False
        self.may_break_off = self._spoke_us < 0 or now_us < self._spoke_us + _HEARS_US
        self.send(signal.SIGTERM)

    def step_clock(self, by_ms: int, now_us: int) -> None:
        """Its wall clock jumps."""
        self.clock.append(ClockStep(now_us, self.clock[-1].offset_us + by_ms * 1000))
        clock.write(self._clock_file, self.clock[-1].offset_us // 1000)

    def follow_log(self, now_us: int) -> None:
        """Read what is new in its log."""
        with self.log_path.open("rb") as log:
            log.seek(self._read_bytes)
            whole = log.read().rpartition(b"\n")[0]
        self._read_bytes += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            message = _message(line)
            if message.startswith(_LEADS):
                self.roles.append(RoleChange(now_us, int(message.removeprefix(_LEADS).partition(";")[0])))
            elif message.startswith(_ALONE):
                self.roles.append(RoleChange(now_us, 1))
            elif message.startswith((_LOOKS, *_FOLLOWS)):
                self.roles.append(RoleChange(now_us, 0))
            else:
                self.began_anew += _SET_ASIDE in message
                continue
            self._serves = not message.startswith(_LOOKS)
            if self._spoke_us < 0:
                self._spoke_us = now_us

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def _message(line: bytes) -> str:
    """What a line of a log says; empty for what is none."""
    if not line.startswith(b"{"):
        return ""
    try:
        record: Any = json.loads(line)
    except ValueError:
        return ""
    return str(record.get("message", ""))


class Ensemble:
    """All servers of a run, by id: those of the case, and one to visit them if members can change.

    Attributes:
        voters: those of the case.
        specs: what stands behind `server.N=` for each, without role and client address.
    """

    def __init__(self, case: Case, places: Places, ids: range, root: Path) -> None:
        network = self.network = places.network
        self.voters = range(1, case.servers + 1)
        self.specs: dict[int, str] = {}
        for server_id in ids:
            ports = network.ports(server_id)
            self.specs[server_id] = f"{network.address(server_id)}:{ports.peer}:{ports.election}"
        settings = _SETTINGS
        if case.local_sessions:
            upgrades = str(case.upgrades_sessions).lower()
            settings += f"localSessionsEnabled=true\nlocalSessionsUpgradingEnabled={upgrades}\n"
        lines = [f"server.{voter}={self.specs[voter]}\n" for voter in self.voters] if case.servers > 1 else []
        self.servers: dict[int, Server] = {}
        for server_id in ids:
            own = [] if server_id in self.voters else [f"server.{server_id}={self.specs[server_id]}:observer\n"]
            config = "".join([settings, *lines, *own])
            self.servers[server_id] = Server(server_id, places.directories[server_id], root, config, case, network)

    def line(self, server_id: int, role: str) -> str:
        """A server as a reconfiguration names it."""
        network = self.network
        client = f"{network.address(server_id)}:{network.ports(server_id).client}"
        return f"server.{server_id}={self.specs[server_id]}:{role};{client}"

    def visitors(self) -> list[Server]:
        """Those that are no voters when a run begins, and when it ends."""
        return [server for server_id, server in self.servers.items() if server_id not in self.voters]

    def follow_logs(self, now_us: int) -> None:
        """Read what is new in all logs."""
        for server in self.servers.values():
            server.follow_log(now_us)

    def leader(self) -> Server | None:
        """Who leads, by what the servers' logs say; None if nobody does."""
        leading = []
        for server in self.servers.values():
            if server.is_running and server.roles and server.roles[-1].epoch:
                leading.append(server)
        return max(leading, key=lambda server: server.roles[-1].epoch, default=None)

    def unexpected_ends(self) -> list[Server]:
        """Servers that ended though nobody told them to."""
        return [server for server in self.servers.values() if server.is_wanted and not server.is_running]

    def kill(self) -> None:
        """kill -9 of all, as nearly at once as can be."""
        for server in self.servers.values():
            server.is_wanted = False
            server.send(signal.SIGKILL)
        for server in self.servers.values():
            server.kill()
