"""Makes data/samples/apache-3.8.0/ anew with the Apache ZooKeeper that is installed here:

    python -m tests.exchange.make_samples

Each sample is a dataDir, and beside it seen.json: all that a client saw on the server before it was killed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient

from tests.exchange.apache_server import ApacheServer
from tests.exchange.filling import Seen, everything, fill
from tests.interop.raw import RawClient
from tools import contestants

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "apache-3.8.0"
SMALL = {"preAllocSize": "4"}


def main() -> None:
    """All of them."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        for name, method in (("plain", ""), ("gz", "gz"), ("snappy", "snappy")):
            keep(name, *alone(home / name, method))
        keep("ensemble", *member(home / "ensemble"))


def alone(home: Path, method: str) -> tuple[Path, dict[str, Seen]]:
    """A server that was killed, started again, which writes a snapshot, used a little more, and killed again."""
    server = ApacheServer(home, settings={**SMALL, "snapshot.compression.method": method} if method else SMALL)
    server.start()
    fill_at(server.hosts, server.port)
    server.kill()
    server.start()
    return server.data_dir, finished([server])


def member(home: Path) -> tuple[Path, dict[str, Seen]]:
    """One of three servers."""
    ports = [(contestants.free_port(), contestants.free_port()) for _ in range(3)]
    lines = {f"server.{number}": f"127.0.0.1:{quorum}:{vote}" for number, (quorum, vote) in enumerate(ports, 1)}
    servers = []
    for number in (1, 2, 3):
        settings = {**SMALL, **lines, "initLimit": "10", "syncLimit": "5"}
        server = ApacheServer(home / str(number), settings=settings)
        server.data_dir.mkdir(parents=True)
        (server.data_dir / "myid").write_text(f"{number}\n")
        servers.append(server)
    for server in servers:
        server.launch()
    for server in servers:
        server.wait_until_serves()
    fill_at(servers[0].hosts, servers[0].port)
    return servers[0].data_dir, finished(servers)


def fill_at(hosts: str, port: int) -> None:
    """As the tests do; the session of the raw client stays open."""
    client = KazooClient(hosts, timeout=20)
    client.start(timeout=20)
    with RawClient(port) as raw:
        raw.hello(40_000)
        fill(client, raw)
    client.stop()


def finished(servers: list[ApacheServer]) -> dict[str, Seen]:
    """What there is in the end, when nobody is there any more."""
    client = KazooClient(servers[0].hosts, timeout=20)
    client.start(timeout=20)
    client.set("/app", b"three")
    client.stop()
    seen = everything(servers[0].hosts)
    for server in servers:
        server.kill()
    return seen


def keep(name: str, data_dir: Path, seen: dict[str, Seen]) -> None:
    """Into the samples."""
    shutil.rmtree(SAMPLES / name, ignore_errors=True)
    shutil.copytree(data_dir, SAMPLES / name / "data")
    lines = [json.dumps(path) + ": " + json.dumps(as_json(znode)) for path, znode in sorted(seen.items())]
    (SAMPLES / name / "seen.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def as_json(znode: Seen) -> dict[str, Any]:
    """A znode as it stands in seen.json."""
    return {
        "data": b64encode(znode.data or b"").decode(),
        "stat": list(znode.stat),
        "acl": [[entry.perms, entry.id.scheme, entry.id.id] for entry in znode.acl],
    }


if __name__ == "__main__":
    main()
