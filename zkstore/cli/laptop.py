"""`zkstore serve --ensemble N`: a whole ensemble on one machine, to try things; each server is a process of its own.

    DIR/1.cfg    what server 1 is told; DIR/1 has its data; and so on

The files are written by the first start. Later ones read them, because the servers' addresses are part of what an
ensemble has agreed on; whoever edits them edits them for all. A server that ends is not started again: that is for
the one who tries things to see.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import trio

from zkstore.errors import ConfigError
from zkstore.server import properties
from zkstore.server.ensemble_config import MY_ID_FILE
from zkstore.version import VERSION
from zkstore.zab import membership
from zkstore.zab.membership import Member

logger = logging.getLogger(__name__)

CLIENT_PORT: Final = 2181

_PEER_PORT: Final = 2888
_ELECTION_PORT: Final = 3888
_HOST: Final = "127.0.0.1"
_STOP_S: Final = 20.0
_LINE_BYTES_MAX: Final = 1 << 20
_OF_ONE_SERVER: Final = ("ZOO_", "ZKSTORE_DATA_DIR", "ZKSTORE_DATA_LOG_DIR", "ZKSTORE_CLIENT_PORT", "ZKSTORE_MY_ID")
_NOT_INHERITED: Final = (*_OF_ONE_SERVER, "NOTIFY_SOCKET")


class Server(NamedTuple):
    """One server's directory and the member it is."""

    directory: Path
    member: Member

    @property
    def config_path(self) -> Path:
        """What it is told."""
        return _config_path(self.directory.parent, self.member.server_id)

    @property
    def client_address(self) -> str:
        """Where clients come."""
        return str(self.member.client)


# --- the files ------------------------------------------------------------------------------------


def prepare(directory: Path, count: int, first_port: int) -> list[Server]:
    """The servers below `directory`: those that are there, or `count` new ones on ports from `first_port` upwards.

    Raises:
        ConfigError: another number of servers is there, or files that make no sense, or the directory cannot be used.
    """
    try:
        if not _config_path(directory, 1).exists():
            _write(directory, count, first_port)
        servers = _read(directory)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; choose another --data-dir") from None
    if len(servers) != count:
        raise ConfigError(
            f"{directory} holds an ensemble of {len(servers)}; give --ensemble {len(servers)}, or another --data-dir"
        )
    return servers


def _read(directory: Path) -> list[Server]:
    path = _config_path(directory, 1)
    given = properties.parse(path.read_text(encoding="utf-8"), str(path))
    lines = [(f"{path}:{line}", f"{key}={value}") for key, value, line in given if key.startswith("server.")]
    members = membership.parse_labelled(lines, str(path)).members
    for member in members:
        if member.client is None:
            raise ConfigError(f"{path}: server.{member.server_id} names no address for clients; add ;{_HOST}:PORT")
    return [Server(directory / str(member.server_id), member) for member in members]


def _write(directory: Path, count: int, first_port: int) -> None:
    clients, peers, elections = free_ports(
        [range(first, first + count) for first in (first_port, _PEER_PORT, _ELECTION_PORT)]
    )
    lines = [
        f"server.{number}={_HOST}:{peer}:{election};{_HOST}:{client}"
        for number, (client, peer, election) in enumerate(zip(clients, peers, elections, strict=True), 1)
    ]
    for number in range(count, 0, -1):  # The first server's file, which is looked for, comes last.
        own = directory.absolute() / str(number)
        own.mkdir(parents=True, exist_ok=True)
        (own / MY_ID_FILE).write_text(f"{number}\n", encoding="utf-8")
        told = [f"dataDir={_escaped(own)}", "4lw.commands.whitelist=*", *lines]
        _config_path(directory, number).write_text("\n".join(told) + "\n", encoding="utf-8")


def _config_path(directory: Path, number: int) -> Path:
    return directory / f"{number}.cfg"


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\")


def free_ports(wishes: Sequence[range]) -> list[list[int]]:
    """Ports that nobody listens on: each range if all of it is free, else as many as it has of any."""
    with ExitStack() as held:
        return [_bound(wish, held) or _bound([0] * len(wish), held) for wish in wishes]


