"""The leader's side, message by message: whom it counts, what it sends when, and what ends links or its role."""

from __future__ import annotations

import pytest

from tests.zab.harness import make_chain, make_segment, members
from tests.zab.script import ENSEMBLE, LeaderScript
from zkstore.wire import messages as m
from zkstore.zab import effects as fx

E1 = 1 << 32
E2 = 2 << 32


def ack(zxid: int) -> m.Ack:
    return m.Ack(m.ACK, zxid)


def new_leader_ack(epoch: int = 1) -> m.NewLeaderAck:
    return m.NewLeaderAck(m.NEW_LEADER_ACK, epoch)


def kinds(messages: list[m.LinkMessage]) -> list[str]:
    return [type(message).__name__ for message in messages]


def leading(*follower_ids: int, **options: object) -> LeaderScript:
    return LeaderScript(**options).lead(*(follower_ids or (2,)))


# --- joining --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("join", "reason"),
    [
        (m.Join(m.JOIN, 9, 2, ENSEMBLE, 0, 0), "speaks version 9 between servers; this one speaks 2"),
        (m.Join(m.JOIN, m.VERSION, 1, ENSEMBLE, 0, 0), "another server calls itself 1"),
        (m.Join(m.JOIN, m.VERSION, 2, ENSEMBLE, 0, 7), "knows a configuration (version 0x7) that is newer"),
    ],
)
def test_who_does_not_fit_is_refused_in_words(join: m.Join, reason: str) -> None:
    script = LeaderScript().begin()
    script.role.accept(20)
    (answer,) = script.receive(2, join)
    assert isinstance(answer, m.Refusal) and reason in answer.reason
    assert reason in (script.hung_up(20) or "")
    assert script.role.handles() == []


def test_a_server_that_dials_anew_replaces_its_old_link() -> None:
    script = leading(2)
    script.role.accept(21)
    script.role.received(21, m.Join(m.JOIN, m.VERSION, 2, ENSEMBLE, 1, 0))
    assert script.hung_up(20) == "server 2 has dialled anew"
    assert [handle.link for handle in script.role.handles()] == [21]
    script.take()
    script.role.received(20, ack(0))
    script.role.broke(20)
    assert script.take() == [], "nothing of the old link is believed"
    assert [handle.link for handle in script.role.handles()] == [21]


def test_a_second_join_on_a_link_is_refused() -> None:
    script = leading(2)
    script.receive(2, m.Join(m.JOIN, m.VERSION, 2, ENSEMBLE, 1, 0))
    assert "no place" in (script.hung_up(20) or "")


# --- discovery ------------------------------------------------------------------------------------


def test_the_epoch_is_above_all_promises_of_a_quorum_and_on_disk_before_it_is_told() -> None:
    script = LeaderScript(promised=3).begin()
    assert script.take() == []
    script.join(2, promised=7)
    assert script.take() == [fx.Promise(8)]
    script.join(3, promised=2)
    script.take()
    script.disk.carry_out(script.asked.popleft())
    script.core.finish(fx.Promise(8))
    script.role.done(fx.Promise(8))
    told = m.NewEpoch(m.NEW_EPOCH, 8, ENSEMBLE)
    assert script.take() == [fx.Send(20, told), fx.Send(30, told)]


def test_observers_and_strangers_make_no_quorum() -> None:
    script = LeaderScript(config=members(1, 2, 3, observers=(4,))).begin()
    script.join(4)
    script.join(9)
    assert script.all(fx.Promise) == []
    script.join(3)
    assert script.all(fx.Promise) == [fx.Promise(1)]


def test_a_learner_with_a_more_recent_history_ends_the_wish_to_lead() -> None:
    for adopted, zxid, ends in ((1, E1 + 1, False), (1, E1 + 2, True), (2, 0, True), (-1, E1 + 9, False)):
        script = LeaderScript(*make_chain(E1 + 1), promised=1, adopted=1).begin()
        script.join(2)
        script.disk_all()
        script.ack_epoch(2, adopted, zxid)
        if ends:
            assert "more recent history" in (script.core.leaving or "")
        else:
            assert "more recent" not in (script.core.leaving or "")
        assert bool(script.all(fx.Adopt)) == (adopted == 1 and not ends)


