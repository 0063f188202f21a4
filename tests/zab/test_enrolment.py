"""Whose word counts: servers with empty and with damaged disks among others."""

from __future__ import annotations

import pytest

from tests.zab.harness import Disk, Node, World, members
from tests.zab.script import ENSEMBLE, LeaderScript, LearnerScript
from zkstore.wire import messages as m
from zkstore.wire.messages import ENROLLED, FRESH, LEADING, LEARNING, LOST
from zkstore.zab import effects as fx
from zkstore.zab.enrolment import of_disk, said, why_not
from zkstore.zab.settings import DurableState

LONG_MS = 60_000


def wipe(node: Node, enrolment: int = FRESH) -> None:
    """The server is down, and what was on its disk is gone."""
    node.disk = Disk()
    node.disk.enrolment = enrolment


def make_world(*voters: int) -> World:
    """Servers with new disks, none of them started."""
    world = World(members(*voters))
    for node in world.nodes.values():
        wipe(node)
    return world


def started(*voters: int, without: tuple[int, ...] = ()) -> World:
    """A world in which these serve; something is committed."""
    world = make_world(*voters)
    for absent in without:
        world.isolate(absent)
    world.start(*(voter for voter in voters if voter not in without))
    world.run(6_000)
    world.leader().propose()
    world.run()
    return world


def crash(world: World, *server_ids: int) -> None:
    for server_id in server_ids:
        world.crash(server_id)
    world.run()


def leaders(world: World) -> list[int]:
    return [node.server_id for node in world.nodes.values() if node.is_up and node.peer.role == LEADING]


# --- beginnings -----------------------------------------------------------------------------------


def test_new_servers_begin_at_once_when_all_are_there() -> None:
    world = make_world(1, 2, 3)
    world.start()
    world.run(500)
    assert leaders(world) == [3]
    assert [node.disk.enrolment for node in world.nodes.values()] == [ENROLLED] * 3
    assert "epochs begin with all voters: 1, 2, 3" in world[3].notes


def test_a_quorum_of_new_servers_waits_two_ticks_for_the_others_and_then_begins() -> None:
    world = make_world(1, 2, 3)
    world.start(1, 2)
    world.run(3_500)
    assert leaders(world) == []
    world.run(1_500)
    assert leaders(world) == [2]
    assert any("servers that are all new: 1, 2" in note for note in world[2].notes)
    assert [world[n].disk.enrolment for n in (1, 2)] == [ENROLLED] * 2


def test_who_is_late_for_the_beginning_gets_a_vote_with_the_next_commit() -> None:
    world = started(1, 2, 3, without=(3,))
    world.heal()
    world.start(3)
    world.run(500)
    assert world[3].disk.enrolment == FRESH and leaders(world) == [2]
    world.leader().propose()
    world.run()
    assert world[3].disk.enrolment == ENROLLED
    crash(world, 2)
    world.run(3_000)
    assert leaders(world) == [3]


def test_a_server_alone_among_the_voters_begins_by_itself() -> None:
    world = World(members(1, observers=(2,)))
    wipe(world[1])
    world.start()
    world.run(500)
    assert leaders(world) == [1] and world[1].disk.enrolment == ENROLLED


def test_an_ensemble_with_a_voter_without_weight_begins() -> None:
    world = World(members(1, 2, 3, more="group.1=1:2:3\nweight.1=0"))
    for node in world.nodes.values():
        wipe(node)
    world.start()
    world.run(500)
    assert leaders(world) == [3]
    assert [node.disk.enrolment for node in world.nodes.values()] == [ENROLLED] * 3


# --- empty disks ----------------------------------------------------------------------------------


def test_a_wiped_server_and_one_that_lags_lead_nobody_while_the_one_that_knows_is_down() -> None:
    world = started(1, 2, 3)
    crash(world, 1)
    committed = world.leader().propose().last_zxid
    world.run()
    crash(world, 2, 3)
    wipe(world[2])
    world.start(1, 2)
    world.run(LONG_MS)
    assert leaders(world) == []
    assert any("without a vote: servers 2 (their data directories were empty)" in str(one) for one in world[1].story)
    world.start(3)
    world.run(30_000)
    assert world.leader().applied >= committed
    world.check_agreement()


