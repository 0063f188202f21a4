"""Records: the bytes that real clients send, every record there and back, and cut at every byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import MarshallingError, ProtocolError, TruncatedRecordError
from zkstore.model.stat import Stat
from zkstore.model.watches import EventType
from zkstore.wire import jute
from zkstore.wire.jute import Reader, WireAcl
from zkstore.wire.opcodes import STATE_SYNC_CONNECTED, CreateMode, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    AuthPacket,
    CheckVersionRequest,
    ConnectRequest,
    ConnectResponse,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathRequest,
    PathWatchRequest,
    ReconfigRequest,
    RemoveWatchesRequest,
    ReplyHeader,
    RequestHeader,
    SaslPacket,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
)
from zkstore.wire.responses import (
    AclResponse,
    Children2Response,
    ChildrenResponse,
    ClientInfo,
    CreatedResponse,
    DataResponse,
    NumberResponse,
    PathResponse,
    StatResponse,
    WatcherEvent,
    WhoAmIResponse,
)

OPEN = (WireAcl(31, "world", "anyone"),)
REFERENCE_PASSWORD = bytes.fromhex("f22acd4a97e69d6d20a49bb638eadb38")

VECTORS = {
    "ConnectRequest": (
        "0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000 00",
        (ConnectRequest(0, 0, 30000, 0, bytes(16), False),),
    ),
    "ConnectRequest of an old client": (
        "0000002c 00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000",
        (ConnectRequest(0, 0, 30000, 0, bytes(16), None),),
    ),
    "ConnectResponse": (
        "00000025 00000000 00007530 0100000000000000 00000010 f22acd4a97e69d6d20a49bb638eadb38 00",
        (ConnectResponse(0, 30000, 0x0100000000000000, REFERENCE_PASSWORD, False),),
    ),
    "ConnectResponse, refused": (
        "00000025 00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00",
        (ConnectResponse(0, 0, 0, bytes(16), False),),
    ),
    "ping": ("00000008 fffffffe 0000000b", (RequestHeader(-2, Opcode.PING),)),
    "ping's reply": ("00000010 fffffffe 0000000000000002 00000000", (ReplyHeader(-2, 2, 0),)),
    "exists": (
        "0000000f 00000001 00000003 00000002 2f61 01",
        (RequestHeader(1, Opcode.EXISTS), PathWatchRequest(b"/a", True)),
    ),
    "no node": ("00000010 00000001 0000000000000001 ffffff9b", (ReplyHeader(1, 1, -101),)),
    "create": (
        "00000032 00000002 00000001 00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64"
        " 00000006 616e796f6e65 00000000",
        (RequestHeader(2, Opcode.CREATE), CreateRequest(b"/a", b"x", OPEN, CreateMode.PERSISTENT)),
    ),
    "create's reply": (
        "00000016 00000002 0000000000000002 00000000 00000002 2f61",
        (ReplyHeader(2, 2, 0), PathResponse(b"/a")),
    ),
    "NodeCreated": (
        "0000001e ffffffff 0000000000000002 00000000 00000001 00000003 00000002 2f61",
        (ReplyHeader(-1, 2, 0), WatcherEvent(EventType.CREATED, STATE_SYNC_CONNECTED, b"/a")),
    ),
    "closeSession": ("00000008 00000003 fffffff5", (RequestHeader(3, Opcode.CLOSE_SESSION),)),
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())
def test_the_bytes_are_those_of_the_reference(vector: tuple[str, tuple[Any, ...]]) -> None:
    text, records = vector
    frame = bytes.fromhex(text)
    assert jute.buffer(b"".join(record.encode() for record in records)) == frame
    reader = Reader(frame, 4)
    assert tuple(type(record).decode(reader) for record in records) == records
    assert reader.remaining == 0


int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
path = st.none() | st.binary(max_size=12)
data = st.none() | st.binary(max_size=12)
string = st.none() | st.text(max_size=6)
acl = st.none() | st.lists(st.builds(WireAcl, int32, string, string), max_size=3).map(tuple)
paths = st.lists(st.binary(max_size=8), max_size=3).map(tuple)
stat = st.builds(Stat, int64, int64, int64, int64, int32, int32, int32, int64, int32, int32, int64)

RECORDS: dict[type, st.SearchStrategy[Any]] = {
    ConnectRequest: st.builds(ConnectRequest, int32, int64, int32, int64, data, st.none() | st.booleans()),
    ConnectResponse: st.builds(ConnectResponse, int32, int32, int64, data, st.none() | st.booleans()),
    RequestHeader: st.builds(RequestHeader, int32, int32),
    ReplyHeader: st.builds(ReplyHeader, int32, int64, int32),
    CreateRequest: st.builds(CreateRequest, path, data, acl, int32),
    CreateTtlRequest: st.builds(CreateTtlRequest, path, data, acl, int32, int64),
    DeleteRequest: st.builds(DeleteRequest, path, int32),
    CheckVersionRequest: st.builds(CheckVersionRequest, path, int32),
    SetDataRequest: st.builds(SetDataRequest, path, data, int32),
    SetAclRequest: st.builds(SetAclRequest, path, acl, int32),
    ReconfigRequest: st.builds(ReconfigRequest, string, string, string, int64),
    PathRequest: st.builds(PathRequest, path),
    PathWatchRequest: st.builds(PathWatchRequest, path, st.booleans()),
    AuthPacket: st.builds(AuthPacket, int32, string, data),
    SaslPacket: st.builds(SaslPacket, data),
    SetWatches: st.builds(SetWatches, int64, paths, paths, paths),
    SetWatches2: st.builds(SetWatches2, int64, paths, paths, paths, paths, paths),
    AddWatchRequest: st.builds(AddWatchRequest, path, int32),
    RemoveWatchesRequest: st.builds(RemoveWatchesRequest, path, int32),
    PathResponse: st.builds(PathResponse, path),
    CreatedResponse: st.builds(CreatedResponse, path, stat),
    StatResponse: st.builds(StatResponse, stat),
    DataResponse: st.builds(DataResponse, data, stat),
    AclResponse: st.builds(AclResponse, acl, stat),
    ChildrenResponse: st.builds(ChildrenResponse, paths),
    Children2Response: st.builds(Children2Response, paths, stat),
    NumberResponse: st.builds(NumberResponse, int32),
    WhoAmIResponse: st.builds(WhoAmIResponse, st.lists(st.builds(ClientInfo, string, string), max_size=3).map(tuple)),
    WatcherEvent: st.builds(WatcherEvent, int32, int32, path),
}

any_record = st.sampled_from(list(RECORDS.values())).flatmap(lambda strategy: strategy)


@given(record=any_record)
def test_every_record_comes_back(record: Any) -> None:
    reader = Reader(record.encode())
    assert type(record).decode(reader) == record
    assert reader.remaining == 0


@given(record=any_record, more=st.binary(min_size=1, max_size=5))
def test_bytes_after_the_last_field_are_left_alone(record: Any, more: bytes) -> None:
    encoded = record.encode()
    if isinstance(record, ConnectRequest | ConnectResponse) and record.read_only is None:
        return  # here one more byte is a field
    assert type(record).decode(Reader(encoded + more)) == record


@given(record=any_record)
def test_a_record_cut_anywhere_is_truncated(record: Any) -> None:
    encoded = record.encode()
    for end in range(len(encoded)):
        reader = Reader(encoded, 0, end)
        if (
            isinstance(record, ConnectRequest | ConnectResponse)
            and end == len(encoded) - 1
            and record.read_only is not None
        ):
            assert type(record).decode(reader) == record._replace(read_only=None)
            continue
        with pytest.raises(TruncatedRecordError):
            type(record).decode(reader)


@given(kind=st.sampled_from(list(RECORDS)), garbage=st.binary(max_size=120))
def test_garbage_is_decoded_or_refused_and_nothing_else(kind: Any, garbage: bytes) -> None:
    try:
        record = kind.decode(Reader(garbage))
    except (ProtocolError, MarshallingError):
        return
    assert isinstance(record, kind)


@pytest.mark.parametrize("lists", [(None, (), ()), ((), (None,), ())], ids=["null list", "null path"])
def test_set_watches_refuses_null_lists_and_paths(lists: tuple[Any, ...]) -> None:
    body = jute.int64(7) + b"".join(map(jute.buffers, lists))
    with pytest.raises(MarshallingError):
        SetWatches.decode(Reader(body))
