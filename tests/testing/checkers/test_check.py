"""The checkers: what is right passes, and each rule is broken at least once and notices it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.testing.story import TICK_US, TIMEOUT_US, Story, Teller
from zkstore.model.acl import OPEN_ACL
from zkstore.model.txns import (
    CLOSE_SESSION,
    CREATE,
    CREATE_SESSION,
    DELETE,
    ERROR,
    MULTI,
    SET_DATA,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetDataTxn,
)
from zkstore.model.watches import EventType
from zkstore.testing.checkers.verdict import RULES
from zkstore.wire import jute, segment
from zkstore.wire.multi import MultiRequest, Op
from zkstore.wire.opcodes import AddWatchMode, CreateMode, Opcode
from zkstore.wire.records import CreateRequest, DeleteRequest, SetDataRequest

CREATE_A = Op(Opcode.CREATE, CreateRequest(b"/a", b"", OPEN_ACL, 0))
DELETE_A = Op(Opcode.DELETE, DeleteRequest(b"/a", -1))


def test_a_story_in_which_all_is_right_breaks_no_rule_and_looks_at_each() -> None:
    story = Story()
    writer, watcher = story.session(), story.session(server_id=2)
    writer.create(b"/x")
    watcher.read(Opcode.GET_DATA, b"/x", watch=True)
    watcher.add_watch(b"/", AddWatchMode.PERSISTENT_RECURSIVE)
    writer.set_data(b"/x", b"1")
    watcher.told(EventType.DATA_CHANGED, b"/x")
    watcher.read(Opcode.GET_DATA, b"/x", watch=True)
    watcher.come_back(server_id=3)
    writer.set_data(b"/x", b"2", answered=False)
    writer.come_back(server_id=1)
    watcher.set_watches(story.tree.zxid - 1, data=(b"/x",), told=(EventType.DATA_CHANGED, b"/x"))
    writer.multi(CREATE_A, DELETE_A)
    writer.failing_multi(CREATE_A, CREATE_A, codes=(0, -110))
    for number in range(2):
        path = b"/s-%010d" % (number + 2)
        writer.create(b"/s-", CreateMode.EPHEMERAL_SEQUENTIAL, final=path)
    watcher.sync()
    history = story.history
    history.answered(history.called(watcher.channel, -2, Opcode.PING, None, 0), story.tree.zxid, 0, b"", 0)
    history.queued(1, "proposals", 3, 10)
    history.counts["answer order"] += 1
    writer.close()
    watcher.vanish()
    story.pass_time(TIMEOUT_US + TICK_US)
    story.expire(watcher.session_id)
    verdict = story.verdict()
    assert [str(violation) for violation in verdict.violations] == []
    assert verdict.never() == []


Bad = Callable[[Story, Teller, Teller], None]


def _forked(story: Story, one: Teller, two: Teller) -> None:
    txn = ErrorTxn(ERROR, 0, 0, 0, -1)
    zxid = story.commit(txn)
    other = segment.encode(
        [txn._replace(code=-2)], prev_zxid=zxid - 1, first_zxid=zxid, digest_zxid=0, digest=0, prev_crc=0
    )
    story.history.applied(2, other, story.now_us)


def _hole(story: Story, one: Teller, two: Teller) -> None:
    txn, zxid = ErrorTxn(ERROR, 0, 0, 0, -1), story.tree.zxid
    late = segment.encode([txn], prev_zxid=zxid + 1, first_zxid=zxid + 2, digest_zxid=0, digest=0, prev_crc=0)
    story.history.applied(2, late, story.now_us)


def _digests_differ(story: Story, one: Teller, two: Teller) -> None:
    story.history.digest(2, story.tree.zxid, story.tree.digest + 1)


def _all_digests_are_wrong(story: Story, one: Teller, two: Teller) -> None:
    story.commit(ErrorTxn(ERROR, 0, 0, 0, -1), digest=7)


def _acknowledged_and_lost(story: Story, one: Teller, two: Teller) -> None:
    one.answer(one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"", -1)), story.tree.zxid, 0, bytes(68))


def _acknowledged_elsewhere(story: Story, one: Teller, two: Teller) -> None:
    call = one.set_data(b"/x", b"1", answered=False)
    zxid = story.commit(ErrorTxn(ERROR, 0, 0, 0, -1))
    one.answer(call, zxid, 0, story.tree.records[b"/x"][-68:])


def _shows_what_nobody_committed(story: Story, one: Teller, two: Teller) -> None:
    one.answer(one.ask(Opcode.PING, None), story.tree.zxid + 5)


def _before_what_was_shown(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))
    call.floor = story.tree.zxid + 1
    story.commit(one.decide(call))


def _applied_twice(story: Story, one: Teller, two: Teller) -> None:
    call = one.set_data(b"/x", b"1", answered=False)
    story.commit(SetDataTxn(SET_DATA, one.session_id, call.xid, 0, b"/x", b"1", 3))


def _nobody_asked(story: Story, one: Teller, two: Teller) -> None:
    story.commit(SetDataTxn(SET_DATA, one.session_id, 77, 0, b"/x", b"1", 1))


def _applied_in_another_order(story: Story, one: Teller, two: Teller) -> None:
    first = one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))
    one.set_data(b"/x", b"2", answered=False)
    story.commit(one.decide(first))


def _one_left_out(story: Story, one: Teller, two: Teller) -> None:
    one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))
    one.set_data(b"/x", b"2", answered=False)


def _old_connections_write_comes_late(story: Story, one: Teller, two: Teller) -> None:
    late = one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))
    one.come_back()
    one.set_data(b"/x", b"2")
    story.commit(one.decide(late))


def _answered_out_of_order(story: Story, one: Teller, two: Teller) -> None:
    story.history.complain("answer order", 0, "an answer to 7, expected was one to 6")


def _another_value_is_written(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))
    story.commit(SetDataTxn(SET_DATA, one.session_id, call.xid, 0, b"/x", b"2", 1))


def _succeeds_where_it_must_fail(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", 9))
    story.commit(SetDataTxn(SET_DATA, one.session_id, call.xid, 0, b"/x", b"1", 1))


def _fails_where_it_must_succeed(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))
    story.commit(ErrorTxn(ERROR, one.session_id, call.xid, 0, -103))


def _fails_with_another_code(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.SET_DATA, SetDataRequest(b"/y", b"1", -1))
    story.commit(ErrorTxn(ERROR, one.session_id, call.xid, 0, -103))


def _write_is_answered_wrongly(story: Story, one: Teller, two: Teller) -> None:
    call = one.set_data(b"/x", b"1", answered=False)
    one.answer(call, story.tree.zxid, 0, bytes(68))


def _failure_is_answered_as_success(story: Story, one: Teller, two: Teller) -> None:
    call = one.create(b"/x", answered=False)
    one.answer(call, story.tree.zxid, 0, jute.buffer(b"/x"))


def _reaps_what_is_no_container(story: Story, one: Teller, two: Teller) -> None:
    story.commit(DeleteTxn(DELETE, 0, 0, 0, b"/x"))


def _half_a_multi(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.MULTI, _multi(CREATE_A, Op(Opcode.DELETE, DeleteRequest(b"/x", -1))))
    made = CreateTxn(CREATE, one.session_id, call.xid, 0, b"/a", b"", None, 0)
    story.commit(MultiTxn(MULTI, one.session_id, call.xid, 0, (made,)))


def _a_multis_answer_names_another_culprit(story: Story, one: Teller, two: Teller) -> None:
    one.failing_multi(DELETE_A, CREATE_A, codes=(0, -101))


def _multi(*ops: Op) -> MultiRequest:
    return MultiRequest(ops)


def _stale_data(story: Story, one: Teller, two: Teller) -> None:
    image = story.tree.records[b"/x"]
    one.set_data(b"/x", b"1")
    call = two.read(Opcode.GET_DATA, b"/x")
    call.body = image


def _data_of_the_future(story: Story, one: Teller, two: Teller) -> None:
    call = two.read(Opcode.GET_DATA, b"/x")
    one.set_data(b"/x", b"1")
    call.body = story.tree.records[b"/x"]


def _a_child_too_few(story: Story, one: Teller, two: Teller) -> None:
    two.read(Opcode.GET_CHILDREN, b"/").body = jute.buffers([b"zookeeper"])


def _absent_though_it_is_there(story: Story, one: Teller, two: Teller) -> None:
    call = two.read(Opcode.EXISTS, b"/x")
    call.code, call.body = -101, b""


def _goes_back(story: Story, one: Teller, two: Teller) -> None:
    one.set_data(b"/x", b"1")
    one.answer(one.ask(Opcode.PING, None), story.tree.zxid - 1)


def _goes_back_on_another_server(story: Story, one: Teller, two: Teller) -> None:
    one.set_data(b"/x", b"1")
    one.come_back()
    one.answer(one.ask(Opcode.PING, None), story.tree.zxid - 1)


def _sync_is_stale(story: Story, one: Teller, two: Teller) -> None:
    one.set_data(b"/x", b"1")
    two.sync(story.tree.zxid - 1)


def _watch(story: Story, one: Teller, two: Teller) -> None:
    two.read(Opcode.GET_DATA, b"/x", watch=True)
    one.set_data(b"/x", b"1")


def _event_is_lost(story: Story, one: Teller, two: Teller) -> None:
    _watch(story, one, two)
    two.ping()


def _event_comes_behind_the_answer(story: Story, one: Teller, two: Teller) -> None:
    _watch(story, one, two)
    two.read(Opcode.GET_DATA, b"/x")
    two.told(EventType.DATA_CHANGED, b"/x")


def _event_of_another_kind(story: Story, one: Teller, two: Teller) -> None:
    _watch(story, one, two)
    two.told(EventType.DELETED, b"/x")


def _event_comes_twice(story: Story, one: Teller, two: Teller) -> None:
    _watch(story, one, two)
    two.told(EventType.DATA_CHANGED, b"/x")
    two.told(EventType.DATA_CHANGED, b"/x")


def _event_for_nobody(story: Story, one: Teller, two: Teller) -> None:
    one.set_data(b"/x", b"1")
    two.told(EventType.DATA_CHANGED, b"/x")


def _events_change_places(story: Story, one: Teller, two: Teller) -> None:
    two.add_watch(b"/", AddWatchMode.PERSISTENT_RECURSIVE)
    one.multi(CREATE_A, DELETE_A)
    two.told(EventType.DELETED, b"/a")
    two.told(EventType.CREATED, b"/a")


def _set_watches_tells_nothing(story: Story, one: Teller, two: Teller) -> None:
    seen = story.tree.zxid
    one.set_data(b"/x", b"1")
    two.come_back()
    two.set_watches(seen, data=(b"/x",), told=None)


def _set_watches_tells_too_much(story: Story, one: Teller, two: Teller) -> None:
    two.come_back()
    two.set_watches(story.tree.zxid, data=(b"/x",), told=(EventType.DATA_CHANGED, b"/x"))


def _made_up_without_set_watches(story: Story, one: Teller, two: Teller) -> None:
    two.told(EventType.DATA_CHANGED, b"/x", zxid=-1)
    two.ping()


def _ephemeral_outlives_its_session(story: Story, one: Teller, two: Teller) -> None:
    one.create(b"/e", CreateMode.EPHEMERAL)
    one.close(paths=())


def _session_takes_anothers_ephemeral(story: Story, one: Teller, two: Teller) -> None:
    two.create(b"/e", CreateMode.EPHEMERAL)
    one.close(paths=(b"/e",))


def _ephemeral_of_a_session_that_is_gone(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.CREATE, CreateRequest(b"/e", b"", OPEN_ACL, CreateMode.EPHEMERAL))
    txn = one.decide(call)
    one.close()
    story.commit(txn)


def _sequence_number_again(story: Story, one: Teller, two: Teller) -> None:
    one.create(b"/s-", CreateMode.PERSISTENT_SEQUENTIAL, answered=False)
    one.delete(b"/s-%010d" % 1)
    call = one.ask(Opcode.CREATE, CreateRequest(b"/s-", b"", OPEN_ACL, CreateMode.PERSISTENT_SEQUENTIAL))
    story.commit(CreateTxn(CREATE, one.session_id, call.xid, 0, b"/s-%010d" % 1, b"", None, 0))


def _session_begins_twice(story: Story, one: Teller, two: Teller) -> None:
    story.commit(CreateSessionTxn(CREATE_SESSION, one.session_id, 0, 0, 4000, one.life.password))


def _session_is_given_to_two(story: Story, one: Teller, two: Teller) -> None:
    story.history.welcomed(one.session_id, TIMEOUT_US, bytes(16), 1, story.now_us, story.now_us)


def _session_that_nobody_asked_for(story: Story, one: Teller, two: Teller) -> None:
    story.commit(CreateSessionTxn(CREATE_SESSION, 99, 0, 0, 4000, bytes(16)))


def _writes_after_its_end(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))
    story.pass_time(TIMEOUT_US)
    story.expire(one.session_id)
    story.commit(one.decide(call))


def _reads_after_its_end(story: Story, one: Teller, two: Teller) -> None:
    story.pass_time(TIMEOUT_US)
    story.expire(one.session_id)
    one.read(Opcode.GET_DATA, b"/x")


def _expires_early(story: Story, one: Teller, two: Teller) -> None:
    one.set_data(b"/x", b"1")
    story.pass_time(TIMEOUT_US - 100_000)
    story.expire(one.session_id)


def _expires_while_it_pings(story: Story, one: Teller, two: Teller) -> None:
    for _ in range(3):
        story.pass_time(TIMEOUT_US // 3)
        one.ping()
    story.pass_time(TIMEOUT_US // 2)
    story.expire(one.session_id)


def _is_refused_while_it_lives(story: Story, one: Teller, two: Teller) -> None:
    story.history.refused(one.session_id, story.pass_time())


def _never_expires(story: Story, one: Teller, two: Teller) -> None:
    one.vanish()
    story.pass_time(TIMEOUT_US + 4 * TICK_US)


def _expires_late(story: Story, one: Teller, two: Teller) -> None:
    one.vanish()
    story.pass_time(TIMEOUT_US + 4 * TICK_US)
    story.expire(one.session_id)


def _a_queue_grows_too_long(story: Story, one: Teller, two: Teller) -> None:
    story.history.queued(1, "proposals", 11, 10)


def _a_server_stays_behind(story: Story, one: Teller, two: Teller) -> None:
    story.history.final(2, story.tree.zxid - 1, story.tree.digest)


def _answers_from_long_ago(story: Story, one: Teller, two: Teller) -> None:
    zxid = story.tree.zxid
    one.set_data(b"/x", b"1")
    story.pass_time(21_000_000)
    two.answer(two.ask(Opcode.PING, None), zxid)


def _serves_nobody(story: Story, one: Teller, two: Teller) -> None:
    story.history.disturbed(story.pass_time())
    story.pass_time(11 * TIMEOUT_US)
    one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))


def _serves_late(story: Story, one: Teller, two: Teller) -> None:
    story.history.disturbed(story.pass_time())
    story.pass_time(11 * TIMEOUT_US)
    one.set_data(b"/x", b"1")
    story.history.rested(story.now_us)


def _an_answer_that_never_comes(story: Story, one: Teller, two: Teller) -> None:
    one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"1", -1))
    story.pass_time(6_000_000)
    one.ping()


def _a_client_without_a_server(story: Story, one: Teller, two: Teller) -> None:
    story.history.complain("answers at last", 0, "the client of session 0x1 finds no server")


def _closes_with_wrong_answer(story: Story, one: Teller, two: Teller) -> None:
    call = one.ask(Opcode.CLOSE_SESSION, None)
    zxid = story.commit(CloseSessionTxn(CLOSE_SESSION, one.session_id, call.xid, 0, ()))
    one.answer(call, zxid, -1)


@pytest.mark.parametrize(
    ("rule", "tell"),
    [
        ("agreement", _forked),
        ("agreement", _hole),
        ("digests", _digests_differ),
        ("digests", _all_digests_are_wrong),
        ("survival", _acknowledged_and_lost),
        ("survival", _acknowledged_elsewhere),
        ("survival", _shows_what_nobody_committed),
        ("real time", _before_what_was_shown),
        ("at most once", _applied_twice),
        ("at most once", _nobody_asked),
        ("request order", _applied_in_another_order),
        ("request order", _one_left_out),
        ("request order", _old_connections_write_comes_late),
        ("answer order", _answered_out_of_order),
        ("writes", _another_value_is_written),
        ("writes", _succeeds_where_it_must_fail),
        ("writes", _fails_where_it_must_succeed),
        ("writes", _fails_with_another_code),
        ("writes", _write_is_answered_wrongly),
        ("writes", _failure_is_answered_as_success),
        ("writes", _reaps_what_is_no_container),
        ("writes", _closes_with_wrong_answer),
        ("multi", _half_a_multi),
        ("multi", _a_multis_answer_names_another_culprit),
        ("reads", _stale_data),
        ("reads", _data_of_the_future),
        ("reads", _a_child_too_few),
        ("reads", _absent_though_it_is_there),
        ("monotonic reads", _goes_back),
        ("monotonic over servers", _goes_back_on_another_server),
        ("sync", _sync_is_stale),
        ("watch events", _event_is_lost),
        ("watch events", _event_comes_behind_the_answer),
        ("watch events", _event_of_another_kind),
        ("watch events", _event_comes_twice),
        ("watch events", _event_for_nobody),
        ("watch events", _events_change_places),
        ("restored watches", _set_watches_tells_nothing),
        ("restored watches", _set_watches_tells_too_much),
        ("restored watches", _made_up_without_set_watches),
        ("ephemerals", _ephemeral_outlives_its_session),
        ("ephemerals", _session_takes_anothers_ephemeral),
        ("ephemerals", _ephemeral_of_a_session_that_is_gone),
        ("sequences", _sequence_number_again),
        ("sessions", _session_begins_twice),
        ("sessions", _session_is_given_to_two),
        ("sessions", _session_that_nobody_asked_for),
        ("sessions", _writes_after_its_end),
        ("sessions", _reads_after_its_end),
        ("expiry not early", _expires_early),
        ("expiry not early", _expires_while_it_pings),
        ("expiry not early", _is_refused_while_it_lives),
        ("expiry at last", _never_expires),
        ("expiry at last", _expires_late),
        ("timeliness", _answers_from_long_ago),
        ("service at last", _serves_nobody),
        ("service at last", _serves_late),
        ("answers at last", _an_answer_that_never_comes),
        ("answers at last", _a_client_without_a_server),
        ("bounds", _a_queue_grows_too_long),
        ("final state", _a_server_stays_behind),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else value,
)
def test_what_breaks_a_rule_is_found(rule: str, tell: Bad) -> None:
    story = Story()
    one, two = story.session(), story.session()
    one.create(b"/x")
    tell(story, one, two)
    broken = {violation.rule for violation in story.verdict().violations}
    assert rule in broken


def test_every_rule_is_broken_by_some_story() -> None:
    (mark,) = [mark for mark in test_what_breaks_a_rule_is_found.pytestmark if mark.name == "parametrize"]
    assert {rule for rule, _ in mark.args[1]} == set(RULES)


def test_nobody_need_be_served_who_does_not_ask() -> None:
    story = Story()
    story.session()
    story.history.disturbed(story.pass_time())
    story.history.rested(story.pass_time())
    story.pass_time(20 * TIMEOUT_US)
    assert story.verdict().violations == []


def test_a_write_without_an_answer_may_come_to_pass_or_not() -> None:
    story = Story()
    one, two = story.session(), story.session()
    one.create(b"/x", answered=False)
    two.read(Opcode.EXISTS, b"/x")
    one.ask(Opcode.DELETE, DeleteRequest(b"/x", -1))
    one.come_back()
    one.read(Opcode.EXISTS, b"/x")
    assert story.verdict().violations == []


def test_a_silent_client_of_a_server_out_of_touch_may_lose_its_session() -> None:
    story = Story()
    one, _ = story.session(), story.session()
    story.pass_time(TIMEOUT_US // 2)
    one.ping()
    story.pass_time(TIMEOUT_US // 2)
    story.history.disturbed(story.now_us)
    story.expire(one.session_id)
    assert story.verdict().violations == []


def test_a_txn_that_does_not_fit_the_tree_ends_the_replay_with_a_violation() -> None:
    story = Story()
    one = story.session()
    one.create(b"/x")
    txn = DeleteTxn(DELETE, 0, 0, 0, b"/absent")
    zxid = story.tree.zxid + 1
    story.history.applied(
        1, segment.encode([txn], prev_zxid=zxid - 1, first_zxid=zxid, digest_zxid=0, digest=0, prev_crc=0), 0
    )
    assert "does not fit the tree" in str(story.verdict().violations[-1])


def test_a_session_may_be_served_where_its_beginning_is_not_known_yet() -> None:
    story = Story()
    zxid = story.tree.zxid
    one = story.session()
    one.answer(one.ask(Opcode.PING, None), zxid)
    assert story.verdict().violations == []


def test_a_session_may_be_refused_whose_client_has_asked_for_its_end() -> None:
    story = Story()
    one = story.session()
    one.ask(Opcode.CLOSE_SESSION, None)
    story.history.refused(one.session_id, story.pass_time())
    assert story.verdict().violations == []


def test_a_write_that_found_the_disk_full_did_not_happen() -> None:
    story = Story()
    one = story.session()
    one.answer(one.ask(Opcode.SET_DATA, SetDataRequest(b"/x", b"", -1)), story.tree.zxid, -1)
    one.create(b"/x")
    assert story.verdict().violations == []
