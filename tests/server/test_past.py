"""Answers about the past from a data directory whose state at each zxid is known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.inspection.directories import EPOCH, LONG, Made, make
from zkstore.errors import BadArgumentsError, NoAuthError, NoNodeError, SystemFailureError
from zkstore.model import record as records_
from zkstore.model.acl import Identity
from zkstore.server.past import Past, Question
from zkstore.wire import segment as segments_
from zkstore.wire.history import HistoryRequest, Kind

ANYBODY = (Identity("ip", "127.0.0.1"),)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path / "data")


@pytest.fixture
def past(made: Made) -> Iterator[Past]:
    past = Past(made.root, None)
    yield past
    past.close()


def question(made: Made, kind: int, zxid: int = -1, **changes: Any) -> Question:
    """As who sees all, unless `changes` say otherwise."""
    path, after, text = changes.pop("path", b"/"), changes.pop("after", None), changes.pop("text", "")
    request = HistoryRequest(kind, zxid, path, after, text)
    return Question(request, ANYBODY, True, made.end)._replace(**changes)


def answer(past: Past, asked: Question) -> Any:
    code, body = past.answer(asked)
    found = msgpack.unpackb(body, use_list=False, strict_map_key=False)
    assert code == 0, found
    return found


def refusal(past: Past, asked: Question) -> tuple[int, str]:
    code, body = past.answer(asked)
    assert code != 0
    return code, msgpack.unpackb(body)


def test_every_state_is_as_it_was(made: Made, past: Past) -> None:
    for zxid in random.Random(1).sample(sorted(made.states), 25):
        records = made.states[zxid]
        for path in (b"/app/a", LONG, b"/new/deep"):
            asked = question(made, Kind.GET, zxid, path=path)
            if path in records:
                assert answer(past, asked) == records[path][: records_.image_end(records[path])]
            else:
                assert refusal(past, asked) == (NoNodeError.code, path.decode())


def test_nothing_behind_what_is_committed_is_shown(made: Made, past: Past) -> None:
    end = made.end - 3
    bounded = {"end_zxid": end}
    assert answer(past, question(made, Kind.FACTS, **bounded))["end_zxid"] == end
    assert answer(past, question(made, Kind.RESOLVE, text="now", **bounded)) == end
    assert b"/new" not in answer(past, question(made, Kind.CHILDREN, **bounded))[1]
    code, text = refusal(past, question(made, Kind.GET, end + 1, **bounded))
    assert (code, text) == (BadArgumentsError.code, f"there is no {end + 1:#x} yet: history ends at {end:#x}")
    assert refusal(past, question(made, Kind.RESOLVE, text=hex(end + 1), **bounded))[0] == BadArgumentsError.code
    events, looked_to, _ = answer(past, question(made, Kind.EVENTS, end - 5, **bounded))
    assert looked_to == end
    assert max(zxid for zxid, *_ in events) <= end


def test_short_answers_go_on_where_they_ended(made: Made, past: Past) -> None:
    short = {"answer_bytes": 300}
    names: list[bytes] = []
    more, calls = True, 0
    while more:
        after = names[-1] if names else None
        _, found, more = answer(past, question(made, Kind.CHILDREN, path=b"/many", after=after, **short))
        names += found
        calls += 1
    records = made.states[made.end]
    assert names == sorted(path[6:] for path in records if path.startswith(b"/many/"))
    rows: list[tuple[bytes, bytes]] = []
    is_last = False
    while not is_last:
        found = answer(past, question(made, Kind.SLICE, after=rows[-1][0] if rows else None, **short))
        assert found.keys() - {"digest", "crc", "sessions"} == {"zxid", "rows", "is_last"}
        rows += found["rows"]
        is_last = found["is_last"]
        calls += 1
    assert rows == sorted(records.items())
    segments: list[bytes] = []
    after, is_last = 0, False
    while not is_last:
        found, is_last = answer(past, question(made, Kind.SEGMENTS, after, **short))
        segments += found
        after = segments_.decode(segments[-1]).last_zxid
        calls += 1
    assert segments == [segment.data for segment in made.history.segments]
    assert calls > 20


def test_who_does_not_see_all_gets_neither_passwords_nor_segments_nor_digests_of_others(made: Made, past: Past) -> None:
    modest = {"sees_all": False}
    sessions = answer(past, question(made, Kind.SLICE, EPOCH + 1, **modest))["sessions"]
    assert sessions
    assert {password for _, password in sessions.values()} == {b""}
    assert refusal(past, question(made, Kind.SEGMENTS, 0, **modest))[0] == NoAuthError.code
    # /app/a names a digest from here on, and who may not administer it does not see that.
    assert refusal(past, question(made, Kind.SLICE, **modest)) == (NoAuthError.code, "/app/a")
    assert refusal(past, question(made, Kind.GET, path=b"/app/a", **modest)) == (NoAuthError.code, "/app/a")
    assert answer(past, question(made, Kind.GET, EPOCH + 8, path=b"/app/a", **modest))
    paths = {path for _, _, _, path in answer(past, question(made, Kind.EVENTS, 0, **modest))[0]}
    assert b"/app/a" in paths
    late = answer(past, question(made, Kind.EVENTS, made.end - 3, **modest))[0]
    assert {path for _, _, _, path in late} == {b"/new", b"/new/deep", b"/new/deep/er"}


def test_what_was_dropped_is_refused(tmp_path: Path) -> None:
    made = make(tmp_path / "data", purges=True)
    past = Past(made.root, None)
    first = answer(past, question(made, Kind.FACTS))["log_zxid"]
    assert first > EPOCH
    for kind in (Kind.EVENTS, Kind.SEGMENTS):
        code, text = refusal(past, question(made, kind, first - 1))
        assert code == BadArgumentsError.code
        assert f"history begins at {first:#x}" in text
    assert "cannot be seen any more" in refusal(past, question(made, Kind.GET, first - 1))[1]
    assert answer(past, question(made, Kind.EVENTS, first))[0]
    past.close()


def test_few_files_stay_open_however_many_moments_are_looked_at(made: Made, past: Past) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for zxid in sorted(made.states):
        answer(past, question(made, Kind.GET, zxid))
    assert open_files() < before + 20
    past.close()
    assert open_files() == before


def test_a_damaged_log_is_an_error_of_the_server_and_not_its_end(made: Made, past: Past) -> None:
    log = made.root / "log" / "data.mdb"
    content = bytearray(log.read_bytes())
    at = content.find(b"long") - 300
    content[at : at + 40] = bytes(40)
    log.write_bytes(content)
    code, text = refusal(past, question(made, Kind.SEGMENTS, 0))
    assert code == SystemFailureError.code
    assert "history cannot be read here" in text


def test_a_kind_that_is_not_known_is_refused(made: Made, past: Past) -> None:
    assert refusal(past, question(made, 99))[0] == BadArgumentsError.code