def test_a_wiped_server_does_not_help_one_that_never_was_there_while_an_old_one_is_seen() -> None:
    world = started(1, 2, 3, without=(3,))
    crash(world, 1, 2)
    wipe(world[1])
    world.heal()
    world.start()
    world.run(5_000)
    assert leaders(world) == [2], "all voters are there, and nobody knows more"
    world.check_agreement()


def test_a_wiped_server_is_brought_in_step_and_votes_after_the_next_commit() -> None:
    world = started(1, 2, 3)
    crash(world, 1)
    wipe(world[1])
    world.start(1)
    world.run(200)
    assert fx.Fill() in world[3].story, "on an idle leader, something is to be proposed"
    [learner] = [learner for learner in world[3].peer.learners() if learner.server_id == 1]
    assert learner.is_up_to_date and not learner.is_enrolled
    world.leader().propose()
    world.run()
    assert world[1].disk.enrolment == ENROLLED and world[1].peer.is_enrolled
    crash(world, 2)
    world.leader().propose()
    world.run()
    assert world[1].applied == world[3].applied == world[3].disk.end[0], "its acknowledgement counts"


def test_the_acknowledgement_of_a_wiped_server_commits_nothing() -> None:
    world = started(1, 2, 3)
    crash(world, 1)
    wipe(world[1])
    world.start(1)
    world.run(200)
    crash(world, 2)
    proposed = world[3].propose().last_zxid
    world.run()
    assert world[1].disk.end[0] == proposed > world[3].applied
    world.run(20_000)
    assert leaders(world) == [], "no quorum follows it"


def test_a_wiped_server_stays_without_a_vote_when_it_restarts_before_it_was_brought_in_step() -> None:
    world = started(1, 2, 3)
    crash(world, 1)
    wipe(world[1])
    world.start(1)
    world.run(200)
    crash(world, 1, 2)
    assert world[1].disk.end == world[3].disk.end
    world.start(1)
    world.run(30_000)
    assert leaders(world) == []
    world.start(2)
    world.run(10_000)
    assert leaders(world) != [] and world[1].disk.enrolment == ENROLLED


def test_a_wiped_server_that_joins_before_an_epoch_is_chosen_gets_its_vote_with_it() -> None:
    world = started(1, 2, 3)
    crash(world, 1, 2, 3)
    wipe(world[1])
    world.start(1, 3)
    world.run(1_000)
    assert leaders(world) == []
    world.start(2)
    world.run(3_000)
    assert leaders(world) == [3]
    assert [node.disk.enrolment for node in world.nodes.values()] == [ENROLLED] * 3


# --- damaged disks --------------------------------------------------------------------------------


def test_a_server_that_lost_its_data_is_enrolled_like_a_wiped_one() -> None:
    world = started(1, 2, 3)
    crash(world, 1)
    wipe(world[1], LOST)
    world.start(1)
    world.run(200)
    world.leader().propose()
    world.run()
    assert world[1].disk.enrolment == ENROLLED


def test_all_voters_begin_nothing_while_one_of_them_has_set_damaged_data_aside() -> None:
    world = started(1, 2, 3)
    crash(world, 1, 2, 3)
    wipe(world[1], LOST)
    wipe(world[2], LOST)
    world.start()
    world.run(LONG_MS)
    assert leaders(world) == []
    assert any("to give it up for lost, empty their data directories" in str(one) for one in world[3].story)


# --- one role at a time ---------------------------------------------------------------------------


def join(server_id: int, enrolment: int) -> m.Join:
    return m.Join(m.JOIN, m.VERSION, server_id, ENSEMBLE, 0, 0, enrolment)


def test_an_enrolled_leader_chooses_no_epoch_with_a_server_that_may_have_forgotten() -> None:
    script = LeaderScript().begin()
    script.role.accept(20)
    script.receive(2, join(2, FRESH))
    assert script.all(fx.Promise) == []
    script.join(3)
    assert script.all(fx.Promise) == [fx.Promise(1)]
    script.disk_all()
    script.ack_epoch(2)
    assert script.all(fx.Adopt) == [], "its promise does not count"
    script.ack_epoch(3)
    assert script.all(fx.Adopt) == [fx.Adopt(1)]


