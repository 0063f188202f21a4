"""Complaints about peers, not more often than anybody wants to read them."""

from __future__ import annotations

import logging

import pytest

from zkstore.net.peer_log import PeerLog


class Clock:
    """Says what it is told."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> PeerLog:
    return PeerLog(logging.getLogger("peers"), clock)


def test_the_same_sentence_is_said_again_after_a_while_with_a_count(
    log: PeerLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for clock.now_s in (0, 1, 2, 29, 31):
        log.complain("no answer")
    assert caplog.messages == ["no answer", "no answer (and 3 times more before)"]


def test_what_two_complaints_are_about_may_be_less_than_the_sentence(
    log: PeerLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.complain("port 7 is refused", about="refused")
    log.complain("port 8 is refused", about="refused")
    log.complain("port 8 hangs", about="hangs")
    assert caplog.messages == ["port 7 is refused", "port 8 hangs"]


def test_a_flood_of_different_sentences_costs_no_memory(log: PeerLog, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1_000):
        log.complain(f"stranger {number}")
    assert len(log._seen) <= 256
    log.complain("stranger 999")
    assert len(caplog.messages) == 1_000
