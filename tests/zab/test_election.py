"""Elections: who wins, when it is over, how those who come late learn of it, and that a bad network only delays it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkstore.wire import messages
from zkstore.wire.messages import FOLLOWING, LEADING, LOOKING, OBSERVING, VOTE, Vote
from zkstore.zab.election import GUESTS_MAX, NOBODY, ROUND_MAX, Candidate, Election, ElectionSettings
from zkstore.zab.membership import Membership, parse

SETTINGS = ElectionSettings(finalize_ms=100, resend_min_ms=200, resend_max_ms=2000)


def members(voters: int, observers: int = 0, extra: str = "") -> Membership:
    roles = ["participant"] * voters + ["observer"] * observers
    return parse("\n".join(f"server.{n}=h{n}:1:2:{role}" for n, role in enumerate(roles, 1)) + "\n" + extra)


def looking(server_id: int, config: Membership, adopted_epoch: int = 0, last_zxid: int = 0) -> Election:
    """A server that has just begun to look."""
    election = Election(server_id, SETTINGS)
    election.configure(config)
    election.start(0, adopted_epoch, last_zxid)
    return election


def vote(sender: int, leader: int, *, state: int = LOOKING, round: int = 1, epoch: int = 0, zxid: int = 0) -> Vote:
    return Vote(VOTE, sender, state, round, leader, epoch, zxid, 0)


def told(election: Election) -> dict[int, Vote]:
    """The newest vote for each server that was told something since the last call."""
    newest = {gossip.to: gossip.vote for gossip in election.gossip}
    election.gossip.clear()
    return newest


def deliver(elections: dict[int, Election], now_ms: int) -> None:
    """Everything said, until nobody says anything more."""
    while gossip := [item for election in elections.values() for item in election.gossip]:
        for election in elections.values():
            election.gossip.clear()
        for to, what in gossip:
            if to in elections:
                assert elections[to].heard(what, now_ms) is None


# --- who wins, and when ---------------------------------------------------------------------------


def test_a_server_alone_elects_itself_at_once() -> None:
    election = looking(1, members(1))
    assert election.state == LEADING
    assert election.decision is not None and election.decision.leader == 1
    assert election.next_due_ms is None
    assert told(election) == {}


@pytest.mark.parametrize(
    ("positions", "winner"),
    [
        ([(0, 0), (0, 0), (0, 0)], 3),
        ([(0, 0), (0, 9), (0, 8)], 2),
        ([(2, 1), (1, 9), (1, 8)], 1),
        ([(1, 5), (1, 5), (1, 4)], 2),
    ],
)
def test_the_most_recent_history_wins_then_the_larger_id_and_nobody_waits(
    positions: Sequence[tuple[int, int]], winner: int
) -> None:
    elections = {n: looking(n, members(3), *position) for n, position in enumerate(positions, 1)}
    deliver(elections, 0)
    assert {n: e.decision.leader for n, e in elections.items() if e.decision} == {1: winner, 2: winner, 3: winner}
    assert [e.state for e in elections.values()] == [LEADING if n == winner else FOLLOWING for n in (1, 2, 3)]
    assert len({e.round for e in elections.values()}) == 1


def test_a_quorum_waits_a_little_for_those_it_has_not_heard() -> None:
    elections = {n: looking(n, members(3)) for n in (1, 2)}
    deliver(elections, 50)
    assert elections[1].decision is None
    assert elections[1].next_due_ms == 150
    elections[1].tick(149)
    assert elections[1].decision is None
    elections[1].tick(150)
    assert elections[1].decision is not None and elections[1].decision.leader == 2


def test_a_better_vote_during_that_wait_wins() -> None:
    elections = {n: looking(n, members(3)) for n in (1, 2)}
    deliver(elections, 50)
    elections[3] = looking(3, members(3))
    deliver(elections, 120)
    assert {e.decision.leader for e in elections.values() if e.decision} == {3}


def test_nobody_waits_for_a_server_whose_connection_broke() -> None:
    elections = {n: looking(n, members(3)) for n in (1, 2)}
    for election in elections.values():
        election.start(0, 0, 0, gone={3})
    deliver(elections, 0)
    assert {e.decision.leader for e in elections.values() if e.decision} == {2}


def test_a_server_believed_gone_counts_again_once_it_speaks() -> None:
    election = looking(1, members(3))
    election.start(0, 0, 0, gone={3})
    election.heard(vote(3, 1, round=1), 0)
    election.heard(vote(2, 1, round=2), 0)
    assert election.decision is None
    assert election.next_due_ms == 100


def test_a_server_that_may_not_stand_votes_for_others_only() -> None:
    elections = {n: looking(n, members(3)) for n in (1, 2, 3)}
    elections[3].start(0, 5, 99, may_stand=False)
    assert told(elections[3])[1][4:7] == (NOBODY.leader, -1, 0)
    elections[3].start(0, 5, 99, may_stand=False)
    deliver(elections, 0)
    assert {e.decision.leader for e in elections.values() if e.decision} == {2}
    assert elections[3].state == FOLLOWING


def test_servers_none_of_which_may_stand_elect_nobody() -> None:
    elections = {n: looking(n, members(3)) for n in (1, 2, 3)}
    for election in elections.values():
        election.start(0, 0, 0, may_stand=False)
    deliver(elections, 0)
    for election in elections.values():
        election.tick(10_000)
    deliver(elections, 10_000)
    assert [e.decision for e in elections.values()] == [None] * 3


def test_a_server_of_weight_zero_is_never_elected() -> None:
    config = members(3, 0, "group.1=1:2:3\nweight.3=0")
    elections = {n: looking(n, config, 0, 0 if n < 3 else 99) for n in (1, 2, 3)}
    deliver(elections, 0)
    assert {e.decision.leader for e in elections.values() if e.decision} == {2}
    assert told(elections[3]) == {} and elections[3].decision is not None, "it votes for others"


def test_a_server_of_weight_zero_is_elected_by_those_who_know_a_newer_configuration() -> None:
    """It would not stand by ours; so it has another weight in a change that is in its log, and not in this one."""
    election = looking(1, members(3, 0, "group.1=1:2:3\nweight.3=0"))
    election.heard(vote(2, 3, zxid=9), 0)
    assert told(election)[2].leader == 3
    election.heard(vote(3, 3, zxid=9), 0)
    assert election.decision is not None and election.decision.leader == 3


def test_a_leader_of_weight_zero_that_a_quorum_follows_is_followed() -> None:
    election = looking(1, members(3, 0, "group.1=1:2:3\nweight.3=0"))
    election.heard(vote(3, 3, state=LEADING, round=4, epoch=2), 0)
    election.heard(vote(2, 3, state=FOLLOWING, round=4, epoch=2), 0)
    assert election.decision is not None and election.decision.leader == 3


def test_the_designated_successor_is_voted_for_first() -> None:
    elections = {n: looking(n, members(3), 1, 7) for n in (1, 2, 3)}
    for election in elections.values():
        election.gossip.clear()
        election.start(0, 1, 7, first_choice=1)
    deliver(elections, 0)
    assert {e.decision.leader for e in elections.values() if e.decision} == {1}


def test_a_designated_successor_that_is_no_voter_is_passed_over() -> None:
    election = looking(1, members(3))
    told(election)
    election.start(0, 0, 0, first_choice=8)
    assert told(election)[2].leader == 1


# --- rounds ---------------------------------------------------------------------------------------


def test_a_later_round_is_joined_and_begun_with_the_first_vote() -> None:
    election = looking(1, members(5), 3, 3)
    election.heard(vote(2, 2, epoch=4), 0)
    assert told(election)[3].leader == 2
    election.heard(vote(3, 3, round=6, epoch=3, zxid=1), 0)
    assert election.round == 6
    assert told(election)[2] == vote(1, 1, round=6, epoch=3, zxid=3)


def test_a_vote_of_an_earlier_round_is_answered_and_not_counted() -> None:
    election = looking(1, members(3))
    election.start(0, 0, 0)
    told(election)
    election.heard(vote(2, 2, round=1, epoch=9), 0)
    assert told(election) == {2: vote(1, 1, round=2)}
    assert election.next_due_ms == 200 + 200 // 16


def test_a_worse_vote_is_answered_with_the_better_one() -> None:
    election = looking(3, members(3))
    told(election)
    election.heard(vote(1, 1), 0)
    assert told(election) == {1: vote(3, 3)}


def test_overtaken_votes_do_not_take_back_better_ones() -> None:
    election = looking(3, members(3))
    election.heard(vote(1, 3), 0)
    election.heard(vote(1, 1), 0)
    election.heard(vote(2, 3), 0)
    assert election.state == LEADING


def test_a_vote_is_told_again_after_longer_and_longer_times_that_differ_by_id() -> None:
    times: dict[int, list[int]] = {}
    for server_id in (1, 2):
        election = looking(server_id, members(3))
        times[server_id] = []
        while len(times[server_id]) < 6:
            told(election)
            assert election.next_due_ms is not None
            times[server_id].append(election.next_due_ms)
            election.tick(election.next_due_ms - 1)
            assert told(election) == {}
            election.tick(election.next_due_ms)
            assert set(told(election)) == {1, 2, 3} - {server_id}
    gaps = [later - earlier for earlier, later in zip(times[1], times[1][1:], strict=False)]
    assert gaps == [425, 850, 1700, 2125, 2125]
    assert not set(times[1]) & set(times[2])


# --- those who come late --------------------------------------------------------------------------


def test_who_comes_late_joins_a_leader_whose_followers_name_other_rounds_and_zxids() -> None:
    election = looking(1, members(5), 0, 99)
    election.heard(vote(2, 2, state=LEADING, round=4, epoch=7), 0)
    assert election.decision is None
    election.heard(vote(3, 2, state=FOLLOWING, round=9, epoch=7, zxid=3), 0)
    assert election.decision is not None and election.decision.leader == 2
    assert election.round == 4


def test_followers_of_another_epoch_of_that_leader_do_not_count() -> None:
    election = looking(1, members(5))
    election.heard(vote(2, 2, state=LEADING, round=4, epoch=7), 0)
    election.heard(vote(3, 2, state=FOLLOWING, round=4, epoch=6), 0)
    election.heard(vote(4, 2, state=FOLLOWING, round=4, epoch=6), 0)
    assert election.decision is None


def test_who_comes_late_counts_itself() -> None:
    election = looking(1, members(2))
    election.heard(vote(2, 2, state=LEADING, round=4), 0)
    assert election.decision is not None and election.decision.leader == 2
    observer = looking(4, members(3, 1))
    observer.heard(vote(2, 2, state=LEADING, round=4), 0)
    assert observer.decision is None


def test_a_voter_that_began_as_an_observer_vouches_for_its_leader() -> None:
    promoted = looking(3, members(2, 1))
    promoted.heard(vote(2, 2, state=LEADING, epoch=1), 0)
    promoted.heard(vote(1, 2, state=FOLLOWING, epoch=1), 0)
    promoted.establish(1)
    promoted.configure(members(3))
    told(promoted)
    election = looking(1, members(4), 1, 9)
    told(election)
    promoted.heard(vote(1, 1, epoch=1, zxid=9), 0)
    election.heard(told(promoted)[1], 0)
    election.heard(vote(2, 2, state=LEADING, epoch=1), 0)
    assert election.decision is not None and election.decision.leader == 2


def test_a_server_that_has_lost_its_vote_vouches_for_its_leader_to_who_does_not_know() -> None:
    election = looking(1, members(3), 1, 9)
    election.heard(vote(3, 2, state=OBSERVING, epoch=1), 0)
    assert election.decision is None
    election = looking(1, members(5), 1, 9)
    election.heard(vote(2, 2, state=LEADING, epoch=1), 0)
    election.heard(vote(3, 2, state=OBSERVING, epoch=1), 0)
    assert election.decision is not None and election.decision.leader == 2


def test_a_leader_is_not_joined_before_it_says_so_itself() -> None:
    election = looking(1, members(3))
    election.heard(vote(3, 2, state=FOLLOWING, round=4, epoch=7), 0)
    election.heard(vote(2, 3, state=FOLLOWING, round=4, epoch=7), 0)
    assert election.decision is None
    election.heard(vote(2, 2, state=LEADING, round=4, epoch=7), 0)
    assert election.decision is not None


def test_a_server_that_restarted_does_not_lead_on_the_word_of_its_old_followers() -> None:
    election = looking(1, members(3))
    election.heard(vote(2, 1, state=FOLLOWING, round=4, epoch=7), 0)
    election.heard(vote(3, 1, state=FOLLOWING, round=4, epoch=7), 0)
    assert election.decision is None


def test_a_follower_that_looks_again_does_not_vouch_for_its_leader_any_more() -> None:
    election = looking(1, members(5))
    election.heard(vote(3, 2, state=FOLLOWING, round=4, epoch=7), 0)
    election.heard(vote(3, 3, round=1), 0)
    election.heard(vote(2, 2, state=LEADING, round=4, epoch=7), 0)
    assert election.decision is None


def test_what_leaders_followers_say_is_not_a_vote_of_this_round() -> None:
    election = looking(1, members(5))
    election.start(0, 0, 0)
    for sender in (2, 3, 4):
        election.heard(vote(sender, 1, state=FOLLOWING, round=1), 0)
    assert election.next_due_ms == 200 + 200 // 16
    assert election.decision is None


def test_servers_that_decided_in_this_round_count_in_it() -> None:
    election = looking(1, members(3))
    election.heard(vote(2, 3, state=FOLLOWING), 0)
    assert told(election)[3].leader == 3
    election.heard(vote(3, 3, state=LEADING), 0)
    assert election.decision is not None and election.decision.leader == 3


def test_an_older_epoch_of_the_same_choice_that_was_overtaken_is_passed_over() -> None:
    election = looking(1, members(5))
    election.heard(vote(3, 3, state=LEADING, round=4, epoch=7), 0)
    election.heard(vote(3, 3, state=LEADING, round=4, epoch=6), 0)
    election.heard(vote(2, 3, state=FOLLOWING, round=4, epoch=7), 0)
    assert election.decision is not None


def test_who_has_a_leader_tells_those_who_look() -> None:
    elections = {n: looking(n, members(3)) for n in (1, 2, 3)}
    deliver(elections, 0)
    leader = elections[3]
    leader.heard(vote(2, 2, round=9, epoch=9), 0)
    assert told(leader) == {2: vote(3, 3, state=LEADING)}
    leader.establish(4)
    told(leader)
    leader.heard(vote(2, 2, round=9, epoch=9), 0)
    leader.heard(vote(1, 3, state=FOLLOWING, epoch=4), 0)
    assert told(leader) == {2: vote(3, 3, state=LEADING, epoch=4)}
    assert leader.next_due_ms is None


# --- observers, strangers and changes of the membership -------------------------------------------


def test_an_observer_learns_the_result_and_its_votes_count_for_nothing() -> None:
    config = members(3, 1)
    observer = looking(4, config, 9, 99)
    assert set(told(observer)) == {1, 2, 3}
    voter = looking(1, config)
    told(voter)
    voter.heard(vote(4, 4, round=8, epoch=9), 0)
    assert voter.round == 1
    assert told(voter) == {4: vote(1, 1)}
    voter.heard(vote(3, 3, round=1), 0)
    assert told(voter)[2].leader == 3
    observer.heard(vote(1, 1, round=3), 0)
    observer.heard(vote(3, 3, state=LEADING, round=3, epoch=2), 0)
    observer.heard(vote(2, 3, state=FOLLOWING, round=3, epoch=2), 0)
    assert observer.decision is not None and observer.decision.leader == 3
    assert observer.state == OBSERVING


def test_observers_are_told_as_soon_as_a_leader_is_established() -> None:
    config = members(3, 1)
    elections = {n: looking(n, config) for n in (1, 2, 3)}
    deliver(elections, 0)
    elections[4] = looking(4, config)
    told(elections[4])  # all of it is lost
    for n in (3, 1):
        elections[n].establish(1)
    deliver(elections, 0)
    assert elections[4].decision is not None and elections[4].decision.leader == 3


def test_a_stranger_who_looks_is_told_of_the_leader() -> None:
    elections = {n: looking(n, members(3)) for n in (1, 2, 3)}
    deliver(elections, 0)
    elections[3].heard(vote(77, 77, round=50), 0)
    assert told(elections[3]) == {77: vote(3, 3, state=LEADING)}
    assert elections[3].futile() is None


def test_while_a_change_is_pending_quorums_of_both_configurations_must_agree() -> None:
    old, new = members(3), parse("server.3=h3:1:2\nserver.4=h4:1:2\nserver.5=h5:1:2")
    election = Election(3, SETTINGS)
    election.configure(old, new)
    election.start(0, 1, 1)
    assert set(told(election)) == {1, 2, 4, 5}
    election.heard(vote(1, 3, epoch=1, zxid=1), 0)
    election.heard(vote(2, 3, epoch=1, zxid=1), 0)
    assert election.next_due_ms == 200 + 3 * 200 // 16
    election.heard(vote(4, 3, epoch=1, zxid=1), 10)
    assert election.next_due_ms == 110


def test_votes_of_those_who_left_the_configuration_count_no_longer() -> None:
    election = looking(1, members(3))
    election.heard(vote(2, 1), 0)
    assert election.next_due_ms == 100
    election.configure(parse("server.1=h1:1:2\nserver.3=h3:1:2"))
    assert election.next_due_ms != 100
    election.heard(vote(2, 1), 0)
    assert election.next_due_ms != 100
    election.heard(vote(3, 1), 0)
    assert election.state == LEADING


def test_two_servers_with_one_id_are_noticed() -> None:
    complaint = looking(1, members(3)).heard(vote(1, 2), 0)
    assert complaint is not None and "another server sends votes with this server's id" in complaint


def test_an_impossible_round_is_not_joined() -> None:
    election = looking(1, members(3))
    complaint = election.heard(vote(2, 2, round=ROUND_MAX + 1), 0)
    assert complaint is not None and "impossible round" in complaint
    assert election.round == 1


def test_votes_for_nobody_and_of_observers_are_no_votes() -> None:
    election = looking(1, members(3))
    told(election)
    election.heard(vote(3, 0, epoch=-1), 0)
    assert told(election) == {3: vote(1, 1)}
    election.heard(vote(2, 2, state=OBSERVING, epoch=9), 0)
    assert told(election) == {}
    assert election.decision is None


def with_pending() -> dict[int, Election]:
    """Three voters of the first configuration; a fourth is one in a pending change that only two servers know."""
    old, new = members(3), members(4, 0, "version=5")
    elections = {n: Election(n, SETTINGS) for n in (1, 3, 4)}
    elections[1].configure(old)
    for n in (3, 4):
        elections[n].configure(old, new)
    elections[1].start(0, 1, 4)
    elections[3].start(0, 1, 5)
    elections[4].start(0, 1, 5)
    return elections


def test_a_voter_of_a_configuration_that_only_some_know_is_elected() -> None:
    elections = with_pending()
    for now_ms in range(0, 1000, 20):
        deliver(elections, now_ms)
        for election in elections.values():
            election.tick(now_ms)
    assert {n: e.decision.leader for n, e in elections.items() if e.decision} == {1: 4, 3: 4, 4: 4}


def test_who_does_not_know_all_voters_waits_for_what_they_say() -> None:
    elections = with_pending()
    deliver({4: elections[4], 1: elections[1]}, 0)
    # It has heard of the fourth, so the third's vote for itself is not the end of it.
    elections[1].start(0, 1, 4)
    elections[1].heard(vote(3, 3, round=2, epoch=1, zxid=5), 0)
    assert elections[1].decision is None
    elections[1].heard(vote(3, 4, round=2, epoch=1, zxid=5), 0)
    elections[1].tick(100)
    assert elections[1].decision is not None and elections[1].decision.leader == 4


def test_who_knows_the_new_leader_by_its_word_and_its_followers_only_joins_it() -> None:
    election = looking(1, members(3))
    election.heard(vote(4, 4, state=LEADING, round=3, epoch=2), 0)
    assert election.decision is None
    election.heard(vote(3, 4, state=FOLLOWING, round=3, epoch=2), 0)
    assert election.decision is not None and election.decision.leader == 4


def test_a_leader_that_only_its_followers_know_is_told_once_who_looks() -> None:
    election = looking(1, members(3))
    told(election)
    election.heard(vote(3, 4, state=FOLLOWING, round=3, epoch=2), 0)
    assert told(election) == {4: vote(1, 1)}
    election.heard(vote(2, 4, state=FOLLOWING, round=3, epoch=2), 0)
    assert told(election) == {}
    election.heard(vote(4, 4, state=LEADING, round=3, epoch=2), 0)
    assert election.decision is not None and election.decision.leader == 4


def test_servers_that_cannot_convince_each_other_do_not_go_on_about_it() -> None:
    one, other = looking(1, members(3)), looking(2, members(3, 0, "group.1=1:2:3\nweight.1=1\nweight.2=0"))
    sent = 0
    for _ in range(100):
        for speaker, hearer in ((one, other), (other, one)):
            gossip, speaker.gossip = speaker.gossip, []
            sent += len(gossip)
            for to, what in gossip:
                if to == hearer.server_id:
                    hearer.heard(what, 0)
    assert sent < 20


def test_strangers_that_are_answered_are_few() -> None:
    election = looking(1, members(3))
    told(election)
    for stranger in range(100, 400):
        election.heard(vote(stranger, stranger), 0)
    assert len(told(election)) == GUESTS_MAX
    election.tick(10_000)
    assert len(told(election)) == GUESTS_MAX + 2


def test_what_is_said_fits_the_wire() -> None:
    config = members(3)
    for election in (looking(1, config, 5, 1 << 40), looking(4, config)):
        for gossip in election.gossip:
            assert messages.decode(messages.encode(gossip.vote)) == gossip.vote


# --- in vain --------------------------------------------------------------------------------------


def decided(server_id: int) -> Election:
    """One of five, of which all elected the last."""
    elections = {n: looking(n, members(5)) for n in range(1, 6)}
    deliver(elections, 0)
    return elections[server_id]


def test_a_leader_without_enough_supporters_waits_in_vain() -> None:
    leader = decided(5)
    assert leader.futile() is None
    leader.heard(vote(1, 1, round=2), 0)
    leader.heard(vote(2, 4, state=FOLLOWING, round=1), 0)
    leader.heard(vote(3, 5, round=1), 0)
    assert leader.futile() is None
    leader.heard(vote(4, 4, state=LEADING, round=1), 0)
    assert leader.futile() == "supporters have turned away: 1, 2, 4"


def test_a_supporter_that_comes_back_counts_again() -> None:
    leader = decided(5)
    for n in (1, 2, 3):
        leader.heard(vote(n, n, round=2), 0)
    assert leader.futile() is not None
    leader.heard(vote(3, 5, state=FOLLOWING, round=1), 0)
    assert leader.futile() is None


def test_a_follower_whose_leader_looks_again_waits_in_vain() -> None:
    follower = decided(1)
    follower.heard(vote(2, 2, round=2), 0)
    follower.heard(vote(5, 5, round=1), 0)
    assert follower.futile() is None
    follower.heard(vote(5, 5, round=2), 0)
    assert follower.futile() == "server 5 does not lead"


def test_a_follower_whose_leader_has_found_a_better_one_waits_in_vain() -> None:
    elections = {n: looking(n, members(3), 1, 5) for n in (1, 2)}
    deliver(elections, 0)
    elections[1].tick(100)
    follower = elections[1]
    assert follower.decision is not None and follower.decision.leader == 2
    follower.heard(vote(2, 1, epoch=1, zxid=5), 0)
    assert follower.futile() is None
    follower.heard(vote(2, 3, epoch=1, zxid=5), 0)
    assert follower.futile() == "server 2 does not lead"


def test_who_is_established_or_looks_waits_for_nobody() -> None:
    follower = decided(1)
    follower.establish(1)
    follower.heard(vote(5, 5, round=2), 0)
    assert follower.futile() is None
    assert looking(1, members(5)).futile() is None


# --- a bad network --------------------------------------------------------------------------------

STEP_MS = 20
PATIENCE_MS = 600


@dataclass
class Host:
    """One server: its election, and as much of what comes after it as an election can see."""

    election: Election
    position: tuple[int, int]
    waiting_since_ms: int = 0
    epoch: int | None = None

    def look(self, now_ms: int) -> None:
        self.epoch, self.waiting_since_ms = None, now_ms
        self.election.start(now_ms, *self.position)

    @property
    def leader(self) -> int | None:
        return self.election.decision.leader if self.election.decision else None


@dataclass
class Net:
    """Servers and the gossip between them, which is lost, doubled and late as long as the network is bad."""

    config: Membership
    dice: random.Random
    hosts: dict[int, Host] = field(default_factory=dict)
    now_ms: int = 0
    is_well: bool = False
    sent: list[tuple[int, int, Vote]] = field(default_factory=list)
    epochs: int = 10

    def boot(self, server_id: int, position: tuple[int, int]) -> None:
        host = self.hosts[server_id] = Host(Election(server_id, SETTINGS), position)
        host.election.configure(self.config)
        host.look(self.now_ms)

    def step(self) -> None:
        self.now_ms += STEP_MS
        due = [item for item in self.sent if item[0] <= self.now_ms]
        self.sent = [item for item in self.sent if item[0] > self.now_ms]
        self.dice.shuffle(due)
        for _, to, what in due:
            self.hosts[to].election.heard(what, self.now_ms)
        for host in self.hosts.values():
            host.election.tick(self.now_ms)
            self._afterwards(host)
        for host in self.hosts.values():
            for to, what in host.election.gossip:
                self._send(to, what)
            host.election.gossip.clear()

    def _send(self, to: int, what: Vote) -> None:
        copies = 1 if self.is_well else self.dice.choice((0, 0, 1, 1, 2))
        for _ in range(copies):
            delay_ms = self.dice.randint(1, STEP_MS) if self.is_well else self.dice.choice((1, 30, 300, 3000))
            self.sent.append((self.now_ms + delay_ms, to, what))

    def _afterwards(self, host: Host) -> None:
        """What agreement does with a decision: it comes true where a quorum shares it, or is given up."""
        if host.leader is None:
            host.waiting_since_ms = self.now_ms
            return
        with_leader = self.hosts[host.leader]
        followers = {n for n, other in self.hosts.items() if other.leader == host.leader}
        holds = with_leader.leader == host.leader and self.config.has_quorum(followers)
        if holds and host is with_leader and host.epoch is None:
            self.epochs += 1
            host.epoch = self.epochs
            host.election.establish(self.epochs)
        elif holds and host.epoch != with_leader.epoch and with_leader.epoch is not None:
            host.epoch = with_leader.epoch
            host.election.establish(host.epoch)
        if holds:
            host.waiting_since_ms = self.now_ms
        elif host.election.futile() or self.now_ms - host.waiting_since_ms > PATIENCE_MS:
            host.look(self.now_ms)

    @property
    def is_settled(self) -> bool:
        return len({(host.leader, host.epoch) for host in self.hosts.values()}) == 1 and None not in {
            host.epoch for host in self.hosts.values()
        }


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    voters=st.sampled_from([3, 4, 5]),
    observers=st.integers(0, 1),
    bad_steps=st.integers(0, 200),
)
def test_elections_converge_once_the_network_is_well(seed: int, voters: int, observers: int, bad_steps: int) -> None:
    dice = random.Random(seed)
    net = Net(members(voters, observers), dice)
    positions = {n: (dice.randint(0, 2), dice.randint(0, 3)) for n in range(1, voters + observers + 1)}
    for server_id, position in positions.items():
        net.boot(server_id, position)
    for _ in range(bad_steps):
        net.step()
        if dice.random() < 0.02:
            net.boot(dice.choice(list(positions)), positions[dice.choice(list(positions))])
    net.is_well = True
    # The last late votes arrive, all are told again at the longest interval, an attempt may have to be given up.
    steps_max = (3000 + 3 * SETTINGS.resend_max_ms + 2 * PATIENCE_MS) // STEP_MS
    for _ in range(steps_max):
        if net.is_settled and not net.sent:
            break
        net.step()
    assert net.is_settled, {n: (h.leader, h.election.round, h.election.state) for n, h in net.hosts.items()}
    leader = net.hosts[1].leader
    for _ in range(3 * SETTINGS.resend_max_ms // STEP_MS):
        net.step()
    assert net.is_settled
    assert net.hosts[1].leader == leader, "an established leader is not disturbed"


def test_the_better_candidate_is_the_larger_one() -> None:
    assert NOBODY < Candidate(0, 0, 0) < Candidate(0, 0, 1) < Candidate(0, 1, 0) < Candidate(1, 0, 0)