def test_what_only_a_server_without_weight_holds_does_not_end_the_wish_to_lead() -> None:
    config = members(1, 2, 3, more="group.1=1:2:3\nweight.3=0")
    script = LeaderScript(config=config).begin()
    script.join(2)
    script.join(3)
    script.disk_all()
    script.ack_epoch(3, 0, 9, 9)
    assert script.core.leaving is None and script.all(fx.Adopt) == []
    script.ack_epoch(2)
    assert script.all(fx.Adopt) == [fx.Adopt(1)]


def test_a_promise_made_before_does_not_count_and_a_new_epoch_is_sought() -> None:
    script = LeaderScript().begin()
    script.join(2)
    script.join(3, promised=1)
    script.disk_all()
    script.ack_epoch(3, -1)
    assert script.core.leaving is None and script.all(fx.Adopt) == []
    script.ack_epoch(2, -1)
    assert "the next one will be free" in (script.core.leaving or "")


@pytest.mark.parametrize(("server_id", "leaves"), [(3, True), (9, False)])
def test_a_member_that_promised_a_later_epoch_makes_a_new_one_necessary(server_id: int, leaves: bool) -> None:
    script = leading(2)
    script.join(server_id, promised=6)
    assert ("has promised epoch 6" in (script.core.leaving or "")) == leaves
    assert (script.hung_up(server_id * 10) is None) == leaves


def test_the_epoch_is_adopted_on_disk_before_anything_is_sent_of_the_history() -> None:
    script = LeaderScript().begin()
    script.join(2)
    script.disk_all()
    assert script.ack_epoch(2) == []
    assert script.disk_step() == fx.Adopt(1)
    assert kinds(script.sent(20)) == ["NewLeader"]


def test_an_epoch_ack_of_another_epoch_or_out_of_turn_is_refused() -> None:
    script = LeaderScript().begin()
    script.join(2)
    script.disk_all()
    script.receive(2, m.EpochAck(m.EPOCH_ACK, 9, 0, 0, 0))
    assert "no place" in (script.hung_up(20) or "")
    script = leading(2)
    script.ack_epoch(2)
    assert "no place" in (script.hung_up(20) or "")


def test_discovery_without_a_quorum_ends_after_its_limit() -> None:
    script = LeaderScript().begin()
    script.pass_ms(19_999)
    assert script.core.leaving is None
    script.pass_ms(1)
    assert script.core.leaving == "no quorum took part in discovery within 20000 ms"


@pytest.mark.parametrize(
    ("own", "theirs", "chosen"),
    [
        (ENSEMBLE, b"", ENSEMBLE),
        (None, b"", b"f" * 16),
        (None, b"x" * 16, b"x" * 16),
        (ENSEMBLE, b"x" * 16, b"x" * 16),
    ],
)
def test_an_ensemble_keeps_the_id_of_the_highest_promise(own: bytes | None, theirs: bytes, chosen: bytes) -> None:
    script = LeaderScript(ensemble_id=own).begin()
    script.join(2, promised=1 if theirs else 0, ensemble_id=theirs)
    script.disk_all()
    assert script.disk.ensemble_id == chosen
    assert fx.Send(20, m.NewEpoch(m.NEW_EPOCH, script.role.epoch, chosen)) in script.taken


def test_a_leader_that_has_adopted_an_epoch_keeps_its_ensembles_id() -> None:
    script = LeaderScript(promised=1, adopted=1).begin()
    script.join(2, promised=5, ensemble_id=b"x" * 16)
    script.disk_all()
    assert script.disk.ensemble_id == ENSEMBLE


def test_the_last_epoch_stops_the_server() -> None:
    script = LeaderScript().begin()
    script.join(2, promised=0x7FFFFFFF)
    assert [stop.invariant for stop in script.all(fx.Stop)] == ["I2"]
    assert script.all(fx.Promise) == []