def test_enrol_comes_before_the_first_proposal_of_the_epoch() -> None:
    script = LeaderScript(enrolment=FRESH).begin()
    for server_id in (2, 3):
        script.role.accept(server_id * 10)
        script.receive(server_id, join(server_id, FRESH))
    script.disk_all()
    for server_id in (2, 3):
        script.ack_epoch(server_id)
    script.disk_all()
    assert script.receive(2, m.NewLeaderAck(m.NEW_LEADER_ACK, 1))[-2:] == [
        m.UpToDate(m.UP_TO_DATE, 1, 0),
        m.Enrol(m.ENROL, 1),
    ]
    assert script.all(fx.Adopt)[-1] == fx.Adopt(1, enrols=True), "the leader's own"
    script.disk_all()
    assert script.core.is_enrolled and script.role.is_established


def test_an_epoch_of_all_voters_ends_when_one_comes_anew_in_between() -> None:
    script = LeaderScript(enrolment=FRESH).begin()
    for server_id in (2, 3):
        script.role.accept(server_id * 10)
        script.receive(server_id, join(server_id, FRESH))
    script.disk_all()
    script.role.broke(20)
    script.role.accept(20)
    script.receive(2, join(2, FRESH))
    assert script.core.leaving == "server 2 has come anew, without a vote, and this epoch needs it"


def test_leadership_is_not_handed_to_a_server_without_a_vote() -> None:
    script = LeaderScript().lead(3)
    script.role.accept(20)
    script.receive(2, join(2, LOST))
    script.ack_epoch(2, 0, *script.core.end)
    script.receive(2, m.NewLeaderAck(m.NEW_LEADER_ACK, script.role.epoch))
    script.role.hand_over()
    assert script.core.first_choice == 3


def test_a_learner_puts_its_enrolment_on_disk_once() -> None:
    script = LearnerScript(enrolment=LOST).serving()
    script.receive(m.Enrol(m.ENROL, 5))
    assert script.all(fx.Adopt)[-1] == fx.Adopt(5, enrols=True)
    script.disk_all()
    assert script.disk.enrolment == ENROLLED
    script.receive(m.Enrol(m.ENROL, 5))
    assert not script.asked


def test_enrol_of_another_epoch_or_too_early_ends_the_link() -> None:
    for script, message in (
        (LearnerScript(enrolment=LOST).serving(), m.Enrol(m.ENROL, 4)),
        (LearnerScript(enrolment=LOST).syncing(), m.Enrol(m.ENROL, 5)),
    ):
        script.receive(message)
        assert "no place at this point" in (script.hung_up() or "")
        assert not script.core.is_enrolled


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "enrolment"),
    [
        (DurableState(), FRESH),
        (DurableState(1, 1, ensemble_id=ENSEMBLE), ENROLLED),
        (DurableState(1, 1), FRESH),
        (DurableState(1, 0, ensemble_id=ENSEMBLE), FRESH),
        (DurableState(1, 1, ensemble_id=ENSEMBLE, enrolment=LOST), LOST),
    ],
)
def test_a_disk_that_says_nothing_has_a_vote_if_it_was_in_an_ensemble(state: DurableState, enrolment: int) -> None:
    assert of_disk(state) == enrolment


def test_what_has_begun_to_arrive_is_said() -> None:
    assert said(FRESH, is_of_ensemble=True, has_history=True) == LEARNING
    assert said(FRESH, is_of_ensemble=True, has_history=False) == FRESH
    assert said(FRESH, is_of_ensemble=False, has_history=True) == FRESH
    assert said(LOST, is_of_ensemble=True, has_history=True) == LOST


def test_the_log_names_who_does_not_count_and_why() -> None:
    assert why_not({1: ENROLLED, 2: ENROLLED}) == ""
    text = why_not({1: ENROLLED, 2: FRESH, 3: FRESH, 4: LOST, 5: LEARNING})
    assert "servers 2, 3 (their data directories were empty)" in text
    assert "servers 5 (they have not been brought in step)" in text
    assert "servers 4 (their data was damaged" in text
