"""Who changes the members: what it asks for, one thing at a time, and when it is content."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from zkstore.testing.checkers.history import Call, History, Record
from zkstore.testing.clients.client import Client, ClientWorld, Connection, Ear, State
from zkstore.testing.nemesis.admin import OBSERVER, VOTER, Admin
from zkstore.wire import jute
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ReconfigRequest

SPEC = "127.0.0.1:2888:3888"
REFUSED = -13


class World(ClientWorld):
    """A world in which nobody answers, and time goes when the test says so."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    @property
    def now_us(self) -> int:
        return 0

    def connect(self, server_id: int, ear: Ear) -> Connection:
        raise AssertionError("no connection is needed")

    def call_at(self, time_us: int, action: Callable[[], None]) -> None:
        self.due.append(action)


class Played:
    """An admin whose client is played by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, Record | None]] = []
        self._history = History(report_us=0)
        self._channel = self._history.welcomed(1, 1, b"p", 1, 0, 0)
        monkeypatch.setattr(Client, "request", lambda _, opcode, record: self.asked.append((opcode, record)))
        monkeypatch.setattr(Client, "is_at_work", property(lambda _: True))
        self.world = World()
        self.admin = Admin(
            self.world,
            self._history,
            Random(1),
            (1, 2, 3),
            lambda server_id, role: f"server.{server_id}={SPEC}:{role};2181",
            timeout_ms=4_000,
        )

    def shows(self, *members: tuple[int, str], version: int = 7) -> None:
        """The next look finds these members."""
        lines = [f"server.{server_id}={SPEC.replace('127', str(server_id))}:{role};2181" for server_id, role in members]
        self._answer(Opcode.GET_DATA, 0, jute.buffer("\n".join([*lines, f"version={version:x}"]).encode()))

    def refuses(self) -> None:
        """What it asked for last is not done."""
        self._answer(Opcode.RECONFIG, REFUSED, b"")

    def _answer(self, opcode: int, code: int, body: bytes) -> None:
        call = Call(self._channel, 1, opcode, None, 0, 0)
        self._history.answered(call, 1, code, body, 0)
        self.admin.answered(call)

    def time_goes(self) -> None:
        due, self.world.due = self.world.due, []
        for action in due:
            action()


ALL = ((1, VOTER), (2, VOTER), (3, VOTER))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    made = Played(monkeypatch)
    made.admin.connected()
    assert [opcode for opcode, _ in made.asked] == [Opcode.GET_DATA]
    made.asked.clear()
    return made


def test_who_finds_the_members_as_wanted_looks_again_later_and_changes_nothing(played: Played) -> None:
    assert not played.admin.is_content
    played.shows(*ALL)
    assert played.admin.is_content
    played.time_goes()
    assert [opcode for opcode, _ in played.asked] == [Opcode.GET_DATA]


def test_somebody_comes_before_somebody_goes(played: Played) -> None:
    del played.admin.wanted[3]
    played.admin.wanted[4] = OBSERVER
    played.shows(*ALL)
    joining = f"server.4={SPEC}:{OBSERVER};2181"
    assert played.asked == [(Opcode.RECONFIG, ReconfigRequest(joining, None, None, 7))]
    played.shows(*ALL, (4, OBSERVER), version=9)
    assert played.asked[1:] == [(Opcode.RECONFIG, ReconfigRequest(None, "3", None, 9))]
    played.shows((1, VOTER), (2, VOTER), (4, OBSERVER))
    assert played.admin.is_content
    assert played.admin.is_member(4)
    assert not played.admin.is_member(3)


def test_an_observer_is_made_a_voter(played: Played) -> None:
    played.admin.wanted[4] = VOTER
    played.shows(*ALL, (4, OBSERVER))
    assert played.asked == [(Opcode.RECONFIG, ReconfigRequest(f"server.4={SPEC}:{VOTER};2181", None, None, 7))]


def test_who_is_refused_looks_and_asks_again(played: Played) -> None:
    del played.admin.wanted[3]
    played.shows(*ALL)
    played.refuses()
    played.time_goes()
    played.shows(*ALL)
    assert [opcode for opcode, _ in played.asked] == [Opcode.RECONFIG, Opcode.GET_DATA, Opcode.RECONFIG]


def test_who_rests_asks_for_nothing(played: Played) -> None:
    played.admin.rest()
    del played.admin.wanted[3]
    played.shows(*ALL)
    played.time_goes()
    assert played.asked == []


def test_a_look_that_was_due_on_a_lost_connection_does_not_come_twice(played: Played) -> None:
    played.shows(*ALL)
    played.admin.lost()
    played.admin.connected()
    played.time_goes()
    assert [opcode for opcode, _ in played.asked] == [Opcode.GET_DATA]


def test_a_session_that_is_over_is_followed_by_another(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[State] = []
    monkeypatch.setattr(Client, "start", lambda client: started.append(client.state))
    played.admin.expired()
    played.time_goes()
    assert started == [State.AWAY]
