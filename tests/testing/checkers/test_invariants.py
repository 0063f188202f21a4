"""The observer sees what is wrong: one broken promise a test, and none where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from zkstore.model.txns import SET_DATA, SetDataTxn
from zkstore.model.zxid import make
from zkstore.testing.checkers.invariants import INVARIANTS, Observer
from zkstore.testing.world.disk import SimulatedLog
from zkstore.wire import messages
from zkstore.wire import segment as segments
from zkstore.wire.messages import (
    LOOKING,
    VOTE,
    Ack,
    EpochAck,
    LinkMessage,
    NewEpoch,
    NewLeaderAck,
    Position,
    Vote,
)
from zkstore.wire.segment import Segment
from zkstore.zab import membership as memberships
from zkstore.zab.history import BEGINNING, Point
from zkstore.zab.membership import Membership


@dataclass
class FakeDisk:
    promised_epoch: int = 0
    adopted_epoch: int = 0
    log: SimulatedLog = field(default_factory=SimulatedLog)


def members(*voters: int) -> Membership:
    return memberships.parse("\n".join(f"server.{voter}=h{voter}:1:2;3" for voter in voters))


def segment(zxid: int, after: Point = BEGINNING, data: bytes = b"") -> Segment:
    txn = SetDataTxn(SET_DATA, 1, 1, 1, b"/x", data, 1)
    return segments.encode([txn], prev_zxid=after[0], first_zxid=zxid, digest_zxid=0, digest=0, prev_crc=after[1])


def end(of: Segment) -> Point:
    return of.last_zxid, of.crc


ONE = segment(make(1, 1))
TWO = segment(make(1, 2), end(ONE))
THREE = segment(make(1, 3), end(TWO))
FORK = segment(make(1, 2), end(ONE), b"another")
SKIPPED = segment(make(1, 3), end(ONE))
BEHIND = segment(make(2, 1), end(TWO))


class Stage:
    """Three servers; the first leads epoch 1, and all have promised and adopted it."""

    def __init__(self) -> None:
        self.observer = Observer(members(1, 2, 3))
        self.disks = {server_id: FakeDisk() for server_id in (1, 2, 3)}
        for server_id, disk in self.disks.items():
            self.observer.watch(server_id, disk)
            self.observer.booted(server_id, 0, 0)
            disk.promised_epoch = disk.adopted_epoch = 1
            self.observer.disk_changed(server_id, ())
        self.observer.led(1, 1)

    def propose(self, *proposed: Segment, server_id: int = 1) -> None:
        for one in proposed:
            self.observer.proposed(server_id, one, None)

    def log(self, *logged: Segment, on: tuple[int, ...] = (1, 2, 3)) -> None:
        for server_id in on:
            for one in logged:
                self.disks[server_id].log.append(one)
                self.observer.appended(server_id, one)
                self.observer.disk_changed(server_id, ())

    def apply(self, *applied: Segment, on: tuple[int, ...] = (1,)) -> None:
        for server_id in on:
            for one in applied:
                self.observer.applied(server_id, one)

    def broken(self) -> list[str]:
        return [violation.invariant for violation in self.observer.violations]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_disk_that_was_wiped_may_begin_anew_and_does_not_stand_in_the_way(stage: Stage) -> None:
    observer = stage.observer
    stage.propose(ONE, TWO)
    stage.log(ONE, on=(1, 2, 3))
    stage.apply(ONE, on=(1, 2, 3))
    stage.log(TWO, on=(1, 2))
    observer.said(2, Ack(messages.ACK, TWO.last_zxid))
    stage.disks[2].promised_epoch = stage.disks[2].adopted_epoch = 0
    stage.disks[2].log.restart(BEGINNING)
    observer.wiped(2)
    stage.apply(TWO, on=(1,))  # Its acknowledgement was under way.
    observer.booted(2, 0, 0)
    observer.said(2, Vote(VOTE, 2, LOOKING, 1, 2, 1, TWO.last_zxid, 0))  # Others remember what it had.
    stage.disks[2].promised_epoch = 1
    observer.disk_changed(2, ())
    assert stage.broken() == []
    observer.enrolled(2)
    stage.propose(THREE)
    stage.log(THREE, on=(1,))
    stage.apply(THREE, on=(1,))
    assert stage.broken() == ["I18"]


def test_a_sound_run_breaks_nothing(stage: Stage) -> None:
    stage.propose(ONE, TWO)
    stage.log(ONE, TWO)
    stage.observer.said(2, Ack(messages.ACK, TWO.last_zxid))
    stage.apply(ONE, TWO, on=(1, 2, 3))
    stage.observer.followed(2, 1, 1)
    stage.observer.acknowledged(1, TWO.last_zxid)
    stage.observer.digest(1, TWO.last_zxid, 5)
    stage.observer.digest(2, TWO.last_zxid, 5)
    for server_id in (2, 3):
        stage.disks[server_id].promised_epoch = stage.disks[server_id].adopted_epoch = 2
        stage.observer.disk_changed(server_id, ())
    stage.observer.led(2, 2)
    stage.propose(BEHIND, server_id=2)
    stage.log(BEHIND, on=(2, 3))
    stage.apply(BEHIND, on=(2, 3))
    assert stage.broken() == []
    assert stage.observer.committed == [BEGINNING, end(ONE), end(TWO), end(BEHIND)]


def test_two_leaders_of_one_epoch_are_seen(stage: Stage) -> None:
    stage.observer.led(2, 1)
    assert "I1" in stage.broken()


def test_a_leader_without_a_quorum_that_has_adopted_is_seen(stage: Stage) -> None:
    stage.disks[2].promised_epoch = stage.disks[2].adopted_epoch = 2
    stage.observer.led(2, 2)
    assert stage.broken() == ["I1"]


@pytest.mark.parametrize(("promised", "adopted"), [(0, 0), (1, 0), (1, 2)])
def test_epochs_that_go_back_or_are_adopted_unpromised_are_seen(stage: Stage, promised: int, adopted: int) -> None:
    stage.disks[3].promised_epoch, stage.disks[3].adopted_epoch = promised, adopted
    stage.observer.disk_changed(3, ())
    assert stage.broken() == ["I2"]


def test_a_log_of_an_epoch_that_was_never_promised_is_seen(stage: Stage) -> None:
    stage.disks[3].log.append(segment(make(2, 1)))
    stage.observer.disk_changed(3, ())
    assert stage.broken() == ["I2"]


def test_another_transaction_of_the_same_zxid_is_seen(stage: Stage) -> None:
    stage.propose(ONE, TWO)
    stage.log(ONE, on=(3,))
    stage.log(FORK, on=(3,))
    assert stage.broken() == ["I3"]


def test_a_leader_without_what_was_committed_is_seen(stage: Stage) -> None:
    stage.propose(ONE)
    stage.log(ONE, on=(1, 2))
    stage.apply(ONE)
    for server_id in (2, 3):
        stage.disks[server_id].promised_epoch = stage.disks[server_id].adopted_epoch = 2
    stage.observer.led(3, 2)
    assert stage.broken() == ["I4"]


def test_servers_that_apply_different_things_are_seen(stage: Stage) -> None:
    stage.propose(ONE, TWO)
    stage.log(ONE, TWO)
    stage.apply(ONE, TWO)
    stage.apply(ONE, FORK, on=(2,))
    assert stage.broken() == ["I5"]


def test_a_server_that_skips_something_is_seen(stage: Stage) -> None:
    stage.propose(ONE, TWO)
    stage.log(ONE, TWO)
    stage.apply(ONE, TWO)
    stage.apply(TWO, on=(2,))
    assert "I5" in stage.broken()


def test_applying_what_nobody_proposed_is_seen(stage: Stage) -> None:
    for disk in stage.disks.values():
        disk.log.append(ONE)
    stage.apply(ONE)
    assert stage.broken() == ["I6"]


def test_a_gap_within_an_epoch_is_seen(stage: Stage) -> None:
    stage.propose(ONE, SKIPPED)
    assert stage.broken() == ["I8"]
    stage.log(ONE, SKIPPED)
    stage.apply(ONE, SKIPPED)
    assert stage.broken() == ["I8", "I8"]


def test_a_lower_epoch_behind_a_higher_one_is_seen(stage: Stage) -> None:
    higher = segment(make(2, 1))
    # No code of ours would make it.
    lower = replace(ONE, prev_zxid=higher.last_zxid, prev_crc=higher.crc)
    for disk in stage.disks.values():
        disk.log.append(higher)
        disk.log.append(lower)
    stage.apply(higher, lower)
    assert "I9" in stage.broken()


@pytest.mark.parametrize(
    ("message", "invariant"),
    [
        (Ack(messages.ACK, make(1, 9)), "I11"),
        (Position(messages.POSITION, make(1, 9), 3), "I11"),
        (EpochAck(messages.EPOCH_ACK, 1, 1, make(1, 9), 3), "I11"),
        (EpochAck(messages.EPOCH_ACK, 1, 0, 0, 0), "I11"),
        (EpochAck(messages.EPOCH_ACK, 2, 1, 0, 0), "R2"),
        (NewEpoch(messages.NEW_EPOCH, 2, b"e" * 16), "R2"),
        (NewLeaderAck(messages.NEW_LEADER_ACK, 2), "I12"),
        (Vote(VOTE, 3, LOOKING, 1, 3, 1, make(1, 9), 0), "R6"),
        (Vote(VOTE, 3, LOOKING, 1, 3, 2, 0, 0), "R6"),
    ],
)
def test_saying_more_than_is_on_disk_is_seen(stage: Stage, message: LinkMessage | Vote, invariant: str) -> None:
    stage.observer.said(3, message)
    assert stage.broken() == [invariant]


def test_an_epoch_that_is_answered_twice_is_seen(stage: Stage) -> None:
    answer = EpochAck(messages.EPOCH_ACK, 1, 1, 0, 0)
    stage.observer.said(3, answer)
    stage.observer.said(3, answer._replace(adopted_epoch=-1))
    assert stage.broken() == []
    stage.observer.said(3, answer)
    assert stage.broken() == ["I1"]


def test_standing_for_an_epoch_that_was_not_adopted_is_seen(stage: Stage) -> None:
    stage.disks[3].promised_epoch = 2
    stage.disks[3].log.append(segment(make(2, 1)))
    stage.observer.said(3, Vote(VOTE, 3, LOOKING, 1, 3, 1, make(2, 1), 0))
    assert stage.broken() == ["R3"]


def test_following_or_proposing_without_a_leader_is_seen(stage: Stage) -> None:
    stage.observer.followed(2, 1, 3)
    stage.propose(ONE, server_id=2)
    assert stage.broken() == ["I13", "I13"]


def test_cutting_off_what_was_committed_is_seen(stage: Stage) -> None:
    stage.propose(ONE, TWO)
    stage.log(ONE, TWO)
    stage.apply(ONE)
    stage.observer.disk_changed(3, stage.disks[3].log.cut(ONE.last_zxid))
    assert stage.broken() == []
    stage.observer.disk_changed(3, stage.disks[3].log.cut(0))
    assert stage.broken() == ["I14"]


def test_another_digest_is_seen(stage: Stage) -> None:
    stage.observer.digest(1, 5, 77)
    stage.observer.digest(2, 5, 78)
    assert stage.broken() == ["I15"]


def test_forgetting_what_was_acknowledged_is_seen_at_the_start(stage: Stage) -> None:
    stage.propose(ONE, TWO)
    stage.log(ONE, TWO)
    stage.observer.said(3, Ack(messages.ACK, TWO.last_zxid))
    stage.disks[3].log.cut(ONE.last_zxid)
    stage.observer.booted(3, 0, 0)
    assert stage.broken() == ["I16"]


def test_a_state_that_never_was_is_seen(stage: Stage) -> None:
    stage.observer.booted(3, make(1, 7), 1)
    stage.observer.installed(2, make(1, 7), 1)
    assert stage.broken() == ["I16", "I5"]


def test_a_commit_without_a_quorum_is_seen(stage: Stage) -> None:
    stage.propose(ONE)
    stage.log(ONE, on=(1,))
    stage.apply(ONE)
    assert stage.broken() == ["I18"]


def test_a_commit_counting_servers_that_have_not_adopted_the_epoch_is_seen(stage: Stage) -> None:
    stage.propose(ONE)
    stage.log(ONE)
    stage.disks[2].promised_epoch = stage.disks[2].adopted_epoch = 2
    stage.apply(ONE, on=(2,))
    assert stage.broken() == ["I18"]


def test_a_reconfiguration_needs_both_quorums(stage: Stage) -> None:
    stage.observer.proposed(1, ONE, members(1, 4, 5))
    stage.log(ONE, on=(1, 2))
    stage.apply(ONE)
    assert stage.broken() == ["I18"]
    assert stage.observer.config.voters == {1, 4, 5}


def test_telling_clients_of_what_is_not_committed_is_seen(stage: Stage) -> None:
    stage.observer.acknowledged(1, make(1, 1))
    assert stage.broken() == ["I4"]


def test_a_deposed_leader_that_is_confirmed_is_seen(stage: Stage) -> None:
    stage.propose(ONE)
    stage.log(ONE)
    stage.apply(ONE, on=(2,))
    stage.observer.acknowledged(2, ONE.last_zxid)
    stage.observer.confirm_asked(1, 1, 5)
    stage.observer.confirmed(1, 1, 5)
    assert stage.broken() == ["R17"]


def test_what_was_asked_in_a_role_that_is_over_is_forgotten(stage: Stage) -> None:
    stage.observer.confirm_asked(1, 1, 5)
    stage.observer.forget_asked(1)
    stage.observer.confirmed(1, 1, 5)
    assert stage.observer.counts["R17"] == 0


def test_violations_say_what_is_broken_where(stage: Stage) -> None:
    stage.observer.violate("I3", 2, 0x100000001, "something")
    assert str(stage.observer.violations[0]) == f"I3 at server 2, zxid 0x100000001: something [{INVARIANTS['I3']}]"
    for _ in range(100):
        stage.observer.violate("reads", 0, 0, "a client's view")
    assert len(stage.observer.violations) == 20
    assert str(stage.observer.violations[-1]).startswith("reads: a client's view [a read equals")


def test_a_server_alone_needs_no_epochs() -> None:
    observer = Observer(members(1))
    disk = FakeDisk()
    observer.watch(1, disk)
    observer.booted(1, 0, 0)
    observer.led(1, 0)
    first = segment(1)
    add: Callable[[Segment], None] = disk.log.append
    observer.proposed(1, first, None)
    add(first)
    observer.appended(1, first)
    observer.disk_changed(1, ())
    observer.applied(1, first)
    assert observer.violations == []