# --- activation -----------------------------------------------------------------------------------


def test_a_quorum_that_adopted_the_epoch_commits_the_initial_history() -> None:
    script = LeaderScript(*make_chain(E1 + 1, E1 + 2), promised=1, adopted=1).begin()
    script.join(2)
    script.disk_all()
    script.ack_epoch(2, 1, *script.core.durable)
    script.disk_all()
    assert script.all(fx.Lead) == [] == script.all(fx.Committed)
    script.receive(2, new_leader_ack(2))
    at = [effect for effect in script.taken if isinstance(effect, fx.Committed | fx.Lead)]
    assert at == [fx.Committed(E1 + 2), fx.Lead(2)]
    assert fx.Send(20, m.UpToDate(m.UP_TO_DATE, 2, E1 + 2)) in script.taken


def test_who_comes_later_goes_the_same_way_and_serves_at_once() -> None:
    script = leading(2)
    script.propose()
    script.disk_all()
    script.receive(2, ack(E1 + 1))
    script.join(3)
    assert kinds(script.sent(30)) == ["NewEpoch"]
    assert kinds(script.ack_epoch(3)) == ["NewLeader", "Propose"]
    assert kinds(script.receive(3, new_leader_ack())) == ["UpToDate"]
    assert script.receive(3, ack(E1 + 1)) == []


@pytest.mark.parametrize("message", [new_leader_ack(1), new_leader_ack(3)])
def test_a_new_leader_ack_out_of_turn_is_refused(message: m.NewLeaderAck) -> None:
    script = leading(2)
    script.receive(2, message)
    assert "no place" in (script.hung_up(20) or "")


def test_what_a_server_had_adopted_counts_on_when_its_link_breaks() -> None:
    script = LeaderScript(config=members(1, 2, 3, 4, 5)).begin()
    for server_id in (2, 3):
        script.join(server_id)
    script.disk_all()
    for server_id in (2, 3):
        script.ack_epoch(server_id)
    script.disk_all()
    script.receive(2, new_leader_ack())
    script.role.broke(20)
    assert not script.role.is_established
    script.receive(3, new_leader_ack())
    assert script.role.is_established


# --- broadcast ------------------------------------------------------------------------------------


def test_a_proposal_goes_to_disk_and_learners_and_is_committed_by_a_quorum() -> None:
    script = leading(2, 3)
    made = script.propose()
    assert script.take() == [
        fx.Append(made),
        fx.Send(20, m.Propose(m.PROPOSE, made.data, 0, ())),
        fx.Send(30, m.Propose(m.PROPOSE, made.data, 0, ())),
    ]
    script.disk_step()
    assert script.all(fx.Committed) == []
    assert kinds(script.receive(2, ack(E1 + 1))) == ["Commit"]
    assert script.all(fx.Committed) == [fx.Committed(E1 + 1)]


def test_followers_may_commit_before_the_leaders_own_disk_which_then_applies() -> None:
    script = leading(2, 3)
    script.propose()
    script.receive(2, ack(E1 + 1))
    assert script.receive(3, ack(E1 + 1)) == [m.Commit(m.COMMIT, E1 + 1)]
    assert script.all(fx.Committed) == [] and len(script.role.broadcast) == 1
    script.disk_step()
    assert script.all(fx.Committed) == [fx.Committed(E1 + 1)] and len(script.role.broadcast) == 0


def test_what_a_learner_comes_back_with_may_be_what_a_quorum_waited_for() -> None:
    """Nothing else may ever be proposed, so nobody else would look."""
    script = leading(2)
    made = script.propose()
    script.disk_all()
    script.role.broke(20)
    script.join(2, promised=1)
    script.ack_epoch(2, -1, E1 + 1, made.crc)
    assert script.all(fx.Committed) == []
    assert script.receive(2, new_leader_ack())[-1] == m.UpToDate(m.UP_TO_DATE, 1, E1 + 1)
    assert script.all(fx.Committed) == [fx.Committed(E1 + 1)]


