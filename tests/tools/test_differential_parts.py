"""The differential tester without servers: its scripts, what it compares, what it lets pass, how it shrinks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.differential import deliberate_differences
from tools.differential_generate import Generator
from tools.differential_rules import DELIBERATE, masked
from tools.differential_run import bursts, shrink
from tools.differential_script import Connect, HangUp, Send, describe, encode
from tools.differential_seen import CLOSED, Bytes, Connected, Event, Fence, Reply, Scale, Seen, see, see_connected
from zkstore.model.stat import Stat
from zkstore.wire.multi import MultiResponse, Result
from zkstore.wire.opcodes import XID_NOTIFICATION, XID_PING, Opcode
from zkstore.wire.records import (
    ConnectResponse,
    DeleteRequest,
    PathWatchRequest,
    RemoveWatchesRequest,
    ReplyHeader,
    SetWatches,
)
from zkstore.wire.responses import (
    ChildrenResponse,
    CreatedResponse,
    DataResponse,
    PathResponse,
    WatcherEvent,
)

SCALE = Scale(100, {0: "0x0", 7: "s1"}.__getitem__)
SERVERS_OWN = {Opcode.NOTIFICATION, Opcode.CHECK, Opcode.DELETE_CONTAINER, Opcode.ERROR, Opcode.CREATE_SESSION}
DELETE = Send("a", 3, Opcode.DELETE, DeleteRequest(b"~/a", -1))


def compared(seen: Seen, *steps: Send) -> list[Seen]:
    return masked({"a": [seen]}, steps or [DELETE])["a"]


# --- scripts --------------------------------------------------------------------------------------


def test_a_seed_decides_the_whole_script() -> None:
    assert Generator(5).script(50) == Generator(5).script(50)
    assert Generator(5).script(50) != Generator(6).script(50)


def test_scripts_ask_for_everything_that_a_client_may_ask_for() -> None:
    steps = [step for seed in range(30) for step in Generator(seed).script(100)]
    asked = {step.opcode for step in steps if isinstance(step, Send)}
    assert asked >= set(Opcode) - SERVERS_OWN
    assert any(isinstance(step, HangUp) for step in steps)
    assert {(step.is_new, step.password_is_right) for step in steps if isinstance(step, Connect)} >= {
        (True, True),
        (False, True),
        (False, False),
    }


def test_a_connection_asks_for_sasl_once() -> None:
    asked: list[tuple[int, str]] = []
    for seed in range(300):
        for step in Generator(seed).script(100):
            if isinstance(step, Connect):
                asked = [(number, link) for number, link in asked if (number, link) != (seed, step.link)]
            elif isinstance(step, Send) and step.opcode == Opcode.SASL:
                assert (seed, step.link) not in asked
                asked.append((seed, step.link))
    assert len(asked) > 50


def test_every_step_has_a_line_that_names_its_connection() -> None:
    for step in Generator(1).script(300):
        assert describe(step).startswith(f"{step.link}: ")


def test_paths_and_zxids_are_the_servers_own_when_they_are_sent() -> None:
    step = Send("a", 1, Opcode.SET_WATCHES, SetWatches(3, (b"~/a",), (), (b"~",)))
    assert encode(step, b"/d1", 100) == SetWatches(103, (b"/d1/a",), (), (b"/d1",)).encode()


def test_a_step_can_be_cut_and_followed_by_noise() -> None:
    body = DeleteRequest(b"/d1/a", -1).encode()
    assert encode(DELETE._replace(cut=4), b"/d1", 0) == body[:-4]
    assert encode(DELETE._replace(tail=b"x"), b"/d1", 0) == body + b"x"


def test_only_requests_of_one_connection_are_sent_together() -> None:
    first, second = DELETE._replace(is_pipelined=True), DELETE._replace(xid=4)
    other = DELETE._replace(link="b")
    assert [steps for _, steps in bursts([first, second, other])] == [[first, second], [other]]
    assert [steps for _, steps in bursts([first, other])] == [[first], [other]]
    assert [last for last, _ in bursts([first, second, first])] == [1, 2]


# --- what is compared -----------------------------------------------------------------------------


def test_zxids_times_and_session_ids_are_seen_as_what_they_mean() -> None:
    stat = Stat(105, 0, 12, 11, 1, 0, 0, 7, 1, 0, 99)
    payload = ReplyHeader(3, 106, 0).encode() + DataResponse(b"x", stat).encode()
    seen = see(payload, {3: Opcode.GET_DATA}, SCALE)
    assert isinstance(seen, Reply)
    assert (seen.opcode, seen.zxid, seen.body.data) == (Opcode.GET_DATA, "+6", b"x")
    assert {"czxid=+5", "mzxid=0", "pzxid=before", "ephemeral_owner=s1", "ctime=set"} < set(seen.body.stat)
    assert "mtime=earlier than its creation" in seen.body.stat


def test_names_that_come_in_any_order_are_compared_sorted() -> None:
    payload = ReplyHeader(3, 106, 0).encode() + ChildrenResponse((b"b", b"a")).encode()
    assert see(payload, {3: Opcode.GET_CHILDREN}, SCALE) == Reply(8, 3, "+6", 0, ChildrenResponse((b"a", b"b")))


def test_events_and_connects_are_seen_too() -> None:
    event = ReplyHeader(XID_NOTIFICATION, -1, 0).encode() + WatcherEvent(1, 3, b"/a").encode()
    assert see(event, {}, SCALE) == Event(1, 3, b"/a", "-1")
    welcome = ConnectResponse(0, 4000, 7, bytes(16), None).encode()
    assert see_connected(welcome, SCALE) == Connected(4000, "s1", 16, None)


@pytest.mark.parametrize("noise", [b"", b"\0\0", b"too much"])
def test_what_does_not_decode_is_compared_byte_by_byte(noise: bytes) -> None:
    payload = ReplyHeader(3, 106, 0).encode() + noise
    expected = Reply(Opcode.DELETE, 3, "+6", 0, None) if noise == b"" else Bytes(payload.hex())
    assert see(payload, {3: Opcode.DELETE}, SCALE) == expected
    assert see_connected(payload, SCALE) == Bytes(payload.hex())


def test_an_answer_to_an_xid_that_was_never_sent_is_shown_as_it_is() -> None:
    payload = ReplyHeader(9, 106, 0).encode()
    assert see(payload, {3: Opcode.DELETE}, SCALE) == Bytes(payload.hex())


# --- what passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seen",
    [
        Reply(Opcode.DELETE, 3, "+6", -101, None),
        Reply(Opcode.GET_DATA, 3, "+6", 0, DataResponse(None, Stat(*range(11)))),
        Fence("+6"),
        Bytes("00"),
        CLOSED,
    ],
)
def test_ordinary_answers_are_compared_as_they_are(seen: Seen) -> None:
    assert compared(seen) == [seen]


def test_the_zxid_of_an_event_is_not_compared_and_its_path_is() -> None:
    assert compared(Event(1, 3, b"/d1/a", "-1")) == compared(Event(1, 3, b"/d1/a", "+4"))
    assert compared(Event(1, 3, b"/d1/a", "-1")) != compared(Event(1, 3, b"/d1/b", "-1"))


def test_who_may_not_read_matters_only_for_guarded_names() -> None:
    assert compared(Event(1, 3, b"/d1/g/a", "-1")) == []
    refused, found = (Reply(Opcode.EXISTS, 3, "+6", code, None) for code in (-102, 0))
    for path, passes in ((b"~/g", True), (b"~/a", False)):
        exists = Send("a", 3, Opcode.EXISTS, PathWatchRequest(path, False))
        assert (compared(refused, exists) == compared(found, exists)) is passes


def test_new_kinds_of_watches_may_be_refused_and_old_ones_may_not() -> None:
    refused, found = (Reply(Opcode.CHECK_WATCHES, 3, "+6", code, None) for code in (-5, 0))
    for kind, passes in ((4, True), (5, True), (3, False), (6, False)):
        check = Send("a", 3, Opcode.CHECK_WATCHES, RemoveWatchesRequest(b"~/a", kind))
        assert (compared(refused, check) == compared(found, check)) is passes


def test_the_stat_of_a_create_in_a_multi_is_not_compared_and_its_path_is() -> None:
    def multi(result: Result) -> list[Seen]:
        return compared(Reply(Opcode.MULTI, 3, "+6", 0, MultiResponse((result,))))

    stat = Stat(*range(11))
    plain = multi(Result(Opcode.CREATE, 0, PathResponse(b"/d1/a")))
    assert multi(Result(Opcode.CREATE2, 0, CreatedResponse(b"/d1/a", stat))) == plain
    assert multi(Result(Opcode.CREATE2, 0, CreatedResponse(b"/d1/b", stat))) != plain


def test_the_server_may_close_where_the_tester_hangs_up_and_nowhere_else() -> None:
    unknown = Send("a", 3, 99, b"", hangs_up=True)
    assert compared(CLOSED, unknown) == []
    assert compared(CLOSED, DELETE) == [CLOSED]


def test_a_ping_has_no_place_in_a_burst_and_one_where_it_is_alone() -> None:
    ping = Send("a", XID_PING, Opcode.PING)
    pong, deleted = Reply(Opcode.PING, XID_PING, "+6", 0, None), Reply(Opcode.DELETE, 3, "+6", 0, None)
    burst = [DELETE, ping]
    assert masked({"a": [pong, deleted]}, burst) == masked({"a": [deleted, pong._replace(zxid="+5")]}, burst)
    assert compared(pong, ping) != compared(pong._replace(zxid="+5"), ping)


def test_every_deliberate_difference_is_told_with_its_reason() -> None:
    text = " ".join(deliberate_differences().split())
    for rule in DELIBERATE:
        assert rule.what in text and rule.why in text


# --- shrinking ------------------------------------------------------------------------------------


@given(items=st.lists(st.integers(), unique=True, min_size=1, max_size=40), data=st.data())
def test_a_script_shrinks_to_what_the_difference_takes_and_keeps_its_order(
    items: list[int], data: st.DataObject
) -> None:
    needed = set(data.draw(st.lists(st.sampled_from(items), min_size=1, max_size=4)))
    kept = shrink(items, lambda candidate: needed <= set(candidate))
    assert kept == [item for item in items if item in needed]
