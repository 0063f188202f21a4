"""Failpoints: every name at one place in the source, what arms them, and what an armed one does."""

from __future__ import annotations

import ast
import errno
import logging
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from zkstore import failpoints
from zkstore.errors import ConfigError
from zkstore.failpoints import FAILPOINTS

_PACKAGE = Path(failpoints.__file__).parent


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def _names_in_source() -> Counter[str]:
    found: Counter[str] = Counter()
    for file in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoints.hit":
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{file}: a name that cannot be searched for"
                found[str(name.value)] += 1
    return found


def test_every_name_stands_at_one_place_in_the_source_and_every_place_has_a_name_that_is_listed() -> None:
    found = _names_in_source()
    assert set(found) == set(FAILPOINTS)
    assert [name for name, count in found.items() if count > 1] == []
    assert len(FAILPOINTS) >= 60


def test_every_error_that_is_listed_is_one_of_the_systems() -> None:
    for failpoint in FAILPOINTS.values():
        assert all(isinstance(getattr(errno, name), int) for name in failpoint.errors), failpoint


def test_a_place_that_is_not_armed_does_nothing() -> None:
    failpoints.arm("log.append.before_sync=fail(EIO)")
    failpoints.hit("log.append.before_write")
    failpoints.arm("")
    failpoints.hit("log.append.before_sync")


def test_an_armed_place_fails_with_that_error_every_time() -> None:
    failpoints.arm("file.sync=fail(ENOSPC)")
    for _ in range(3):
        with pytest.raises(OSError, match="No space left") as failed:
            failpoints.hit("file.sync")
        assert failed.value.errno == errno.ENOSPC


def test_the_place_says_what_kind_of_error_is_raised_there() -> None:
    failpoints.arm("log.append.before_sync=fail(EIO)")
    with pytest.raises(LookupError, match=str(errno.EIO)):
        failpoints.hit("log.append.before_sync", LookupError)


@pytest.mark.parametrize(
    ("when", "strikes"),
    [("", [1, 2, 3, 4, 5]), ("@2", [2]), ("@2-4", [2, 3, 4]), ("@4+", [4, 5])],
)
def test_an_armed_place_strikes_when_it_is_told_to(when: str, strikes: list[int]) -> None:
    failpoints.arm(f"file.sync=fail(EIO){when}")
    struck = []
    for number in range(1, 6):
        try:
            failpoints.hit("file.sync")
        except OSError:
            struck.append(number)
    assert struck == strikes


def test_a_delay_holds_up_the_thread_that_comes_by() -> None:
    failpoints.arm("log.sync = delay(0)".replace("log.sync", "directory.sync") + "; file.sync=delay(30)")
    began_s = time.monotonic()
    failpoints.hit("file.sync")
    assert time.monotonic() - began_s >= 0.03


def test_a_name_can_be_armed_for_several_times() -> None:
    failpoints.arm("file.sync=fail(EIO)@1;file.sync=fail(ENOSPC)@2")
    for code in (errno.EIO, errno.ENOSPC):
        with pytest.raises(OSError, match=r"\[Errno") as failed:
            failpoints.hit("file.sync")
        assert failed.value.errno == code
    failpoints.hit("file.sync")


def test_a_crash_ends_the_process_on_the_spot() -> None:
    program = (
        "from zkstore import failpoints\n"
        "failpoints.arm('file.sync=crash@2')\n"
        "failpoints.hit('file.sync')\n"
        "print('once', flush=True)\n"
        "try:\n    failpoints.hit('file.sync')\nfinally:\n    print('never', flush=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=_PACKAGE.parent
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "once\n")


def test_what_strikes_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    failpoints.arm("file.sync=delay(0)@2+")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            failpoints.hit("file.sync")
    assert [record.message for record in caplog.records] == ["failpoint file.sync: delay(0) (reached for the 2. time)"]


def test_what_is_armed_is_said_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        failpoints.arm_from({})
        assert caplog.records == []
        failpoints.arm_from({failpoints.VARIABLE: " file.sync=crash@9 ; lock.taken=delay(1);"})
    (record,) = caplog.records
    assert record.message.endswith("file.sync=crash@9; lock.taken=delay(1)")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("log.append.before_snyc=crash", "did you mean log.append.before_sync"),
        ("log.xyz=crash", "`zkstore failpoints` lists all"),
        ("nonsense", "write NAME=ACTION"),
        ("file.sync=explode", "the actions are crash, delay(MS) and fail(ERROR)"),
        ("file.sync=delay", "the actions are"),
        ("file.sync=delay(soon)", "the actions are"),
        ("file.sync=crash(1)", "the actions are"),
        ("file.sync=fail(ENOENT)", "one of ENOSPC, EDQUOT, EIO"),
        ("lock.taken=fail(EIO)", "nothing; use crash or delay(MS)"),
        ("file.sync=crash@0", "write NAME=ACTION"),
        ("file.sync=crash@5-2", "it would begin at 5 and end before, at 2"),
    ],
)
def test_a_wrong_name_or_action_is_refused_with_what_would_do(text: str, hint: str) -> None:
    failpoints.arm("")
    with pytest.raises(ConfigError) as refused:
        failpoints.arm(f"lock.taken=delay(1);{text}")
    assert str(refused.value).startswith(f"ZKSTORE_FAILPOINTS: {text}: ")
    assert hint in str(refused.value)
    failpoints.hit("lock.taken")
