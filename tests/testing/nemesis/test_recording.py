"""Local sessions of which it is known at the end only whether all servers knew them."""

from __future__ import annotations

import pytest

from tests.storage.histories import SESSION, History, open_session
from zkstore.testing.nemesis.recording import Recording

MOVED_US, MARGIN_US = 5_000_000, 50_000


def moved(created_us: int) -> Recording:
    """A session that began at server 1 and came back at server 2; all were told of it at `created_us`, or never."""
    recording = Recording(report_us=0, local_sessions=True, upgrades=True)
    for server_id, now_us in ((1, 0), (1, 1_000_000), (2, MOVED_US), (2, MOVED_US + 1)):
        recording.welcomed(SESSION, 4_000_000, b"p", server_id, now_us, now_us)
    if created_us >= 0:
        made = History()
        made.add(open_session())
        recording.applied(1, made.segments[0], created_us)
    recording.judge_moves(MARGIN_US)
    return recording


@pytest.mark.parametrize("created_us", [1, MOVED_US, MOVED_US + MARGIN_US])
def test_a_session_that_all_knew_may_move(created_us: int) -> None:
    assert moved(created_us).complaints == []


@pytest.mark.parametrize("created_us", [-1, MOVED_US + MARGIN_US + 2])
def test_a_session_that_one_server_knew_must_not_move(created_us: int) -> None:
    (first, *_) = moved(created_us).complaints
    assert first.text.startswith("server 2 gave back session")
