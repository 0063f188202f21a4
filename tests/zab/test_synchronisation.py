"""Bringing a learner's log to the leader's: where it is cut, what it is sent, and when NewLeader stands in between."""

from __future__ import annotations

import pytest

from tests.zab.harness import make_chain
from tests.zab.script import LeaderScript
from zkstore.wire import messages as m
from zkstore.wire.segment import Segment
from zkstore.zab import effects as fx

E1 = 1 << 32
E2 = 2 << 32


def joined(
    chain: list[Segment], zxid: int, crc: int, *, start: int = 0, adopted: int = 0
) -> tuple[LeaderScript, list[m.LinkMessage]]:
    """A leader with this log, and what it answers to a learner whose log ends at (zxid, crc)."""
    script = LeaderScript(*chain, promised=2, adopted=2)
    if start:
        script.disk.purge(start)
    script.lead_with_nobody()
    script.join(3)
    script.disk_all()
    script.take()
    return script, script.ack_epoch(3, adopted, zxid, crc)


CHAIN = make_chain(E1 + 1, E1 + 2, E1 + 5, E2 + 1)


def point(index: int) -> tuple[int, int]:
    return CHAIN[index].last_zxid, CHAIN[index].crc


@pytest.mark.parametrize("index", range(4))
def test_from_any_end_of_the_log_a_learner_is_sent_the_rest_and_then_new_leader(index: int) -> None:
    _, answers = joined(CHAIN, *point(index))
    sent = [message.segment for message in answers if isinstance(message, m.Propose)]
    assert sent == [segment.data for segment in CHAIN[index + 1 :]]
    assert answers[-1] == m.NewLeader(m.NEW_LEADER, 3, *point(-1))


@pytest.mark.parametrize(("zxid", "kept"), [(E1 + 3, 1), (E1 + 9, 2), (E2 + 7, 3)])
def test_what_is_no_end_is_cut_to_the_end_before(zxid: int, kept: int) -> None:
    script, answers = joined(CHAIN, zxid, 99)
    assert answers == [m.Truncate(m.TRUNCATE, point(kept)[0])]
    answers = script.receive(3, m.Position(m.POSITION, *point(kept)))
    assert answers[-1] == m.NewLeader(m.NEW_LEADER, 3, *point(-1))


def test_a_learner_is_cut_again_until_there_is_a_common_end() -> None:
    script, answers = joined(CHAIN, E2 + 7, 99)
    assert answers == [m.Truncate(m.TRUNCATE, E2 + 1)]
    assert script.receive(3, m.Position(m.POSITION, E1 + 4, 98)) == [m.Truncate(m.TRUNCATE, E1 + 2)]
    answers = script.receive(3, m.Position(m.POSITION, *point(1)))
    assert [type(message).__name__ for message in answers] == ["Propose", "Propose", "NewLeader"]


def test_a_position_that_did_not_go_down_is_refused() -> None:
    script, _ = joined(CHAIN, E2 + 7, 99)
    script.receive(3, m.Position(m.POSITION, E2 + 7, 99))
    assert "no place" in (script.hung_up(30) or "")


def test_a_learner_behind_the_beginning_of_the_log_gets_a_snapshot_and_the_rest() -> None:
    script, answers = joined(CHAIN, *point(0), start=E1 + 2)
    assert answers == [] and script.all(fx.SendSnapshot) == [fx.SendSnapshot(30)]
    script.role.snapshot_sent(30, *point(2))
    answers = script.receive(3, m.Position(m.POSITION, *point(2)))
    assert [type(message).__name__ for message in answers] == ["Propose", "NewLeader"]


def test_a_learner_may_have_installed_a_snapshot_before_its_sending_is_reported() -> None:
    script, _ = joined(CHAIN, *point(0), start=E1 + 2)
    assert script.receive(3, m.Position(m.POSITION, *point(2)))
    script.role.snapshot_sent(30, *point(2))
    assert script.hung_up(30) is None


def test_a_snapshot_that_the_log_does_not_reach_any_more_ends_the_link() -> None:
    script, _ = joined(CHAIN, *point(0), start=E1 + 2)
    script.role.snapshot_sent(30, *point(0))
    assert "purged" in (script.hung_up(30) or "")
    script.role.snapshot_sent(30, *point(0))


def test_another_history_at_the_same_zxid_is_refused_and_never_cut() -> None:
    script, answers = joined(CHAIN, point(1)[0], 99)
    assert len(answers) == 1 and isinstance(answers[0], m.Refusal)
    assert "differ at zxid 0x100000002" in answers[0].reason == script.hung_up(30)
    assert script.all(fx.Note)


def test_a_rejoining_follower_ahead_of_the_leaders_own_disk_keeps_what_it_has() -> None:
    script = LeaderScript(*CHAIN, promised=2, adopted=2).lead(2)
    first, second = script.propose(), script.propose()
    script.role.broke(20)
    script.join(2, promised=3)
    answers = script.ack_epoch(2, -1, first.last_zxid, first.crc)
    assert answers == [
        m.NewLeader(m.NEW_LEADER, 3, first.last_zxid, first.crc),
        m.Propose(m.PROPOSE, second.data, script.core.known_committed, ()),
    ]


def test_what_was_never_proposed_here_is_cut_even_behind_what_is_in_flight() -> None:
    script = LeaderScript(*CHAIN, promised=2, adopted=2).lead(2)
    first = script.propose()
    script.join(3)
    assert script.ack_epoch(3, 2, first.last_zxid + 1, 5) == [m.Truncate(m.TRUNCATE, first.last_zxid)]


def test_a_log_purged_under_a_learner_that_is_synchronised_ends_its_link() -> None:
    script = LeaderScript(promised=0, window_bytes=1).lead(2)
    for _ in range(4):
        script.propose()
    script.join(3)
    script.disk_all()
    script.ack_epoch(3)
    for counter in (1, 2, 3, 4):
        script.receive(2, m.Ack(m.ACK, E1 + counter))
    script.disk.purge(E1 + 3)
    script.receive(3, m.NewLeaderAck(m.NEW_LEADER_ACK, 1))
    script.receive(3, m.Ack(m.ACK, E1 + 1))
    assert "fell behind the beginning of the log" in (script.hung_up(30) or "")


def test_a_log_purged_under_a_learner_that_is_fed_makes_a_snapshot_of_it() -> None:
    script = LeaderScript(*CHAIN, promised=2, adopted=2, window_bytes=1)
    script.lead_with_nobody()
    script.join(3)
    script.disk_all()
    assert len(script.ack_epoch(3, 0, 0, 0)) == 1
    script.disk.purge(E1 + 5)
    assert script.receive(3, m.Ack(m.ACK, E1 + 1)) == []
    assert script.all(fx.SendSnapshot) == [fx.SendSnapshot(30)]
    script.receive(3, m.Ack(m.ACK, E1 + 1))
    assert script.hung_up(30) is None, "its disk goes on with what it was fed"
    answers = script.receive(3, m.Position(m.POSITION, *point(2)))
    assert [type(message).__name__ for message in answers] == ["Propose", "NewLeader"]
