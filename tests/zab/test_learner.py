"""The learner's side, message by message: what it answers, what must be on its disk before, and what it refuses."""

from __future__ import annotations

import pytest

from tests.zab.harness import make_chain, make_segment
from tests.zab.script import ENSEMBLE, LINK, LearnerScript
from zkstore.wire import messages as m
from zkstore.zab import effects as fx
from zkstore.zab.history import Point

E5 = 5 << 32
E4 = 4 << 32


def proposal(after: Point, zxid: int, committed: int = 0, *, tag: int = 0) -> m.Propose:
    return m.Propose(m.PROPOSE, make_segment(after, zxid, tag=tag).data, committed, ())


def new_epoch(epoch: int, ensemble_id: bytes = ENSEMBLE) -> m.NewEpoch:
    return m.NewEpoch(m.NEW_EPOCH, epoch, ensemble_id)


def joining(**options: object) -> LearnerScript:
    script = LearnerScript(*make_chain(E4 + 1), adopted=4, **({"promised": 4} | options)).begin()
    script.role.dialled(LINK, 3)
    script.take()
    return script


# --- the link -------------------------------------------------------------------------------------


def test_a_learner_joins_with_its_promise_and_its_ensemble() -> None:
    script = LearnerScript(promised=4, adopted=3).begin()
    assert script.take() == [fx.Dial(LINK, 3)]
    script.role.dialled(LINK, 3)
    assert script.sent() == [m.Join(m.JOIN, m.VERSION, 1, ENSEMBLE, 4, 0)]


def test_a_leader_that_is_not_there_yet_is_dialled_again_and_given_up_after_a_tick() -> None:
    script = LearnerScript().begin()
    for attempt in range(1, 4):
        script.role.broke(-attempt)
        script.pass_ms(300)
        assert script.all(fx.Dial)[-1].link == -attempt - 1
    assert script.core.leaving is None
    script.pass_ms(1_500)
    assert script.core.leaving == "server 3 could not be reached within 2000 ms"


def test_another_server_at_the_leaders_address_is_not_followed() -> None:
    script = LearnerScript().begin()
    script.role.dialled(LINK, 2)
    assert script.hung_up() == script.core.leaving == "server 2 answered where server 3 was dialled"


def test_a_dial_that_was_given_up_is_not_used() -> None:
    script = LearnerScript().begin()
    script.role.broke(LINK)
    script.take()
    script.role.dialled(LINK, 3)
    assert script.take() == []


def test_messages_of_an_earlier_link_are_not_believed() -> None:
    script = joining()
    script.role.received(LINK - 7, new_epoch(9))
    script.role.broke(LINK - 7)
    assert script.take() == [] and script.core.leaving is None


def test_a_link_that_breaks_ends_the_role_and_nobody_waits_for_the_leaders_vote() -> None:
    script = joining()
    script.role.broke(LINK)
    assert script.core.leaving == "the link to the leader, server 3, broke"
    assert script.core.gone == {3}


def test_a_leader_that_names_no_epoch_or_is_silent_is_left() -> None:
    script = joining()
    for _ in range(4):
        script.pass_ms(4_900)
        script.receive(m.Ping(m.PING, 1, 0))
    script.pass_ms(900)
    assert script.core.leaving == "server 3 named no epoch within 20000 ms"
    script = LearnerScript().syncing()
    script.pass_ms(9_999)
    assert script.core.leaving is None
    script.pass_ms(1)
    assert script.core.leaving == "the leader, server 3, was silent for 10000 ms"


def test_a_refusal_ends_the_role_with_the_leaders_words() -> None:
    script = joining()
    script.receive(m.Refusal(m.REFUSAL, "go away"))
    assert script.core.leaving == "server 3: go away"


# --- discovery ------------------------------------------------------------------------------------


def test_a_higher_epoch_is_on_disk_before_it_is_acknowledged() -> None:
    script = joining()
    assert script.receive(new_epoch(5)) == []
    assert script.disk_step() == fx.Promise(5)
    assert script.disk.promised == 5
    assert script.sent() == [m.EpochAck(m.EPOCH_ACK, 5, 4, *script.disk.end)]


def test_an_epoch_that_was_promised_before_is_answered_without_counting() -> None:
    script = joining()
    assert script.receive(new_epoch(4)) == [m.EpochAck(m.EPOCH_ACK, 4, -1, *script.disk.end)]
    assert not script.asked


def test_a_lower_epoch_is_refused() -> None:
    script = joining(promised=6)
    assert script.receive(new_epoch(5)) == []
    assert script.core.leaving == "server 3 wants epoch 5; 6 is promised to another" == script.hung_up()


