"""Recordings of real servers: one that is alone under clients, and one that comes in step with an ensemble.

    python -m zkstore.testing.powercut.served ROOT FILE ABOUT FLAGS [CONFIG]

runs a server whose data lie in ROOT/data under a recorder, until it is told to stop, and saves the recording in FILE.
ABOUT and FLAGS are JSON.

A server alone marks what it told its clients, from the answers as they leave; a learner what it told its leader.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from struct import Struct
from typing import Any, Final

import trio

from zkstore import client
from zkstore.errors import ZkStoreError
from zkstore.net.peer_links import PeerLinks
from zkstore.server import config as configuration
from zkstore.server import logs
from zkstore.server.service import serve
from zkstore.testing.powercut import asking, loads, opening
from zkstore.testing.powercut.events import Mark, Recording
from zkstore.testing.powercut.recorder import Recorder
from zkstore.testing.powercut.witness import witnessed
from zkstore.wire.messages import Ack, EpochAck, LinkMessage, NewLeaderAck

_ANSWER: Final = Struct(">iiqi")
_STOPS_S_MAX: Final = 60.0
_SETTINGS: Final = "tickTime=300\ninitLimit=60\nsyncLimit=20\nautopurge.snapRetainCount=3\n"
_MANY: Final = 400
_SOME: Final = 60


class RecordingError(ZkStoreError):
    """A real server did not come to serve, for whatever reason: perhaps it had no time."""


# --- the server's process -------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Serve and record."""
    root, file = Path(arguments[0]), Path(arguments[1])
    about, flags = json.loads(arguments[2]), json.loads(arguments[3])
    config, _ = configuration.load(Path(arguments[4]) if arguments[4:] else None, flags, {})
    logs.configure(sys.stderr, "info", {})
    begun = _begun(root, about)
    recorder = Recorder(root, about, None if about["is_member"] else _told)
    if begun is not None:
        recorder.mark("begin", begun)
    original = PeerLinks.send
    PeerLinks.send = _telling(recorder, original)  # type: ignore[method-assign]
    try:
        with witnessed(recorder):
            trio.run(serve, config, lambda view: {}, lambda line: print(line, flush=True))  # noqa: T201
    finally:
        PeerLinks.send = original  # type: ignore[method-assign]
        recorder.stop().save(file)


def _begun(root: Path, about: Mapping[str, Any]) -> Any:
    """What lies there already; None for a new directory."""
    if not (root / opening.DATA / "format").exists():
        return None
    copy = root.with_name(f"{root.name}-copy")
    shutil.copytree(root, copy)
    try:
        return loads.survey(copy, about)[1]
    finally:
        shutil.rmtree(copy)


def _told(_: int, data: bytes) -> Mark | None:
    """The zxid of the last answer in what leaves by a socket. Events and greetings have no number of a request."""
    told, at = 0, 0
    while at + _ANSWER.size <= len(data):
        length, xid, zxid, _code = _ANSWER.unpack_from(data, at)
        if xid > 0 and length >= _ANSWER.size - 4:
            told = max(told, zxid)
        at += 4 + max(length, 0)
    return Mark("told", told) if told else None


def _telling(recorder: Recorder, send: Callable[..., None]) -> Callable[..., None]:
    def tell(self: PeerLinks, link: int, message: LinkMessage) -> None:
        if isinstance(message, Ack):
            recorder.mark("told", message.zxid)
        elif isinstance(message, EpochAck | NewLeaderAck):
            recorder.mark("promised", message.epoch)
        send(self, link, message)

    return tell


# --- what is done with it -------------------------------------------------------------------------


class _Server:
    """A process, recorded or not, and where it serves."""

    def __init__(self, command: list[str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, *command], env=asking.environ(), stdout=subprocess.PIPE, stderr=self._log
        )

    def port(self) -> int:
        """Once it serves. Raises RecordingError if it does not come to."""
        port = asking.port(self._process)
        if port is None:
            self._log.seek(0)
            raise RecordingError(f"a server does not serve: {self._log.read()[-2000:].decode(errors='replace')}")
        return port

    def stop(self) -> None:
        """In order."""
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=_STOPS_S_MAX)
        self._process.kill()
        self._process.communicate()
        self._log.close()


