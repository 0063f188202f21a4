"""kazoo's own test suite, as its package has it, on servers of ours: what passes on Apache ZooKeeper 3.8 passes here.

It is run on one server and on an ensemble of three. All of it takes minutes each time, and runs in CI and by
`pytest -m long`; otherwise some of it stands for the rest, without the tests that are known not to pass: those mostly
wait for something that does not come.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.interop import kazoo_cluster
from tests.interop.processes import ENVIRONMENT
from tools import contestants
from zkstore.version import ZOOKEEPER_VERSION

pytestmark = pytest.mark.interop

SUITE_S_MAX: Final = 1200.0
FAILURES_MAX: Final = 40  # a server this wrong need not be asked further
RETRIED_MAX: Final = 10
OUTPUT_SHOWN_MAX: Final = 30_000

ALL: Final = ("kazoo.tests",)
QUICK: Final = tuple(
    f"kazoo.tests.test_{name}"
    for name in ("barrier", "cache", "client", "counter", "election", "lease", "party", "queue", "security")
)

# What needs several servers, and some of the rest.
QUICK_OF_ENSEMBLE: Final = (
    *(f"kazoo.tests.test_{name}" for name in ("barrier", "connection", "election", "lease")),
    "kazoo.tests.test_client::TestReconfig",
    "kazoo.tests.test_client::TestClient::test_update_host_list",
)

_NEEDS_THREE: Final = "needs an ensemble of three servers, and this is one"
_NEEDS_MEMBER: Final = "needs a member of an ensemble: a server that stands alone refuses to reconfigure"
_NEEDS_KERBEROS: Final = "skipped: needs a Kerberos server"

EVERYWHERE: Final = {
    "test_build.py::TestBuildEnvironment::test_zookeeper_version": "skipped: compares the version with kazoo's CI's",
    "test_sasl.py::TestSASLGSSAPIAuthentication::test_connect_gssapi_auth": _NEEDS_KERBEROS,
    "test_sasl.py::TestSASLGSSAPIAuthentication::test_invalid_gssapi_auth": _NEEDS_KERBEROS,
}

EXCEPTIONS: Final = {
    1: {
        **EVERYWHERE,
        "test_client.py::TestClient::test_update_host_list": _NEEDS_THREE,
        "test_eventlet_handler.py::TestEventletClient::test_update_host_list": _NEEDS_THREE,
        "test_gevent_handler.py::TestGeventClient::test_update_host_list": _NEEDS_THREE,
        "test_connection.py::TestReadOnlyMode::test_read_only": _NEEDS_THREE,
        "test_client.py::TestReconfig::test_add_remove_observer": _NEEDS_MEMBER,
        "test_client.py::TestReconfig::test_bad_input": _NEEDS_MEMBER,
        "test_client.py::TestReconfig::test_no_super_auth": _NEEDS_MEMBER,
    },
    3: EVERYWHERE,
}
"""Tests that do not pass on so many servers of Apache ZooKeeper either, each with the reason."""


def run_suite(server: str, size: int, home: Path, *selected: str) -> dict[str, str]:
    """Run kazoo's tests: modules, paths and options as `pytest` wants them. The outcome of each test by its name."""
    report, output = home / "report.json", home / "output.txt"
    report.unlink(missing_ok=True)
    # pytest-hypothesis has a class of a name that kazoo counts the instances of, so no plugin but ours is loaded; and
    # CI makes kazoo believe that the servers' version is known.
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "CI"} | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "ZOOKEEPER_VERSION": ZOOKEEPER_VERSION.partition("-")[0],
        "ZOOKEEPER_CLUSTER_SIZE": str(size),
        kazoo_cluster.SERVER_VARIABLE: server,
        kazoo_cluster.REPORT_VARIABLE: str(report),
    }
    command = [sys.executable, "-m", "pytest", "-p", kazoo_cluster.__name__, "-c", os.devnull, "-p", "no:cacheprovider"]
    command += ["--rootdir", str(_suite_directory()), "--tb=short", "--disable-warnings", "-q"]
    command += [f"--maxfail={FAILURES_MAX}", "--pyargs", *selected]
    with output.open("wb") as to:
        suite = subprocess.Popen(command, env=environment, cwd=home, stdout=to, stderr=subprocess.STDOUT)
        try:
            suite.wait(SUITE_S_MAX)
        finally:
            if suite.poll() is None:
                suite.send_signal(signal.SIGINT)  # so that it says where it was, and stops its servers
                suite.wait()
    sys.stdout.write(output.read_text(errors="replace")[-OUTPUT_SHOWN_MAX:])
    assert report.exists(), "the suite did not come to its end; its output is above"
    outcomes: dict[str, str] = json.loads(report.read_text())
    return outcomes


def _suite_directory() -> Path:
    found = importlib.util.find_spec("kazoo")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "tests"


def check_suite(server: str, size: int, home: Path, modules: tuple[str, ...]) -> None:
    """Of the tests in `modules`, all pass but exactly the `EXCEPTIONS`; these are left out of a part of the suite."""
    exceptions = EXCEPTIONS[size]
    left_out = () if modules == ALL else (f"--deselect={name}" for name in exceptions)
    outcomes = run_suite(server, size, home, *modules, *left_out)
    assert outcomes, "no test was run"
    not_passed = {name for name, outcome in outcomes.items() if outcome != "passed"}
    surprises = sorted(not_passed - exceptions.keys())
    if 0 < len(surprises) <= RETRIED_MAX:
        # kazoo waits for fixed times, and a busy machine can exceed them: alone, a test must pass.
        again = run_suite(server, size, home, *(str(_suite_directory() / name) for name in surprises))
        not_passed -= {name for name, outcome in again.items() if outcome == "passed"}
    assert not_passed == (exceptions.keys() if modules == ALL else set())


if os.environ.get("CI"):
    PARTS = [pytest.param(size, ALL, id=f"all-{size}") for size in EXCEPTIONS]
else:
    PARTS = [
        pytest.param(1, QUICK, id="quick-1"),
        pytest.param(3, QUICK_OF_ENSEMBLE, id="quick-3", marks=pytest.mark.thorough),
        *(pytest.param(size, ALL, id=f"all-{size}", marks=pytest.mark.long) for size in EXCEPTIONS),
    ]


@pytest.mark.parametrize(("size", "modules"), PARTS)
def test_what_passes_on_apache_passes_on_zkstore(tmp_path: Path, size: int, modules: tuple[str, ...]) -> None:
    check_suite("zkstore", size, tmp_path, modules)


@pytest.mark.long
@pytest.mark.skipif(contestants.apache() is None, reason="Debian's package zookeeper is not installed")
@pytest.mark.parametrize("size", EXCEPTIONS)
def test_the_exceptions_are_those_of_apache(tmp_path: Path, size: int) -> None:
    check_suite("apache", size, tmp_path, ALL)
