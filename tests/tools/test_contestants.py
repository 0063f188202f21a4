"""How the measured servers are configured and watched."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tools.contestants import Contestant, ContestantError, Memory, Server, parse_memory, zkstore, zoo_cfg


def test_a_configuration_names_the_shared_settings_and_those_of_one_server() -> None:
    lines = zoo_cfg(Path("/d"), 1234, 500, {"admin.enableServer": "false"}).splitlines()
    assert lines[:3] == ["dataDir=/d", "clientPort=1234", "clientPortAddress=127.0.0.1"]
    assert lines[-2:] == ["snapCount=500", "admin.enableServer=false"]
    assert "maxClientCnxns=0" in lines


def test_memory_is_read_in_mib() -> None:
    status = "Name:\tjava\nVmRSS:\t  2048 kB\nRssAnon:\t  1024 kB\nThreads:\t3\n"
    assert parse_memory(status) == Memory(resident_mib=2.0, anonymous_mib=1.0)


def test_this_checkouts_server_is_the_default() -> None:
    assert zkstore().command == [sys.executable, "-m", "zkstore", "serve"]
    assert zkstore(["other"]).command == ["other"]


def test_a_server_that_ends_while_starting_is_reported_with_its_words(tmp_path: Path) -> None:
    contestant = Contestant("toy", shlex.split("sh -c 'echo no room left; exit 3'"))
    with (
        Server(contestant, tmp_path) as server,
        pytest.raises(ContestantError, match="toy ended with status 3 while starting; it said:\nno room left"),
    ):
        server.wait_until_answers()
