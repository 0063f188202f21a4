"""Bytes that nobody should send, and good bytes in pieces: a conversation answers or ends, and never raises."""

from __future__ import annotations

import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore.model.acl import OPEN_ACL
from zkstore.wire import jute
from zkstore.wire.multi import MultiRequest, Op
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    AuthPacket,
    ConnectRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathRequest,
    PathWatchRequest,
    ReconfigRequest,
    RemoveWatchesRequest,
    SaslPacket,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
)

moderate = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

CONNECT = jute.buffer(ConnectRequest(0, 0, 30_000, 0, bytes(16), False).encode())
BODIES = {
    Opcode.CREATE: CreateRequest(b"/a", b"1", OPEN_ACL, 0).encode(),
    Opcode.CREATE2: CreateRequest(b"/a/s", None, ((31, "ip", "127.0.0.1"),), 3).encode(),
    Opcode.CREATE_CONTAINER: CreateRequest(b"/c", b"", OPEN_ACL, 4).encode(),
    Opcode.CREATE_TTL: CreateTtlRequest(b"/t", b"", OPEN_ACL, 5, 1_000).encode(),
    Opcode.SET_DATA: SetDataRequest(b"/a", b"22", -1).encode(),
    Opcode.DELETE: DeleteRequest(b"/a", 0).encode(),
    Opcode.SET_ACL: SetAclRequest(b"/a", OPEN_ACL, -1).encode(),
    Opcode.MULTI: MultiRequest(
        (
            Op(Opcode.CREATE, CreateRequest(b"/m", b"", OPEN_ACL, 1)),
            Op(Opcode.SET_DATA, SetDataRequest(b"/m", b"x", 0)),
            Op(Opcode.DELETE, DeleteRequest(b"/a", -1)),
        )
    ).encode(),
    Opcode.MULTI_READ: MultiRequest((Op(Opcode.GET_DATA, PathWatchRequest(b"/a", True)),)).encode(),
    Opcode.GET_DATA: PathWatchRequest(b"/a", True).encode(),
    Opcode.EXISTS: PathWatchRequest(b"/a", True).encode(),
    Opcode.GET_CHILDREN: PathWatchRequest(b"/", True).encode(),
    Opcode.GET_CHILDREN2: PathWatchRequest(b"/", False).encode(),
    Opcode.GET_ACL: PathRequest(b"/a").encode(),
    Opcode.GET_ALL_CHILDREN_NUMBER: PathRequest(b"/").encode(),
    Opcode.GET_EPHEMERALS: PathRequest(b"/").encode(),
    Opcode.SYNC: PathRequest(b"/").encode(),
    Opcode.ADD_WATCH: AddWatchRequest(b"/a", 1).encode(),
    Opcode.CHECK_WATCHES: RemoveWatchesRequest(b"/a", 3).encode(),
    Opcode.REMOVE_WATCHES: RemoveWatchesRequest(b"/a", 2).encode(),
    Opcode.SET_WATCHES: SetWatches(0, (b"/a",), (b"/b",), (b"/",)).encode(),
    Opcode.SET_WATCHES2: SetWatches2(0, (b"/a",), (b"/b",), (b"/",), (b"/a",), (b"/",)).encode(),
    Opcode.AUTH: AuthPacket(0, "digest", b"user:secret").encode(),
    Opcode.SASL: SaslPacket(b"").encode(),
    Opcode.RECONFIG: ReconfigRequest(None, None, "server.1=a:1:2", -1).encode(),
    Opcode.WHO_AM_I: b"",
    Opcode.PING: b"",
    Opcode.CLOSE_SESSION: b"",
}

good_requests = st.sampled_from(sorted(BODIES)).map(lambda opcode: (int(opcode), BODIES[opcode]))
but_no_close = good_requests.filter(lambda request: request[0] != Opcode.CLOSE_SESSION)


def framed(request: tuple[int, bytes], xid: int = 1) -> bytes:
    opcode, body = request
    return jute.buffer(jute.int32(xid) + jute.int32(opcode) + body)


@st.composite
def mutated_bodies(draw: st.DrawFn) -> tuple[int, bytes]:
    """A valid request with a few bytes changed, cut or added, maybe under another opcode."""
    opcode, body = draw(good_requests)
    changed = bytearray(body)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(changed)))
        piece = draw(st.sampled_from([b"", b"\0", b"\xff", b"\xff" * 4, b"\x7f\xff\xff\xff", b"/", b"\0\0\0\1"]))
        changed[at : at + draw(st.integers(0, 4))] = piece
    return draw(st.sampled_from([opcode, opcode, *map(int, BODIES)])), bytes(changed)


