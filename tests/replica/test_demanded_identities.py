"""Servers that demand an identity before anything else."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore.model.acl import Identity
from zkstore.wire import jute
from zkstore.wire.opcodes import XID_AUTH, XID_PING, Opcode
from zkstore.wire.records import AuthPacket, PathWatchRequest

DIGEST = frozenset({"digest"})
AUTH = AuthPacket(0, "digest", b"bob:builder").encode()


@pytest.fixture
def stranger() -> Client:
    """Connected, with a session, to a server that demands a digest identity."""
    return World(demanded_schemes=DIGEST).client()


@pytest.mark.parametrize(
    ("xid", "opcode"),
    [(1, Opcode.GET_DATA), (1, Opcode.CREATE), (XID_PING, Opcode.PING), (1, Opcode.CLOSE_SESSION), (1, 4711)],
)
def test_without_it_the_first_request_is_refused_and_the_last(stranger: Client, xid: int, opcode: int) -> None:
    stranger.request(opcode, PathWatchRequest(b"/", False).encode(), xid)
    (answer,) = stranger.answers()
    assert (answer.xid, answer.zxid, answer.code, answer.body) == (xid, 0, -124, b"")
    assert stranger.is_ended
    assert stranger.session_id in stranger.world.tree.sessions


def test_with_it_everything_is_served(stranger: Client) -> None:
    assert stranger.add_auth("digest", b"bob:builder") == 0
    assert stranger.create(b"/a", b"x").code == 0
    assert stranger.get_data(b"/a").data == b"x"


def test_requests_right_behind_the_proof_are_served(stranger: Client) -> None:
    frames = [
        jute.int32(XID_AUTH) + jute.int32(Opcode.AUTH) + AUTH,
        jute.int32(1) + jute.int32(Opcode.GET_DATA) + PathWatchRequest(b"/", False).encode(),
    ]
    data = b"".join(map(jute.buffer, frames))
    for byte in data:
        stranger.receive(bytes([byte]))
    assert [(answer.xid, answer.code) for answer in stranger.answers()] == [(XID_AUTH, 0), (1, 0)]


def test_a_proof_that_fails_is_an_ordinary_failure(stranger: Client) -> None:
    assert stranger.add_auth("kerberos", b"x") == -115
    assert stranger.is_ended


def test_another_identity_is_not_enough(stranger: Client) -> None:
    assert stranger.add_auth("ip", b"") == 0
    assert stranger.get_data(b"/").code == -124


def test_whom_the_connection_itself_proves_is_served_at_once() -> None:
    assert World(demanded_schemes=frozenset({"ip", "sasl"})).client().get_data(b"/").code == 0
    stranger = World(demanded_schemes=frozenset({"x509"})).stranger()
    stranger.conversation.identify([Identity("x509", "CN=bob")])
    assert stranger.connect().get_data(b"/").code == 0


def test_a_frame_that_is_none_ends_the_conversation(stranger: Client) -> None:
    stranger.receive(jute.int32(3))
    assert stranger.is_ended
    assert stranger.output() == b""


def test_a_reconnect_has_to_prove_it_again(stranger: Client) -> None:
    assert stranger.add_auth("digest", b"bob:builder") == 0
    stranger.vanish()
    again = stranger.reconnect()
    assert again.get_data(b"/").code == -124
