"""One server, from start to stop.

    start   own the data directory, recover the tree, listen, then say that clients may come
    run     client port, ticker, checkpoints; a storage error ends them all
    stop    no new clients, finish what the disk has, close connections, checkpoint, leave a note

The order of the stop is what makes it orderly: nothing is read any more that would have to be answered, everything
proposed is durable and answered, and the checkpoint spares the next start the replay.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Final

import trio

from zkstore import failpoints, limits
from zkstore.errors import ConfigError, DiskFullError
from zkstore.model import zxid
from zkstore.net.certificates import Certificates
from zkstore.net.client_port import ClientPort
from zkstore.net.connection import PortSettings
from zkstore.replica.conversation import Word
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings
from zkstore.server import boot, descriptors, entrance, memory, throttles
from zkstore.server.checkpoints import Checkpoints
from zkstore.server.config import Config
from zkstore.server.ensemble import EnsembleHost
from zkstore.server.ensemble_config import EnsembleConfig
from zkstore.server.entrance import Entrance
from zkstore.server.history import History
from zkstore.server.notify import NOTIFY_SOCKET, ServiceManager
from zkstore.server.pipeline import Pipeline
from zkstore.server.ports import open_ports
from zkstore.server.view import View
from zkstore.storage.recovery import Recovered
from zkstore.storage.store import CleanNote, Store
from zkstore.version import VERSION

logger = logging.getLogger(__name__)

_TICK_S: Final = 0.1
_TICKS_PER_TICK: Final = 10  # of an ensemble's, which may be short
_MEMORY_EVERY_MS: Final = 1_000

# A thread that has finished a commit must not wait 5 ms, Python's default, for the interpreter: 0.5 ms doubled the
# writes/s of 16 clients with 16 requests in flight each.
_SWITCH_INTERVAL_S: Final = 0.0005

# Nearly all that lives long are bytes and dictionaries of bytes, which the collector does not even visit; collecting
# rarely keeps it from visiting the rest often.
_GC_THRESHOLDS: Final = (50_000, 20, 100)

WordsOf = Callable[[View], Mapping[bytes, Word]]
"""Makes the four-letter words for a server; they live in a higher room."""


class Service:
    """A recovered server that listens; `run` serves until `stop` was called or something failed.

    Attributes:
        ports: where it listens.
        clean_note: what to leave in the data directory; None until everything was brought to an end in order.
    """

    def __init__(
        self, config: Config, admission: Entrance, store: Store, recovered: Recovered, words_of: WordsOf
    ) -> None:
        self.clean_note: CleanNote | None = None
        self._stopping = trio.Event()
        self._tick_s = min(_TICK_S, config.tick_ms / _TICKS_PER_TICK / 1000)
        self._next_memory_look_ms = 0
        self._memory_bytes_max = config.memory_bytes_max or memory.default_limit_bytes()
        self.replica = Replica(
            recovered.tree,
            _replica_settings(config, admission),
            now_ms=_now_ms(),
            time_ms=_time_ms(),
            last_crc=boot.last_crc(store, recovered),
            make_password=lambda: secrets.token_bytes(limits.PASSWORD_BYTES),
        )
        self.member = boot.make_member(config, store, recovered, self.replica)
        self.ports = open_ports(config)
        certificates = admission.peer_certificates
        self._files = [files for files in (admission.certificates, certificates, admission.users) if files is not None]
        self.checkpoints = Checkpoints(
            recovered.tree,
            store,
            checkpoint_txns=config.checkpoint_txns,
            history_bytes_max=config.history_bytes_max,
        )
        self.host: EnsembleHost | None = None
        if config.ensemble is not None:
            self.host = self._make_host(config, config.ensemble, store, certificates)
        else:
            self.member.start()
        self.pipeline: Pipeline | EnsembleHost = self.host or Pipeline(self.member, store)
        self.port = ClientPort(
            self.replica,
            self.ports.listeners,
            PortSettings(
                connections_per_address_max=config.connections_per_address_max,
                connections_max=config.connections_max,
                descriptors_max=descriptors.connections_bound(),
                handshake_timeout_ms=config.handshake_timeout_ms,
            ),
            clock=self._read_clocks,
            after_input=self.pipeline.gather,
            before_wait=self.pipeline.before_wait,
            certificates=admission.certificates,
        )
        self.port.add_source(self.pipeline.descriptor, self.pipeline.collect)
        if self.host is not None:
            self.port.add_source(self.host.links.descriptor, self.host.turn)
        self.history: History | None = None
        if config.history_enabled:
            self.history = History(self.replica, config.data_dir, config.data_log_dir, self.port.settle)
        plain, secure = self.ports.plain, self.ports.secure
        tally = None if self.host is None else self.host.tally
        bound = replace(config, client_port=plain and plain[1], secure_client_port=secure and secure[1])
        self.view = View(bound, self.member, store, self.port, self.pipeline, self.checkpoints, tally)
        self.replica.words.update(words_of(self.view))

    def _make_host(
        self, config: Config, ensemble: EnsembleConfig, store: Store, certificates: Certificates | None
    ) -> EnsembleHost:
        """Listens for other servers. Raises ConfigError, and listens nowhere then."""
        me = self.member.members.by_id.get(ensemble.server_id, ensemble.me)
        try:
            listeners = boot.open_peer_port(ensemble, me)
        except ConfigError:
            for listener in self.ports.listeners:
                listener.socket.close()
            raise
        return EnsembleHost(
            self.member,
            store,
            self.checkpoints,
            ensemble,
            listeners,
            certificates=certificates,
            admits_guests=config.reconfig_enabled,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, host and port; without TLS where there is a choice."""
        address = self.ports.plain or self.ports.secure
        assert address is not None, "a server that listens nowhere"
        return address

    async def wait_until_serving(self) -> str:
        """Returns, once clients are served, what this server is: standalone, leader, follower or observer."""
        if self.host is None:
            return "standalone"
        await self.host.serving.wait()
        return self.host.mode

    def stop(self) -> None:
        """Begin the orderly stop; `run` returns when it is done."""
        self._stopping.set()

    def reload(self) -> None:
        """Read the TLS files and the file of users again, whether they look changed or not."""
        if not self._files:
            logger.info("there is nothing to read again: no TLS is spoken, and there is no file of users")
        for files in self._files:
            files.refresh(even_if_unchanged=True)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop`. Raises StorageError if the disk cannot be trusted any more."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.port.run)
                if self.host is not None:
                    await nursery.start(self.host.run, self._read_clocks, self.port.settle)
                nursery.start_soon(self._tick)
                nursery.start_soon(self.checkpoints.run)
                if self.history is not None:
                    nursery.start_soon(self.history.run)
                for files in self._files:
                    nursery.start_soon(files.watch)
                task_status.started()
                await self._stopping.wait()
                if self.host is not None:
                    self.port.stop_accepting()
                    await self.host.resign()
                nursery.cancel_scope.cancel()
            await self._finish()
        finally:
            self.port.close()
            self.pipeline.close()

    async def _finish(self) -> None:
        """Bring everything under way to its end, then note that it was."""
        self.port.stop_accepting()
        while True:
            self.port.settle()  # which lets those go on who had waited for their answers
            self.pipeline.hand_over()
            if self.pipeline.is_writing:
                await trio.lowlevel.wait_readable(self.pipeline.descriptor)
                self._read_clocks()
                self.pipeline.collect()
            elif not self.replica.ready:
                break
        self.port.close()
        tree = self.replica.tree
        if tree.dirty_count and tree.zxid:
            await self.checkpoints.write()
        failpoints.hit("service.before_note")
        self.clean_note = CleanNote(tree.zxid, tree.digest, _time_ms())

    def _read_clocks(self) -> None:
        self.member.set_clocks(_now_ms(), _time_ms())

    async def _tick(self) -> None:
        """Time for the replica and the port; they have no clock of their own."""
        while True:
            await trio.sleep(_TICK_S if self.host is None else self.host.next_tick_s(self._tick_s))
            self._read_clocks()
            self.member.tick()
            if self.host is not None:
                self.host.tick()
            self._watch_memory()
            for notice in self.replica.notices:
                logger.warning("%s", notice)
            self.replica.notices.clear()
            self.port.tick()
            self.pipeline.hand_over()
            self.port.settle()

    def _watch_memory(self) -> None:
        if self._memory_bytes_max is None or self.replica.now_ms < self._next_memory_look_ms:
            return
        self._next_memory_look_ms = self.replica.now_ms + _MEMORY_EVERY_MS
        used = memory.resident_bytes()
        is_tight = used > self._memory_bytes_max
        if is_tight != self.replica.refuses_growth:
            self.replica.refuses_growth = is_tight
            logger.warning(
                "memory: %d MiB of %d MiB; %s",
                used >> 20,
                self._memory_bytes_max >> 20,
                "writes that grow the tree are refused" if is_tight else "all writes are served again",
            )


@contextlib.asynccontextmanager
async def open_service(config: Config, words_of: WordsOf) -> AsyncIterator[Service]:
    """A server that has recovered and listens. Raises ConfigError and StorageError, having let go of everything."""
    started_s = time.perf_counter()
    descriptors.raise_limit()
    admission = entrance.load(config)
    store, recovered = boot.open_store(config)
    service: Service | None = None
    try:
        _tell_recovery(recovered, (time.perf_counter() - started_s) * 1000)
        service = Service(config, admission, store, recovered, words_of)
        _settle_interpreter()
        yield service
    finally:
        _close(store, None if service is None else service.clean_note)


def _close(store: Store, note: CleanNote | None) -> None:
    """Let go of the directory. Without space the note stays away: the next start checks more, and loses nothing."""
    try:
        store.close(note)
    except DiskFullError as error:
        logger.warning("no note of the orderly stop could be left. %s", error)


async def serve(config: Config, words_of: WordsOf, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends the process at once. SIGHUP reads the files that may change
    again: TLS and users.

    `announce` gets one line when it serves.
    """
    manager = ServiceManager(os.environ.get(NOTIFY_SOCKET))
    async with open_service(config, words_of) as service, trio.open_nursery() as nursery:
        await nursery.start(service.run)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(_announce_service, service, config, announce, manager)
                async for number in signals:
                    if number == signal.SIGHUP:
                        service.reload()
                        continue
                    logger.info("%s: stopping in order; once more stops at once", signal.Signals(number).name)
                    break
                waiting.cancel_scope.cancel()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        manager.stopping()
        service.stop()
    logger.info("stopped")


async def _announce_service(
    service: Service, config: Config, announce: Callable[[str], None], manager: ServiceManager
) -> None:
    mode = await service.wait_until_serving()
    announce(f"zkstore {VERSION} serves clients {service.ports}, {mode}, with its data in {config.data_dir.absolute()}")
    manager.ready(f"serving clients {service.ports}")


def _replica_settings(config: Config, admission: Entrance) -> ReplicaSettings:
    return ReplicaSettings(
        server_id=1 if config.ensemble is None else config.ensemble.server_id,
        tick_ms=config.tick_ms,
        session_timeout_ms_min=config.session_timeout_ms_min,
        session_timeout_ms_max=config.session_timeout_ms_max,
        frame_bytes_max=config.frame_bytes_max,
        outstanding_max=config.outstanding_requests_max,
        super_digest=config.super_digest,
        x509_super_user=config.x509_super_user,
        acl_schemes=admission.acl_schemes,
        demanded_schemes=admission.demanded_schemes,
        sasl=admission.sasl,
        skip_acl=config.skip_acl,
        extended_types=config.extended_types,
        container_check_interval_ms=config.container_check_ms,
        container_never_used_ms=config.container_unused_ms,
        container_reaps_per_minute=config.container_reaps,
        throttle=throttles.connections(config),
        requests=throttles.requests(config),
        reconfig_enabled=config.reconfig_enabled,
        read_only_mode=config.read_only_mode,
        local_sessions=config.local_sessions and config.ensemble is not None,
        local_sessions_upgrading=config.local_sessions_upgrading,
        enforce_quota=config.enforce_quota,
    )


def _settle_interpreter() -> None:
    """Python's own knobs, set once the tree is loaded."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _tell_recovery(recovered: Recovered, took_ms: float) -> None:
    tree, report = recovered.tree, recovered.report
    for warning in report.warnings:
        logger.warning("%s", warning)
    if report.source == "nothing":
        logger.info("a new data directory: the tree is empty")
        return
    logger.info(
        "recovered %d znodes and %d sessions up to zxid %s: from the %s at %s and %d txns of the log, in %.0f ms",
        len(tree.records),
        len(tree.sessions),
        zxid.text(tree.zxid),
        report.source,
        zxid.text(report.image_zxid),
        report.txns,
        took_ms,
    )


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _time_ms() -> int:
    return time.time_ns() // 1_000_000
