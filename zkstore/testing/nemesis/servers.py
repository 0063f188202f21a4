"""The servers under test: `zkstore serve`, started, stopped, paused, killed, and listened to by their logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import zkstore
from zkstore.testing.nemesis.network import Network

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
"""
_FLAGS: Final = ("--checkpoint-txns", "1000", "--history-bytes-max", str(1 << 40))
"""All history is kept, for it is read at the end; checkpoints are frequent."""

_LEADS: Final = "this server leads epoch "
_FOLLOWS: Final = ("this server follows ", "this server observes ")
_LOOKS: Final = "no clients are served until there is a leader"


class RoleChange(NamedTuple):
    """One line of a server's log that says what it is now: `epoch` is 0 unless it leads."""

    time_ms: float
    epoch: int


class Server:
    """One server's process and files.

    Attributes:
        server_id: its number.
        directory: of its data.
        pid: of the process; 0 while there is none.
        is_wanted: it was started, and nobody has ended it since.
        roles: what it said of itself, oldest first; as of the last `follow_log`.
    """

    def __init__(self, server_id: int, directory: Path, lines: list[str], network: Network) -> None:
        self.server_id = server_id
        self.directory = directory
        self.log_path = directory.with_name(f"{directory.name}.log")
        self.pid = 0
        self.is_wanted = False
        self.roles: list[RoleChange] = []
        config = directory.with_name(f"{directory.name}.cfg")
        config.write_text(_SETTINGS + "\n".join(lines) + "\n", encoding="utf-8")
        self._command = [*network.inside(server_id), sys.executable, "-m", "zkstore", "serve", str(config)]
        self._command += ["--data-dir", str(directory), "--my-id", str(server_id), *_FLAGS]
        self._command += ["--host", network.address(server_id), "--client-port", str(network.ports(server_id).client)]
        self._process: subprocess.Popen[bytes] | None = None
        self._read_bytes = 0

    def start(self) -> None:
        """Start the process; nobody waits until it serves."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("ZKSTORE_", "ZOO_"))}
        environ["PYTHONPATH"] = str(Path(zkstore.__file__).parents[1])
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=environ, stdout=log, stderr=log)
        self.pid, self.is_wanted = self._process.pid, True

    @property
    def is_running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the process that has ended; minus the number of the signal that ended it."""
        return None if self._process is None else self._process.poll()

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

    def terminate(self) -> None:
        """SIGTERM; its end takes a moment."""
        self.is_wanted = False
        self.send(signal.SIGTERM)

    def follow_log(self) -> None:
        """Read what is new in its log."""
        with self.log_path.open("rb") as log:
            log.seek(self._read_bytes)
            whole = log.read().rpartition(b"\n")[0]
        self._read_bytes += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            record = _record(line)
            message = str(record.get("message", ""))
            if message.startswith(_LEADS):
                epoch = int(message.removeprefix(_LEADS).partition(";")[0])
                self.roles.append(RoleChange(_time_ms(record), epoch))
            elif message.startswith((_LOOKS, *_FOLLOWS)):
                self.roles.append(RoleChange(_time_ms(record), 0))

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _time_ms(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(str(record["time"])).timestamp() * 1000


class Ensemble:
    """All servers of a run, by id."""

    def __init__(self, root: Path, network: Network, count: int, directories: dict[int, Path]) -> None:
        self.network = network
        ids = range(1, count + 1)
        lines = []
        for server_id in ids:
            ports = network.ports(server_id)
            lines.append(f"server.{server_id}={network.address(server_id)}:{ports.peer}:{ports.election}")
        self.servers = {
            server_id: Server(server_id, directories.get(server_id, root / str(server_id)), lines, network)
            for server_id in ids
        }

    def leader(self) -> Server | None:
        """Who leads, by what the servers' logs say; None if nobody does."""
        leading = []
        for server in self.servers.values():
            server.follow_log()
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
