"""An Apache ZooKeeper server of the tests' own: started on a directory, stopped, or killed in the middle of things."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.interop.processes import WAIT_S, wait_until
from tools import contestants
from tools.differential_run import SETTINGS, reference


class ApacheServer:
    """One server on `home`; its dataDir is `home / "data"`.

    Attributes:
        port: where it listens; the same after each start.
    """

    def __init__(self, home: Path, *, port: int | None = None, settings: dict[str, str] | None = None) -> None:
        self.home = home
        self.data_dir = home / "data"
        self.port = contestants.free_port() if port is None else port
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it serves."""
        self.launch()
        self.wait_until_serves()

    def launch(self) -> None:
        """Start, and do not wait: a member of an ensemble needs others to serve."""
        contestant = reference()
        assert contestant is not None, "Apache ZooKeeper is not installed"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        config = self.home / "zoo.cfg"
        settings = {**SETTINGS, **contestant.settings, **self._settings}
        config.write_text(contestants.zoo_cfg(self.data_dir, self.port, 100_000, settings))
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*contestant.command, str(config)], stdout=log, stderr=log, cwd=self.home, env={**os.environ}
            )

    def wait_until_serves(self) -> None:
        """Wait until clients are answered."""
        wait_until(self._serves, within_s=60)

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_text()[-3000:]
        try:
            return b"Mode:" in contestants.four_letter_word(("127.0.0.1", self.port), b"srvr")
        except OSError:
            time.sleep(0.05)
            return False

    def figures(self) -> str:
        """Its answer to mntr."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as asking:
            asking.sendall(b"mntr")
            return b"".join(iter(lambda: asking.recv(4096), b"")).decode()

    def kill(self) -> None:
        """kill -9; harmless where it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log_text(self) -> str:
        """All that it has logged."""
        return (self.home / "server.log").read_text(errors="replace")


def require_apache() -> None:
    """Skip, but on the machine that runs all tests, where there is no Apache ZooKeeper."""
    if reference() is None:
        assert os.environ.get("CI") != "true", "Apache ZooKeeper is missing"
        pytest.skip("Apache ZooKeeper is not installed")