def check_that_others_are_served(world: World) -> None:
    world.run_disk()
    other = world.client()
    assert other.create(b"/other").code == 0
    assert world.check_chain().records == world.tree.records


@moderate
@given(data=st.binary(max_size=200))
def test_random_bytes_in_place_of_a_handshake(make_world: type[World], data: bytes) -> None:
    world = make_world()
    world.stranger().receive(data)
    check_that_others_are_served(world)


@moderate
@given(data=st.binary(max_size=200))
def test_random_bytes_in_place_of_requests(make_world: type[World], data: bytes) -> None:
    client = make_world().client()
    client.receive(data)
    assert not client.is_ended or client.conversation.end_reason or client.answers()
    check_that_others_are_served(client.world)


@moderate
@given(requests=st.lists(mutated_bodies(), min_size=5, max_size=30))
def test_requests_that_were_damaged_are_answered_one_by_one(
    make_world: type[World], requests: list[tuple[int, bytes]]
) -> None:
    client = make_world().client()
    client.create(b"/a")
    overtaking = {Opcode.AUTH, Opcode.SASL, Opcode.PING}
    expected = []
    for xid, request in enumerate(requests, 1):
        client.receive(framed(request, xid))
        if client.is_ended or request[0] == Opcode.CLOSE_SESSION:
            break
        if request[0] not in overtaking:
            expected.append(xid)
    was_cut = client.is_ended
    client.world.run_disk()
    answered = [answer.xid for answer in client.answers() if answer.xid in expected]
    assert was_cut or answered == expected
    check_that_others_are_served(client.world)


@moderate
@given(data=st.data(), requests=st.lists(but_no_close, min_size=3, max_size=20))
def test_bytes_in_pieces_are_as_good_as_whole(
    make_world: type[World], data: st.DataObject, requests: list[tuple[int, bytes]]
) -> None:
    stream = CONNECT + b"".join(framed(request, xid) for xid, request in enumerate(requests, 1))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    outputs = []
    for chunks in (pieces, [stream], [stream[at : at + 1] for at in range(len(stream))]):
        client = make_world().stranger()
        for chunk in chunks:
            client.receive(chunk)
        client.world.run_disk()
        outputs.append((client.output(), client.conversation.received, client.world.tree.records))
    assert outputs[0] == outputs[1] == outputs[2]


@st.composite
def set_bodies(draw: st.DrawFn) -> bytes:
    """Bodies of a setData, most of them good, some cut or longer or with odd lengths."""
    path = draw(st.sampled_from([b"/a", b"/a", b"/a", b"/none", b"/mine", b"", b"/a/", b"/zookeeper/config"]))
    value = draw(st.sampled_from([b"", b"x", None, b"y" * 40]))
    body = SetDataRequest(path, value, draw(st.sampled_from([-1, 0, 1, 2, -2]))).encode()
    at = draw(st.integers(0, len(body) - 4))
    if draw(st.integers(0, 3)) == 0:
        body = body[:at] + struct.pack(">i", draw(st.integers(-3, 60))) + body[at + 4 :]
    return draw(st.sampled_from([body, body, body + b"more", body[:at]]))


@moderate
@given(bodies=st.lists(set_bodies(), min_size=1, max_size=12))
def test_the_quick_way_of_a_set_is_the_general_one(make_world: type[World], bodies: list[bytes]) -> None:
    outcomes = []
    for is_quick in (True, False):
        world = make_world()
        client = world.client()
        client.create(b"/a")
        client.create(b"/mine", acl=((31, "ip", "127.0.0.1"),))
        client.get_data(b"/a", watch=True)
        for xid, body in enumerate(bodies, 1):
            send_set(client, xid, body, is_quick)
        world.run_disk()
        outcomes.append((client.output(), world.tree.records, world.replica.figures.proposals))
    assert outcomes[0] == outcomes[1]


def send_set(client: Client, xid: int, body: bytes, is_quick: bool) -> None:
    """The same request by either way; the general one is what the quick one falls back to."""
    if is_quick:
        client.receive(framed((Opcode.SET_DATA, body), xid))
        return
    conversation, replica = client.conversation, client.world.replica
    proposal = replica.role.propose_request(conversation, xid, Opcode.SET_DATA, jute.Reader(body))
    conversation.waiting.append(proposal)
