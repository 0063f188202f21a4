"""The log as a leader's learners are fed from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.histories import History, create, rewrite_segment
from zkstore.errors import DamageError
from zkstore.storage.history import LogHistory
from zkstore.storage.log import Link, Log

EPOCH = 1 << 32


@pytest.fixture
def history() -> History:
    """Epoch 1: [1, 2] and [3]; epoch 3: [1], [2], [3]."""
    history = History()
    history.add(create(b"/a"), create(b"/b"))
    history.add(create(b"/c"))
    for name in (b"/d", b"/e", b"/f"):
        history.add(create(name), epoch=3)
    return history


@pytest.fixture
def log(tmp_path: Path, history: History) -> Iterator[Log]:
    log = Log(tmp_path)
    log.append(history.segments)
    yield log
    log.close()


def test_the_ends_of_segments_are_found_from_any_zxid(log: Log, history: History) -> None:
    found = LogHistory(log)
    first, second, third = (Link(segment.last_zxid, segment.crc) for segment in history.segments[:3])
    assert found.start == (0, 0)
    assert found.end == (history.segments[-1].last_zxid, history.segments[-1].crc)
    assert found.end_at_or_before(0) == (0, 0)
    assert found.end_at_or_before(EPOCH + 1) == (0, 0)
    assert found.end_at_or_before(EPOCH + 2) == first
    assert found.end_at_or_before(EPOCH + 3) == second
    assert found.end_at_or_before(EPOCH + 700) == second
    assert found.end_at_or_before(2 * EPOCH + 1) == second
    assert found.end_at_or_before(3 * EPOCH + 1) == third
    assert found.end_at_or_before(9 * EPOCH) == found.end


def test_nothing_is_known_before_the_start_of_a_log_that_was_purged(log: Log, history: History) -> None:
    log.drop_before(EPOCH + 3, 100)
    found = LogHistory(log)
    assert found.start == (EPOCH + 3, history.segments[1].crc)
    assert found.end_at_or_before(EPOCH + 2) is None
    assert found.end_at_or_before(EPOCH + 3) == found.start


def test_what_is_purged_while_it_is_read_is_history_that_is_not_there(log: Log, history: History) -> None:
    found = LogHistory(log)
    before = log.start
    log.drop_before(EPOCH + 3, 100)
    log.start = before  # as another thread sees it until the purging one has come back from the disk
    assert found.read(EPOCH + 2, 1 << 20) == []
    assert found.end_at_or_before(EPOCH + 1) is None
    assert found.read(EPOCH + 3, 0)[0].prev_zxid == EPOCH + 3


@pytest.mark.parametrize(("bytes_max", "count"), [(0, 1), (1, 1), (1 << 20, 4)])
def test_at_least_one_segment_is_read_and_then_as_many_as_fit(
    log: Log, history: History, bytes_max: int, count: int
) -> None:
    assert LogHistory(log).read(EPOCH + 2, bytes_max) == history.segments[1 : 1 + count]
    assert LogHistory(log).read(log.end.zxid, bytes_max) == []


def test_a_hole_is_found_while_it_is_read(tmp_path: Path, history: History) -> None:
    log = Log(tmp_path)
    log.append(history.segments)
    log.close()
    rewrite_segment(tmp_path, 1, None)
    log = Log(tmp_path)
    with pytest.raises(DamageError, match="segments are missing between 0x100000002 and 0x100000003"):
        LogHistory(log).read(0, 1 << 20)
    with pytest.raises(DamageError, match="segments are missing"):
        LogHistory(log).read(EPOCH + 2, 1 << 20)
    log.close()
