"""What lies on disks is held against what was told: a small history in real directories, sound and otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.storage.histories import SESSION, open_session, rewrite_segment
from tests.storage.histories import History as Leader
from zkstore.model.txns import CREATE, CreateTxn, Txn
from zkstore.storage.store import Store
from zkstore.testing.checkers.check import Allowances
from zkstore.testing.checkers.history import History
from zkstore.testing.nemesis.judging import judge
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import CreateRequest
from zkstore.wire.segment import Segment

BEGAN_MS = 1_700_000_000_000.0
ALLOWANCES = Allowances(tick_us=300_000)


def make(path: bytes, xid: int = 0) -> Txn:
    return CreateTxn(CREATE, SESSION if xid else 0, xid, int(BEGAN_MS), path, b"", None, 0)


def leader() -> Leader:
    made = Leader()
    made.add(open_session())
    for number in range(5):
        made.add(make(b"/%d" % number))
    return made


def write(directory: Path, segments: Sequence[Segment]) -> Path:
    store = Store.open(directory)
    store.append(segments)
    store.close()
    return directory


def recording() -> History:
    history = History(report_us=300_000)
    history.session_asked()
    return history


def rules(history: History, directories: dict[int, Path]) -> set[str]:
    verdict, findings = judge(history, directories, BEGAN_MS, ALLOWANCES)
    assert findings == []
    return {violation.rule for violation in verdict.violations}


def test_servers_with_the_same_log_are_sound(tmp_path: Path) -> None:
    segments = leader().segments
    assert rules(recording(), {n: write(tmp_path / str(n), segments) for n in (1, 2, 3)}) == set()


def test_a_server_that_lacks_the_end_of_the_history_is_found(tmp_path: Path) -> None:
    segments = leader().segments
    directories = {1: write(tmp_path / "1", segments), 2: write(tmp_path / "2", segments[:-1])}
    assert rules(recording(), directories) == {"final state"}


def test_servers_that_disagree_about_a_zxid_are_found(tmp_path: Path) -> None:
    one, other = leader(), leader()
    one.add(make(b"/one"))
    other.add(make(b"/other"))
    directories = {1: write(tmp_path / "1", one.segments), 2: write(tmp_path / "2", other.segments)}
    assert "agreement" in rules(recording(), directories)


def test_an_acknowledged_write_that_no_log_holds_is_found(tmp_path: Path) -> None:
    segments = leader().segments
    history = recording()
    channel = history.welcomed(SESSION, 30_000_000, b"p" * 16, 1, 0, 0)
    request = CreateRequest(b"/lost", b"", None, 0)
    call = history.called(channel, 1, Opcode.CREATE, request, 0)
    history.answered(call, segments[-1].last_zxid + 1, 0, b"", 0)
    assert "survival" in rules(history, {1: write(tmp_path / "1", segments)})


def test_what_nobody_asked_for_is_found(tmp_path: Path) -> None:
    made = leader()
    made.add(make(b"/asked-by-nobody", xid=7))
    assert rules(recording(), {1: write(tmp_path / "1", made.segments)}) == {"at most once"}


def test_damage_is_told_with_the_server_that_has_it(tmp_path: Path) -> None:
    segments = leader().segments
    directory = write(tmp_path / "2", segments)
    rewrite_segment(directory / "log", 3, None)
    _, findings = judge(recording(), {1: write(tmp_path / "1", segments), 2: directory}, BEGAN_MS, ALLOWANCES)
    assert findings
    assert all(finding.startswith("server 2") for finding in findings)
