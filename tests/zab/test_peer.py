"""Peers together: they agree, lose leaders, disks and links, and agree again."""

from __future__ import annotations

import pytest

from tests.zab.harness import World, make_chain, members
from zkstore.wire import messages
from zkstore.wire.messages import Propose, SnapshotBegin, Truncate
from zkstore.zab import effects as fx
from zkstore.zab.settings import DurableState

EPOCH = 1 << 32


def started(*voters: int, observers: tuple[int, ...] = (), **settings: object) -> World:
    """A world in which a leader is established and everybody serves."""
    world = World(members(*(voters or (1, 2, 3)), observers=observers), **settings)
    world.start()
    world.run(500)
    world.check_agreement()
    return world


def sent(world: World, kind: type, to: int) -> list[messages.Message]:
    return [message for _, receiver, message in world.log if receiver == to and isinstance(message, kind)]


def test_three_servers_elect_commit_and_agree() -> None:
    world = started()
    leader = world.leader()
    for _ in range(5):
        leader.propose(3)
    world.run()
    world.check_agreement()
    assert leader.applied == leader.disk.end[0] == EPOCH + 15


def test_the_others_go_on_when_the_leader_is_lost_and_it_comes_back_with_what_it_missed() -> None:
    world = started()
    old = world.leader()
    old.propose()
    world.run()
    world.crash(old.server_id)
    world.run(1_000)
    new = world.leader()
    assert new is not old and new.peer.epoch == 2
    new.propose()
    world.run()
    world.log.clear()
    world.start(old.server_id)
    world.run(1_000)
    world.check_agreement()
    assert new.applied == 2 * EPOCH + 1
    assert len(sent(world, Propose, old.server_id)) == 1
    assert not sent(world, Truncate, old.server_id) and not sent(world, SnapshotBegin, old.server_id)


def test_what_only_a_lost_leader_had_is_cut_when_it_comes_back() -> None:
    world = started()
    old = world.leader()
    old.propose()
    world.run()
    world.held = [Propose]
    old.propose()
    old.propose()
    assert old.disk.end[0] == EPOCH + 3 and old.applied == EPOCH + 1
    world.crash(old.server_id)
    world.held = []
    world.run(1_000)
    world.leader().propose()
    world.run()
    world.start(old.server_id)
    world.run(1_000)
    world.check_agreement()
    assert [message.zxid for message in sent(world, Truncate, old.server_id)] == [EPOCH + 1]
    assert fx.Dropped(EPOCH + 1) in old.story


def test_a_server_that_missed_more_than_the_log_holds_gets_a_snapshot() -> None:
    world = started()
    old = world.leader()
    world.crash(old.server_id)
    world.run(1_000)
    new = world.leader()
    for _ in range(4):
        new.propose()
    world.run()
    for node in world.nodes.values():
        if node is not old:
            node.disk.purge(node.applied - 1)
    new.propose()
    world.start(old.server_id)
    world.run(1_000)
    world.check_agreement()
    assert len(sent(world, SnapshotBegin, old.server_id)) == 1
    assert any(isinstance(effect, fx.Replaced) for effect in old.story)
    new.propose()
    world.run()
    world.check_agreement()


def test_observers_learn_what_is_committed_and_never_decide() -> None:
    world = started(1, 2, 3, observers=(4,))
    leader = world.leader()
    leader.propose()
    world.run()
    world.check_agreement()
    assert world[4].peer.role == messages.OBSERVING
    voters = [n for n in (1, 2, 3) if n != leader.server_id]
    for voter in voters:
        world.crash(voter)
    leader.propose()
    world.run()
    assert leader.applied == EPOCH + 1, "leader and observer are no quorum"
    assert world[4].disk.end[0] == EPOCH + 1, "an observer is not sent what is not committed"


def test_a_server_alone_leads_without_epochs_at_once() -> None:
    world = World(members(1))
    world.start()
    alone = world[1]
    assert alone.peer.role == messages.LEADING and alone.peer.epoch == 0
    for number in range(1, 4):
        alone.propose()
        assert alone.applied == number
    assert alone.disk.promised == 0 and alone.disk.ensemble_id is None