def test_acknowledgements_are_cumulative() -> None:
    script = leading(2)
    for _ in range(3):
        script.propose(2)
    script.disk_all()
    script.receive(2, ack(E1 + 4))
    assert script.all(fx.Committed) == [fx.Committed(E1 + 4)]


def test_an_acknowledgement_between_two_ends_commits_to_the_end_before() -> None:
    script = leading(2)
    script.propose(2)
    script.propose(2)
    script.disk_all()
    script.receive(2, ack(E1 + 3))
    assert script.all(fx.Committed) == [fx.Committed(E1 + 2)]


def test_an_acknowledgement_of_what_was_not_sent_is_refused() -> None:
    script = leading(2)
    script.receive(2, ack(E1 + 1))
    assert "no place" in (script.hung_up(20) or "")


def test_an_acknowledgement_of_this_epoch_before_it_was_adopted_is_refused_and_does_not_count() -> None:
    script = leading(2)
    script.propose()
    script.disk_all()
    script.join(3)
    script.ack_epoch(3)
    script.receive(3, ack(E1 + 1))
    assert "no place" in (script.hung_up(30) or "")
    assert script.all(fx.Committed) == []


def test_strangers_and_observers_do_not_commit_and_get_only_what_is_committed() -> None:
    script = LeaderScript(config=members(1, 2, 3, observers=(4,))).lead(2)
    script.join(4)
    script.take()
    assert kinds(script.ack_epoch(4)) == ["NewLeader"]
    script.receive(4, new_leader_ack())
    made = script.propose()
    script.disk_all()
    script.taken.clear()
    script.receive(2, ack(E1 + 1))
    assert fx.Send(40, m.Propose(m.PROPOSE, made.data, E1 + 1, ())) in script.taken


def test_a_closed_window_holds_back_and_an_acknowledgement_opens_it() -> None:
    script = leading(2, window_bytes=100)
    made = [script.propose() for _ in range(4)]
    assert kinds(script.sent(20)) == ["Propose", "Propose"]
    script.disk_all()
    answers = script.receive(2, ack(E1 + 1))
    assert [message.segment for message in answers if isinstance(message, m.Propose)] == [made[2].data]


def test_claims_go_to_the_link_that_they_belong_to_only() -> None:
    script = leading(2, 3)
    claims = ((0, 5, -101, b""),)
    script.propose(claims={20: claims, 99: claims})
    proposals = {e.link: e.message.claims for e in script.all(fx.Send) if isinstance(e.message, m.Propose)}
    assert proposals == {20: claims, 30: ()}


def test_a_proposal_that_does_not_follow_is_the_owners_mistake() -> None:
    script = leading(2)
    for wrong in (make_segment((0, 0), E1 + 2), make_segment((0, 9), E1 + 1), make_segment((0, 0), E2 + 1)):
        with pytest.raises(AssertionError):
            script.role.propose(wrong, None, None)
    with pytest.raises(AssertionError, match="established"):
        LeaderScript().begin().propose()


def test_a_reconfiguration_needs_both_quorums_and_so_does_what_follows() -> None:
    script = leading(2, 3)
    new = members(1, 4, 5, version=E1 + 2)
    script.propose()
    script.propose(new_config=new)
    script.propose()
    script.disk_all()
    script.receive(2, ack(E1 + 3))
    assert script.all(fx.Committed) == [fx.Committed(E1 + 1)], "before it the old quorum is enough"
    assert script.core.pending == (E1 + 2, new)
    script.join(4)
    script.ack_epoch(4)
    script.receive(4, new_leader_ack())
    script.receive(4, ack(E1 + 2))
    assert script.core.config == new and script.core.pending is None
    assert script.all(fx.Committed)[-1] == fx.Committed(E1 + 2)
    script.receive(4, ack(E1 + 3))
    assert script.all(fx.Committed)[-1] == fx.Committed(E1 + 3)


def test_a_leader_that_the_new_configuration_leaves_out_hands_over() -> None:
    script = leading(2, 3)
    script.propose(new_config=members(2, 3, version=E1 + 1))
    script.disk_all()
    script.receive(2, ack(E1 + 1))
    script.receive(3, ack(E1 + 1))
    assert fx.Send(20, m.HandOver(m.HAND_OVER, 2)) in script.taken
    assert script.core.first_choice == 2 and script.core.leaving == "leadership was handed over"