def _bound(ports: Iterable[int], held: ExitStack) -> list[int]:
    """The ports bound to, empty if one is taken; they stay so for the life of `held`, lest one is given twice."""
    found = []
    with ExitStack() as trying:
        for port in ports:
            listening = trying.enter_context(socket.socket())
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((_HOST, port))
            except (OSError, OverflowError):
                return []
            found.append(listening.getsockname()[1])
        held.enter_context(trying.pop_all())
    return found


# --- the processes --------------------------------------------------------------------------------


class Laptop:
    """The processes of one ensemble. `run` returns the exit code: 0 if all ended in order, when they were told to."""

    def __init__(self, servers: Sequence[Server], flags: Mapping[str, str], announce: Callable[[str], None]) -> None:
        self._servers = servers
        self._flags = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        self._announce = announce
        self._processes: dict[int, trio.Process] = {}
        self._serving: set[int] = set()
        self._is_stopping = False

    async def run(self) -> int:
        """Until a signal, or until no server is left."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, nursery.cancel_scope)
            async with trio.open_nursery() as watching:
                for server in self._servers:
                    await self._start(server, watching)
            nursery.cancel_scope.cancel()
        in_order = self._is_stopping and all(process.returncode == 0 for process in self._processes.values())
        return 0 if in_order else 1

    async def _start(self, server: Server, watching: trio.Nursery) -> None:
        told = [str(server.config_path), f"--data-dir={server.directory}", *self._flags]
        command = [sys.executable, "-m", "zkstore", "serve", *told]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        process = await trio.lowlevel.open_process(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            start_new_session=True,  # Ctrl-C is for this process, which stops them one by one.
        )
        self._processes[server.member.server_id] = process
        watching.start_soon(self._watch, server, process)

    async def _watch(self, server: Server, process: trio.Process) -> None:
        """Pass on what one server says, until it ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        number = server.member.server_id
        async with trio.open_nursery() as reading:
            reading.start_soon(_each_line, process.stdout, lambda line: self._told(number, line))
            reading.start_soon(_each_line, process.stderr, lambda line: pass_on(number, line))
        code = await process.wait()
        self._serving.discard(number)
        if not self._is_stopping:
            logger.error("server %d has ended with exit code %d; it is not started again", number, code)

    def _told(self, number: int, line: str) -> None:
        """The line of a server that clients may come to."""
        logger.info("server %d: %s", number, line)
        self._serving.add(number)
        if len(self._serving) == len(self._servers):
            addresses = ",".join(server.client_address for server in self._servers)
            where = self._servers[0].directory.parent.absolute()
            self._announce(
                f"zkstore {VERSION} serves clients at {addresses}, an ensemble of {len(self._servers)} with its data"
                f" in {where}"
            )

    async def _obey(self, everything: trio.CancelScope) -> None:
        """The first signal stops the servers in order, one after the other; the second one ends them at once."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:
                async for _ in signals:
                    if self._is_stopping:
                        self._kill()
                        continue
                    self._is_stopping = True
                    logger.info("stopping the servers in order; once more stops them at once")
                    nursery.start_soon(self._stop)
        everything.cancel()

    async def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
            with trio.move_on_after(_STOP_S) as limit:
                await process.wait()
            if limit.cancelled_caught:
                self._kill()

    def _kill(self) -> None:
        for process in self._processes.values():
            process.kill()


async def _each_line(stream: trio.abc.ReceiveStream, take: Callable[[str], None]) -> None:
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            take(line.decode("utf-8", "replace"))
        if len(rest) > _LINE_BYTES_MAX:
            take(rest.decode("utf-8", "replace"))
            rest = b""
    if rest:
        take(rest.decode("utf-8", "replace"))


def pass_on(number: int, line: str) -> None:
    """One line of a server's log into this process's own, with the server's number before it."""
    try:
        record = json.loads(line)
        level = logging.getLevelNamesMapping()[record.pop("level").upper()]
        message = record.pop("message")
    except (ValueError, KeyError, AttributeError, TypeError):
        logger.warning("server %d: %s", number, line)  # A traceback of Python's, for example.
        return
    for known in ("time", "logger"):
        record.pop(known, None)
    facts = "".join(f" {name}={value}" for name, value in record.items())
    logger.log(level, "server %d: %s%s", number, message, facts)