def test_a_lone_server_that_was_in_an_ensemble_leads_an_epoch() -> None:
    world = World(members(1))
    world[1].disk.promised = world[1].disk.adopted = 4
    world.start()
    assert world[1].peer.role == messages.LEADING and world[1].peer.epoch == 5
    world[1].propose()
    assert world[1].applied == 5 * EPOCH + 1


def test_five_servers_survive_two_losses_and_not_three() -> None:
    world = started(1, 2, 3, 4, 5)
    for _ in range(2):
        lost = world.leader()
        lost.propose()
        world.run()
        world.crash(lost.server_id)
        world.run(1_500)
        world.check_agreement()
    world.crash(world.leader().server_id)
    world.run(15_000)
    with pytest.raises(AssertionError, match="nobody leads"):
        world.leader()


def test_a_leader_that_is_cut_off_steps_down_and_comes_back() -> None:
    world = started()
    old = world.leader()
    world.isolate(old.server_id)
    old.propose()
    world.run(1_000)
    new = world.leader()
    assert new is not old
    new.propose()
    world.run(12_000)
    assert old.peer.role == messages.LOOKING
    world.heal()
    world.run(5_000)
    world.check_agreement()
    assert world.leader() is new


def test_a_crash_of_all_loses_nothing_that_was_committed() -> None:
    world = started()
    leader = world.leader()
    leader.propose()
    world.run()
    for server_id in world.nodes:
        world.crash(server_id)
    world.start()
    world.run(1_000)
    world.check_agreement()
    assert world.leader().applied == EPOCH + 1


def test_histories_that_differ_at_one_zxid_are_never_mended() -> None:
    world = World(members(1, 2, 3))
    for server_id, tag in ((1, 7), (2, 0), (3, 0)):
        disk = world[server_id].disk
        disk.promised = disk.adopted = 1
        disk.segments = make_chain(EPOCH + 1, EPOCH + 2, tag=tag)
    world.start()
    world.run(3_000)
    assert world[1].peer.role == messages.LOOKING
    assert world[1].disk.end[0] == EPOCH + 2, "nothing was cut"
    assert any("differ at zxid 0x100000002" in note for note in world.leader().notes)
    assert world.leader().peer.epoch == 2, "the others are not disturbed"


@pytest.mark.parametrize(
    ("state", "invariant"),
    [
        (DurableState(promised_epoch=1, adopted_epoch=2), "I2"),
        (DurableState(promised_epoch=1, adopted_epoch=1, last_zxid=2 * EPOCH + 1), "I2"),
        (DurableState(promised_epoch=1, adopted_epoch=1, last_zxid=EPOCH, committed_zxid=EPOCH + 1), "I16"),
    ],
)
def test_a_disk_that_contradicts_itself_stops_the_server(state: DurableState, invariant: str) -> None:
    world = World(members(1, 2, 3))
    node = world[1]
    node.disk.state = lambda: state
    node.boot()
    assert [stop.invariant for stop in node.stops] == [invariant]
    assert not node.pending_disk


def test_a_log_of_an_epoch_that_was_promised_and_not_adopted_is_taken_for_what_it_is() -> None:
    world = World(members(1, 2, 3))
    disk = world[1].disk
    disk.promised, disk.adopted = 3, 1
    disk.segments = make_chain(EPOCH + 1, 2 * EPOCH + 1)
    world.start(1)
    assert disk.adopted == 2


# --- disks ----------------------------------------------------------------------------------------


def test_nobody_votes_before_the_disk_has_done_what_an_earlier_role_asked_for() -> None:
    world = started()
    follower = next(node for node in world.nodes.values() if node is not world.leader())
    follower.is_slow = True
    world.leader().propose()
    world.run()
    assert len(follower.pending_disk) == 1 and follower.disk.end[0] == 0
    world.isolate(follower.server_id)
    world.run()
    assert follower.peer.role == messages.LOOKING and not follower.peer._is_electing
    follower.step_disk()
    assert follower.peer.logged_zxid == EPOCH + 1 and follower.peer._is_electing
    world.heal()
    follower.is_slow = False
    world.run(5_000)
    world.check_agreement()


def test_a_commit_that_an_earlier_role_heard_of_is_told_when_the_disk_comes_up_to_it() -> None:
    world = started()
    follower = next(node for node in world.nodes.values() if node is not world.leader())
    follower.is_slow = True
    world.leader().propose()
    world.run(1_100)
    world.isolate(follower.server_id)
    world.run()
    assert follower.applied == 0
    follower.step_disk()
    assert follower.applied == EPOCH + 1


