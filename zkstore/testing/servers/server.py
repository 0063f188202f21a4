"""One server in a thread of this process, on a real port and real files."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

import outcome
import trio

from zkstore.admin.asking import words_of
from zkstore.errors import ConfigError, ZkStoreError
from zkstore.replica import sessions
from zkstore.replica.leading import Leading
from zkstore.server import boot, entrance
from zkstore.server import config as configuration
from zkstore.server.config import Config
from zkstore.server.service import Service

T = TypeVar("T")

START_S_MAX: Final = 30.0
_HOST: Final = "127.0.0.1"


class ServerFailedError(ZkStoreError):
    """A server did not start, has stopped by itself, or is not running when it is asked for something."""


class Server:
    """A server that lives as long as the `with` block, or from `start` to `close`.

    `settings` are those of `zkstore serve --help`, with underscores: `Server(tick_ms=200, super_digest=...)`. Without
    `data_dir` its data lies in a temporary directory, which `close` removes. The port is chosen at the first start and
    kept. Methods raise ServerFailedError, with what the server said.

    Attributes:
        data_dir: where its data lies.
        server_id: its number in an ensemble; 1 of a server alone.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        server_id: int = 1,
        lines: Sequence[str] = (),
        **settings: object,
    ) -> None:
        self._temporary = None if data_dir is not None else Path(tempfile.mkdtemp(prefix="zkstore-"))
        self.data_dir = data_dir or self._temporary or Path()
        self.server_id = server_id
        self._lines = list(lines)
        self._settings = {name: _text(value) for name, value in settings.items()}
        self._port = int(self._settings.pop("client_port", "0"))
        self._life: _Life | None = None

    # --- life -------------------------------------------------------------------------------------

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self, *, is_waiting: bool = True) -> None:
        """Start on the data that is there; returns when clients are served, or if not `is_waiting` when it listens."""
        if self._life is not None:
            raise ServerFailedError(f"server {self.server_id} is running already")
        self._life = _Life(self._config())
        try:
            self._life.start()
            self._port = self._life.service.address[1]
            if is_waiting:
                self.wait_until_serving()
        except BaseException:
            self._end(is_crash=True)
            raise

    def stop(self) -> None:
        """Stop in order, as on SIGTERM. It can be started again."""
        self._end(is_crash=False)

    def crash(self) -> None:
        """Die on the spot, as by kill -9: nothing is brought to an end, and what clients have open breaks."""
        self._end(is_crash=True)

    def restart(self) -> None:
        """Stop it in order if it runs, and start it again on the same port and data."""
        if self._life is not None:
            self.stop()
        self.start()

    def close(self) -> None:
        """End it, and remove its data if nobody has said where to keep that."""
        if self._life is not None:
            self.crash()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _end(self, *, is_crash: bool) -> None:
        life, self._life = self._running(), None
        life.end(is_crash=is_crash)

    # --- asking -----------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._life is not None and self._life.is_alive

    @property
    def port(self) -> int:
        """Where clients find it; the same over all its lives."""
        if not self._port:
            raise ServerFailedError(f"server {self.server_id} was never started, so it has no port yet")
        return self._port

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, as clients take it."""
        return f"{_HOST}:{self.port}"

    @property
    def mode(self) -> str:
        """standalone, leader, follower, observer or looking."""
        return self.run(lambda service: "standalone" if service.host is None else service.host.mode)

    @property
    def is_serving(self) -> bool:
        """Whether it serves clients at this moment, and is running at all."""
        return self._life is not None and self.run(lambda service: service.replica.role.is_serving)

    @property
    def sessions(self) -> list[int]:
        """The ids of all sessions of the ensemble, as far as this server knows; no local ones."""
        return self.run(lambda service: list(service.replica.tree.sessions))

    def wait_until_serving(self, timeout_s: float = START_S_MAX) -> None:
        """Returns when clients are served."""
        self._running().wait_until_serving(timeout_s)

    def expire(self, session_id: int) -> None:
        """End a session as if its client had been silent for too long: its ephemerals go, and it is told so.

        Of an ensemble, ask the leader, or `Ensemble.expire`. Raises KeyError where there is no such session.
        """
        self.run(partial(_expire, session_id=session_id))

    def disconnect(self, session_id: int | None = None) -> None:
        """Break a session's connection, or all there are; the sessions live on."""
        self.run(partial(_disconnect, session_id=session_id))

    def shun(self, server_ids: Sequence[int]) -> None:
        """Have nothing to do with these servers of the ensemble until told otherwise."""

        def tell(service: Service) -> None:
            assert service.host is not None, "a server alone has nobody to shun"
            service.host.links.shun(server_ids)

        self.run(tell)

    def run(self, question: Callable[[Service], T]) -> T:
        """Ask anything of the running service, in its own thread."""
        return self._running().run(question)

    def _running(self) -> _Life:
        if self._life is None:
            raise ServerFailedError(f"server {self.server_id} is not running; start it first")
        return self._life

    def _config(self) -> Config:
        told = {"client_host": _HOST, "client_port": str(self._port), "data_dir": str(self.data_dir), **self._settings}
        path: Path | None = None
        try:
            if self._lines:
                self.data_dir.mkdir(parents=True, exist_ok=True)
                path = self.data_dir.parent / f"{self.data_dir.name}.cfg"
                path.write_text("\n".join(self._lines) + "\n", encoding="utf-8")
                told["my_id"] = str(self.server_id)
            config, _ = configuration.load(path, told, {})
        except (ConfigError, OSError) as error:
            raise ServerFailedError(f"server {self.server_id}: {error}") from error
        return config


