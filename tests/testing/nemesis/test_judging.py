"""What lies on disks is held against what was told: a small history in real directories, sound and otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.storage.histories import SESSION, open_session, rewrite_segment
from tests.storage.histories import History as Leader
from zkstore.model.txns import CLOSE_SESSION, CREATE, CloseSessionTxn, CreateTxn, Txn
from zkstore.storage.store import Store
from zkstore.testing.checkers.check import Allowances
from zkstore.testing.checkers.verdict import Verdict
from zkstore.testing.nemesis.judging import Clocks, Shelf, judge
from zkstore.testing.nemesis.recording import Recording
from zkstore.testing.nemesis.servers import ClockStep
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import CreateRequest
from zkstore.wire.segment import Segment

BEGAN_MS = 1_700_000_000_000.0
ALLOWANCES = Allowances(tick_us=300_000)
SOUND = Clocks(BEGAN_MS, {}, {})


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


def recording() -> Recording:
    history = Recording(report_us=300_000)
    history.session_asked()
    return history


def judged(history: Recording, directories: dict[int, Path], clocks: Clocks = SOUND) -> tuple[Verdict, list[str]]:
    shelf = Shelf()
    for server_id, directory in directories.items():
        shelf.take(server_id, directory)
    return judge(history, shelf, directories, clocks, ALLOWANCES)


def rules(history: Recording, directories: dict[int, Path]) -> set[str]:
    verdict, findings = judged(history, directories)
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
    _, findings = judged(recording(), {1: write(tmp_path / "1", segments), 2: directory})
    assert findings
    assert all(finding.startswith("server 2") for finding in findings)


# --- logs that are read again and again -----------------------------------------------------------


def test_a_log_that_grows_is_read_on(tmp_path: Path) -> None:
    made, shelf = leader(), Shelf()
    shelf.take(1, write(tmp_path, made.segments))
    known = len(made.segments)
    made.add(make(b"/more"))
    shelf.take(1, write(tmp_path, made.segments[known:]))
    assert [segment.crc for segment in shelf.logs[1]] == [segment.crc for segment in made.segments]
    assert shelf.findings == []


def test_a_server_that_has_not_made_a_log_yet_has_none(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.take(1, tmp_path / "nothing")
    (tmp_path / "begun" / "log").mkdir(parents=True)  # It was ended while it made one.
    shelf.take(2, tmp_path / "begun")
    assert (shelf.logs, shelf.findings) == ({}, [])


def test_history_that_was_dropped_before_it_was_read_leaves_a_gap_and_is_no_damage(tmp_path: Path) -> None:
    made, shelf = leader(), Shelf()
    shelf.take(1, write(tmp_path, made.segments[:3]))
    store = Store.open(tmp_path)
    store.append(made.segments[3:])
    store.log.drop_before(made.segments[4].last_zxid, 100)
    store.close()
    shelf.take(1, tmp_path)
    assert (shelf.has_gap, shelf.findings) == (True, [])


def test_a_log_that_has_lost_its_end_is_found(tmp_path: Path) -> None:
    segments, shelf = leader().segments, Shelf()
    shelf.take(1, write(tmp_path / "1", segments))
    shelf.take(1, write(tmp_path / "2", segments[:-1]))
    (finding,) = shelf.findings
    assert finding.startswith("server 1: its log ends at")


def test_a_log_whose_end_has_become_another_is_found(tmp_path: Path) -> None:
    one, other, shelf = leader(), leader(), Shelf()
    one.add(make(b"/one"))
    for path in (b"/other", b"/and", b"/more"):
        other.add(make(path))
    shelf.take(1, write(tmp_path / "1", one.segments))
    shelf.take(1, write(tmp_path / "2", other.segments))
    (finding,) = shelf.findings
    assert "another history than it had before" in finding


def test_what_only_a_visitor_has_at_the_end_of_its_log_was_never_agreed_on(tmp_path: Path) -> None:
    made, shelf = leader(), Shelf()
    agreed = list(made.segments)
    shelf.take(1, write(tmp_path / "1", agreed))
    made.add(make(b"/proposed"))
    shelf.take(4, write(tmp_path / "4", made.segments))
    shelf.trim(4)
    assert [segment.crc for segment in shelf.logs[4]] == [segment.crc for segment in agreed]


# --- clocks ---------------------------------------------------------------------------------------


def test_when_a_segment_was_applied_follows_from_its_leaders_clock_however_that_jumped(tmp_path: Path) -> None:
    def closed_us(steps: list[ClockStep]) -> int:
        made = Leader()
        made.add(open_session())
        made.add(CloseSessionTxn(CLOSE_SESSION, SESSION, 0, int(BEGAN_MS) - 55_000, ()))
        history = recording()
        history.welcomed(SESSION, 4_000_000, b"p" * 16, 1, 0, 0)
        history.ended(60_000_000)
        directory = write(tmp_path / str(len(steps)), made.segments)
        judged(history, {1: directory}, Clocks(BEGAN_MS, {0: 1}, {1: steps}))
        (closing,) = history.closings
        return closing.applied_us

    # A clock that is a minute slow since two seconds after the beginning says 55 s before it, 5 s after it.
    assert closed_us([ClockStep(0, 0), ClockStep(2_000_000, -60_000_000)]) == 5_000_000
    # A time that no clock can have shown says nothing: it was before the end, where nobody was shown it.
    assert closed_us([ClockStep(0, 0)]) == 60_000_000


def test_a_server_that_is_about_to_be_damaged_is_read_before(tmp_path: Path) -> None:
    made, shelf = leader(), Shelf()
    first, last = made.segments[:-1], made.segments[-1]
    shelf.take(1, write(tmp_path / "1", [*first, last]))
    shelf.put_away(1)
    shelf.take(2, write(tmp_path / "2", first))
    verdict, findings = judge(recording(), shelf, {2: tmp_path / "2"}, SOUND, ALLOWANCES)
    assert findings == []
    assert not verdict.violations  # What only the damaged server had may never have been agreed on.
    assert verdict.counts["agreement"] == 2 * len(first)
