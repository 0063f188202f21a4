"""Several servers in this process that keep one history between them, with a network that can be cut."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

from zkstore.testing.servers.server import START_S_MAX, Server, ServerFailedError

T = TypeVar("T")

_HOST: Final = "127.0.0.1"
_ASK_AGAIN_S: Final = 0.01


class Ensemble:
    """`count` servers, numbered from 1, that live as long as the `with` block; `settings` as `Server` takes them.

    Ticks are short, so that elections and expiries do not keep a test waiting.

    Attributes:
        servers: by number.
    """

    def __init__(self, count: int = 3, data_dir: Path | None = None, *, tick_ms: int = 200, **settings: object) -> None:
        self._temporary = None if data_dir is not None else Path(tempfile.mkdtemp(prefix="zkstore-"))
        root = data_dir or self._temporary or Path()
        root.mkdir(parents=True, exist_ok=True)
        numbers = range(1, count + 1)
        ports = _free_ports(3 * count)
        lines = ["initLimit=25", "syncLimit=10"]  # a test machine may be busy
        lines += [f"server.{n}={_HOST}:{ports[3 * n - 3]}:{ports[3 * n - 2]}" for n in numbers]
        self.servers = {
            n: Server(
                root / str(n), server_id=n, lines=lines, client_port=ports[3 * n - 1], tick_ms=tick_ms, **settings
            )
            for n in numbers
        }

    # --- life -------------------------------------------------------------------------------------

    def __enter__(self) -> Ensemble:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start all that do not run; returns when every one serves clients."""
        try:
            for server in self.servers.values():
                if not server.is_running:
                    server.start(is_waiting=False)
            self.wait_until_serving()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all servers, and remove their data if nobody has said where to keep that."""
        for server in self.servers.values():
            server.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    # --- asking -----------------------------------------------------------------------------------

    def __getitem__(self, server_id: int) -> Server:
        return self.servers[server_id]

    @property
    def address(self) -> str:
        """All servers' addresses, separated by commas, as clients take them."""
        return ",".join(server.address for server in self.servers.values())

    def leader(self, timeout_s: float = START_S_MAX) -> Server:
        """The server that leads; waits for one."""
        return _wait_for(self._leader, timeout_s, "no server leads")

    def followers(self) -> list[Server]:
        """Running servers that follow."""
        return [server for server in self.servers.values() if server.is_running and server.mode == "follower"]

    def wait_until_serving(self, timeout_s: float = START_S_MAX) -> None:
        """Returns when every running server serves clients again, after failures of whatever kind."""

        def all_serve() -> bool:
            running = [server for server in self.servers.values() if server.is_running]
            return bool(running) and all(
                server.run(lambda service: service.replica.role.is_serving) for server in running
            )

        _wait_for(lambda: all_serve() or None, timeout_s, "not all servers serve")

    # --- failures ---------------------------------------------------------------------------------

    def partition(self, *groups: Sequence[int]) -> None:
        """Let servers talk to those of their own group only; who is in none is alone. `heal` ends it.

        Connections between groups break, and none comes into being. Clients are not concerned.
        """
        for number, server in self.servers.items():
            reached = next((set(group) for group in groups if number in group), {number})
            if server.is_running:
                server.shun([other for other in self.servers if other not in reached])

    def heal(self) -> None:
        """All servers talk to each other again."""
        for server in self.servers.values():
            if server.is_running:
                server.shun([])

    def expire(self, session_id: int) -> None:
        """End a session as if its client had been silent for too long. Raises KeyError where there is none."""
        for server in self.servers.values():
            if server.is_running and server.run(lambda service: session_id in service.replica.local):
                server.expire(session_id)
                return
        self.leader().expire(session_id)

    def _leader(self) -> Server | None:
        leaders = [server for server in self.servers.values() if server.is_running and server.mode == "leader"]
        return leaders[0] if len(leaders) == 1 else None


def _wait_for(question: Callable[[], T | None], timeout_s: float, complaint: str) -> T:
    give_up_s = time.monotonic() + timeout_s
    while (answer := question()) is None:
        if time.monotonic() > give_up_s:
            raise ServerFailedError(f"{complaint} after {timeout_s:g} s")
        time.sleep(_ASK_AGAIN_S)
    return answer


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((_HOST, 0))
        return [one.getsockname()[1] for one in sockets]
