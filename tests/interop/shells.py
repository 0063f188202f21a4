"""The two command-line shells: Apache's zkCli.sh and `zkstore shell`, told what to do through their standard input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.interop.processes import ENVIRONMENT, ServerProcess, wait_until

ZKCLI: Final = Path("/usr/share/zookeeper/bin/zkCli.sh")
_SESSION_S: Final = 60.0


class Said(NamedTuple):
    """What a shell's session came to. `out` and `err` are lines."""

    code: int
    out: list[str]
    err: list[str]


class Shell:
    """One of the two programs; `command` is what starts it."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = tuple(command)

    def run(self, server: ServerProcess, *lines: str) -> Said:
        """One session from connect to `quit`."""
        return self._finish([*self._command, "-server", server.hosts], "\n".join([*lines, "quit", ""]))

    def run_once(self, server: ServerProcess, *words: str) -> Said:
        """One command, given as arguments."""
        return self._finish([*self._command, "-server", server.hosts, *words], "")

    def _finish(self, command: list[str], given: str) -> Said:
        done = subprocess.run(
            command, input=given, env=ENVIRONMENT, capture_output=True, text=True, timeout=_SESSION_S, check=False
        )
        err = [line for line in done.stderr.splitlines() if not line.startswith("SLF4J:")]
        return Said(done.returncode, done.stdout.splitlines(), err)

    def open(self, server: ServerProcess) -> OpenShell:
        """A session that goes on; close it."""
        return OpenShell([*self._command, "-server", server.hosts])


class OpenShell:
    """A shell that somebody sits at."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,  # zkCli.sh is a script: its Java must end with it
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip("\n"))

    def type(self, line: str) -> None:
        """Enter a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def wait_for(self, text: str) -> None:
        """Until a line with this in it has been printed; what was printed before it counts no more."""
        wait_until(lambda: any(text in line for line in self._lines))
        while text not in self._lines.pop(0):
            pass

    def has_said(self, text: str) -> bool:
        return any(text in line for line in self._lines)

    def close(self) -> None:
        """Whether it wants to or not."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def __enter__(self) -> OpenShell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def zkcli() -> Shell:
    """Apache's shell; where it is not installed the test is skipped, but never in continuous integration."""
    if not ZKCLI.exists():
        missing = f"{ZKCLI} is not here; Debian's package `zookeeper` has it"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return Shell("zkCli.sh", [str(ZKCLI)])


def zkstore_shell() -> Shell:
    """Our own."""
    return Shell("zkstore shell", [sys.executable, "-m", "zkstore", "shell"])
