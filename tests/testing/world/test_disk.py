"""What the simulated disk keeps and what it may lose."""

from __future__ import annotations

from random import Random

import pytest

from zkstore.errors import DamageError
from zkstore.model.txns import SET_DATA, SetDataTxn
from zkstore.testing.world.clock import Agenda
from zkstore.testing.world.disk import Disk, Image, Pace, Row, Sessions
from zkstore.wire import segment as segments
from zkstore.wire.messages import ENROLLED, FRESH
from zkstore.wire.segment import Segment
from zkstore.zab.effects import Adopt, Append, Belong, Cut, DiskEffect, Install, InstallBegin, InstallRows, Promise


class Owner:
    def __init__(self) -> None:
        self.told: list[DiskEffect] = []
        self.on_disk: list[DiskEffect] = []
        self.removed: list[Segment] = []
        self.failures: list[tuple[DiskEffect, bool]] = []

    def disk_changed(self, effect: DiskEffect, removed: list[Segment]) -> None:
        self.on_disk.append(effect)
        self.removed += removed

    def disk_done(self, effects: list[DiskEffect]) -> None:
        self.told += effects

    def disk_failed(self, effect: DiskEffect, is_full: bool, text: str) -> None:
        self.failures.append((effect, is_full))


class Images:
    def built(self, zxid: int, crc: int, digest: int, rows: list[Row], sessions: Sessions) -> Image | None:
        return Image(zxid, crc, digest, tuple(rows)) if digest == len(rows) else None


class Bench:
    def __init__(self) -> None:
        self.agenda = Agenda()
        self.owner = Owner()
        self.disk = Disk(self.agenda, Random(1), Pace(1000, 0), Images(), self.owner)

    def ask(self, *effects: DiskEffect) -> None:
        for effect in effects:
            self.disk.ask(effect)

    def run(self, us: int) -> None:
        self.agenda.run(self.agenda.now_us + us, lambda: False)


def chain(count: int) -> list[Segment]:
    found: list[Segment] = []
    prev_zxid = prev_crc = 0
    for number in range(1, count + 1):
        txn = SetDataTxn(SET_DATA, 1, 1, 1, b"/x", b"%d" % number, 1)
        found.append(
            segments.encode([txn], prev_zxid=prev_zxid, first_zxid=number, digest_zxid=0, digest=0, prev_crc=prev_crc)
        )
        prev_zxid, prev_crc = found[-1].last_zxid, found[-1].crc
    return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_effects_are_done_in_order_and_told_afterwards(bench: Bench) -> None:
    one, two = chain(2)
    effects = [Promise(3), Append(one), Append(two), Adopt(3), Belong(b"e" * 16)]
    bench.ask(*effects)
    assert not bench.owner.on_disk
    bench.run(10_000)
    assert bench.owner.told == bench.owner.on_disk == effects
    disk = bench.disk
    assert (disk.promised_epoch, disk.adopted_epoch, disk.ensemble_id) == (3, 3, b"e" * 16)
    assert disk.log.end == (two.last_zxid, two.crc)
    assert disk.log.all() == [one, two]


@pytest.mark.parametrize(("part", "kept"), [(0.0, 1), (0.5, 3), (1.0, 5)])
def test_a_crash_keeps_a_first_part_of_the_appends_that_were_written_together(
    bench: Bench, part: float, kept: int
) -> None:
    appends = [Append(segment) for segment in chain(5)]
    bench.ask(*appends)
    bench.run(1_500)  # The first is written alone; what waited meanwhile is one write.
    bench.disk.crash(part)
    bench.run(10_000)
    assert len(bench.disk.log) == kept
    assert bench.owner.told == appends[:1]


def test_what_waits_behind_is_lost_and_nobody_is_told_after_a_crash(bench: Bench) -> None:
    bench.ask(Promise(1), Adopt(1))
    bench.disk.crash(1.0)
    bench.run(10_000)
    assert (bench.disk.promised_epoch, bench.disk.adopted_epoch) == (1, 0)
    assert bench.owner.told == []


def test_a_snapshot_replaces_all_in_one_step(bench: Bench) -> None:
    first = chain(3)
    bench.ask(*map(Append, first))
    bench.ask(InstallBegin(9, 77, 2), InstallRows(((b"a", b"1"),)), InstallRows(((b"b", b"2"),)))
    bench.run(20_000)
    assert len(bench.disk.log) == 3 and bench.disk.checkpoint is None
    bench.ask(Install(9, ()))
    bench.run(10_000)
    assert bench.disk.log.start == bench.disk.log.end == (9, 77)
    assert bench.disk.checkpoint == Image(9, 77, 2, ((b"a", b"1"), (b"b", b"2")))
    assert bench.owner.removed == first


def test_a_snapshot_that_breaks_off_leaves_nothing(bench: Bench) -> None:
    bench.ask(InstallBegin(9, 77, 1), InstallRows(((b"a", b"1"),)))
    bench.run(10_000)
    bench.disk.crash(1.0)
    assert bench.disk.checkpoint is None and bench.disk.log.end == (0, 0)
    bench.ask(InstallBegin(9, 77, 0), Install(9, ()))
    bench.run(10_000)
    assert bench.disk.checkpoint == Image(9, 77, 0, ())