def _recorded(root: Path, about: dict[str, Any], flags: dict[str, str], config: Path | None = None) -> _Server:
    arguments = [str(root), str(root.with_name("served")), json.dumps(about), json.dumps(flags)]
    return _Server(["-m", __name__, *arguments, *([str(config)] if config else [])])


def _alone(seed: int, root: Path) -> Iterator[Recording]:
    """Clients write, checkpoints are taken, and history is purged."""
    about = {"load": "server", "seed": seed, "is_member": False}
    flags = {
        "data_dir": str(root / opening.DATA),
        "client_host": "127.0.0.1",
        "client_port": "0",
        "checkpoint_txns": "40",
        "history_bytes_max": "60000",
    }
    server = _recorded(root, about, flags)
    try:
        trio.run(_write, server.port(), Random(seed), _SOME, 4)
    finally:
        server.stop()
    yield Recording.load(root.with_name("served"))


def _member(seed: int, root: Path) -> Iterator[Recording]:
    """A server comes to an ensemble that has dropped the beginning of history, and later once more: the whole tree is
    sent to it first, and then segments."""
    about = {"load": "learner", "seed": seed, "is_member": True}
    random = Random(seed)
    others = root.with_name("others")
    shutil.rmtree(others, ignore_errors=True)
    others.mkdir(parents=True)
    ports = _free_ports(9)
    lines = "".join(
        f"server.{one}=127.0.0.1:{peer}:{election};127.0.0.1:{serving}\n"
        for one, serving, peer, election in zip((1, 2, 3), ports[:3], ports[3:6], ports[6:], strict=True)
    )
    servers: dict[int, _Server] = {}
    third: _Server | None = None

    def config(number: int, data: Path) -> Path:
        path = others / f"{number}.cfg"
        settings = "snapCount=50\nzkstore.historyBytesMax=40000\n"
        path.write_text(f"{_SETTINGS}{settings}dataDir={data}\n{lines}")
        data.mkdir(parents=True, exist_ok=True)
        (data / "myid").write_text(f"{number}\n")
        return path

    try:
        for number in (1, 2):
            servers[number] = _Server(["-m", "zkstore", "serve", str(config(number, others / str(number)))])
        port = servers[1].port()
        trio.run(_write, port, random, _MANY, 8)
        path = config(3, root / opening.DATA)
        for _ in range(2):
            third = _recorded(root, about, {}, path)
            third.port()
            trio.run(_write, port, random, _SOME, 4)
            third.stop()
            third = None
            yield Recording.load(root.with_name("served"))
            trio.run(_write, port, random, _SOME // 4, 2)
    finally:
        for server in [*servers.values(), *([third] if third else [])]:
            server.stop()
        shutil.rmtree(others, ignore_errors=True)


async def _write(port: int, random: Random, times: int, clients: int) -> None:
    """So many writes by each of several clients: new values, multis, short and long ones."""
    async with trio.open_nursery() as nursery:
        for number in range(clients):
            name = f"{number}-{random.getrandbits(24)}"
            nursery.start_soon(_write_one, port, Random(random.getrandbits(32)), times, name)


async def _write_one(port: int, random: Random, times: int, name: str) -> None:
    async with client.connect(f"127.0.0.1:{port}") as asking_client:
        await asking_client.create(f"/{name}", b"")
        for count in range(times):
            data = random.randbytes(random.choice((10, 100, 900, 4_000)))
            if count % 5:
                await asking_client.set(f"/{name}", data)
            else:
                await asking_client.transaction().set(f"/{name}", data).create(f"/{name}-{count}", data).commit()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    time.sleep(0.1)
    return ports


LOADS: Final[dict[str, Callable[[int, Path], Iterator[Recording]]]] = {"server": _alone, "learner": _member}


def record(name: str, seed: int, root: Path) -> Iterator[Recording]:
    """One of `LOADS` on a new directory; one after the other. Raises RecordingError."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    yield from LOADS[name](seed, root)


if __name__ == "__main__":
    main(sys.argv[1:])
