"""Three servers of one program that keep one history between them: how the benchmark starts, asks and hurts them."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path

from tools import load
from tools.contestants import Contestant, ContestantError, Memory, Server, four_letter_word, free_port
from tools.load_requests import create_request

SERVERS = 3
SERVING_S_MAX = 120.0
ASK_AGAIN_S = 0.02
WRITE_S_MAX = 0.7
"""How long a new connection may leave a write without an answer until another server is tried."""

TRY_AGAIN_S = 0.005


class Ensemble:
    """Three servers, numbered from 0; use as a context manager, which stops them."""

    def __init__(self, contestant: Contestant, home: Path) -> None:
        self.contestant = contestant
        self._home = home
        self._ports = [free_port() for _ in range(SERVERS)]
        self._settings = {"initLimit": "10", "syncLimit": "5"} | {
            f"server.{number + 1}": f"127.0.0.1:{free_port()}:{free_port()}" for number in range(SERVERS)
        }
        self._servers: dict[int, Server] = {}

    def __enter__(self) -> Ensemble:
        for number in range(SERVERS):
            self.start(number)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.kill(signal.SIGKILL)
        for number in list(self._servers):
            self.wait_for_end(number)

    @property
    def addresses(self) -> list[load.Address]:
        """The client ports of all servers."""
        return [("127.0.0.1", port) for port in self._ports]

    def start(self, number: int) -> None:
        """Start one server, on the data that it has."""
        home = self._home / str(number + 1)
        (home / "data").mkdir(parents=True, exist_ok=True)
        (home / "data" / "myid").write_text(f"{number + 1}\n")
        self._servers[number] = Server(self.contestant, home, port=self._ports[number], settings=self._settings)

    def kill(self, number: int, signal_number: signal.Signals) -> None:
        """Send one server a signal; `wait_for_end` before it is started again."""
        self._servers[number].kill(signal_number)

    def wait_for_end(self, number: int) -> None:
        """Wait until a server that was told to end has ended."""
        self._servers.pop(number).stop()

    def memory(self) -> Memory:
        """What the three hold together."""
        all_of_them = [server.memory() for server in self._servers.values()]
        return Memory(sum(one.resident_mib for one in all_of_them), sum(one.anonymous_mib for one in all_of_them))

    def wait_until_serving(self) -> int:
        """Wait for one leader and two followers; the leader's number."""
        give_up_s = time.monotonic() + SERVING_S_MAX
        while time.monotonic() < give_up_s:
            modes = [self.ask(number, "Mode") for number in range(SERVERS)]
            if modes.count("leader") == 1 and modes.count("follower") == SERVERS - 1:
                return modes.index("leader")
            time.sleep(ASK_AGAIN_S)
        raise ContestantError(f"three servers of {self.contestant.name} are {modes} after {SERVING_S_MAX:.0f} s")

    def ask(self, number: int, name: str) -> str | None:
        """One line of a server's `srvr`; None where it does not serve."""
        try:
            words = four_letter_word(self.addresses[number], b"srvr").decode()
        except OSError:
            return None
        found = re.search(rf"^{name}: (\S+)", words, re.MULTILINE)
        return found and found[1]

    def wait_for_a_write(self, *, but: int) -> None:
        """Return once a write is acknowledged to a new connection to any server but one, which is gone."""
        give_up_s = time.monotonic() + SERVING_S_MAX
        while time.monotonic() < give_up_s:
            for number, address in enumerate(self.addresses):
                if number != but and takes_a_write(address):
                    return
            time.sleep(TRY_AGAIN_S)
        raise ContestantError(f"{self.contestant.name} takes no write {SERVING_S_MAX:.0f} s after its leader is gone")


def takes_a_write(address: load.Address) -> bool:
    """Whether a new session at this server has a write acknowledged soon."""
    try:
        with socket.create_connection(address, timeout=WRITE_S_MAX) as sock:
            load.open_sessions([sock])
            with sock.makefile("rb") as replies:
                error, _ = load.Caller(sock, replies).call(create_request(1, b"/f-%d" % time.time_ns(), b""))
                return error == 0
    except (OSError, load.LoadError):
        return False
