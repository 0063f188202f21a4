"""Salvage: finds whole segments of one generation behind the log's end, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.histories import History, flip
from tests.storage.power import content, cut, restarted, without_meta
from zkstore import failpoints
from zkstore.errors import StorageError
from zkstore.storage import salvage
from zkstore.storage.log import Log
from zkstore.wire.segment import Segment

KEY, OTHER_KEY = b"k" * 16, b"o" * 16


@pytest.fixture
def segments() -> list[Segment]:
    return History().fill(4)


def found(tmp_path: Path, content: bytes, end: Segment | None = None) -> list[Segment]:
    """What is found in a file of that content, in a log that ends with `end`."""
    file = tmp_path / "file"
    file.write_bytes(content)
    zxid, crc = (end.last_zxid, end.crc) if end else (0, 0)
    return salvage.find([tmp_path / "missing", file], KEY, zxid, crc)


def test_an_envelope_gives_back_its_segment(segments: list[Segment]) -> None:
    assert salvage.unwrap(salvage.wrap(segments[0], KEY)) == segments[0].data


def test_successors_are_found_in_their_order_wherever_they_lie(tmp_path: Path, segments: list[Segment]) -> None:
    wrapped = [salvage.wrap(segment, KEY) for segment in segments]
    content = b"x".join([wrapped[2], KEY, wrapped[0], wrapped[3], wrapped[1], wrapped[0]])
    assert found(tmp_path, content) == segments
    assert found(tmp_path, content, segments[1]) == segments[2:]
    assert found(tmp_path, content, segments[3]) == []


def test_a_gap_ends_the_search(tmp_path: Path, segments: list[Segment]) -> None:
    content = salvage.wrap(segments[0], KEY) + salvage.wrap(segments[2], KEY)
    assert found(tmp_path, content) == segments[:1]


def test_a_segment_of_another_history_is_no_successor(tmp_path: Path, segments: list[Segment]) -> None:
    other = History().fill(2, b"other")
    assert found(tmp_path, salvage.wrap(other[1], KEY), segments[0]) == []


def test_nothing_is_found_of_another_generation_nor_in_an_empty_file(tmp_path: Path, segments: list[Segment]) -> None:
    assert found(tmp_path, salvage.wrap(segments[0], OTHER_KEY)) == []
    assert found(tmp_path, segments[0].data) == []
    assert found(tmp_path, b"") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damaged_or_shortened_envelope_is_taken_for_one(
    tmp_path: Path, segments: list[Segment], data: st.DataObject
) -> None:
    whole = salvage.wrap(segments[0], KEY)
    at = data.draw(st.integers(0, len(whole) - 1))
    assert found(tmp_path, flip(whole, at)) == []
    assert found(tmp_path, whole[:at]) == []


@pytest.mark.parametrize("seam", [16, 28, salvage.ENVELOPE_BYTES])
def test_a_page_written_by_half_does_not_lend_its_key_to_what_lay_there(
    tmp_path: Path, segments: list[Segment], seam: int
) -> None:
    """The part before the seam is of this generation, the part behind it of another one, of equal length."""
    new, old = salvage.wrap(History().fill(1, b"new!")[0], KEY), salvage.wrap(segments[0], OTHER_KEY)
    assert len(new) == len(old)
    assert found(tmp_path, new[:seam] + old[seam:]) == []


def test_a_file_of_salvage_that_cannot_be_removed_is_a_sentence(tmp_path: Path) -> None:
    history = History()
    log = Log(tmp_path / "log")
    log.append(history.fill(2))
    before = content(log.path)
    log.append(history.fill(1))
    copy = cut(log.path, without_meta(before, content(log.path)))
    log.close()
    failpoints.arm("log.salvage.before_remove=fail(EACCES)")
    try:
        with pytest.raises(StorageError, match="salvaged: the disk refused"):
            Log(copy)
    finally:
        failpoints.arm("")
    assert [segment.last_zxid for segment in restarted(copy)][-1] == history.tree.zxid