@pytest.mark.parametrize("epoch", [4, 5])
def test_a_server_of_no_ensemble_belongs_to_the_leaders_before_it_answers(epoch: int) -> None:
    script = joining(ensemble_id=None)
    assert script.receive(new_epoch(epoch)) == []
    assert script.asked[0] == fx.Belong(ENSEMBLE)
    script.disk_step()
    assert bool(script.sent()) == (epoch == 4), "the promise is still to come"
    script.disk_all()
    assert script.disk.ensemble_id == ENSEMBLE and script.role.stage == 3


def test_a_server_of_another_ensemble_refuses() -> None:
    script = joining(ensemble_id=b"o" * 16)
    assert script.receive(new_epoch(5)) == []
    assert "point it at its own ensemble" in (script.core.leaving or "")
    assert not script.asked


def test_an_ensemble_id_that_came_to_no_history_is_replaced_even_after_an_epoch() -> None:
    script = LearnerScript(promised=1, adopted=1, ensemble_id=b"o" * 16).begin()
    script.role.dialled(LINK, 3)
    script.receive(new_epoch(2))
    script.disk_all()
    assert script.disk.ensemble_id == ENSEMBLE and script.disk.promised == 2


def test_an_ensemble_id_that_never_came_to_an_epoch_is_replaced() -> None:
    script = LearnerScript(ensemble_id=b"o" * 16).begin()
    script.role.dialled(LINK, 3)
    script.receive(new_epoch(1))
    script.disk_all()
    assert script.disk.ensemble_id == ENSEMBLE and script.disk.promised == 1


# --- synchronisation ------------------------------------------------------------------------------


def test_segments_are_learned_and_acknowledged_once_on_disk() -> None:
    script = LearnerScript(*make_chain(E4 + 1), promised=4, adopted=4).syncing()
    first = make_segment(script.core.end, E4 + 2)
    assert script.receive(m.Propose(m.PROPOSE, first.data, 0, ((0, 7, -101, b""),))) == []
    assert script.all(fx.Learned) == [fx.Learned(first, ((0, 7, -101, b""),))]
    script.disk_step()
    assert script.sent() == [m.Ack(m.ACK, E4 + 2)]


def test_acknowledgements_that_were_not_taken_are_joined() -> None:
    script = LearnerScript(promised=4, adopted=4).syncing()
    for segment in make_chain(E4 + 1, E4 + 2):
        script.receive(m.Propose(m.PROPOSE, segment.data, 0, ()))
    for effect in list(script.asked):
        script.disk.carry_out(effect)
        script.core.finish(effect)
        script.role.done(effect)
    assert script.sent() == [m.Ack(m.ACK, E4 + 2)]


@pytest.mark.parametrize(
    ("after", "zxid", "reason"),
    [
        ((E4 + 2, 0), E4 + 3, "the log ends at"),
        ((E4 + 1, 99), E4 + 2, "the log ends at"),
        (None, E4 + 3, "a hole"),
        (None, E5 + 2, "a hole"),
        (None, E5 + 1, "at stage"),
        (None, (6 << 32) + 1, "at stage"),
    ],
)
def test_a_segment_that_does_not_continue_the_log_is_refused(after: Point | None, zxid: int, reason: str) -> None:
    script = LearnerScript(*make_chain(E4 + 1), promised=4, adopted=4).syncing()
    script.receive(proposal(after or script.core.end, zxid))
    assert reason in (script.core.leaving or "") and script.hung_up() == script.core.leaving
    assert not script.all(fx.Append)


def test_a_segment_that_spans_epochs_or_is_damaged_is_refused() -> None:
    last = E4 + 0xFFFFFFFF
    script = LearnerScript(*make_chain(last - 1), promised=4, adopted=4).syncing()
    script.receive(m.Propose(m.PROPOSE, make_segment(script.core.end, last, 2).data, 0, ()))
    assert "a hole" in (script.core.leaving or "")
    script = LearnerScript(promised=4, adopted=4).syncing()
    script.receive(m.Propose(m.PROPOSE, b"zkS\x01nonsense", 0, ()))
    assert "damaged" in (script.core.leaving or "")


def test_a_truncate_is_on_disk_and_told_before_the_position_is_reported() -> None:
    script = LearnerScript(*make_chain(E4 + 1, E4 + 2, E4 + 3), promised=4, adopted=4, committed=E4 + 1).syncing()
    assert script.receive(m.Truncate(m.TRUNCATE, E4 + 2)) == []
    assert script.all(fx.Dropped) == []
    script.disk_step()
    assert script.all(fx.Dropped) == [fx.Dropped(E4 + 2)]
    assert script.disk.end[0] == E4 + 2
    position = m.Position(m.POSITION, *script.disk.end)
    assert fx.Send(LINK, position) in script.taken


