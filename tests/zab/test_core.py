"""What outlives roles: the disk's queue, the log's two ends, the commit point and the configurations."""

from __future__ import annotations

import pytest

from tests.zab.harness import make_chain, members
from tests.zab.script import Script
from zkstore.zab import effects as fx

CHAIN = make_chain(1, 2, 3, 4)


def appended(script: Script, count: int) -> None:
    for segment in CHAIN[:count]:
        script.core.append(segment)


def test_the_durable_end_follows_the_disk_and_the_end_runs_ahead() -> None:
    script = Script()
    appended(script, 2)
    assert script.core.end[0] == 2 and script.core.durable[0] == 0 and not script.core.is_disk_idle
    script.disk_step()
    assert script.core.durable == (1, CHAIN[0].crc)
    script.disk_step()
    assert script.core.durable == script.core.end and script.core.is_disk_idle and script.core.backlog_bytes == 0


def test_a_cut_behind_appends_moves_the_durable_end_back_when_its_turn_comes() -> None:
    script = Script()
    appended(script, 3)
    script.core.cut((1, CHAIN[0].crc))
    assert script.core.end[0] == 1
    for durable in (1, 2, 3, 1):
        script.disk_step()
        assert script.core.durable[0] == durable
    assert script.all(fx.Dropped) == [fx.Dropped(1)]


def test_the_disk_reports_in_order_or_not_at_all() -> None:
    script = Script()
    appended(script, 2)
    with pytest.raises(AssertionError, match="not what the disk was to do next"):
        script.core.finish(fx.Append(CHAIN[1]))
    with pytest.raises(AssertionError, match="not what the disk was to do next"):
        script.core.lose(fx.Append(CHAIN[1]))


def test_what_the_disk_loses_is_dropped() -> None:
    script = Script()
    appended(script, 3)
    script.disk_step()
    script.core.lose(fx.Append(CHAIN[1]))
    assert script.core.end == script.core.durable == (1, CHAIN[0].crc) and script.core.is_disk_idle
    assert script.all(fx.Dropped) == [fx.Dropped(1)]


def test_a_cut_that_failed_leaves_what_was_to_be_cut() -> None:
    script = Script(*CHAIN)
    script.core.cut((2, CHAIN[1].crc))
    script.core.lose(fx.Cut(2))
    assert script.core.end[0] == 4 and script.all(fx.Dropped) == []
    assert script.core.is_end(3)


def test_committed_is_told_up_to_this_disk_only() -> None:
    script = Script()
    appended(script, 3)
    script.disk_step()
    script.core.commit_to(3)
    assert script.all(fx.Committed) == [fx.Committed(1)]
    script.disk_all()
    assert [effect.zxid for effect in script.all(fx.Committed)] == [1, 2, 3]
    script.core.commit_to(2)
    assert len(script.all(fx.Committed)) == 3


def test_what_is_not_in_the_log_is_not_committed() -> None:
    script = Script()
    with pytest.raises(AssertionError, match="not in the log"):
        script.core.commit_to(1)


def test_ends_are_known_on_disk_and_on_the_way_there() -> None:
    chain = make_chain(2, 4, 6)
    script = Script(chain[0], chain[1])
    script.core.append(chain[2])
    assert [zxid for zxid in range(9) if script.core.is_end(zxid)] == [0, 2, 4, 6]
    script.disk_all()
    script.core.commit_to(6)
    assert [zxid for zxid in range(9) if script.core.is_end(zxid)] == [0, 2, 4, 6]


def test_promises_only_grow_and_come_before_adoption() -> None:
    script = Script(promised=3, adopted=2)
    with pytest.raises(AssertionError, match="only grow"):
        script.core.promise(3)
    with pytest.raises(AssertionError, match="before it is adopted"):
        script.core.adopt(4)
    script.core.adopt(3)
    script.disk_step()
    assert script.core.adopted_epoch == 3


def test_a_snapshot_is_the_state_once_it_is_installed() -> None:
    script = Script(*CHAIN)
    script.core.install_begin(9, 7, 0)
    script.core.install_rows(((b"key", b"value"),))
    script.core.install((9, 7), ())
    assert script.core.is_installing and script.core.backlog_bytes == 8
    script.disk_all()
    assert script.core.durable == (9, 7) and script.core.committed_zxid == 9 and not script.core.is_installing
    assert script.all(fx.Replaced) == [fx.Replaced(9)]


def test_two_configurations_decide_until_the_new_one_is_committed() -> None:
    script = Script(*CHAIN)
    new = members(3, 4, 5, version=4)
    script.core.config_logged(new, 4)
    assert not script.core.has_quorum({1, 2}) and not script.core.has_quorum({4, 5})
    assert script.core.has_quorum({2, 3, 4})
    assert (
        script.core.is_voter(1)
        and script.core.is_voter(5)
        and script.core.is_member(4)
        and not script.core.is_member(9)
    )
    script.core.commit_to(4)
    assert script.core.config == new and script.core.pending is None
    assert script.core.has_quorum({4, 5}) and not script.core.is_voter(1)


def test_a_reconfiguration_that_is_cut_never_was() -> None:
    script = Script(*CHAIN)
    script.core.config_logged(members(3, 4, 5, version=4), 4)
    script.core.cut((3, CHAIN[2].crc))
    assert script.core.pending is not None, "until it is off the disk it counts"
    script.disk_all()
    assert script.core.pending is None and script.core.has_quorum({1, 2})


def test_a_reconfiguration_that_a_snapshot_replaced_never_was() -> None:
    """It would count as committed at the next commit, for a configuration that nobody else knows."""
    script = Script(*CHAIN)
    script.core.config_logged(members(3, 4, 5, version=4), 4)
    script.core.install_begin(9, 7, 0)
    script.core.install((9, 7), ())
    script.disk_all()
    assert script.core.pending is None and script.core.config.version == 0 and script.core.has_quorum({1, 2})


def test_a_second_reconfiguration_proves_that_the_first_is_committed() -> None:
    script = Script(*CHAIN)
    first, second = members(3, 4, 5, version=2), members(4, 5, 6, version=4)
    script.core.config_logged(first, 2)
    script.core.config_logged(second, 4)
    assert script.core.config == first and script.core.pending == (4, second)


def test_a_configuration_that_was_applied_or_came_with_a_snapshot_counts_unless_it_is_old() -> None:
    script = Script(*CHAIN, committed=4, config=members(1, 2, 3, version=3))
    script.core.config_logged(members(3, 4, 5, version=4), 4)
    assert script.core.config.version == 4, "known to be committed already"
    script.core.config_committed(members(1, 2, 3, version=2))
    assert script.core.config.version == 4
    script.core.config_logged(members(3, 4, version=6), 6)
    script.core.config_committed(members(3, 4, version=6))
    assert script.core.config.version == 6 and script.core.pending is None


def test_the_first_reason_to_leave_counts() -> None:
    script = Script()
    script.core.leave("first", first_choice=2)
    script.core.leave("second", first_choice=3)
    assert script.core.leaving == "first" and script.core.first_choice == 2


def test_a_stop_is_said_once() -> None:
    script = Script()
    script.core.stop("I1", 1, "so")
    script.core.stop("I2", 2, "or so")
    assert script.all(fx.Stop) == [fx.Stop("I1", 1, "so")]
