"""Explorations of three servers: no course breaks an invariant, and with a bug put in, some course does."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tools import explore
from zkstore.testing.exploration.disk import SmallDisk
from zkstore.testing.exploration.explorer import Exploration, Report
from zkstore.testing.exploration.observer import DiskView, InvariantBroken, Knowledge, SmallObserver
from zkstore.testing.exploration.scenarios import SCENARIOS, WALK
from zkstore.testing.exploration.server import Event, SmallServer
from zkstore.testing.exploration.world import Action, Spent, State
from zkstore.wire.messages import EpochAck, Join, Propose
from zkstore.zab import effects as fx
from zkstore.zab.broadcast import Broadcast
from zkstore.zab.core import Core
from zkstore.zab.discovery import ASKING, Discovery
from zkstore.zab.leader import Leader
from zkstore.zab.learner import Learner
from zkstore.zab.synchronisation import PLACED, Handle

Patch = pytest.MonkeyPatch

UP = tuple(Action("starts", server) for server in (1, 2, 3))
ESTABLISHED = (*UP, Action("leads", 3), Action("follows", 1, 3), Action("follows", 2, 3))


def prepared(script: tuple[Action, ...], most: Spent) -> tuple[Exploration, State]:
    exploration = Exploration()
    start = exploration.play(exploration.beginning(), *script)
    exploration.most, exploration.reconfigurations = most, ((3,), (1, 2))
    return exploration, start


def explored(script: tuple[Action, ...], most: Spent, states_max: int) -> Report:
    exploration, start = prepared(script, most)
    return exploration.explore(start, states_max=states_max)


# --- the real thing -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_course_breaks_an_invariant(name: str) -> None:
    exploration, start = SCENARIOS[name].begin()
    report = exploration.explore(start, states_max=2_000)
    assert report.violation is None, [str(action) for action in report.trace]
    assert report.states >= 2_000


def test_a_server_that_needs_a_snapshot_is_explored_to_the_end() -> None:
    exploration, start = SCENARIOS["left behind"].begin()
    report = exploration.explore(start, states_max=20_000)
    assert report.violation is None, [str(action) for action in report.trace]
    assert report.is_complete
    assert report.states > 10_000
    # Everything that is checked came to pass.
    assert {"acknowledged", "adoption_acknowledged", "applied", "followed", "led", "proposed", "wrote"} <= set(
        report.checks
    )


def test_two_proposals_have_as_many_courses_as_ever() -> None:
    report = explored(ESTABLISHED, Spent(proposals=2), 10_000)
    assert report.is_complete
    assert report.violation is None
    again = explored(ESTABLISHED, Spent(proposals=2), 10_000)
    assert (again.states, again.transitions, again.depth) == (report.states, report.transitions, report.depth)


def test_a_leader_that_crashed_with_its_own_proposal_has_it_cut_off() -> None:
    exploration = Exploration()
    state = exploration.play(
        exploration.beginning(),
        *ESTABLISHED,
        Action("loses its link to", 1, 3, 0, is_lossy=True),
        Action("loses its link to", 2, 3, 0, is_lossy=True),
        Action("proposes", 3),
        Action("leads", 2),
        Action("follows", 1, 2),
        Action("proposes", 2),
        Action("crashes", 3),
        Action("starts", 3),
        Action("follows", 3, 2),
    )
    assert exploration.checks["dropped"] == 1
    assert state.knowledge.leaders == {(1, 3), (2, 2)}
    disks = [exploration.servers.summaries[number].disk for number in state.servers]
    assert disks[0] == disks[1] == disks[2]
    assert state.knowledge.committed == disks[0].points


# --- with bugs ------------------------------------------------------------------------------------


def _everybody_is_a_quorum(patch: Patch) -> None:
    patch.setattr(Core, "has_quorum", lambda self, ids: True)


def _one_acknowledgement_commits(patch: Patch) -> None:
    patch.setattr(Broadcast, "_agreed", lambda self, config: max(self.acked.values()))


def _the_leader_counts_itself_before_its_disk(patch: Patch) -> None:
    def propose(self: Leader, *arguments: object, once: Callable[..., None] = Leader.propose) -> None:
        once(self, *arguments)
        self.broadcast.acked[self.core.server_id] = self.core.end[0]

    patch.setattr(Leader, "propose", propose)


def _a_learner_acknowledges_before_its_disk(patch: Patch) -> None:
    def proposed(
        self: Learner, message: Propose, once: Callable[[Learner, Propose], str | None] = Learner._proposed
    ) -> str | None:
        wrong = once(self, message)
        self._ack(self.core.end[0])
        return wrong

    patch.setattr(Learner, "_proposed", proposed)


def _a_disk_forgets(patch: Patch, kind: type[fx.DiskEffect]) -> None:
    def write(
        self: SmallDisk,
        effect: fx.DiskEffect,
        once: Callable[[SmallDisk, fx.DiskEffect], tuple[tuple[int, int], ...]] = SmallDisk.write,
    ) -> tuple[tuple[int, int], ...]:
        return () if isinstance(effect, kind) else once(self, effect)

    patch.setattr(SmallDisk, "write", write)


def _promises_are_not_put_on_disk(patch: Patch) -> None:
    _a_disk_forgets(patch, fx.Promise)


def _adopted_epochs_are_not_put_on_disk(patch: Patch) -> None:
    _a_disk_forgets(patch, fx.Adopt)


def _the_epoch_goes_on_disk_before_the_history(patch: Patch) -> None:
    """ZOOKEEPER-4643, 4785."""

    def adopt(self: Core, epoch: int) -> None:
        self._disk.appendleft((fx.Adopt(epoch), None, 0))
        self.effects.append(fx.Adopt(epoch))

    def carry_out(
        self: SmallServer,
        effect: fx.Effect,
        once: Callable[[SmallServer, fx.Effect], None] = SmallServer._carry_out,
    ) -> None:
        if isinstance(effect, fx.Adopt):
            self.work.appendleft(effect)
        else:
            once(self, effect)

    patch.setattr(Core, "adopt", adopt)
    patch.setattr(SmallServer, "_carry_out", carry_out)


def _the_leader_does_not_compare_histories(patch: Patch) -> None:
    """ZOOKEEPER-335: whoever is elected leads, whatever it lacks."""

    def acked(self: Discovery, handle: Handle, ack: EpochAck) -> None:
        handle.stage = PLACED
        handle.point = (ack.last_zxid, ack.last_crc)
        if self.phase == ASKING:
            self._acks.add(handle.server_id)
            self._count()

    patch.setattr(Discovery, "acked", acked)


def _a_promise_does_not_keep_others_from_leading_that_epoch(patch: Patch) -> None:
    def receive(
        self: SmallServer, event: Event, once: Callable[[SmallServer, Event], None] = SmallServer.receive
    ) -> None:
        message = event.message
        if isinstance(message, Join):
            message = message._replace(promised_epoch=0)
        elif isinstance(message, EpochAck):
            message = message._replace(adopted_epoch=max(message.adopted_epoch, 0))
        once(self, event._replace(message=message))

    patch.setattr(SmallServer, "receive", receive)


def _a_leader_believes_itself_established_too_early(patch: Patch) -> None:
    """It does not wait for NewLeaderAcks."""

    def activate(self: Leader, once: Callable[[Leader], None] = Leader._activate) -> None:
        self._adopted |= self.core.config.voters
        once(self)

    patch.setattr(Leader, "_activate", activate)


def _truncation_takes_one_segment_too_many(patch: Patch) -> None:
    """ZOOKEEPER-1156."""

    def write(
        self: SmallDisk,
        effect: fx.DiskEffect,
        once: Callable[[SmallDisk, fx.DiskEffect], tuple[tuple[int, int], ...]] = SmallDisk.write,
    ) -> tuple[tuple[int, int], ...]:
        if isinstance(effect, fx.Cut):
            effect = fx.Cut(effect.zxid - 1)
        return once(self, effect)

    patch.setattr(SmallDisk, "write", write)


def _a_pending_configuration_has_no_say(patch: Patch) -> None:
    def agreed(self: Broadcast, once: Callable[[Broadcast], int] = Broadcast.agreed_zxid) -> int:
        pending, self._core.pending = self._core.pending, None
        zxid = once(self)
        self._core.pending = pending
        return zxid

    patch.setattr(Broadcast, "agreed_zxid", agreed)


def _a_pending_configuration_decides_alone(patch: Patch) -> None:
    def agreed(self: Broadcast, once: Callable[[Broadcast], int] = Broadcast.agreed_zxid) -> int:
        config = self._core.config
        if self._core.pending is not None:
            self._core.config = self._core.pending[1]
        zxid = once(self)
        self._core.config = config
        return zxid

    patch.setattr(Broadcast, "agreed_zxid", agreed)


BUGS = [
    (_everybody_is_a_quorum, UP, Spent(leads=1, follows=1), {"I1"}),
    (_one_acknowledgement_commits, ESTABLISHED, Spent(proposals=1), {"I4"}),
    (_the_leader_counts_itself_before_its_disk, ESTABLISHED, Spent(proposals=1), {"I4"}),
    (_a_learner_acknowledges_before_its_disk, ESTABLISHED, Spent(proposals=1), {"I11"}),
    (_promises_are_not_put_on_disk, UP, Spent(leads=1, follows=1), {"I2"}),
    (_adopted_epochs_are_not_put_on_disk, UP, Spent(leads=1, follows=1), {"I1", "I12"}),
    (
        _the_epoch_goes_on_disk_before_the_history,
        (*ESTABLISHED, Action("crashes", 1), Action("proposes", 3), Action("crashes", 3), Action("starts", 3)),
        Spent(leads=1, follows=2),
        {"I12"},
    ),
    (
        _the_leader_does_not_compare_histories,
        (*ESTABLISHED, Action("crashes", 1), Action("proposes", 3), Action("crashes", 3), Action("starts", 1)),
        Spent(leads=1, follows=1, give_ups=1),
        {"I4", "I14"},
    ),
    (
        _a_promise_does_not_keep_others_from_leading_that_epoch,
        (*UP, Action("leads", 3), Action("follows", 1, 3)),
        Spent(leads=1, follows=1, breaks=1),
        {"I1"},
    ),
    (_a_pending_configuration_has_no_say, ESTABLISHED, Spent(reconfigurations=1), {"I18"}),
    (_a_pending_configuration_decides_alone, ESTABLISHED, Spent(reconfigurations=1), {"I18"}),
    (_a_leader_believes_itself_established_too_early, UP, Spent(leads=1, follows=1), {"I1"}),
    (
        _truncation_takes_one_segment_too_many,
        (
            *ESTABLISHED,
            Action("proposes", 3),
            Action("loses its link to", 1, 3, 0, is_lossy=True),
            Action("loses its link to", 2, 3, 0, is_lossy=True),
            Action("proposes", 3),
            Action("leads", 2),
            Action("follows", 1, 2),
            Action("gives up", 3),
        ),
        Spent(follows=1),
        {"I14"},
    ),
]


@pytest.mark.parametrize(
    ("bug", "script", "most", "invariants"), BUGS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_bug_is_found(
    bug: Callable[[Patch], None],
    script: tuple[Action, ...],
    most: Spent,
    invariants: set[str],
    monkeypatch: Patch,
) -> None:
    with monkeypatch.context() as patch:
        # The bug comes in when the script has been played: it is found in what is explored.
        exploration, start = prepared(script, most)
        bug(patch)
        exploration.servers.forget_steps()
        report = exploration.explore(start, states_max=20_000)
    assert report.violation is not None
    assert report.violation.partition(":")[0] in invariants, report.violation
    assert report.trace
    assert all(str(action).startswith("server ") for action in report.trace)


def test_a_walk_finds_a_bug_too(monkeypatch: Patch) -> None:
    _the_leader_does_not_compare_histories(monkeypatch)
    found = set()
    for seed in range(300):
        exploration, start = WALK.begin()
        report = exploration.walk(start, Random(seed), steps_max=1_000)
        if report.violation is not None:
            found.add(report.violation.partition(":")[0])
            break
    assert found <= {"I4", "I5", "I14"}
    assert found


def test_a_walk_is_repeated_by_its_seed() -> None:
    first, again = (
        exploration.walk(start, Random(3), steps_max=300) for exploration, start in (WALK.begin(), WALK.begin())
    )
    assert first.violation is None
    assert first.trace == again.trace
    assert len(first.trace) > 100


def test_without_a_bug_the_same_beginnings_break_nothing() -> None:
    for _, script, most, _ in BUGS:
        assert explored(script, most, 1_000).violation is None


# --- the observer ---------------------------------------------------------------------------------

A1, A2, B1 = (1 << 32 | 1, 11), (1 << 32 | 2, 12), (2 << 32 | 1, 21)
ZERO = (0, 0)


def observer(*committed: tuple[int, int]) -> SmallObserver:
    known = Knowledge(
        committed=(ZERO, *committed),
        proposed=frozenset({ZERO, A1, A2, B1}),
        leaders=frozenset({(1, 3), (2, 2)}),
        adopted=frozenset({(1, 3), (1, 2), (3, 1)}),
    )
    return SmallObserver(frozenset({1, 2, 3}), known)


DISK = DiskView(2, 1, (ZERO, A1))


@pytest.mark.parametrize(
    ("invariant", "step"),
    [
        ("I1", lambda seen: seen.led(2, 1, (ZERO,))),
        ("I1", lambda seen: seen.led(1, 3, (ZERO, A1))),
        ("I2", lambda seen: seen.wrote(1, DISK, DISK._replace(promised_epoch=1))),
        ("I2", lambda seen: seen.wrote(1, DISK, DISK._replace(adopted_epoch=3))),
        ("I2", lambda seen: seen.wrote(1, DISK, DiskView(1, 1, (ZERO, B1)))),
        ("I2", lambda seen: seen.promise_acknowledged(1, 3, DISK)),
        ("I3", lambda seen: seen.proposed(3, 1, (A1[0], 99), (ZERO, A1))),
        (
            "I4",
            lambda seen: seen.check_durability(
                {1: DISK, 2: DISK._replace(points=(ZERO,)), 3: DISK._replace(points=())}, 2
            ),
        ),
        ("I5", lambda seen: seen.applied(1, (ZERO, (A1[0], 99)))),
        ("I6", lambda seen: seen.applied(1, (ZERO, A1, (A2[0], 99)))),
        ("I6", lambda seen: seen.proposed(1, 1, A2, (ZERO, A1))),
        ("I8", lambda seen: seen.applied(1, (ZERO, A1, (2 << 32 | 2, 22)))),
        ("I9", lambda seen: seen.applied(1, (ZERO, A1, B1, A2))),
        ("I10", lambda seen: seen.proposed(2, 2, B1, (ZERO,))),
        ("I11", lambda seen: seen.acknowledged(1, A2[0], DISK)),
        ("I12", lambda seen: seen.adoption_acknowledged(1, 1, A2, DISK)),
        ("I12", lambda seen: seen.adoption_acknowledged(1, 2, A1, DISK)),
        ("I13", lambda seen: seen.followed(1, 2, 3)),
        ("I14", lambda seen: seen.dropped(1, (A1,))),
        ("I16", lambda seen: seen.stopped(1, "I16", "the log is short")),
    ],
)
def test_the_observer_names_the_invariant(invariant: str, step: Callable[[SmallObserver], None]) -> None:
    seen = observer(A1)
    seen.knowledge = seen.knowledge._replace(proposed=seen.knowledge.proposed | {(2 << 32 | 2, 22)})
    with pytest.raises(InvariantBroken, match=f"^{invariant}: "):
        step(seen)


def test_a_leader_without_what_is_committed_is_named() -> None:
    seen = observer(A1)
    seen.knowledge = seen.knowledge._replace(adopted=frozenset({(4, 1), (4, 2)}))
    with pytest.raises(
        InvariantBroken, match=r"^I4: server 1 leads epoch 4 with \[0x0/00000000\]; committed: .*0x100000001"
    ):
        seen.led(1, 4, (ZERO,))


def test_what_is_right_is_remembered() -> None:
    seen = observer(A1)
    seen.applied(1, (ZERO, A1, A2))
    seen.applied(2, (ZERO,))
    assert seen.knowledge.committed == (ZERO, A1, A2)
    seen.wrote(1, DISK, DISK._replace(adopted_epoch=2))
    assert (2, 1) in seen.knowledge.adopted


# --- the command ----------------------------------------------------------------------------------


def test_the_command_prints_what_it_explored(capsys: pytest.CaptureFixture[str]) -> None:
    assert explore.main(["new leader", "--states", "300"]) == 0
    out = capsys.readouterr().out
    assert "new leader: a server crashes under a proposal, and another leads" in out
    assert "no invariant broken; stopped at the bound" in out


def test_the_command_prints_the_way_to_a_broken_invariant(
    capsys: pytest.CaptureFixture[str], monkeypatch: Patch
) -> None:
    _one_acknowledgement_commits(monkeypatch)
    assert explore.main(["broken link"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN I4: " in out
    assert "  1 server 3: proposes\n" in out


def test_the_command_walks_at_random(capsys: pytest.CaptureFixture[str], monkeypatch: Patch) -> None:
    assert explore.main(["--walks", "3", "--seed", "7"]) == 0
    assert "3 walks of " in capsys.readouterr().out
    _everybody_is_a_quorum(monkeypatch)
    assert explore.main(["--walks", "30"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("seed ")
    assert "BROKEN I" in out


def test_the_command_names_the_scenarios_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        explore.main(["nonsense"])
    assert "there is no scenario 'nonsense'; choose from 'birth'" in capsys.readouterr().err