class _Life:
    """One run of a server, from its start to its end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._listens = threading.Event()
        self._serves = threading.Event()
        self._failure: BaseException | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._ending: trio.Event | None = None
        self._is_crash = False
        self._service: Service | None = None
        self._thread = threading.Thread(target=self._run, name="zkstore server", daemon=True)

    @property
    def service(self) -> Service:
        """To be used in its own thread only, but for what never changes."""
        assert self._service is not None, "it has not started"
        return self._service

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Returns when it listens."""
        self._thread.start()
        self._wait(self._listens, START_S_MAX, "listen")

    def wait_until_serving(self, timeout_s: float) -> None:
        """Returns when clients are served."""
        self._wait(self._serves, timeout_s, "serve clients")

    def run(self, question: Callable[[Service], T]) -> T:
        """Ask in its thread. Not by `trio.from_thread`, which a thread that runs trio itself may not use."""
        future: Future[T] = Future()

        def answer() -> None:
            asked = outcome.capture(question, self.service)
            if isinstance(asked, outcome.Error):
                future.set_exception(asked.error)
            else:
                future.set_result(asked.value)

        assert self._token is not None, "it has not started"
        try:
            self._token.run_sync_soon(answer)
            return future.result(START_S_MAX)
        except trio.RunFinishedError:
            raise self._failed("it has stopped by itself") from self._failure

    def end(self, *, is_crash: bool) -> None:
        """Returns when the thread has ended."""
        self._is_crash = is_crash
        if self._token is not None and self._ending is not None:
            with suppress(trio.RunFinishedError):  # it has ended by itself
                self._token.run_sync_soon(self._ending.set)
        self._thread.join()

    def _wait(self, event: threading.Event, timeout_s: float, what: str) -> None:
        if not event.wait(timeout_s):
            raise ServerFailedError(f"the server with its data in {self._config.data_dir} does not {what}")
        if self._failure is not None:
            raise self._failed(f"it could not {what}") from self._failure

    def _failed(self, what: str) -> ServerFailedError:
        failure: BaseException | None = self._failure
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        return ServerFailedError(f"the server with its data in {self._config.data_dir}: {what}: {failure}")

    def _run(self) -> None:
        ended = outcome.capture(trio.run, self._live)
        if isinstance(ended, outcome.Error):
            self._failure = ended.error  # told to whoever asks next, in a thread of theirs
        self._listens.set()
        self._serves.set()

    async def _live(self) -> None:
        self._ending = trio.Event()
        admission = entrance.load(self._config)
        store, recovered = boot.open_store(self._config)
        service: Service | None = None
        try:
            service = Service(self._config, admission, store, recovered, partial(words_of, self._config))
            self._service = service
            async with trio.open_nursery() as nursery:
                await nursery.start(service.run)
                self._token = trio.lowlevel.current_trio_token()
                self._listens.set()
                nursery.start_soon(self._tell_when_serving, service)
                await self._ending.wait()
                if self._is_crash:
                    nursery.cancel_scope.cancel()
                else:
                    service.stop()
        finally:
            if self._is_crash or service is None:
                store.abandon()
            else:
                store.close(service.clean_note)

    async def _tell_when_serving(self, service: Service) -> None:
        await service.wait_until_serving()
        self._serves.set()


def _expire(service: Service, session_id: int) -> None:
    replica = service.replica
    role = replica.role
    if session_id in replica.local:
        replica.local.forget(session_id)
        if session_id in replica.attached:
            replica.attached[session_id].end("the session expired")
    elif isinstance(role, Leading) and session_id in replica.tree.sessions:
        sessions.close(role, session_id)
    else:
        raise KeyError(f"no session {session_id:#x} here that this server could end")
    service.pipeline.hand_over()
    service.port.settle()


def _disconnect(service: Service, session_id: int | None) -> None:
    attached = service.replica.attached
    if session_id is not None and session_id not in attached:
        raise KeyError(f"session {session_id:#x} is not connected to this server")
    for conversation in list(attached.values()) if session_id is None else [attached[session_id]]:
        conversation.end(None)
    service.port.settle()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
