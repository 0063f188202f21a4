"""The server as a process: its ready line, its log, its exit codes, and how it takes signals and bad surroundings."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.interop.conftest import StartServer
from tests.interop.processes import ENVIRONMENT, START_S, ServerProcess, run_zkstore, wait_until
from tests.interop.raw import RawClient, create, set_data
from zkstore.version import VERSION

pytestmark = pytest.mark.interop


def test_it_prints_one_line_when_it_serves(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    expected = f"zkstore {VERSION} serves clients at 127.0.0.1:{server.port}, standalone, with its data in "
    assert server.ready_line == f"{expected}{tmp_path / 'data'}\n"
    server.send(signal.SIGTERM)
    assert server.rest_of_stdout() == b""
    assert server.wait() == 0


def test_its_log_is_json_where_nobody_sits_at_a_terminal(start_server: StartServer) -> None:
    server = start_server()
    server.stop()
    for record in server.log_records():
        assert set(record) >= {"time", "level", "logger", "message"}
    assert server.logged("a new data directory: the tree is empty")
    assert server.logged("stopped")


def test_its_log_reads_like_sentences_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zkstore", "serve", "--client-port", "0", "--data-dir", str(tmp_path / "data")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline()
    process.terminate()
    assert process.wait(START_S) == 0
    text = os.read(ours, 10_000).decode()
    os.close(ours)
    assert re.search(r"\d\d:\d\d:\d\d\.\d{3} .*INFO.* a new data directory: the tree is empty\r\n", text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order_and_the_next_start_is_from_the_checkpoint(
    start_server: StartServer, number: signal.Signals
) -> None:
    server = start_server()
    with RawClient(server.port) as client:
        client.hello()
        for xid in range(50):
            assert client.ask(create(xid, b"/n%d" % xid)).code == 0
        server.send(number)
        assert client.is_closed_by_server()
    assert server.wait() == 0
    assert (server.data_dir / "clean").exists()
    server.start()
    assert server.logged("recovered 5", "and 0 txns of the log")
    with RawClient(server.port) as client:
        client.hello()
        assert client.get(b"/n49") == b""


def test_an_orderly_stop_answers_what_it_has_read(start_server: StartServer) -> None:
    server = start_server()
    acknowledged = 0
    with RawClient(server.port) as client:
        client.hello()
        client.ask(create(0, b"/n"))
        client.send(b"".join(set_data(xid, b"/n", b"%d" % xid) for xid in range(1, 2001)))
        stopping = threading.Timer(0.02, server.send, [signal.SIGTERM])
        stopping.start()
        while (reply := client.reply()) is not None:
            acknowledged = reply.xid
        stopping.join()
    assert server.wait() == 0
    server.start()
    with RawClient(server.port) as client:
        client.hello()
        assert client.get(b"/n") == b"%d" % acknowledged


def test_it_stops_while_a_client_floods_it(start_server: StartServer) -> None:
    server = start_server("--outstanding-requests-max", "100")
    with RawClient(server.port) as client:
        client.hello()
        client.ask(create(0, b"/n"))
        flood = b"".join(set_data(xid, b"/n", bytes(100)) for xid in range(1, 20_001))

        def pour() -> None:
            with contextlib.suppress(OSError):  # It is the server's right to hang up.
                client.send(flood)

        pouring = threading.Thread(target=pour)
        pouring.start()
        for _ in range(200):
            assert client.reply() is not None
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        pouring.join()


def test_a_second_signal_ends_it_at_once(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.send(signal.SIGSTOP)  # so that both are there before it can act on the first
    server.send(signal.SIGTERM)
    server.send(signal.SIGCONT)
    server.send(signal.SIGINT)
    assert server.wait() in (0, -signal.SIGINT, -signal.SIGTERM)


def test_a_second_server_on_the_same_data_is_refused(start_server: StartServer) -> None:
    server = start_server()
    second = run_zkstore("serve", "--client-port", "0", "--data-dir", str(server.data_dir))
    assert second.returncode == 1
    assert second.stdout == ""
    [line] = second.stderr.splitlines()
    assert f"in use by pid {server.pid}" in json.loads(line)["message"]
    with RawClient(server.port) as client:
        client.hello()
        assert client.ping().code == 0


def test_a_port_in_use_is_a_usage_error(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    second = run_zkstore(
        "serve", "--host", "127.0.0.1", "--client-port", str(server.port), "--data-dir", str(tmp_path / "other")
    )
    assert second.returncode == 2
    message = json.loads(second.stderr.splitlines()[-1])["message"]
    assert message.startswith(f"cannot listen on 127.0.0.1:{server.port}: Address already in use.")
    assert "--client-port" in message


def test_the_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("not ours")
    refused = run_zkstore("serve", "--client-port", "0", "--data-dir", str(tmp_path))
    assert refused.returncode == 1
    assert str(tmp_path) in json.loads(refused.stderr.splitlines()[-1])["message"]
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def test_a_file_where_the_directory_should_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    refused = run_zkstore("serve", "--client-port", "0", "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert str(tmp_path / "data") in json.loads(refused.stderr.splitlines()[-1])["message"]
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    refused = run_zkstore("serve", "--client-port", "0", "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert str(tmp_path / "data") in json.loads(refused.stderr.splitlines()[-1])["message"]


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="there is no /proc here")
def test_a_directory_where_nobody_may_write_is_a_clear_error() -> None:
    refused = run_zkstore("serve", "--client-port", "0", "--data-dir", "/proc/sys/zkstore")
    assert refused.returncode == 1
    assert "/proc/sys/zkstore" in json.loads(refused.stderr.splitlines()[-1])["message"]
    assert "Traceback" not in refused.stderr


def test_a_service_manager_is_told_of_start_and_stop(start_server: StartServer, tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(START_S)
        server = start_server(environment={"NOTIFY_SOCKET": str(address)})
        ready = manager.recv(1000).decode().splitlines()
        assert ready == ["READY=1", f"STATUS=serving clients at 127.0.0.1:{server.port}"]
        server.stop()
        assert manager.recv(1000) == b"STOPPING=1"


def test_it_takes_as_many_open_files_as_it_may(start_server: StartServer) -> None:
    server = start_server("--four-letter-words", "mntr")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert f"zk_max_file_descriptor_count\t{hard}\n".encode() in server.ask(b"mntr")


def test_a_variable_and_a_file_set_what_flags_do_not(tmp_path: Path) -> None:
    config = tmp_path / "zoo.cfg"
    config.write_text(
        f"dataDir={tmp_path / 'data'}\nclientPort=0\nclientPortAddress=127.0.0.1\ntickTime=500\nnonsense=1\n"
    )
    server = ServerProcess(tmp_path / "data", str(config), environment={"ZKSTORE_FOUR_LETTER_WORDS": "conf"})
    server.start()
    try:
        assert b"\ntickTime=500\n" in server.ask(b"conf")
        assert len(server.logged("nonsense")) == 1
    finally:
        server.close()


def test_a_setting_that_makes_no_sense_is_a_usage_error(tmp_path: Path) -> None:
    refused = run_zkstore("serve", "--tick-ms", "soon", "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 2
    assert "soon" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_sigint_while_it_starts_ends_it_without_a_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "zkstore", "serve", "--client-port", "0", "--data-dir", str(tmp_path / "data")],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # shells have background jobs ignore it
        )
        wait_until(lambda: (tmp_path / "data").exists() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        code = process.wait(START_S)
    assert code in (0, 130, -signal.SIGINT)
    assert "Traceback" not in log.read_text()
