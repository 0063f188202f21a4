"""The log: a chain of segments that survives, and says where it is broken."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import lmdb
import pytest

from tests.storage.histories import History, create, flip, log_zxids, rewrite_segment
from zkstore.errors import DamageError, DiskFullError, FormatTooNewError, StorageError
from zkstore.storage.log import Epochs, Link, Log

EPOCH = 1 << 32


@pytest.fixture
def history() -> History:
    return History()


def test_what_was_appended_is_read_again_byte_for_byte(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(3))
    log.append([history.add(create(b"/many1"), create(b"/many2"), epoch=2)])
    log.close()
    log = Log(tmp_path)
    assert list(log.read(0)) == history.segments
    assert log.last() == history.segments[-1]
    assert log.end == Link(2 * EPOCH + 2, history.segments[-1].crc)
    log.close()


def test_reading_begins_behind_the_zxid_named(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append([history.add(create(b"/a"), create(b"/b")), history.add(create(b"/c")), history.add(create(b"/d"))])
    assert log_zxids(log, EPOCH + 2) == [EPOCH + 3, EPOCH + 4]
    assert log_zxids(log, EPOCH + 1) == [
        EPOCH + 1,
        EPOCH + 3,
        EPOCH + 4,
    ]  # the segment that holds EPOCH + 2 comes whole
    assert log_zxids(log, EPOCH + 4) == []
    log.close()


def test_reading_spans_many_slices_and_sees_what_is_appended_meanwhile(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(600))
    reader = log.read(0)
    first = [next(reader) for _ in range(10)]
    log.append(history.fill(5))
    assert first + list(reader) == history.segments
    log.close()


def test_an_empty_log_has_no_last_segment(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert log.last() is None
    assert list(log.read(0)) == []
    assert (log.start, log.end) == (Link(0, 0), Link(0, 0))
    log.close()


def test_a_segment_that_does_not_continue_the_chain_is_refused(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    first, _, third = history.fill(3)
    log.append([first])
    with pytest.raises(StorageError, match="continues"):
        log.append([third])
    with pytest.raises(StorageError, match="continues"):
        log.append([dataclasses.replace(history.segments[1], prev_crc=first.crc ^ 1)])
    assert log_zxids(log) == [first.first_zxid]
    log.close()


def test_the_map_grows_while_appending(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path, map_bytes=1 << 16)
    for segment in history.fill(40, bytes(20_000)):
        log.append([segment])
    assert list(log.read(0)) == history.segments
    log.close()
    log = Log(tmp_path, map_bytes=1 << 16)
    log.append(history.fill(1))
    log.close()


def test_appends_seldom_lengthen_the_file_and_its_room_overwrites_nothing(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    lengths = []
    appended = []
    for number in range(300):
        segment = history.add(create(b"/n%d" % number, bytes([number % 251 + 1]) * (number % 7 * 3000)))
        log.append([segment])
        appended.append(segment)
        lengths.append((tmp_path / "data.mdb").stat().st_size)
    assert len(set(lengths)) <= 1 + lengths[-1] // (128 << 10)
    assert list(log.read(0)) == appended
    log.close()
    log = Log(tmp_path)
    assert list(log.read(0)) == appended
    log.close()


def test_a_segment_of_the_largest_size_fits(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path, map_bytes=1 << 16)
    log.append([history.add(*(create(b"/big%d" % number, bytes(1 << 20)) for number in range(9)))])
    assert list(log.read(0)) == history.segments
    log.close()


# --- dropping -----------------------------------------------------------------------------------------------


def test_dropping_goes_in_slices_and_keeps_what_is_needed(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(10))
    assert log.drop_before(EPOCH + 6, at_most=4) == 4
    assert log.drop_before(EPOCH + 6, at_most=4) == 2
    assert log.drop_before(EPOCH + 6, at_most=4) == 0
    assert log.start == Link(EPOCH + 6, history.segments[5].crc)
    assert log_zxids(log, EPOCH + 6) == [EPOCH + number for number in (7, 8, 9, 10)]
    log.close()
    log = Log(tmp_path)
    assert log.start == Link(EPOCH + 6, history.segments[5].crc)
    log.close()


def test_the_last_segment_is_never_dropped(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(5))
    assert log.drop_before(EPOCH * 9, at_most=100) == 4
    assert log.last() == history.segments[-1]
    log.append(history.fill(1))
    log.close()


def test_a_segment_that_reaches_behind_the_zxid_stays(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append([history.add(create(b"/a"), create(b"/b")), history.add(create(b"/c"))])
    assert log.drop_before(EPOCH + 1, at_most=10) == 0
    assert log.drop_before(EPOCH + 2, at_most=10) == 1
    log.close()


def test_reading_what_was_dropped_says_so(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(5))
    log.drop_before(EPOCH + 3, at_most=100)
    with pytest.raises(DamageError, match="missing between 0x100000001 and 0x100000003"):
        log_zxids(log, EPOCH + 1)
    log.close()


def test_freed_pages_are_used_again(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    for segment in history.fill(200, bytes(5_000)):
        log.append([segment])
        log.drop_before(segment.prev_zxid, at_most=10)
    assert (tmp_path / "data.mdb").stat().st_size < 300_000
    log.close()


def test_a_cut_drops_the_tail_and_the_chain_goes_on_from_there(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(2))
    fork = History()
    for segment in history.segments:
        fork.add(*[create(b"/n%d" % (segment.first_zxid - EPOCH - 1))])
    log.append(history.fill(3))
    log.truncate_after(EPOCH + 2)
    assert log.last() == history.segments[1]
    log.append([fork.add(create(b"/other"), epoch=2)])
    assert list(log.read(0)) == fork.segments
    log.close()


def test_a_cut_may_empty_the_log_but_not_split_a_segment(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append([history.add(create(b"/a"), create(b"/b"))])
    with pytest.raises(StorageError, match="no segment ends"):
        log.truncate_after(EPOCH + 1)
    log.truncate_after(0)
    assert (log.last(), log.end) == (None, Link(0, 0))
    log.append(history.segments)
    log.close()


def test_a_restarted_log_continues_the_tree_it_was_given(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    segments = history.fill(5)
    log.restart(Link(segments[2].last_zxid, segments[2].crc))
    log.close()
    log = Log(tmp_path)
    log.append(segments[3:])
    assert log_zxids(log, segments[2].last_zxid) == [EPOCH + 4, EPOCH + 5]
    log.close()


def test_the_crc_at_an_end_is_found(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append([history.add(create(b"/a"), create(b"/b")), *history.fill(3)])
    log.drop_before(EPOCH + 2, at_most=1)
    ends = {segment.last_zxid: segment.crc for segment in history.segments}
    assert {zxid: log.crc_at(zxid) for zxid in range(EPOCH, EPOCH + 8)} == {
        zxid: ends.get(zxid) for zxid in range(EPOCH, EPOCH + 8)
    }
    log.close()


# --- facts --------------------------------------------------------------------------------------------------


def test_promises_and_identity_are_kept(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert (log.epochs, log.ensemble_id) == (Epochs(0, 0), None)
    log.set_epochs(Epochs(accepted=3, current=2))
    log.set_ensemble_id(bytes(range(16)))
    log.close()
    log = Log(tmp_path)
    assert (log.epochs, log.ensemble_id) == (Epochs(accepted=3, current=2), bytes(range(16)))
    log.close()


def test_a_newer_log_is_refused(tmp_path: Path) -> None:
    Log(tmp_path).close()
    env = lmdb.open(str(tmp_path), max_dbs=4)
    with env.begin(write=True, db=env.open_db(b"meta")) as batch:
        batch.put(b"format_version", b"\x63")
    env.close()
    with pytest.raises(FormatTooNewError, match="format 99"):
        Log(tmp_path)


# --- damage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 3, 8, 20, 45, 60])
def test_a_flipped_bit_anywhere_in_a_segment_is_found_and_its_zxid_named(
    tmp_path: Path, history: History, at: int
) -> None:
    log = Log(tmp_path)
    log.append(history.fill(4))
    log.close()
    rewrite_segment(tmp_path, 1, flip(history.segments[1].data, at))
    log = Log(tmp_path)
    with pytest.raises(DamageError) as caught:
        list(log.read(0))
    assert caught.value.zxid == EPOCH + 2
    assert str(tmp_path) in str(caught.value)
    log.close()


def test_a_damaged_last_segment_keeps_the_log_from_opening(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(2))
    log.close()
    rewrite_segment(tmp_path, 1, history.segments[1].data[:-1])
    with pytest.raises(DamageError) as caught:
        Log(tmp_path)
    assert caught.value.zxid == EPOCH + 2


def test_a_hole_is_found(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(4))
    log.close()
    rewrite_segment(tmp_path, 2, None)
    log = Log(tmp_path)
    with pytest.raises(DamageError, match="missing between 0x100000002 and 0x100000003"):
        list(log.read(0))
    log.close()


def test_a_fork_is_found(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(3))
    log.close()
    other = History()
    other.fill(1)
    rewrite_segment(tmp_path, 1, other.add(create(b"/other")).data)
    log = Log(tmp_path)
    with pytest.raises(DamageError, match="which stands before it") as caught:
        list(log.read(0))
    assert caught.value.zxid == EPOCH + 3
    log.close()


def test_a_file_cut_short_is_found_before_it_is_touched(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.fill(20, bytes(5_000)))
    log.close()
    file = tmp_path / "data.mdb"
    file.write_bytes(file.read_bytes()[:40_000])
    with pytest.raises(DamageError, match="40000 bytes"):
        Log(tmp_path)


def test_a_log_whose_making_was_cut_short_is_named_and_made_by_the_next_start(tmp_path: Path) -> None:
    Log(tmp_path).close()
    (tmp_path / "data.mdb").unlink()
    lmdb.open(str(tmp_path)).close()
    with pytest.raises(DamageError, match="nothing in this log"):
        Log(tmp_path, read_only=True)
    Log(tmp_path).close()
    Log(tmp_path, read_only=True).close()


# --- no space -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value_bytes", [100, 3_000, 200_000])
def test_a_full_disk_refuses_appends_and_keeps_what_it_has(
    small_disk: Path, history: History, value_bytes: int
) -> None:
    log = Log(small_disk / "log")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    appended = 0
    with pytest.raises(DiskFullError, match="no space left"):
        while True:
            log.append(history.fill(1, bytes(value_bytes)))
            appended += 1
    assert list(log.read(0)) == history.segments[:appended]
    with pytest.raises(DiskFullError):
        log.append(history.segments[appended:] + history.fill(10, bytes(200_000)))

    ballast.unlink()
    log.append(history.segments[appended : appended + 1])
    log.close()
    log = Log(small_disk / "log")
    assert list(log.read(0)) == history.segments[: appended + 1]
    log.close()
