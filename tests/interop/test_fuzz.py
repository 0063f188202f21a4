"""Bytes that nobody chose, over real connections: the server answers or hangs up, and serves the others."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interop.processes import ServerProcess
from tests.interop.raw import RawClient, Reply, frame, greeting, request
from zkstore.model.acl import OPEN_ACL
from zkstore.wire import jute
from zkstore.wire.multi import MultiRequest, Op
from zkstore.wire.opcodes import XID_PING, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathWatchRequest,
    RemoveWatchesRequest,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
)

pytestmark = pytest.mark.interop

ENDING = {Opcode.CLOSE_SESSION, Opcode.AUTH, Opcode.SASL}  # these may end the connection; all others are answered

PATHS = st.sampled_from([b"/", b"/fuzz", b"/fuzz/a", b"/fuzz/a/b", b"/fuzz/s-", b"/nope/x", b"/fuzz/", b"/\xff", b""])
INTS = st.one_of(st.integers(-2, 40), st.sampled_from([-(2**31), 2**31 - 1, 1 << 20]))
LONGS = st.one_of(st.integers(-2, 40), st.sampled_from([-(2**63), 2**63 - 1]))
OPS = st.one_of(
    st.builds(
        lambda path, flags: Op(Opcode.CREATE, CreateRequest(path, b"", OPEN_ACL, flags)), PATHS, st.integers(0, 4)
    ),
    st.builds(lambda path, version: Op(Opcode.DELETE, DeleteRequest(path, version)), PATHS, INTS),
    st.builds(lambda path, version: Op(Opcode.SET_DATA, SetDataRequest(path, b"x", version)), PATHS, INTS),
    st.builds(lambda path, version: Op(Opcode.CHECK, CheckVersionRequest(path, version)), PATHS, INTS),
)


OPCODES = st.one_of(st.sampled_from(sorted(Opcode)), st.integers(-(2**31), 2**31 - 1))
PATH_LISTS = st.lists(PATHS, max_size=3).map(tuple)
RECORDS: dict[tuple[Opcode, ...], st.SearchStrategy[Any]] = {
    (Opcode.CREATE, Opcode.CREATE2, Opcode.CREATE_CONTAINER): st.builds(
        CreateRequest, PATHS, st.binary(max_size=40), st.just(OPEN_ACL), st.integers(-1, 8)
    ),
    (Opcode.CREATE_TTL,): st.builds(CreateTtlRequest, PATHS, st.just(b""), st.just(OPEN_ACL), st.integers(4, 7), LONGS),
    (Opcode.DELETE,): st.builds(DeleteRequest, PATHS, INTS),
    (Opcode.SET_DATA,): st.builds(SetDataRequest, PATHS, st.binary(max_size=40), INTS),
    (Opcode.EXISTS, Opcode.GET_DATA, Opcode.GET_CHILDREN, Opcode.GET_CHILDREN2, Opcode.GET_ACL, Opcode.SYNC): st.builds(
        PathWatchRequest, PATHS, st.booleans()
    ),
    (Opcode.SET_ACL,): st.builds(SetAclRequest, PATHS, st.just(OPEN_ACL), INTS),
    (Opcode.MULTI, Opcode.MULTI_READ): st.lists(OPS, max_size=5).map(lambda ops: MultiRequest(tuple(ops))),
    (Opcode.SET_WATCHES,): st.builds(SetWatches, LONGS, PATH_LISTS, PATH_LISTS, PATH_LISTS),
    (Opcode.ADD_WATCH,): st.builds(AddWatchRequest, PATHS, st.integers(-1, 3)),
    (Opcode.CHECK_WATCHES, Opcode.REMOVE_WATCHES): st.builds(RemoveWatchesRequest, PATHS, st.integers(0, 6)),
}


@st.composite
def requests_of_a_kind(draw: st.DrawFn) -> tuple[int, bytes]:
    """An opcode and its body: as it should be, or with bytes changed, cut off or put in."""
    opcodes = draw(st.sampled_from(sorted(RECORDS)))
    body = bytearray(draw(RECORDS[opcodes]).encode())
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        at = draw(st.integers(0, len(body)))
        change = draw(st.sampled_from(["cut", "insert", "length", "byte"]))
        if change == "cut":
            del body[at:]
        elif change == "insert":
            body[at:at] = draw(st.binary(max_size=6))
        elif change == "length":
            body[at : at + 4] = jute.int32(draw(INTS))
        else:
            body[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
    return draw(st.sampled_from(opcodes)), bytes(body)


XIDS = st.integers(0, 2**31 - 1)
REQUESTS = st.lists(
    st.one_of(
        st.tuples(XIDS, requests_of_a_kind()).map(lambda parts: (parts[0], *parts[1])),
        st.tuples(XIDS, OPCODES, st.binary(max_size=60)),
    ),
    min_size=1,
    max_size=8,
)


def check_that_others_are_served(server: ServerProcess) -> None:
    with RawClient(server.port) as other:
        assert other.hello(timeout_ms=400).session_id
        assert other.ping().code == 0


def check_every_request_is_answered(server: ServerProcess, requests: list[tuple[int, int, bytes]]) -> None:
    """Each in order with its own xid; where one ends the connection, answers under way are lost with it."""
    is_ended = any(opcode in ENDING for _, opcode, _ in requests)
    with RawClient(server.port) as client:
        client.hello(timeout_ms=400)
        client.send(b"".join(request(xid, opcode, body) for xid, opcode, body in requests))
        client.send(request(XID_PING, Opcode.PING))
        for xid, opcode, _ in requests:
            if opcode == Opcode.PING:
                continue  # answered at once, whatever else is under way
            reply = next_answer(client)
            if reply is None and is_ended:
                break
            assert reply is not None, f"no answer to opcode {opcode}"
            if opcode in ENDING:
                break
            assert reply.xid == xid, f"opcode {opcode}"
            assert not (reply.code and reply.body), "an error has no body"
    check_that_others_are_served(server)


def next_answer(client: RawClient) -> Reply | None:
    """The next that is neither a watch event nor a ping's."""
    while (reply := client.reply()) is not None and reply.xid < 0:
        pass
    return reply


