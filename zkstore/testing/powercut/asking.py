"""Starts a real server on an image, and asks it as a client would for all that must be there."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

import zkstore
from zkstore import client
from zkstore.errors import ZkStoreError
from zkstore.model import record as records
from zkstore.model.tree import Tree
from zkstore.testing.powercut import opening

_SERVES_S_MAX: Final = 180.0
_ASKS_S_MAX: Final = 60.0
_PORT: Final = re.compile(rb"127\.0\.0\.1:(\d+)")


def ask(root: Path, about: Mapping[str, Any], expected: Tree) -> str | None:
    """What is wrong with the server's answers; None if nothing is. `root` is an image that was laid out; it is used."""
    process = _started(root, about)
    try:
        serving_port = port(process)
        if serving_port is None:
            process.kill()
            return f"the server did not come to serve: {process.communicate()[1][-500:].decode(errors='replace')}"
        return trio.run(_compare, serving_port, expected)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def _started(root: Path, about: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "zkstore", "serve", "--data-dir", str(root / opening.DATA)]
    command += ["--host", "127.0.0.1", "--client-port", "0"]
    if about.get("has_own_log_directory"):
        command += ["--data-log-dir", str(root / opening.LOG)]
    return subprocess.Popen(command, env=environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def environ() -> dict[str, str]:
    """For a server's process: no settings but those that it is given."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("ZKSTORE_", "ZOO_"))}
    found["PYTHONPATH"] = str(Path(zkstore.__file__).parents[1])
    return found


def port(process: subprocess.Popen[bytes]) -> int | None:
    """Where it says that it serves clients; None if it ends before, or takes too long."""
    assert process.stdout is not None, "it was asked for"
    said, until_s = b"", time.monotonic() + _SERVES_S_MAX
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not said.endswith(b"\n"):
            if not selector.select(until_s - time.monotonic()):
                return None
            more = os.read(process.stdout.fileno(), 4096)
            if not more:
                return None
            said += more
    found = _PORT.search(said)
    return None if found is None else int(found[1])


async def _compare(port: int, expected: Tree) -> str | None:
    try:
        with trio.fail_after(_ASKS_S_MAX):
            async with client.connect(f"127.0.0.1:{port}") as asking:
                return await _differs(asking, expected)
    except (ZkStoreError, trio.TooSlowError) as error:
        return f"a client is not answered: {error!r}"


async def _differs(asking: client.Client, expected: Tree) -> str | None:
    for path, record in expected.records.items():
        if path.startswith(b"/zookeeper") or path == b"/":
            continue
        data, stat = await asking.get(path.decode())
        if (data or b"") != (records.data_of(record) or b"") or stat.mzxid != expected.stat(path).mzxid:
            return f"{path.decode()} is not as it was written"
    names = {f"/{name}" for name in await asking.children("/")}
    written = {path.decode() for path in expected.records if path.count(b"/") == 1 and path != b"/"}
    return None if names == written else f"these are too many or missing: {sorted(names ^ written)[:3]}"