def test_a_snapshot_with_another_digest_fails(bench: Bench) -> None:
    (one,) = chain(1)
    bench.ask(Append(one), InstallBegin(9, 77, 5), Install(9, ()), Promise(2))
    bench.run(20_000)
    assert bench.owner.failures == [(Install(9, ()), False)]
    assert bench.disk.log.end == (one.last_zxid, one.crc)
    assert bench.disk.promised_epoch == 0


def test_a_full_disk_refuses_and_loses_nothing(bench: Bench) -> None:
    one, two, three = chain(3)
    bench.ask(Append(one))
    bench.run(5_000)
    bench.disk.pace.is_full = True
    bench.ask(Append(two), Append(three))
    bench.run(5_000)
    assert bench.owner.failures == [(Append(two), True)]
    assert bench.disk.log.end == (one.last_zxid, one.crc) and bench.disk.trusted
    bench.disk.pace.is_full = False
    bench.ask(Append(two))
    bench.run(5_000)
    assert bench.disk.log.end == (two.last_zxid, two.crc)


def test_a_failing_disk_is_not_trusted_until_a_restart(bench: Bench) -> None:
    bench.disk.pace.is_failing = True
    bench.ask(Promise(1))
    bench.run(5_000)
    assert bench.owner.failures == [(Promise(1), False)] and not bench.disk.trusted
    bench.disk.pace.is_failing = False
    bench.ask(Promise(2))
    bench.run(5_000)
    assert len(bench.owner.failures) == 2
    bench.disk.crash(0)
    bench.ask(Promise(3))
    bench.run(5_000)
    assert bench.disk.promised_epoch == 3


def test_what_was_done_before_a_failure_is_told_before_it(bench: Bench) -> None:
    bench.ask(Promise(1))
    bench.run(1_001)
    bench.disk.pace.is_full = True
    bench.disk.pace.write_us = 0
    bench.ask(Promise(2))
    bench.run(5_000)
    assert bench.owner.told == [Promise(1)]
    assert bench.owner.failures == [(Promise(2), True)]


def test_a_stalled_disk_ends_no_write_until_it_is_over(bench: Bench) -> None:
    bench.disk.pace.stalled_until_us = 50_000
    bench.ask(Promise(1))
    bench.run(49_000)
    assert bench.disk.promised_epoch == 0
    bench.run(2_000)
    assert bench.owner.told == [Promise(1)]


def test_a_cut_gives_what_it_removed(bench: Bench) -> None:
    one, two, three = chain(3)
    bench.ask(*map(Append, (one, two, three)), Cut(one.last_zxid))
    bench.run(20_000)
    assert bench.disk.log.end == (one.last_zxid, one.crc)
    assert bench.owner.removed == [two, three]


def test_a_checkpoint_drops_old_segments_but_never_the_last(bench: Bench) -> None:
    all_four = chain(4)
    bench.ask(*map(Append, all_four))
    bench.run(20_000)
    last = all_four[-1]
    bench.disk.take_checkpoint(Image(last.last_zxid, last.crc, 0, ()), 0, 10)
    bench.run(1_000)
    assert bench.disk.log.all() == [last]
    assert bench.disk.log.start == (all_four[2].last_zxid, all_four[2].crc)


def test_a_checkpoint_that_a_crash_interrupts_never_was(bench: Bench) -> None:
    (one,) = chain(1)
    bench.ask(Append(one))
    bench.run(5_000)
    bench.disk.take_checkpoint(Image(1, one.crc, 0, ()), 0, 100)
    bench.disk.crash(1.0)
    bench.run(5_000)
    assert bench.disk.checkpoint is None


def test_a_wiped_disk_is_a_new_one(bench: Bench) -> None:
    one, two = chain(2)
    bench.ask(Promise(3), Append(one), Append(two), Adopt(3, True), Belong(b"e" * 16))
    bench.run(10_000)
    assert bench.disk.enrolment == ENROLLED
    bench.disk.take_checkpoint(Image(1, one.crc, 0, ()), 0, 1_000)
    bench.run(10_000)
    bench.disk.crash(0)
    bench.disk.wipe()
    disk = bench.disk
    assert (disk.promised_epoch, disk.adopted_epoch, disk.ensemble_id, disk.enrolment) == (0, 0, None, FRESH)
    assert disk.checkpoint is None and disk.log.all() == [] and disk.log.end == disk.log.start == (0, 0)


def test_positions_and_reading_follow_the_contract(bench: Bench) -> None:
    all_four = chain(4)
    bench.ask(*map(Append, all_four))
    bench.run(20_000)
    log = bench.disk.log
    log.drop_before(2, 0)
    assert log.start == (2, all_four[1].crc)
    assert log.end_at_or_before(1) is None
    assert log.end_at_or_before(2) == (2, all_four[1].crc)
    assert log.end_at_or_before(99) == (4, all_four[3].crc)
    assert log.read(2, 1) == [all_four[2]]
    assert log.read(2, 1 << 20) == all_four[2:]
    assert log.read(4, 1 << 20) == []


def test_rotten_bits_are_seen_when_read_and_at_the_start(bench: Bench) -> None:
    bench.ask(*map(Append, chain(4)))
    bench.run(20_000)
    log = bench.disk.log
    assert log.rot(0.5, 500)
    assert len(log.read(0, 1)) == 1
    with pytest.raises(DamageError):
        log.read(0, 1 << 20)
    with pytest.raises(DamageError):
        log.all()
    assert not Bench().disk.log.rot(0.5, 1)
