"""The network between clients and servers: in order until it breaks, whatever breaks it."""

from __future__ import annotations

from random import Random

import pytest

from zkstore.testing.world.clock import Agenda
from zkstore.testing.world.doors import Door, Doors

SECOND_US = 1_000_000


class Porch:
    """A server that writes down what it hears."""

    def __init__(self) -> None:
        self.server_id = 1
        self.life = 7
        self.is_up = self.has_power = True
        self.is_choked = False
        self.heard: list[object] = []
        self.door = 0

    def client_accepted(self, life: int, door: int) -> None:
        self.heard.append("accepted")
        self.door = door

    def client_came(self, life: int, door: int, data: bytes) -> None:
        assert (life, door) == (self.life, self.door)
        self.heard.append(data)

    def client_broke(self, life: int, door: int) -> None:
        self.heard.append("broke")


class Ear:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def received(self, data: bytes) -> None:
        self.heard.append(data)

    def closed(self) -> None:
        self.heard.append("closed")


class Stage:
    def __init__(self) -> None:
        self.agenda = Agenda()
        self.doors = Doors(self.agenda, Random(1))
        self.porch, self.ear = Porch(), Ear()
        self.doors.join(self.porch)

    def connect(self) -> Door:
        return self.doors.connect(1, self.ear)

    def wait(self, us: int = SECOND_US) -> None:
        self.agenda.run(self.agenda.now_us + us, lambda: False)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_bytes_come_in_order_also_those_sent_before_the_connection_was_made(stage: Stage) -> None:
    door = stage.connect()
    sent = [b"%d" % number for number in range(50)]
    for data in sent[:25]:
        door.send(data)
    stage.wait()
    for data in sent[25:]:
        door.send(data)
    stage.wait()
    assert stage.porch.heard == ["accepted", *sent]


def test_answers_come_in_order_and_then_the_end(stage: Stage) -> None:
    stage.connect()
    stage.wait()
    for data in (b"a", b"b", b"c"):
        stage.doors.answer(stage.porch.door, data)
    stage.doors.hang_up(stage.porch.door)
    stage.doors.answer(stage.porch.door, b"late")
    stage.wait()
    assert stage.ear.heard == [b"a", b"b", b"c", "closed"]


def test_a_client_that_closes_is_missed_after_all_that_it_said(stage: Stage) -> None:
    door = stage.connect()
    door.send(b"a")
    door.close()
    door.send(b"late")
    stage.wait()
    assert stage.porch.heard == []
    door = stage.connect()
    stage.wait()
    door.send(b"a")
    door.close()
    stage.wait()
    assert stage.porch.heard == ["accepted", b"a", "broke"]
    assert stage.ear.heard == []


def test_nobody_listens_at_a_server_that_is_down(stage: Stage) -> None:
    stage.porch.is_up = False
    stage.connect()
    stage.wait()
    assert stage.ear.heard == ["closed"]


def test_a_server_without_power_says_nothing_until_it_is_back(stage: Stage) -> None:
    stage.porch.has_power = False
    stage.connect().send(b"a")
    stage.wait()
    assert (stage.ear.heard, stage.porch.heard) == ([], [])
    stage.porch.has_power = True
    stage.wait()
    assert stage.porch.heard == ["accepted", b"a"]


def test_what_is_blocked_comes_later(stage: Stage) -> None:
    door = stage.connect()
    stage.wait()
    stage.doors.block(1)
    door.send(b"up")
    stage.doors.answer(stage.porch.door, b"down")
    stage.wait()
    assert (stage.ear.heard, stage.porch.heard) == ([], ["accepted"])
    stage.doors.unblock(1)
    stage.wait()
    assert (stage.ear.heard, stage.porch.heard) == ([b"down"], ["accepted", b"up"])


def test_healing_takes_all_blocks_away(stage: Stage) -> None:
    stage.doors.block(1)
    stage.doors.block(1)
    stage.doors.heal()
    stage.connect()
    stage.wait()
    assert stage.porch.heard == ["accepted"]


def test_a_choked_server_reads_later(stage: Stage) -> None:
    door = stage.connect()
    stage.wait()
    stage.porch.is_choked = True
    door.send(b"a")
    stage.wait()
    assert stage.porch.heard == ["accepted"]
    stage.porch.is_choked = False
    stage.wait()
    assert stage.porch.heard == ["accepted", b"a"]


def test_a_cut_loses_what_is_under_way_and_both_ends_hear_of_it(stage: Stage) -> None:
    door = stage.connect()
    stage.wait()
    door.send(b"lost")
    stage.doors.answer(stage.porch.door, b"lost")
    assert stage.doors.cut(1, 1.0) == 1
    stage.wait()
    assert (stage.ear.heard, stage.porch.heard) == (["closed"], ["accepted", "broke"])
    assert stage.doors.cut(1, 1.0) == 0


def test_a_process_that_ends_closes_its_connections(stage: Stage) -> None:
    stage.connect()
    stage.wait()
    stage.doors.answer(stage.porch.door, b"last")
    stage.doors.end_life(1, stage.porch.life, is_power=False)
    stage.wait()
    assert stage.ear.heard == [b"last", "closed"]


def test_after_a_power_cut_clients_learn_it_when_they_speak_to_the_next_life(stage: Stage) -> None:
    door = stage.connect()
    stage.wait()
    stage.doors.answer(stage.porch.door, b"lost")
    stage.doors.end_life(1, stage.porch.life, is_power=True)
    stage.porch.life += 1
    stage.wait()
    assert stage.ear.heard == []
    door.send(b"hello?")
    stage.wait()
    assert (stage.ear.heard, stage.porch.heard) == (["closed"], ["accepted"])
