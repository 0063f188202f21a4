"""An ensemble on one machine by one command, and what is said of it: `serve --ensemble` and `status`."""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import StartServer
from tests.interop.processes import ENVIRONMENT, START_S, WAIT_S, run_zkstore, wait_until
from zkstore.cli.laptop import free_ports

pytestmark = pytest.mark.interop


FLAGS = ("--tick-ms", "500", "--reconfig-enabled", "true", "--skip-acl", "yes")


class LaptopProcess:
    """`zkstore serve --ensemble 3` below one directory; `hosts` once it serves."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log_file = directory.with_name("laptop.log")
        self.hosts = ""

    def start(self) -> None:
        command = [sys.executable, "-m", "zkstore", "serve", "--ensemble", "3", "--data-dir", str(self._directory)]
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--client-port", "31811", *FLAGS],
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(START_S), f"no ready line; the log says:\n{self.log_text()}"
        line = self.process.stdout.readline()
        assert "an ensemble of 3 with its data in" in line, self.log_text()
        self.hosts = line.split(" at ")[1].split(", ")[0]

    def member_line(self, number: int) -> str:
        """A server line for one more server, at ports that nobody listens on."""
        [[client, peer, election]] = free_ports([range(31820, 31823)])
        return f"server.{number}=127.0.0.1:{peer}:{election};127.0.0.1:{client}"

    def told(self, number: int) -> str:
        """What a server was told, without what concerns it alone."""
        lines = (self._directory / f"{number}.cfg").read_text(encoding="utf-8").splitlines(keepends=True)
        return "".join(line for line in lines if line.startswith("server."))

    def add_line(self, number: int, line: str) -> None:
        """To what one server is told."""
        with (self._directory / f"{number}.cfg").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def log_text(self) -> str:
        return self._log_file.read_text(encoding="utf-8")

    def server_process(self, number: int) -> int:
        """The id of one server's process, by what it was told."""
        told = f"--data-dir={self._directory / str(number)}"
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue  # It has ended.
            if told.encode() in words:
                return int(path.parent.name)
        raise AssertionError(f"server {number} does not run")

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGINT)
            self.process.wait(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[LaptopProcess]:
    laptop = LaptopProcess(tmp_path / "three")
    laptop.start()
    yield laptop
    laptop.close()


def test_one_command_starts_an_ensemble_and_ctrl_c_stops_it(laptop: LaptopProcess) -> None:
    first, second, third = laptop.hosts.split(",")
    assert run_zkstore("shell", "-server", first, "create", "/a", "1").returncode == 0
    assert run_zkstore("shell", "-server", third, "sync", "/a").returncode == 0
    assert run_zkstore("shell", "-server", third, "get", "/a").stdout == "1\n"

    shown = run_zkstore("status", laptop.hosts)
    assert shown.returncode == 0, shown.stdout
    assert "2 of 2 others compared, and they agree" in shown.stdout
    assert sorted(line.split()[1] for line in shown.stdout.splitlines()[1:4]) == ["follower", "follower", "leader"]

    assert laptop.stop() == 0
    assert laptop.log_text().count('"server 2: stopped"') == 1
    laptop.close()
    laptop.add_line(2, "server.9=127.0.0.1:2999:3999;127.0.0.1:2199")
    laptop.start()
    assert laptop.hosts.split(",") == [first, second, third]
    assert laptop.log_text().count("the server lines differ from what the ensemble has agreed on at zxid 0x1") == 1
    assert "server.9" not in run_zkstore("shell", "-server", second, "config").stdout
    assert run_zkstore("shell", "-server", second, "get", "/a").stdout == "1\n"


def test_a_server_that_is_killed_is_missed_and_the_others_go_on(laptop: LaptopProcess) -> None:
    servers = json.loads(run_zkstore("status", "--json", laptop.hosts).stdout)["servers"]
    number = next(number for number, server in enumerate(servers, 1) if server["mode"] == "leader")

    subprocess.run(["kill", "-9", str(laptop.server_process(number))], check=True)

    wait_until(lambda: f"server {number} has ended with exit code -9; it is not started again" in laptop.log_text())
    wait_until(lambda: "leads in epoch 2" in run_zkstore("status", _without(laptop.hosts, number)).stdout)
    shown = run_zkstore("status", laptop.hosts)
    assert shown.returncode == 1
    assert f"{servers[number - 1]['address']}: Connection refused" in shown.stdout
    assert run_zkstore("shell", "-server", _without(laptop.hosts, number), "create", "/b").returncode == 0
    assert laptop.stop() == 1, "not all ended in order"


def test_a_server_joins_a_running_ensemble_and_another_one_leaves_it(
    laptop: LaptopProcess, start_server: StartServer, tmp_path: Path
) -> None:
    line = laptop.member_line(4)
    own_file = tmp_path / "4.cfg"
    own_file.write_text(f"{laptop.told(1)}{line.replace(';', ':observer;')}\n", encoding="utf-8")

    joining = start_server(str(own_file), *FLAGS, "--my-id", "4", data_dir=tmp_path / "4")
    assert "observer" in joining.ready_line
    changed = reconfig(laptop.hosts, "-add", line)
    assert "Committed new configuration:" in changed.stdout
    assert f"{line.replace(';', ':participant;')}\n" in changed.stdout
    wait_until(lambda: b"Mode: follower" in joining.ask(b"srvr"))

    assert "server.1=" not in reconfig(laptop.hosts, "-remove", "1").stdout
    assert run_zkstore("shell", "-server", joining.hosts, "create", "/by-the-new-one").returncode == 0


def test_a_change_that_could_not_work_is_refused_in_zkcli_s_words(laptop: LaptopProcess) -> None:
    nowhere = laptop.member_line(8)

    refused = reconfig(
        laptop.hosts,
        "-members",
        nowhere + "," + nowhere.replace("server.8", "server.9").replace("127.0.0.1", "127.0.0.2"),
    )
    assert "No quorum of new config is connected and up-to-date" in refused.stderr + refused.stdout
    assert refused.returncode == 1
    assert "Arguments are not valid" in reconfig(laptop.hosts, "-remove", "1,2").stderr
    assert "version No is not valid" in reconfig(laptop.hosts, "-v", "1", "-remove", "1").stderr
    assert run_zkstore("shell", "-server", laptop.hosts, "config").stdout.startswith(laptop.told(1).split(";")[0])


def reconfig(hosts: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_zkstore("shell", "-server", hosts, "reconfig", *arguments)


def _without(hosts: str, number: int) -> str:
    return ",".join(host for position, host in enumerate(hosts.split(","), 1) if position != number)
