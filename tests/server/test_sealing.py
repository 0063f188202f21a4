"""When a leader makes a segment of what clients asked for, over a member that only counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.storage.histories import History, create
from zkstore.replica.member import Member
from zkstore.server import sealing
from zkstore.server.sealing import Sealing


class Counting:
    """Has some writes open and some segments under way; proposing takes all that are open."""

    def __init__(self) -> None:
        self.replica = SimpleNamespace(role=SimpleNamespace(open_count=0))
        self.peer = SimpleNamespace(in_flight_count=0)
        self.sealed: list[int] = []
        self.carried_out = 0
        self.sealing = Sealing(cast(Member, self), self.carry_out)

    def ask(self, count: int) -> None:
        self.replica.role.open_count += count

    def flush(self, *, is_sealing: bool = True) -> None:
        role: Any = self.replica.role
        if is_sealing and role.open_count:
            history = History()
            self.sealed.append(role.open_count)
            self.newest = history.add(*(create(b"/%d" % number) for number in range(role.open_count)))
            role.open_count = 0
            self.peer.in_flight_count += 1

    def carry_out(self) -> None:
        self.carried_out += 1
        if self.sealed and self.peer.in_flight_count:
            self.sealing.proposed(self.newest)

    def answer(self) -> None:
        self.peer.in_flight_count = 0


def test_the_first_request_waits_for_nobody() -> None:
    leader = Counting()
    leader.ask(1)
    leader.sealing.gather()
    assert leader.sealed == [1]


def test_a_few_writes_wait_for_the_segment_before_and_many_do_not() -> None:
    leader = Counting()
    leader.ask(1)
    leader.sealing.gather()
    leader.ask(15)
    leader.sealing.gather()
    assert leader.sealed == [1]
    assert leader.carried_out == 2, "what is for others does not wait"
    leader.ask(1)
    leader.sealing.gather()
    assert leader.sealed == [1, 16]


def test_no_more_than_some_segments_are_under_way() -> None:
    leader = Counting()
    for _ in range(6):
        leader.ask(100)
        leader.sealing.gather()
    assert leader.sealed == [100] * 4
    leader.answer()
    leader.sealing.gather()
    assert leader.sealed == [100] * 4 + [200]


def test_clients_that_were_answered_together_are_gathered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(sealing, "time", SimpleNamespace(perf_counter=lambda: now_s))
    leader = Counting()
    leader.ask(5)
    leader.sealing.gather()
    leader.answer()
    leader.ask(4)
    leader.sealing.gather()
    assert leader.sealing.before_wait() == 0.0
    assert leader.sealed == [5]
    leader.ask(1)
    leader.sealing.gather()
    assert leader.sealed == [5, 5]
    leader.answer()
    leader.ask(1)
    assert leader.sealing.before_wait() == 0.0
    now_s = 0.001
    assert leader.sealing.before_wait() > 0
    assert leader.sealed == [5, 5, 1]
