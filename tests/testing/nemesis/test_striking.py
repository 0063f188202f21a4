"""What is struck, and what is not any more: with processes that only note what was done to them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from zkstore.testing.nemesis.faults import Damage, Fault, Kill, KillAll, Pause, Rolling
from zkstore.testing.nemesis.sockets import Sockets
from zkstore.testing.nemesis.stage import Stage
from zkstore.testing.nemesis.striking import Striker

STEP_US = 30_000


class Process:
    """A server whose process does at once what it is told."""

    def __init__(self, server_id: int) -> None:
        self.server_id = server_id
        self.directory = None
        self.pid = 7
        self.done: list[str] = []
        self.is_wanted = self.is_meant = self.is_running = self.serves = True
        self.is_armed = self.may_break_off = False
        self.exit_code = 0

    def start(self, now_us: int, *, crash_at: str = "") -> None:
        self.done.append("start")
        self.is_wanted = self.is_running = True

    def send(self, number: signal.Signals) -> None:
        self.done.append(number.name)

    def kill(self) -> None:
        self.done.append("kill")
        self.is_wanted = self.is_running = False

    def terminate(self, now_us: int) -> None:
        self.done.append("terminate")
        self.is_wanted = self.is_running = False

    def last_words(self) -> str:
        return "..."


class Ensemble:
    """Three of them; number 2 leads."""

    def __init__(self) -> None:
        self.voters = range(1, 4)
        self.servers = {server_id: Process(server_id) for server_id in self.voters}
        self.network: Any = self

    def heal(self) -> None:
        """The network is well."""

    def leader(self) -> Process:
        return self.servers[2]

    def follow_logs(self, now_us: int) -> None:
        """There is nothing to read."""

    def unexpected_ends(self) -> list[Process]:
        return [server for server in self.servers.values() if server.is_wanted and not server.is_running]

    def visitors(self) -> list[Process]:
        return []


class Scene:
    """A striker on such an ensemble."""

    def __init__(self) -> None:
        self.sockets = Sockets({})
        self.ensemble = Ensemble()
        self.damaged: list[int] = []
        places: Any = type("Places", (), {"small_disk": None, "powered": {}})
        self.stage = Stage(
            self.sockets,
            self.ensemble,  # type: ignore[arg-type]
            places,
            disturbed=lambda: None,
            is_served=lambda since_us: True,
            ended=lambda server: None,
            damage=lambda server, of_log, place_permille: self.damaged.append(server.server_id),
            tell=lambda text: None,
        )
        self.striker = Striker(self.stage, None)

    def strike(self, *faults: Fault) -> None:
        for fault in faults:
            self.striker.schedule(fault, self.sockets.now_us)
        self.sockets.run(self.sockets.now_us + STEP_US)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.sockets.close()


def test_the_leader_is_killed_and_started_again(scene: Scene) -> None:
    scene.strike(Kill(0, 0, 0))
    assert scene.ensemble.servers[2].done == ["SIGKILL", "kill", "start"]
    assert scene.ensemble.servers[1].done == []
    (strike,) = scene.striker.strikes
    assert (strike.kind, strike.server_id, strike.hit_leader, strike.hit_all) == ("Kill", 2, True, False)


def test_all_are_killed_before_the_first_one_is_started(scene: Scene) -> None:
    scene.strike(KillAll(0, 0))
    assert scene.striker.strikes[0].hit_all
    assert all(server.done[-1] == "start" for server in scene.ensemble.servers.values())


def test_one_that_is_down_already_is_not_killed(scene: Scene) -> None:
    scene.strike(Kill(0, 1, 60_000), Kill(0, 1, 60_000))
    assert scene.striker.struck == {"Kill": 1}


def test_a_fault_that_comes_when_all_has_been_healed_is_passed_over(scene: Scene) -> None:
    scene.striker.schedule(Pause(0, 1, 60_000), 0)
    scene.striker.schedule(Rolling(0, 500), 0)
    scene.striker.heal()
    scene.sockets.run(scene.sockets.now_us + STEP_US)
    assert "SIGSTOP" not in scene.ensemble.servers[1].done
    assert scene.striker.strikes == []


def test_what_was_paused_goes_on_when_all_is_healed(scene: Scene) -> None:
    scene.strike(Pause(0, 1, 60_000))
    scene.striker.heal()
    assert scene.ensemble.servers[1].done == ["SIGSTOP", "SIGCONT"]


def test_no_second_server_is_damaged_while_the_first_one_has_not_come_back(scene: Scene) -> None:
    scene.strike(Damage(0, 1, 0, True, 500))
    scene.ensemble.servers[1].serves = False
    scene.strike(Damage(0, 3, 0, True, 500))
    assert scene.damaged == [1]
    scene.ensemble.servers[1].serves = True
    scene.strike(Damage(0, 3, 0, True, 500))
    assert scene.damaged == [1, 3]


def test_who_ends_by_itself_is_found_and_started_again(scene: Scene) -> None:
    scene.ensemble.servers[3].is_running = False
    scene.striker.watch()
    assert scene.stage.findings == ["server 3 ended by itself with 0:\n..."]
    assert scene.ensemble.servers[3].done == ["start"]


def test_who_kills_itself_at_its_failpoint_was_to_do_so(scene: Scene) -> None:
    server = scene.ensemble.servers[3]
    server.is_running, server.is_armed, server.exit_code = False, True, -signal.SIGKILL
    scene.striker.watch()
    assert scene.stage.findings == []
    assert server.done == ["start"]
    assert scene.striker.struck == {"CrashedAtPoint": 1}


def test_faults_in_turn_come_one_after_the_other(scene: Scene) -> None:
    scene.striker.schedule_in_turn([Kill(1_501, 1, 0), Kill(1_511, 2, 0), Kill(1_521, 3, 0)])
    scene.sockets.run(scene.sockets.now_us + 10 * STEP_US)
    assert [strike.server_id for strike in scene.striker.strikes] == [1, 2, 3]