def test_one_reconfiguration_at_a_time_and_alone_in_its_segment() -> None:
    script = leading(2)
    with pytest.raises(AssertionError, match="stands alone"):
        script.propose(2, new_config=members(1, 2, version=E1 + 2))
    script.propose(new_config=members(1, 2, version=E1 + 1))
    with pytest.raises(AssertionError, match="one reconfiguration"):
        script.propose(new_config=members(1, 2, version=E1 + 2))


# --- the leader's life ----------------------------------------------------------------------------


def test_learners_are_pinged_every_half_tick_with_what_is_committed_and_sent() -> None:
    script = leading(2)
    script.pass_ms(1_000)
    assert script.sent(20) == [m.Ping(m.PING, 1, 0)]
    script.pass_ms(999)
    assert script.sent(20) == []
    script.pass_ms(1)
    assert script.sent(20) == [m.Ping(m.PING, 2, 0)]


def test_a_leader_without_a_quorum_of_living_voters_steps_down() -> None:
    script = leading(2, 3)
    for probe in range(1, 12):
        script.pass_ms(1_000)
        script.receive(3, m.Pong(m.PONG, probe, 0, ()))
    assert script.hung_up(20) == "server 2 was silent for 10000 ms" and script.core.leaving is None
    for _ in range(10):
        script.pass_ms(1_000)
    assert "no quorum" in (script.core.leaving or "")


def test_broken_links_end_leadership_within_a_tick() -> None:
    script = leading(2)
    script.role.broke(20)
    script.pass_ms(1_900)
    assert script.core.leaving is None
    script.pass_ms(100)
    assert "no quorum" in (script.core.leaving or "")


def test_a_stalled_disk_ends_leadership() -> None:
    script = leading(2)
    script.propose()
    for probe in range(1, 11):
        script.pass_ms(1_000)
        script.receive(2, m.Pong(m.PONG, probe, 0, ()))
    assert script.core.leaving == "the disk has finished nothing for 10000 ms"


def test_learners_that_live_and_make_no_progress_do_not_hold_up_for_ever() -> None:
    script = LeaderScript().begin()
    script.join(2)
    script.disk_all()
    script.ack_epoch(2)
    script.disk_all()
    for probe in range(1, 21):
        script.pass_ms(1_000)
        script.receive(2, m.Pong(m.PONG, probe, 0, ()))
    assert script.core.leaving == "no quorum adopted epoch 1; no progress for 20000 ms"


def test_a_confirmation_needs_a_quorum_that_echoes_a_later_ping() -> None:
    script = leading(2, 3)
    script.pass_ms(1_000)
    script.take()
    assert script.role.confirm() == 1
    assert script.sent(20) == [m.Ping(m.PING, 2, 0)]
    assert script.role.confirm() == 2
    script.receive(2, m.Pong(m.PONG, 1, 0, ()))
    assert script.all(fx.Confirmed) == [], "that ping was older than the question"
    script.receive(2, m.Pong(m.PONG, 2, 0, ()))
    assert script.all(fx.Confirmed) == [fx.Confirmed(1)], "the second question came after this ping"
    script.receive(3, m.Pong(m.PONG, 3, 0, ()))
    assert script.all(fx.Confirmed) == [fx.Confirmed(1), fx.Confirmed(2)]


def test_an_echo_of_a_ping_that_was_never_sent_is_refused() -> None:
    script = leading(2)
    script.receive(2, m.Pong(m.PONG, 99, 0, ()))
    assert "no place" in (script.hung_up(20) or "")