def test_a_leader_whose_disk_is_full_gives_up_and_comes_back_as_a_follower() -> None:
    world = started()
    old = world.leader()
    old.is_slow = True
    first = old.propose()
    old.propose()
    lost = old.pending_disk[0]
    assert isinstance(lost, fx.Append) and lost.segment == first
    old.pending_disk.clear()
    old.call("failed", lost, True, "no space left")
    assert old.peer.role == messages.LOOKING and fx.Dropped(0) in old.story
    assert fx.Look("the disk is full: no space left") in old.story
    world.run(2_000)
    assert world.leader() is not old and not old.peer._is_electing, "without a disk it does not even vote"
    old.is_slow = False
    old.call("disk_ok")
    world.run(2_000)
    world.check_agreement()


def test_a_disk_that_holds_something_else_after_a_failure_stops_the_server() -> None:
    world = started()
    node = world.leader()
    node.is_slow = True
    node.propose()
    effect = node.pending_disk.popleft()
    node.disk.carry_out(effect)
    node.call("failed", effect, False, "input/output error")
    node.call("disk_ok")
    assert [stop.invariant for stop in node.stops] == ["I16"]
    node.call("tick")
    assert not node.peer.effects, "nothing is done after a stop"


def test_a_disk_that_fails_while_nobody_leads_ends_the_election_here() -> None:
    world = World(members(1, 2, 3))
    node = world[1]
    node.is_slow = True
    node.disk.promised, node.disk.adopted = 3, 1
    node.disk.segments = make_chain(EPOCH + 1, 2 * EPOCH + 1)
    node.boot()
    effect = node.pending_disk.popleft()
    assert effect == fx.Adopt(2)
    node.call("failed", effect, False, "input/output error")
    assert node.notes[-1] == "the disk fails: input/output error" and not node.peer._is_electing
    node.call("disk_ok")
    assert node.pending_disk.popleft() == fx.Adopt(2)


# --- links ----------------------------------------------------------------------------------------


def test_a_learner_that_dials_before_the_leader_knows_waits_and_is_served() -> None:
    world = World(members(1, 2, 3))
    node = world[3]
    node.disk.enrolment = messages.ENROLLED
    node.boot()
    join = messages.Join(messages.JOIN, messages.VERSION, 2, b"", 0, 0)
    node.call("accepted", 5)
    node.call("received", 5, join)
    vote = messages.Vote(messages.VOTE, 2, messages.LOOKING, 1, 3, 0, 0, 0)
    node.call("heard", vote)
    node.call("heard", vote._replace(sender=1))
    assert node.peer.leader_id == 3 and node.disk.promised == 1


def test_a_waiting_learner_that_says_more_or_waits_too_long_is_hung_up() -> None:
    world = World(members(1, 2, 3))
    node = world[3]
    node.boot()
    node.call("accepted", 5)
    node.call("received", 5, messages.Ack(messages.ACK, 1))
    assert any(isinstance(effect, fx.HangUp) and effect.link == 5 for effect in node.story)
    node.call("accepted", 6)
    node.call("received", 99, messages.Ack(messages.ACK, 1))
    world.run(20_000, step_ms=1_000)
    assert fx.HangUp(6, "server 3 has no leader yet") in node.story
    for link in range(100, 165):
        node.call("accepted", link)
    assert fx.HangUp(164, "64 learners wait already") in node.story
    node.call("broke", 100)
    node.call("accepted", 165)
    assert not any(isinstance(effect, fx.HangUp) and effect.link == 165 for effect in node.story)


def test_who_follows_turns_learners_away() -> None:
    world = started()
    follower = next(node for node in world.nodes.values() if node is not world.leader())
    follower.call("accepted", 77)
    reason = f"server {follower.server_id} follows server {world.leader().server_id}"
    assert follower.story[-1] == fx.HangUp(77, reason)


def test_a_vote_with_this_servers_id_is_noted() -> None:
    world = started()
    node = world.leader()
    node.call("heard", messages.Vote(messages.VOTE, node.server_id, messages.LOOKING, 1, 1, 0, 0, 0))
    assert "with this server's id" in node.notes[-1]


# --- leadership -----------------------------------------------------------------------------------


