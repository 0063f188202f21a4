"""A real server process: started, spoken to, killed, and started again at the same port on the same data."""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
START_S: Final = 30.0  # how long a start may take on a machine that is busy with other things
WAIT_S: Final = 20.0

ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("ZKSTORE_", "ZOO_", "NOTIFY_"))},
    "PYTHONPATH": str(REPOSITORY),
}


def wait_until(holds: Callable[[], object], *, within_s: float = WAIT_S) -> None:
    """Look again and again, because another process decides when."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"still not so after {within_s} s"
        time.sleep(0.01)


def run_zkstore(*arguments: str, given: str = "", within_s: float = START_S) -> subprocess.CompletedProcess[str]:
    """`zkstore ARGUMENTS` to its end, with `given` on its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "zkstore", *arguments],
        env=ENVIRONMENT,
        input=given,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


class ServerProcess:
    """`zkstore serve` on one data directory. The first start picks a free port; later ones keep it.

    Attributes:
        ready_line: what the last start printed on stdout.
        port: where it listens.
    """

    def __init__(
        self,
        data_dir: Path,
        *flags: str,
        log_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        open_files_max: int | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.log_file = log_file or data_dir.with_name(data_dir.name + ".log")
        self.port = 0
        self.ready_line = ""
        self._flags = flags
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self._open_files_max = open_files_max
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def hosts(self) -> str:
        """As clients want it."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and wait until it serves."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start, and do not wait: a member of an ensemble needs others to serve."""
        assert not self.is_running, "the server runs already"
        command = [sys.executable, "-m", "zkstore", "serve", "--host", "127.0.0.1", "--client-port", str(self.port)]
        command += ["--data-dir", str(self.data_dir), *self._flags]
        limit = None
        if self._open_files_max is not None:
            most = (self._open_files_max, self._open_files_max)
            limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, most)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdout=subprocess.PIPE, stderr=log, preexec_fn=limit
            )

    def wait_until_ready(self) -> None:
        """Wait until it serves."""
        self.ready_line = self._read_line()
        self.port = int(self.ready_line.split(" at ")[1].split(",")[0].rpartition(":")[2])

    def _read_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            assert selector.select(START_S), f"no ready line; the log says:\n{self.log_text()}"
        line = self._process.stdout.readline().decode()
        assert line, f"the server ended; the log says:\n{self.log_text()}"
        return line

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, within_s: float = WAIT_S) -> int:
        """Wait for its end; the exit code, or minus the signal that ended it."""
        assert self._process is not None
        code = self._process.wait(within_s)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def rest_of_stdout(self) -> bytes:
        """What it printed behind the ready line; call it when the process has ended, before `wait`."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.read()

    def kill(self) -> None:
        """kill -9: nothing is brought to an end."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM, and wait; the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Whatever state it is in, leave no process behind."""
        if self.is_running:
            self.kill()
        elif self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def log_text(self) -> str:
        """All that it wrote to stderr, over all starts."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def log_records(self) -> list[dict[str, Any]]:
        """Its log, one record a line."""
        *lines, _ = self.log_text().split("\n")  # What stands behind the last newline is still being written.
        return [json.loads(line) for line in lines]

    def logged(self, *parts: str) -> list[str]:
        """The messages that have all the parts in them."""
        messages = [str(record["message"]) for record in self.log_records()]
        return [message for message in messages if all(part in message for part in parts)]

    def resident_bytes(self) -> int:
        """What the process holds in memory now."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def ask(self, word: bytes) -> bytes:
        """The answer to a four-letter word."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as asking:
            asking.sendall(word)
            return b"".join(iter(partial(asking.recv, 65536), b""))
