"""The servers that the benchmark measures: how each is configured, started, watched and stopped.

Both read the same zoo.cfg and keep their data below the same directory; fsync stays on in both.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools import load
from tools.load_requests import GET_DATA, read_request

APACHE_ENVIRONMENT = Path("/usr/share/zookeeper/bin/zkEnv.sh")
APACHE_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
CHECKOUT = Path(__file__).resolve().parent.parent

START_S_MAX = 300.0
STOP_S_MAX = 120.0
POLL_S = 0.002
"""How often a starting server is asked: the error of a start's time."""

PROBE_S = 0.05
"""When a starting server that does not answer is asked again, on a new connection."""


class ContestantError(Exception):
    """A server did not start, or died; the message names its log."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server program: its name in the table, the command that a zoo.cfg is appended to, settings of its own."""

    name: str
    command: list[str]
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """Who is measured beside whom; `theirs` is None where Apache ZooKeeper is not installed, or not wanted."""

    ours: Contestant
    theirs: Contestant | None

    def contenders(self) -> list[Contestant]:
        """Ours first."""
        return [self.ours, *([self.theirs] if self.theirs else [])]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, in MiB: all resident pages, and those that are no file's."""

    resident_mib: float
    anonymous_mib: float


def zkstore(command: list[str] | None = None) -> Contestant:
    """This checkout's server, or whatever `command` starts."""
    return Contestant("zkstore", command or [sys.executable, "-m", "zkstore", "serve"])


def apache() -> Contestant | None:
    """Debian's Apache ZooKeeper with the Java options of its own start script; None where it is not installed."""
    if not APACHE_ENVIRONMENT.exists():
        return None
    script = '. "$0" && printf "%s\\n%s\\n" "$JAVA" "$CLASSPATH"'
    shell = subprocess.run(["sh", "-c", script, str(APACHE_ENVIRONMENT)], capture_output=True, text=True, check=True)
    java, classpath = shell.stdout.splitlines()
    if not os.access(java, os.X_OK):
        return None
    # zkServer.sh sets no heap size either: the JVM takes up to a quarter of the machine's memory.
    options = ["-XX:+HeapDumpOnOutOfMemoryError", "-XX:OnOutOfMemoryError=kill -9 %p"]
    return Contestant("Apache", [java, *options, "-cp", classpath, APACHE_MAIN], {"admin.enableServer": "false"})


def zoo_cfg(data_dir: Path, port: int, snap_count: int, settings: dict[str, str]) -> str:
    """The text of the configuration that all contestants share, and `settings` behind it."""
    lines = {
        "dataDir": str(data_dir),
        "clientPort": str(port),
        "clientPortAddress": "127.0.0.1",
        "tickTime": "2000",
        "maxClientCnxns": "0",
        "4lw.commands.whitelist": "*",
        "snapCount": str(snap_count),
        **settings,
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def parse_memory(status: str) -> Memory:
    """The figures of a `/proc/PID/status` text."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    resident, anonymous = (int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "RssAnon"))
    return Memory(resident, anonymous)


def four_letter_word(address: tuple[str, int], word: bytes) -> bytes:
    """A server's whole answer to a four-letter word."""
    with socket.create_connection(address, timeout=PROBE_S) as sock:
        sock.sendall(word)
        return b"".join(iter(lambda: sock.recv(4096), b""))


class Server:
    """One running server; use as a context manager, which stops it."""

    def __init__(
        self,
        contestant: Contestant,
        home: Path,
        *,
        snap_count: int = 100_000,
        port: int | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.contestant = contestant
        self.address = ("127.0.0.1", port or free_port())
        self._log = home / "server.log"
        data_dir = home / "data"
        data_dir.mkdir(parents=True, exist_ok=True)
        config = home / "zoo.cfg"
        config.write_text(zoo_cfg(data_dir, self.address[1], snap_count, {**contestant.settings, **(settings or {})}))
        python_path = filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(python_path)}
        self._began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*contestant.command, str(config)], stdout=log, stderr=log, cwd=home, env=environment
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_answers(self, path: bytes = b"/") -> float:
        """Wait for the first answer to a getData of `path`; seconds since the process was started.

        A session is opened only when `srvr` names a mode: an Apache server accepts connections before it
        serves, and leaves some of those without an answer for good.
        """
        while True:
            try:
                if b"Mode:" not in four_letter_word(self.address, b"srvr"):
                    raise ConnectionRefusedError("not serving yet")
                with load.caller(self.address) as client:
                    error, _ = client.call(read_request(1, GET_DATA, path))
                    seconds = time.perf_counter() - self._began
            except (OSError, load.LoadError):
                self._check_starting()
                time.sleep(POLL_S)
                continue
            if error:
                raise ContestantError(f"{self.contestant.name} answers error {error} for {path.decode()}")
            return seconds

    def _check_starting(self) -> None:
        status = self._process.poll()
        if status is not None:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise ContestantError(f"{self.contestant.name} ended with status {status} while starting; it said:\n{tail}")
        if time.perf_counter() - self._began > START_S_MAX:
            raise ContestantError(f"{self.contestant.name} did not answer within {START_S_MAX:.0f} s")

    def memory(self) -> Memory:
        """What the process holds now."""
        return parse_memory(Path(f"/proc/{self._process.pid}/status").read_text())

    def kill(self, signal_number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and do not wait."""
        self._process.send_signal(signal_number)

    def stop(self) -> None:
        """Stop in order (SIGTERM), or at once if that takes too long."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