def test_pongs_and_forwards_are_passed_to_the_state_machine() -> None:
    script = leading(2)
    script.pass_ms(1_000)
    pong = m.Pong(m.PONG, 1, 0, (7,))
    forward = m.Forward(m.FORWARD, 1, 7, 1, 5, b"", ())
    script.receive(2, pong)
    script.receive(2, forward)
    assert script.all(fx.Relay) == [fx.Relay(20, 2, pong), fx.Relay(20, 2, forward)]
    script.role.relay(20, m.Synced(m.SYNCED, 1, 0))
    script.role.relay(99, m.Synced(m.SYNCED, 1, 0))
    assert [e for e in script.take() if isinstance(e, fx.Send)] == [fx.Send(20, m.Synced(m.SYNCED, 1, 0))]


def test_a_forward_before_up_to_date_is_refused() -> None:
    script = leading(2)
    script.join(3)
    script.receive(3, m.Forward(m.FORWARD, 1, 7, 1, 5, b"", ()))
    assert "no place" in (script.hung_up(30) or "")


def test_handing_over_waits_for_what_is_in_flight_and_names_one_that_has_all() -> None:
    script = leading(2, 3)
    script.propose()
    script.disk_all()
    script.role.hand_over()
    assert not script.role.can_propose and script.core.leaving is None
    script.receive(3, ack(E1 + 1))
    assert fx.Send(30, m.HandOver(m.HAND_OVER, 3)) in script.taken
    assert fx.Send(20, m.HandOver(m.HAND_OVER, 3)) in script.taken
    assert script.core.first_choice == 3


def test_handing_over_to_nobody_ends_after_a_while() -> None:
    script = leading(2)
    script.propose()
    script.disk_all()
    script.role.hand_over()
    for probe in range(1, 11):
        script.pass_ms(1_000)
        script.receive(2, m.Pong(m.PONG, probe, 0, ()))
    assert script.core.leaving == "leadership ends, though nobody was ready to take it over"


def test_before_the_zxids_of_an_epoch_run_out_a_new_one_begins() -> None:
    script = leading(2, epoch_counter_max=3)
    script.propose(2)
    assert script.role.can_propose
    script.propose(1)
    assert not script.role.can_propose
    script.disk_all()
    script.pass_ms(10)
    assert script.core.leaving is None
    script.receive(2, ack(E1 + 3))
    script.pass_ms(10)
    assert script.core.leaving == "the zxids of epoch 1 run out; a new epoch has to begin"


def test_the_epoch_after_one_that_ran_out_has_all_its_zxids() -> None:
    full = make_chain(E1 + 1, E1 + 2, E1 + 3)
    script = LeaderScript(*full, promised=1, adopted=1, epoch_counter_max=3).lead(2)
    assert script.role.epoch == 2 and script.role.can_propose
    script.pass_ms(10)
    assert script.core.leaving is None
    assert script.propose(3).first_zxid == 2 << 32 | 1
    assert not script.role.can_propose


def test_learners_are_told_when_the_role_ends() -> None:
    script = leading(2)
    script.role.end("enough")
    assert script.sent(20) == [m.Refusal(m.REFUSAL, "enough")] and script.hung_up(20) == "enough"


@pytest.mark.parametrize("message", [m.Commit(m.COMMIT, 1), m.Truncate(m.TRUNCATE, 1), m.Position(m.POSITION, 1, 1)])
def test_a_message_that_no_learner_sends_ends_the_link_and_not_the_role(message: m.LinkMessage) -> None:
    script = leading(2)
    assert script.receive(2, message) == []
    assert "no place" in (script.hung_up(20) or "") and script.core.leaving is None


def test_a_configuration_that_comes_into_force_may_commit_more_at_once() -> None:
    script = leading(2, 3)
    script.propose(new_config=members(1, 4, version=E1 + 1))
    script.propose()
    script.join(4)
    script.disk_all()
    script.ack_epoch(4)
    script.receive(4, new_leader_ack())
    script.receive(4, ack(E1 + 2))
    assert script.all(fx.Committed) == []
    script.taken.clear()
    script.receive(2, ack(E1 + 1))
    assert [effect.zxid for effect in script.all(fx.Committed)] == [E1 + 1, E1 + 2]
    assert fx.Send(40, m.Commit(m.COMMIT, E1 + 2)) in script.taken