def test_a_truncate_between_two_ends_cuts_to_the_one_before() -> None:
    script = LearnerScript(*make_chain(E4 + 1, E4 + 3), promised=4, adopted=4).syncing()
    script.receive(m.Truncate(m.TRUNCATE, E4 + 2))
    script.disk_all()
    assert script.core.end == script.disk.end and script.disk.end[0] == E4 + 1


@pytest.mark.parametrize("zxid", [E4, E4 + 1])
def test_a_truncate_of_what_is_committed_stops_the_server(zxid: int) -> None:
    script = LearnerScript(*make_chain(E4 + 1, E4 + 2, E4 + 3), promised=4, adopted=4, committed=E4 + 2).syncing()
    script.receive(m.Truncate(m.TRUNCATE, zxid))
    assert [(stop.invariant, stop.zxid) for stop in script.all(fx.Stop)] == [("I14", zxid)]
    assert not script.asked and script.disk.end[0] == E4 + 3


def test_a_truncate_that_cuts_nothing_is_refused() -> None:
    script = LearnerScript(*make_chain(E4 + 1), promised=4, adopted=4).syncing()
    script.receive(m.Truncate(m.TRUNCATE, E4 + 1))
    assert "no place" in (script.core.leaving or "")


def test_a_snapshot_replaces_everything_once_it_is_on_disk() -> None:
    script = LearnerScript(*make_chain(E4 + 1), promised=4, adopted=4, committed=E4 + 1).syncing()
    script.receive(m.SnapshotBegin(m.SNAPSHOT_BEGIN, E4 + 9, 77, 1))
    script.receive(m.SnapshotRows(m.SNAPSHOT_ROWS, ((b"k", b"v"),)))
    assert script.core.backlog_bytes == 2
    script.receive(m.SnapshotEnd(m.SNAPSHOT_END, ()))
    assert script.all(fx.Replaced) == [] and script.core.durable[0] == E4 + 1
    script.disk_all()
    assert script.all(fx.Replaced) == [fx.Replaced(E4 + 9)]
    assert script.core.durable == (E4 + 9, 77) and script.core.committed_zxid == E4 + 9
    assert fx.Send(LINK, m.Position(m.POSITION, E4 + 9, 77)) in script.taken
    script.receive(proposal((E4 + 9, 77), E4 + 10))
    assert script.core.end[0] == E4 + 10


def test_a_snapshot_of_less_than_is_committed_stops_the_server() -> None:
    script = LearnerScript(*make_chain(E4 + 1, E4 + 2), promised=4, adopted=4, committed=E4 + 2).syncing()
    script.receive(m.SnapshotBegin(m.SNAPSHOT_BEGIN, E4 + 1, 77, 1))
    assert [stop.invariant for stop in script.all(fx.Stop)] == ["I4"]


def test_nothing_else_comes_while_a_snapshot_does() -> None:
    for wrong in (proposal((0, 0), 1), m.SnapshotBegin(m.SNAPSHOT_BEGIN, 9, 7, 1), m.Truncate(m.TRUNCATE, 0)):
        script = LearnerScript(promised=4, adopted=4).syncing()
        script.receive(m.SnapshotBegin(m.SNAPSHOT_BEGIN, 9, 7, 1))
        script.receive(wrong)
        assert "no place" in (script.core.leaving or "")


def test_the_epoch_is_adopted_behind_the_history_and_then_acknowledged() -> None:
    script = LearnerScript(promised=4, adopted=4).syncing()
    (segment,) = make_chain(E4 + 1)
    script.receive(m.Propose(m.PROPOSE, segment.data, 0, ()))
    assert script.receive(m.NewLeader(m.NEW_LEADER, 5, *script.core.end)) == []
    script.receive(proposal(script.core.end, E5 + 1))
    assert [type(effect) for effect in script.asked] == [fx.Append, fx.Adopt, fx.Append]
    script.disk_step()
    assert script.sent() == [m.Ack(m.ACK, E4 + 1)]
    script.disk_step()
    assert script.disk.adopted == 5
    assert script.sent() == [m.NewLeaderAck(m.NEW_LEADER_ACK, 5)]
    script.disk_step()
    assert script.sent() == [m.Ack(m.ACK, E5 + 1)]


@pytest.mark.parametrize(("epoch", "zxid", "crc"), [(4, 0, 0), (5, E4 + 1, 0), (5, 0, 1)])
def test_a_new_leader_that_does_not_fit_the_log_is_refused(epoch: int, zxid: int, crc: int) -> None:
    script = LearnerScript(promised=4, adopted=4).syncing()
    script.receive(m.NewLeader(m.NEW_LEADER, epoch, zxid, crc))
    assert script.core.leaving is not None and not script.asked


def test_only_the_leaders_own_epoch_comes_after_new_leader() -> None:
    script = LearnerScript(promised=4, adopted=4).syncing()
    script.receive(m.NewLeader(m.NEW_LEADER, 5, 0, 0))
    script.receive(proposal((0, 0), E4 + 1))
    assert "at stage" in (script.core.leaving or "")