def check_any_bytes(server: ServerProcess, before: bytes, after: bytes) -> None:
    """The server answers some of it, or hangs up; in the end the client does."""
    with RawClient(server.port) as client:
        client.send(before)
        client.send(after)
    check_that_others_are_served(server)


ANY_BYTES = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=100).map(frame),
    st.tuples(INTS, st.binary(max_size=60)).map(lambda parts: struct.pack(">i", parts[0]) + parts[1]),
    st.lists(requests_of_a_kind().map(lambda parts: request(1, *parts)), max_size=4).map(b"".join),
)
GREETINGS = st.one_of(
    st.just(b""),
    st.builds(greeting, timeout_ms=INTS, session_id=LONGS, password=st.binary(max_size=20), last_zxid=LONGS),
)
quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
long = settings(deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(requests=REQUESTS)
def test_every_request_is_answered(lasting_server: ServerProcess, requests: list[tuple[int, int, bytes]]) -> None:
    check_every_request_is_answered(lasting_server, requests)


@quick
@given(before=GREETINGS, after=ANY_BYTES)
def test_any_bytes_leave_the_others_alone(lasting_server: ServerProcess, before: bytes, after: bytes) -> None:
    check_any_bytes(lasting_server, before, after)


@pytest.mark.long
@long
@given(requests=REQUESTS)
def test_every_request_is_answered_for_long(
    lasting_server: ServerProcess, requests: list[tuple[int, int, bytes]]
) -> None:
    check_every_request_is_answered(lasting_server, requests)


@pytest.mark.long
@long
@given(before=GREETINGS, after=ANY_BYTES)
def test_any_bytes_leave_the_others_alone_for_long(lasting_server: ServerProcess, before: bytes, after: bytes) -> None:
    check_any_bytes(lasting_server, before, after)
