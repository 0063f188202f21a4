"""The files and the ports of an ensemble on one machine; its processes run in tests/interop/test_laptop.py."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import pytest

from zkstore.cli import laptop, serve
from zkstore.errors import ConfigError
from zkstore.server import config as configuration


def prepare(directory: Path, count: int = 3) -> list[laptop.Server]:
    [ports] = laptop.free_ports([range(count)])
    return laptop.prepare(directory, count, ports[0])


def test_the_first_start_writes_what_each_server_is_told(tmp_path: Path) -> None:
    servers = prepare(tmp_path)

    for number, server in enumerate(servers, 1):
        config, warnings = configuration.load(tmp_path / f"{number}.cfg", {}, {})
        assert warnings == []
        assert config.data_dir == server.directory == tmp_path / str(number)
        assert config.ensemble is not None
        assert config.ensemble.server_id == number
        assert config.ensemble.membership.members == tuple(each.member for each in servers)
        assert server.client_address == f"127.0.0.1:{config.client_port}"
        assert config.client_host == "127.0.0.1"


def test_later_starts_find_the_same_servers(tmp_path: Path) -> None:
    servers = prepare(tmp_path)

    assert laptop.prepare(tmp_path, 3, 1) == servers


def test_a_path_with_a_backslash_is_found_again(tmp_path: Path) -> None:
    prepare(tmp_path / "a\\b")

    assert configuration.load(tmp_path / "a\\b" / "1.cfg", {}, {})[0].data_dir == tmp_path / "a\\b" / "1"


def test_another_number_of_servers_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path)

    with pytest.raises(ConfigError, match="holds an ensemble of 3; give --ensemble 3"):
        laptop.prepare(tmp_path, 5, 2181)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"file/3: Not a directory; choose another --data-dir"):
        prepare(tmp_path / "file")


def test_every_server_needs_a_port_for_clients(tmp_path: Path) -> None:
    (tmp_path / "1.cfg").write_text("server.1=127.0.0.1:2888:3888\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"server\.1 names no address for clients"):
        laptop.prepare(tmp_path, 1, 2181)


def test_ports_are_the_wished_ones_if_all_of_them_are_free() -> None:
    [[first, *_]] = laptop.free_ports([range(1)])
    [found] = laptop.free_ports([range(first, first + 1)])
    assert found == [first]

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        [found] = laptop.free_ports([range(port, port + 3)])
    assert port not in found
    assert len(set(found)) == 3


def test_ports_beyond_the_last_one_are_not_wished_for() -> None:
    [found] = laptop.free_ports([range(65534, 65538)])

    assert len(set(found)) == 4
    assert all(0 < port < 65536 for port in found)


def test_a_server_s_log_becomes_ours_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    record = {"time": "now", "level": "warning", "logger": "x", "message": "it is so", "path": "/a"}

    laptop.pass_on(2, json.dumps(record))
    for line in ("Traceback (most recent call last):", "[]", '{"level": "loud"}', "3"):
        laptop.pass_on(3, line)

    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "server 2: it is so path=/a"),
        ("WARNING", "server 3: Traceback (most recent call last):"),
        ("WARNING", "server 3: []"),
        ("WARNING", 'server 3: {"level": "loud"}'),
        ("WARNING", "server 3: 3"),
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["zoo.cfg"], "zoo.cfg: with --ensemble each server has a file of its own, below --data-dir"),
        (["--my-id", "3"], "--my-id is for one server, not for an ensemble"),
        (["--secure-client-port", "2281"], "--secure-client-port is for one server"),
        (["--client-port", "x"], "--data-dir and --client-port: give a whole number from 1 to 65535"),
    ],
)
def test_what_makes_no_ensemble_ends_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert serve.main(["--ensemble", "3", "--data-dir", str(tmp_path), *arguments]) == 2

    assert complaint in capsys.readouterr().err
