"""multi: the reference's bytes, what each of the two groups takes, and how results look to each client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import MarshallingError, ProtocolError, TruncatedRecordError
from zkstore.model.stat import Stat
from zkstore.wire import jute
from zkstore.wire.jute import Reader, WireAcl
from zkstore.wire.multi import TERMINATOR, MultiRequest, MultiResponse, Op, Result, encode_error, encode_result
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import (
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathWatchRequest,
    RequestHeader,
    SetDataRequest,
)
from zkstore.wire.responses import ChildrenResponse, CreatedResponse, DataResponse, PathResponse, StatResponse

OPEN = (WireAcl(31, "world", "anyone"),)
STAT = Stat(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)

WRITES = MultiRequest(
    (
        Op(Opcode.CREATE, CreateRequest(b"/a", b"x", OPEN, 0)),
        Op(Opcode.CREATE2, CreateRequest(b"/b", None, OPEN, 2)),
        Op(Opcode.CREATE_CONTAINER, CreateRequest(b"/c", b"", None, 4)),
        Op(Opcode.CREATE_TTL, CreateTtlRequest(b"/d", b"", OPEN, 5, 1000)),
        Op(Opcode.DELETE, DeleteRequest(b"/e", -1)),
        Op(Opcode.SET_DATA, SetDataRequest(b"/f", None, 3)),
        Op(Opcode.CHECK, CheckVersionRequest(b"/g", 4)),
    )
)
READS = MultiRequest(
    (
        Op(Opcode.GET_DATA, PathWatchRequest(b"/a", False)),
        Op(Opcode.GET_CHILDREN, PathWatchRequest(b"/", False)),
    )
)
RESULTS = MultiResponse(
    (
        Result(Opcode.CREATE, 0, PathResponse(b"/a")),
        Result(Opcode.CREATE2, 0, CreatedResponse(b"/b", STAT)),
        Result(Opcode.DELETE, 0, None),
        Result(Opcode.SET_DATA, 0, StatResponse(STAT)),
        Result(Opcode.CHECK, 0, None),
        Result(Opcode.GET_DATA, 0, DataResponse(None, STAT)),
        Result(Opcode.GET_CHILDREN, 0, ChildrenResponse((b"x", b"y"))),
        Result(Opcode.ERROR, 0, None),
        Result(Opcode.ERROR, -101, None),
    )
)


def test_a_request_has_the_reference_s_bytes() -> None:
    request = MultiRequest(
        (Op(Opcode.CHECK, CheckVersionRequest(b"/a", 7)), Op(Opcode.DELETE, DeleteRequest(b"/a", -1)))
    )
    frame = bytes.fromhex(
        "00000037 00000004 0000000e 0000000d 00 ffffffff 00000002 2f61 00000007"
        " 00000002 00 ffffffff 00000002 2f61 ffffffff ffffffff 01 ffffffff"
    )
    assert jute.buffer(RequestHeader(4, Opcode.MULTI).encode() + request.encode()) == frame
    assert MultiRequest.decode(Reader(frame, 12)) == request


def test_a_failed_answer_has_the_reference_s_bytes() -> None:
    response = MultiResponse((Result(Opcode.ERROR, -103, None), Result(Opcode.ERROR, -2, None)))
    body = bytes.fromhex("ffffffff 00 ffffff99 ffffff99 ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff")
    assert response.encode() == body
    assert MultiResponse.decode(Reader(body)) == response


def test_every_operation_comes_back() -> None:
    assert MultiRequest.decode(Reader(WRITES.encode())) == WRITES
    assert MultiRequest.decode(Reader(READS.encode()), Opcode.MULTI_READ) == READS


def test_every_result_comes_back() -> None:
    assert MultiResponse.decode(Reader(RESULTS.encode())) == RESULTS


def test_an_empty_multi_is_its_terminator() -> None:
    assert MultiRequest(()).encode() == TERMINATOR
    assert MultiRequest.decode(Reader(TERMINATOR)) == MultiRequest(())


@pytest.mark.parametrize("opcode", [Opcode.CREATE_CONTAINER, Opcode.CREATE_TTL])
def test_creates_of_other_kinds_are_answered_as_create2(opcode: Opcode) -> None:
    body = CreatedResponse(b"/c", STAT).encode()
    assert encode_result(opcode, body) == encode_result(Opcode.CREATE2, body)


def test_an_error_s_code_stands_in_the_header_and_in_the_body() -> None:
    assert encode_error(-101) == bytes.fromhex("ffffffff 00 ffffff9b ffffff9b")


def test_each_group_refuses_the_other_s_operations() -> None:
    with pytest.raises(MarshallingError):
        MultiRequest.decode(Reader(READS.encode()), Opcode.MULTI)
    with pytest.raises(MarshallingError):
        MultiRequest.decode(Reader(WRITES.encode()), Opcode.MULTI_READ)


@pytest.mark.parametrize("opcode", [Opcode.SYNC, Opcode.MULTI, Opcode.EXISTS, 99])
def test_operations_that_no_multi_takes_are_refused(opcode: int) -> None:
    with pytest.raises(MarshallingError):
        MultiRequest.decode(Reader(MultiRequest((Op(opcode, DeleteRequest(b"/a", -1)),)).encode()))


@pytest.mark.parametrize("flags", [-1, 7])
def test_an_invalid_create_flag_refuses_the_whole(flags: int) -> None:
    request = MultiRequest((Op(Opcode.CREATE, CreateRequest(b"/a", b"", OPEN, flags)),))
    with pytest.raises(MarshallingError):
        MultiRequest.decode(Reader(request.encode()))


@pytest.mark.parametrize("flags", [CreateMode.TTL, CreateMode.TTL_SEQUENTIAL])
def test_a_create_that_brings_no_time_cannot_make_a_ttl_znode(flags: int) -> None:
    request = MultiRequest((Op(Opcode.CREATE, CreateRequest(b"/a", b"", OPEN, flags)),))
    with pytest.raises(MarshallingError):
        MultiRequest.decode(Reader(request.encode()))


@pytest.mark.parametrize("opcode", [Opcode.CREATE, Opcode.CREATE2, Opcode.CREATE_CONTAINER])
def test_the_flag_of_a_container_makes_one_by_whatever_create(opcode: Opcode) -> None:
    create = CreateRequest(b"/a", b"", OPEN, CreateMode.CONTAINER)
    request = MultiRequest((Op(opcode, create),))
    assert MultiRequest.decode(Reader(request.encode())).ops == (Op(Opcode.CREATE_CONTAINER, create),)


@pytest.mark.parametrize("flags", [CreateMode.PERSISTENT, CreateMode.EPHEMERAL_SEQUENTIAL, -1])
def test_a_create_with_a_time_and_no_flag_for_it_is_a_plain_create(flags: int) -> None:
    request = MultiRequest((Op(Opcode.CREATE_TTL, CreateTtlRequest(b"/a", b"", OPEN, flags, 1000)),))
    plain = Op(Opcode.CREATE, CreateRequest(b"/a", b"", OPEN, flags))
    assert MultiRequest.decode(Reader(request.encode())).ops == (plain,)


def test_a_missing_terminator_is_refused() -> None:
    with pytest.raises(MarshallingError):
        MultiRequest.decode(Reader(WRITES.encode().removesuffix(TERMINATOR)))


def test_requests_and_answers_cut_anywhere_are_refused() -> None:
    request, response = WRITES.encode(), RESULTS.encode()
    for end in range(len(request)):
        with pytest.raises((TruncatedRecordError, MarshallingError)):
            MultiRequest.decode(Reader(request, 0, end))
    for end in range(len(response)):
        with pytest.raises(TruncatedRecordError):
            MultiResponse.decode(Reader(response, 0, end))


def test_a_result_of_unknown_type_is_the_server_s_fault() -> None:
    with pytest.raises(ProtocolError, match="type 77"):
        MultiResponse.decode(Reader(encode_result(77, b"") + TERMINATOR))


@given(garbage=st.binary(max_size=200), opcode=st.sampled_from([Opcode.MULTI, Opcode.MULTI_READ]))
def test_garbage_is_decoded_or_refused_and_nothing_else(garbage: bytes, opcode: Opcode) -> None:
    try:
        request = MultiRequest.decode(Reader(garbage), opcode)
    except (TruncatedRecordError, MarshallingError):
        return
    assert Reader(garbage).remaining >= len(request.ops) * 9
