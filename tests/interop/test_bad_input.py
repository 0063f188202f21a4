"""Clients that break the protocol, or only behave badly: each gets what it deserves, and the others notice nothing."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.interop.conftest import StartServer
from tests.interop.processes import ServerProcess, wait_until
from tests.interop.raw import RawClient, create, frame, get_data, greeting, request
from zkstore.model.acl import OPEN_ACL
from zkstore.wire import jute
from zkstore.wire.opcodes import XID_AUTH, XID_PING, Opcode
from zkstore.wire.records import CreateRequest, PathWatchRequest

pytestmark = pytest.mark.interop

MARSHALLING_ERROR = -5
BAD_ARGUMENTS = -8
NO_NODE = -101
WITHOUT_BODY = {Opcode.PING, Opcode.CLOSE_SESSION, Opcode.WHO_AM_I}
INVALID_PATHS = [b"", b"a", b"/a/", b"//a", b"/a//b", b"/.", b"/a/../b", b"/a\x00b", b"/a\x01", b"/\xff\xfe", b"/\xc3"]


@pytest.fixture
def bystander(lasting_server: ServerProcess) -> Iterator[RawClient]:
    """Another client, which must be answered before and after."""
    with RawClient(lasting_server.port) as client:
        client.hello()
        assert client.ping().code == 0
        yield client
        assert client.ping().code == 0


def assert_one_line_tells(server: ServerProcess, client_name: str, reason: str) -> None:
    wait_until(lambda: server.logged(client_name), within_s=5)
    messages = server.logged(f"connection from {client_name} ")
    assert len(messages) == 1
    assert reason in messages[0]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not the ZooKeeper protocol"),
        (bytes.fromhex("160301020001"), "speaks TLS"),
        (b"\x00" * 4, "does not fit"),
        (struct.pack(">i", -1), "not the ZooKeeper protocol"),
        (struct.pack(">i", 0x7FFFFFFF), "not the ZooKeeper protocol"),
        (struct.pack(">i", 0x100000), "longer than jute.maxbuffer"),
        (frame(b"\x00" * 20), "does not fit"),
        (frame(struct.pack(">iqiqi", 0, 0, 1000, 0, 1 << 30)), "does not fit"),
        (frame(struct.pack(">iqiqi", 0, 0, 1000, 0, -7)), "does not fit"),
    ],
    ids=["http", "tls", "empty", "negative", "huge", "too-long", "cut-short", "password-outside", "password-negative"],
)
def test_a_greeting_that_makes_no_sense_ends_the_connection(
    lasting_server: ServerProcess, bystander: RawClient, sent: bytes, reason: str
) -> None:
    with RawClient(lasting_server.port) as client:
        client.send(sent)
        assert client.is_closed_by_server()
        assert_one_line_tells(lasting_server, client.name, reason)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (struct.pack(">i", -1), "not the ZooKeeper protocol"),
        (struct.pack(">i", 0x7FFFFFFF), "not the ZooKeeper protocol"),
        (struct.pack(">i", 0x100000), "longer than jute.maxbuffer"),
        (struct.pack(">i", 0), "too short"),
        (frame(b"\x00" * 7), "too short"),
        (request(XID_AUTH, Opcode.AUTH, b"\x00\x00"), "does not fit"),
        (request(XID_AUTH, Opcode.AUTH, struct.pack(">ii", 0, 1 << 30)), "does not fit"),
    ],
    ids=["negative", "huge", "too-long", "empty", "header-cut", "auth-cut", "auth-outside"],
)
def test_a_frame_that_makes_no_sense_ends_the_connection(
    lasting_server: ServerProcess, bystander: RawClient, sent: bytes, reason: str
) -> None:
    with RawClient(lasting_server.port) as client:
        client.hello()
        client.send(sent)
        assert client.is_closed_by_server()
        session = f" (session {client.session_id:#x}) closed: "
        wait_until(lambda: lasting_server.logged(client.name, session, reason), within_s=5)


def test_what_stood_before_a_broken_frame_is_answered(lasting_server: ServerProcess, root: str) -> None:
    path = root.encode() + b"/made"
    with RawClient(lasting_server.port) as client:
        client.hello()
        client.send(create(1, path) + get_data(2, path) + struct.pack(">i", -1))
        assert [client.receive_frame() is None for _ in range(3)][-1]
    with RawClient(lasting_server.port) as client:
        client.hello()
        assert client.get(path) == b""


@pytest.mark.parametrize("opcode", sorted(set(Opcode) - WITHOUT_BODY - {Opcode.AUTH, Opcode.SASL}))
def test_a_body_cut_short_is_answered_and_the_connection_goes_on(
    lasting_server: ServerProcess, bystander: RawClient, opcode: int
) -> None:
    with RawClient(lasting_server.port) as client:
        client.hello()
        for body in (b"", b"\x00", struct.pack(">i", 1 << 30), struct.pack(">i", 9) + b"/a"):
            reply = client.ask(request(7, opcode, body))
            assert reply.xid == 7
            assert reply.code < 0
            assert reply.body == b""
        assert client.ping().xid == XID_PING


@pytest.mark.parametrize(
    "body",
    [
        jute.buffer(b"/x") + struct.pack(">i", 1 << 30),
        jute.buffer(b"/x") + struct.pack(">i", -2),
        jute.buffer(b"/x") + jute.buffer(b"") + struct.pack(">i", 1 << 30),
        jute.buffer(b"/x") + jute.buffer(b"") + struct.pack(">iii", 1, 31, 1 << 30),
        jute.buffer(b"/x") + jute.buffer(b"") + jute.acl(OPEN_ACL) + b"\x00\x00",
    ],
    ids=["data-outside", "data-negative", "many-acls", "scheme-outside", "flags-cut"],
)
def test_lengths_inside_a_create_that_point_outside_it_are_refused(
    lasting_server: ServerProcess, bystander: RawClient, body: bytes
) -> None:
    with RawClient(lasting_server.port) as client:
        client.hello()
        assert client.ask(request(1, Opcode.CREATE, body)).code == MARSHALLING_ERROR
        assert client.ping().code == 0
        assert client.get(b"/x") is None


@pytest.mark.parametrize("path", INVALID_PATHS)
def test_an_invalid_path_cannot_be_created_and_is_not_there(
    lasting_server: ServerProcess, bystander: RawClient, path: bytes
) -> None:
    with RawClient(lasting_server.port) as client:
        client.hello()
        for opcode in (Opcode.CREATE, Opcode.CREATE2, Opcode.CREATE_CONTAINER):
            body = CreateRequest(path, b"", OPEN_ACL, 4 if opcode == Opcode.CREATE_CONTAINER else 0).encode()
            assert client.ask(request(1, opcode, body)).code in (BAD_ARGUMENTS, NO_NODE)  # there is no parent, either
        for opcode in (Opcode.EXISTS, Opcode.GET_DATA, Opcode.GET_CHILDREN):
            reply = client.ask(request(1, opcode, PathWatchRequest(path, False).encode()))
            assert reply.code in ((0,) if path == b"" else (NO_NODE, BAD_ARGUMENTS))  # the empty path reads the root
        assert client.ping().code == 0


def test_xids_come_back_as_they_were_sent_in_whatever_order(lasting_server: ServerProcess) -> None:
    xids = [5, 3, 3, 0, 2**31 - 1, -7, -(2**31), 1]
    with RawClient(lasting_server.port) as client:
        client.hello()
        client.send(b"".join(get_data(xid, b"/") for xid in xids))
        assert [reply.xid for reply in (client.reply() for _ in xids) if reply is not None] == xids


def test_a_client_that_trickles_is_served_between_the_others(
    lasting_server: ServerProcess, root: str, bystander: RawClient
) -> None:
    path = root.encode() + b"/slow"
    sent = greeting() + create(1, path, b"data") + get_data(2, path)
    with RawClient(lasting_server.port) as client:
        for position in range(len(sent)):
            client.send(sent[position : position + 1])
            if position % 16 == 0:
                assert bystander.ping().code == 0
        welcome, made, got = client.receive_frame(), client.reply(), client.reply()
        assert welcome is not None and made is not None and got is not None
        assert (made.xid, made.code, got.xid, got.code) == (1, 0, 2, 0)


def test_a_client_that_never_reads_costs_little_and_is_cut_off(start_server: StartServer) -> None:
    server = start_server("--tick-ms", "200", "--four-letter-words", "*")
    with RawClient(server.port) as other, RawClient(server.port, receive_buffer=4096) as client:
        other.hello()
        assert other.ask(create(1, b"/large", bytes(1_000_000))).code == 0
        before = server.resident_bytes()
        client.hello(timeout_ms=400)
        client.send(b"".join(get_data(xid, b"/large") for xid in range(3000)))  # three gigabytes of answers
        for _ in range(200):
            assert other.ping().code == 0
        assert server.resident_bytes() - before < 64 << 20
        name = client.name
        wait_until(lambda: client.session_id not in session_ids(server))
        wait_until(lambda: name.encode() not in server.ask(b"cons"))
        assert len(server.logged(name)) == 1
        assert server.logged(f"connection from {name} ", "bytes of answers were not read")


def session_ids(server: ServerProcess) -> set[int]:
    lines = server.ask(b"dump").decode().split("ephemeral nodes")[0].splitlines()
    return {int(line, 16) for line in lines if line.startswith("\t")}


def test_a_client_that_vanishes_in_the_middle_of_a_frame_leaves_nothing_behind(
    lasting_server: ServerProcess, root: str, bystander: RawClient
) -> None:
    path = root.encode() + b"/half"
    for reset in (True, False):
        client = RawClient(lasting_server.port)
        client.hello(timeout_ms=400)
        client.send(create(1, path)[:-3])
        if reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        name = client.name
        client.close()
        wait_until(lambda name=name: name.encode() not in lasting_server.ask(b"cons"))
    assert bystander.get(path) is None


def test_a_request_of_a_vanished_client_that_was_whole_is_carried_out(
    lasting_server: ServerProcess, root: str, bystander: RawClient
) -> None:
    path = root.encode() + b"/whole"
    client = RawClient(lasting_server.port)
    client.hello(timeout_ms=400)
    client.send(create(1, path))
    client.close()
    wait_until(lambda: bystander.get(path) == b"")


@pytest.mark.parametrize("sent", [b"", b"ru", greeting()[:20]], ids=["silent", "half-a-word", "half-a-greeting"])
def test_a_client_that_does_not_say_hello_in_time_is_sent_away(start_server: StartServer, sent: bytes) -> None:
    server = start_server("--handshake-timeout-ms", "300")
    with RawClient(server.port) as client, RawClient(server.port) as other:
        other.hello()
        client.send(sent)
        assert client.is_closed_by_server()
        assert_one_line_tells(server, client.name, "no ConnectRequest within 300 ms")
        assert other.ping().code == 0


def is_let_in(server: ServerProcess) -> bool:
    """Whether one more gets a session now."""
    with RawClient(server.port) as late, contextlib.suppress(OSError):
        late.send(greeting())
        return late.receive_frame() is not None
    return False


def test_one_address_may_not_take_more_connections_than_allowed(start_server: StartServer) -> None:
    server = start_server("--connections-per-address-max", "3")
    clients = [RawClient(server.port) for _ in range(3)]
    for client in clients:
        client.hello()
    with RawClient(server.port) as refused:
        assert refused.is_closed_by_server()
        assert_one_line_tells(server, refused.name, "3 connections from this address (maxClientCnxns)")
    clients.pop().close()
    wait_until(lambda: is_let_in(server))
    assert [client.ping().code for client in clients] == [0, 0]
    for client in clients:
        client.close()


def test_all_together_may_not_take_more_connections_than_allowed(start_server: StartServer) -> None:
    server = start_server("--connections-max", "2")
    with RawClient(server.port) as one, RawClient(server.port) as two, RawClient(server.port) as refused:
        one.hello()
        two.hello()
        assert refused.is_closed_by_server()
        assert_one_line_tells(server, refused.name, "2 connections in all")


def test_two_thousand_idle_connections_slow_nobody_down(lasting_server: ServerProcess, bystander: RawClient) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 3000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    idle = [RawClient(lasting_server.port) for _ in range(2000)]
    try:
        for client in idle:
            client.send(greeting(timeout_ms=4000))
        assert all(client.receive_frame() is not None for client in idle)
        assert bystander.ping().code == 0
        assert b"\nConnections: 20" in lasting_server.ask(b"srvr")
        assert all(client.ping().code == 0 for client in idle[::100])
    finally:
        for client in idle:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: b"\nConnections: 20" not in lasting_server.ask(b"srvr"))


def test_a_server_without_descriptors_serves_those_who_are_in(start_server: StartServer) -> None:
    server = start_server(
        "--tick-ms", "200", "--connections-per-address-max", "0", "--checkpoint-txns", "20", open_files_max=160
    )
    clients = [RawClient(server.port) for _ in range(300)]
    inside = clients[0]
    inside.hello()
    for number in range(100):  # several checkpoints: they, too, need descriptors
        assert inside.ask(create(number, b"/n%d" % number)).code == 0
    wait_until(lambda: server.logged("checkpoint at zxid"))
    for client in clients[1:]:
        client.close()

    wait_until(lambda: is_let_in(server))
    assert inside.ping().code == 0
    assert server.is_running
    inside.close()