# --- broadcast ------------------------------------------------------------------------------------


def test_clients_are_served_once_all_that_up_to_date_names_is_on_disk() -> None:
    script = LearnerScript(promised=4, adopted=4).syncing()
    script.receive(m.NewLeader(m.NEW_LEADER, 5, 0, 0))
    script.disk_all()
    script.receive(proposal((0, 0), E5 + 1))
    script.receive(m.UpToDate(m.UP_TO_DATE, 5, E5 + 1))
    assert script.all(fx.Follow) == [] == script.all(fx.Committed)
    script.disk_step()
    assert script.all(fx.Committed) == [fx.Committed(E5 + 1)]
    assert script.all(fx.Follow) == [fx.Follow(5, 3, LINK, True)]


def test_a_commit_waits_for_this_servers_own_disk() -> None:
    script = LearnerScript(promised=4, adopted=4).serving()
    script.receive(proposal((0, 0), E5 + 1))
    script.receive(proposal(script.core.end, E5 + 2, E5 + 1))
    script.receive(m.Commit(m.COMMIT, E5 + 2))
    assert script.all(fx.Committed) == []
    script.disk_step()
    script.disk_step()
    assert script.all(fx.Committed) == [fx.Committed(E5 + 1), fx.Committed(E5 + 2)]


def test_a_commit_of_what_is_no_end_here_is_refused() -> None:
    for zxid in (E5 + 1, E5 + 3, E5 + 4):
        script = LearnerScript(promised=4, adopted=4).serving()
        script.receive(m.Propose(m.PROPOSE, make_segment((0, 0), E5 + 1, 2).data, 0, ()))
        script.receive(m.Commit(m.COMMIT, zxid))
        assert "no segment here ends there" in (script.core.leaving or "")


def test_commits_that_come_again_or_late_change_nothing() -> None:
    script = LearnerScript(*make_chain(E4 + 1, E4 + 2), promised=4, adopted=4, committed=E4 + 2).serving()
    script.receive(m.Commit(m.COMMIT, E4 + 1))
    script.receive(m.Commit(m.COMMIT, E4 + 2))
    assert script.core.leaving is None and script.all(fx.Committed) == []


def test_a_ping_is_echoed_with_what_is_applied_and_carries_the_commit_point() -> None:
    script = LearnerScript(promised=4, adopted=4).serving()
    script.receive(proposal((0, 0), E5 + 1))
    script.disk_all()
    assert script.receive(m.Ping(m.PING, 8, E5 + 1)) == [m.Pong(m.PONG, 8, E5 + 1, ())]


def test_what_the_state_machines_say_to_each_other_is_passed_on_while_serving_only() -> None:
    synced = m.Synced(m.SYNCED, 3, 9)
    script = LearnerScript(promised=4, adopted=4).serving()
    script.receive(synced)
    assert script.all(fx.Relay) == [fx.Relay(LINK, 3, synced)]
    script.role.relay(LINK, m.SyncRequest(m.SYNC_REQUEST, 4))
    script.role.relay(LINK - 1, m.SyncRequest(m.SYNC_REQUEST, 5))
    assert script.sent() == [m.SyncRequest(m.SYNC_REQUEST, 4)]
    script = LearnerScript(promised=4, adopted=4).syncing()
    script.receive(synced)
    assert "no place" in (script.core.leaving or "")


def test_a_leader_that_hands_over_names_the_next_first_choice() -> None:
    script = LearnerScript(promised=4, adopted=4).serving()
    script.receive(m.HandOver(m.HAND_OVER, 2))
    assert script.core.first_choice == 2 and script.core.leaving is not None


@pytest.mark.parametrize(
    "message",
    [
        m.Ack(m.ACK, 1),
        m.Join(m.JOIN, m.VERSION, 3, ENSEMBLE, 0, 0),
        m.NewEpoch(m.NEW_EPOCH, 6, ENSEMBLE),
        m.Truncate(m.TRUNCATE, 0),
        m.SnapshotBegin(m.SNAPSHOT_BEGIN, 9, 7, 1),
        m.SnapshotRows(m.SNAPSHOT_ROWS, ()),
        m.SnapshotEnd(m.SNAPSHOT_END, ()),
        m.NewLeader(m.NEW_LEADER, 5, 0, 0),
        m.UpToDate(m.UP_TO_DATE, 5, 0),
    ],
)
def test_a_message_out_of_place_ends_the_link_and_the_role(message: m.LinkMessage) -> None:
    script = LearnerScript(promised=4, adopted=4).serving()
    assert script.receive(message) == []
    assert "no place at this point" in (script.core.leaving or "") and script.hung_up() == script.core.leaving
