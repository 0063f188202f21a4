"""The shell's state: its client, its one Watch for all watches that commands leave, its history and its output.

Events are printed as they come, and before the output of the command that caused them.
"""

from __future__ import annotations

import json
import ssl
import sys
from contextlib import suppress
from typing import Final

import trio

from zkstore.cli.shell import text
from zkstore.cli.shell.syntax import Result
from zkstore.client import Client, SessionState, Watch, WatchEvent, connect, dial_tcp, dial_tls
from zkstore.errors import ClientError

HISTORY_LINES: Final = 11

PATIENCE_S: Final = 2.0
"""After this long without a connection people are told what is being tried."""


class Settings:
    """What the command line decided."""

    def __init__(
        self,
        *,
        servers: str,
        timeout_ms: int,
        read_only: bool,
        wait: bool,
        as_json: bool,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.servers = servers
        self.timeout_ms = timeout_ms
        self.read_only = read_only
        self.wait = wait
        self.as_json = as_json
        self.tls = tls


class Shell:
    """One run of the shell. `nursery` carries the client and the tasks that print events."""

    def __init__(self, settings: Settings, nursery: trio.Nursery, *, prints_states: bool) -> None:
        self.settings = settings
        self.servers = settings.servers
        self.history: list[str] = []
        self.prints_watches = True
        self.quitting = False
        self.watch = Watch()
        self._nursery = nursery
        self._prints_states = prints_states
        self._client: Client | None = None
        self._release = trio.Event()
        self._released = trio.Event()

    # --- the connection -----------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """The client; ClientError while there is none."""
        if self._client is None:
            raise ClientError("Not connected")
        return self._client

    @property
    def is_open(self) -> bool:
        """There is a client, whether or not a server answers just now."""
        return self._client is not None

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return SessionState.CLOSED if self._client is None else self._client.state

    async def open(self, servers: str) -> None:
        """Connect, after ending the old session. Raises ConnectionLossError, AuthFailedError or ConfigError."""
        await self.close()
        self.servers = servers
        self._client = await self._nursery.start(self._hold)

    async def close(self) -> None:
        """End the session."""
        if self._client is None:
            return
        self._client = None
        self._release.set()
        await self._released.wait()

    async def _hold(self, task_status: trio.TaskStatus[Client]) -> None:
        """Keep a client open until `close`; a task of its own, since a client lives in its task's `async with`."""
        self._release, self._released, self.watch = trio.Event(), trio.Event(), Watch()
        release, released, watch = self._release, self._released, self.watch
        client = connect(
            self.servers,
            timeout_ms=self.settings.timeout_ms,
            connect_timeout_ms=float("inf") if self.settings.wait else None,
            read_only=self.settings.read_only,
            dial=dial_tcp if self.settings.tls is None else dial_tls(self.settings.tls),
        )
        self._nursery.start_soon(self._tell_progress, client)
        try:
            async with client:
                self._nursery.start_soon(self._print_events, watch)
                self._nursery.start_soon(self._print_states, client)
                task_status.started(client)
                await release.wait()
        finally:
            watch.close()
            released.set()

    async def _tell_progress(self, client: Client) -> None:
        await trio.sleep(PATIENCE_S)
        if client.state is SessionState.CONNECTING:
            print(f"still trying {self.servers} ({client.failure})", file=sys.stderr, flush=True)

    # --- output -------------------------------------------------------------------------------------

    def print_result(self, result: Result) -> None:
        """Print what a command has to say, after the events that came before its answer."""
        self.print_waiting_events()
        if result.notice:
            print(result.notice, file=sys.stderr, flush=True)
        if self.settings.as_json:
            self.print_value(result.value)
        elif result.text is not None:
            print(result.text, flush=True)

    def print_value(self, value: object) -> None:
        """One line of JSON."""
        print(json.dumps(value, ensure_ascii=False), flush=True)

    def print_error(self, message: str) -> None:
        """One line on stderr."""
        self.print_waiting_events()
        print(message, file=sys.stderr, flush=True)

    def print_event(self, event: WatchEvent) -> None:
        """One watch event."""
        if self.settings.as_json:
            self.print_value(text.event_value(event))
        else:
            print(text.event_text(event), flush=True)

    def print_waiting_events(self) -> None:
        """Print the events that have arrived."""
        with suppress(trio.WouldBlock, trio.EndOfChannel, ClientError):
            while True:
                self._event(self.watch.receive_nowait())

    async def _print_events(self, watch: Watch) -> None:
        with suppress(ClientError):  # the session's end has an event of its own
            async for event in watch:
                self._event(event)

    async def _print_states(self, client: Client) -> None:
        async for state in client.states():
            block = text.state_text(state)
            if self._prints_states and self.prints_watches and not self.settings.as_json and block:
                print(block, flush=True)

    def _event(self, event: WatchEvent) -> None:
        if self.prints_watches:
            self.print_event(event)