def test_leadership_is_handed_over_without_waiting() -> None:
    world = started()
    old = world.leader()
    old.propose()
    world.run()
    old.call("hand_over")
    world.run(200)
    new = world.leader()
    assert new is not old
    world.run(2_000)
    world.check_agreement()


def test_a_confirmation_comes_from_a_quorum_and_at_once_to_a_server_alone() -> None:
    world = started()
    leader = world.leader()
    ticket = leader.peer.confirm()
    world.take(leader)
    assert leader.confirmed == 0
    world.run()
    assert leader.confirmed == ticket
    alone = World(members(1))
    alone.start()
    assert alone[1].peer.confirm() == 1
    alone.take(alone[1])
    assert alone[1].confirmed == 1


def test_a_server_alone_begins_epochs_when_somebody_joins() -> None:
    world = World(members(1))
    world.start()
    world[1].propose()
    world[1].call("accepted", 9)
    world[1].call("received", 9, messages.Join(messages.JOIN, messages.VERSION, 2, b"", 0, 0))
    world.run(200)
    assert world[1].peer.role == messages.LEADING and world[1].peer.epoch == 1
    world[1].propose()
    assert world[1].applied == EPOCH + 1 and world[1].disk.ensemble_id == bytes([1]) * 16


def test_a_reconfiguration_brings_a_server_in_and_the_leader_out() -> None:
    world = started(1, 2, 3, observers=(4,))
    old = world.leader()
    keep = [n for n in (1, 2, 3) if n != old.server_id]
    new = members(*keep, 4, observers=(old.server_id,), version=EPOCH + 1)
    old.propose(new_config=new)
    for node in world.nodes.values():
        if node is not old:
            node.call("config_logged", new, EPOCH + 1)
    world.run(3_000)
    world.check_agreement()
    assert world.leader() is not old
    assert all(node.peer.config == new for node in world.nodes.values())
    assert old.peer.role == messages.OBSERVING and world[4].peer.role in (messages.FOLLOWING, messages.LEADING)


def test_the_status_of_learners_is_known_to_the_leader_only() -> None:
    world = started()
    leader = world.leader()
    leader.propose()
    world.run()
    others = [n for n in (1, 2, 3) if n != leader.server_id]
    status = leader.peer.learners()
    assert sorted(one.server_id for one in status) == others
    assert all(one.votes and one.is_up_to_date and one.acked_zxid == EPOCH + 1 for one in status)
    assert world[others[0]].peer.learners() == []


def test_what_the_owner_may_ask() -> None:
    world = started()
    peer = world.leader().peer
    assert (peer.epoch, peer.promised_epoch, peer.adopted_epoch) == (1, 1, 1)
    assert peer.ensemble_id == bytes([world.leader().server_id]) * 16
    assert peer.leader_id == world.leader().server_id and peer.in_flight_count == 0 and peer.backlog_bytes == 0
    assert peer.pending_config is None and peer.config == world.config and not peer.is_stopped
    assert peer.next_due_ms is not None and peer.next_due_ms - world.now_ms <= 1_000
    for node in world.nodes.values():
        assert node.peer.leader_id == peer.leader_id
        assert node.peer.next_due_ms is not None


# --- retirement -----------------------------------------------------------------------------------


def test_a_leader_that_retires_is_succeeded_without_its_vote() -> None:
    world = started()
    world[3].peer.hand_over(retires=True)
    world.take(world[3])
    world.deliver()
    assert world[1].peer.role == messages.LEADING, "no time has passed, and nobody has waited for the old one"
    assert world[3].peer.role == messages.LOOKING and not world[3].peer._is_electing
    world.run(10_000)
    assert world[3].peer.role == messages.LOOKING
    assert [world[n].peer.leader_id for n in (1, 2)] == [1, 1]


def test_the_last_of_three_does_not_count_on_a_leader_that_has_retired() -> None:
    world = started()
    world.crash(1)
    world.run(100)
    world[3].peer.hand_over(retires=True)
    world.take(world[3])
    world.deliver()
    assert world[2].peer.role == messages.LOOKING and world[2].peer.leader_id is None, "it looks, and wishes nothing"
    world.crash(3)
    world.run(1_000)
    assert world[2].peer.leader_id is None
    world.start(1)
    world.run(1_000)
    assert world.leader().server_id in (1, 2)
