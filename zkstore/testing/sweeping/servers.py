"""Server processes that are armed when they start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import zkstore
from zkstore.failpoints import VARIABLE

TICK_MS: Final = 250
SYNC_LIMIT: Final = 8

_SETTINGS: Final = f"""\
tickTime={TICK_MS}
initLimit=30
syncLimit={SYNC_LIMIT}
maxClientCnxns=0
4lw.commands.whitelist=*
"""
_LEADS: Final = "this server leads epoch "
_READY: Final = b" serves clients "
_WAIT_S: Final = 30.0
_ENDS: Final = (0, -signal.SIGKILL)


class Server:
    """One server's process, files and log.

    Attributes:
        starts: how often it was started.
        is_armed: it was started with failpoints.
        program: what is run instead of zkstore itself.
    """

    def __init__(self, server_id: int, root: Path, settings: str, port: int, flags: tuple[str, ...]) -> None:
        self.server_id = server_id
        self.directory = root / str(server_id)
        self.log_path = root / f"{server_id}.log"
        self.port = port
        self.starts = 0
        self.is_armed = False
        self.program = "zkstore"
        config = root / f"{server_id}.cfg"
        config.write_text(_SETTINGS + settings, encoding="utf-8")
        self._arguments = ["serve", str(config), "--data-dir", str(self.directory), "--host", "127.0.0.1"]
        self._arguments += ["--client-port", str(port), *flags]
        self._process: subprocess.Popen[bytes] | None = None
        self._since_bytes = 0
        self.log_path.touch()

    def start(self, armed: str = "", *flags: str) -> None:
        """Start it, with flags that count more than its own; nobody waits until it serves."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("ZKSTORE_", "ZOO_"))}
        environ["PYTHONPATH"] = str(Path(zkstore.__file__).parents[1])
        if armed:
            environ[VARIABLE] = armed
        self.is_armed = bool(armed)
        self._since_bytes = self.log_path.stat().st_size
        command = [sys.executable, "-m", self.program, *self._arguments, *flags]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        self.starts += 1

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the process that has ended; minus the number of the signal that ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def is_ready(self) -> bool:
        """Whether it has said, since its last start, that it serves."""
        return self.is_running and _READY in self._log_since_start()

    def send(self, number: signal.Signals) -> None:
        """A signal, if there is a process."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def has_struck(self, name: str) -> bool:
        """Whether a failpoint has ever struck there."""
        return f"failpoint {name}: ".encode() in self.log_path.read_bytes()

    def epochs(self) -> set[int]:
        """Those that it led."""
        led = set()
        for record in self.records():
            message = str(record.get("message", ""))
            if message.startswith(_LEADS):
                led.add(int(message.removeprefix(_LEADS).partition(";")[0]))
        return led

    def records(self) -> list[dict[str, Any]]:
        """All that it has logged."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def complaints(self) -> list[str]:
        """What no log may have in it, and how its process may not have ended."""
        found = [str(record["exception"]) for record in self.records() if "exception" in record]
        text = self.log_path.read_text(errors="replace")
        if "Traceback (most recent call last)" in text and not found:
            found.append(text[text.index("Traceback (most recent call last)") :][-2_000:])
        return [f"server {self.server_id} had a traceback:\n{each}" for each in found]

    def bad_end(self, *, may_refuse: bool) -> str | None:
        """What is wrong with how its process has ended, if it has; a refusal with a sentence may be right."""
        code = self.exit_code
        if code is None or code in _ENDS:
            return None
        if may_refuse and code in (1, 2) and self._last_words():
            return None
        return f"server {self.server_id} ended with {code}: {self.log_path.read_text(errors='replace')[-1_000:]}"

    def _last_words(self) -> bool:
        """Whether it said, since its start, why it cannot go on."""
        text = self._log_since_start().decode(errors="replace")
        return '"level": "critical"' in text or "zkstore serve: " in text

    def _log_since_start(self) -> bytes:
        with self.log_path.open("rb") as log:
            log.seek(self._since_bytes)
            return log.read()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def make(root: Path, count: int, flags: dict[int, tuple[str, ...]]) -> dict[int, Server]:
    """Servers with files below `root`: one that stands alone, or several that make an ensemble."""
    ports = free_ports(3 * count)
    ids = range(1, count + 1)
    lines = "".join(f"server.{n}=127.0.0.1:{ports[3 * n - 3]}:{ports[3 * n - 2]}\n" for n in ids) if count > 1 else ""
    return {
        n: Server(n, root, lines, ports[3 * n - 1], (("--my-id", str(n)) if count > 1 else ()) + flags[n]) for n in ids
    }
