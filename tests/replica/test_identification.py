"""Auth and sasl packets beyond what each scheme says: what a certificate has proved, and whose session they keep."""

from __future__ import annotations

import pytest

from tests.replica.clients import SESSION_TIMEOUT_MS, Client
from tests.replica.world import World
from zkstore.model.acl import Identity
from zkstore.wire import jute
from zkstore.wire.opcodes import XID_AUTH, XID_PING, Opcode
from zkstore.wire.records import AuthPacket, SaslPacket

AUTH = AuthPacket(0, "digest", b"user:password").encode()
SASL = SaslPacket(b"").encode()


def frame(xid: int, opcode: int, body: bytes = b"") -> bytes:
    return jute.buffer(jute.int32(xid) + jute.int32(opcode) + body)


def test_x509_is_granted_to_whom_a_certificate_has_made_somebody_and_to_nobody_else(client: Client) -> None:
    somebody = client.world.client()
    somebody.conversation.identify([Identity("x509", "CN=ann")])
    before = somebody.conversation.identities
    assert somebody.add_auth("x509", b"CN=somebody else") == 0
    assert somebody.add_auth("x509", None) == 0
    assert somebody.conversation.identities == before
    assert not somebody.is_ended
    assert client.add_auth("x509", b"CN=ann") == -115
    assert client.is_ended


def test_who_only_logs_in_does_not_keep_a_session(world: World) -> None:
    client = world.client()
    for _ in range(5):
        world.pass_time(SESSION_TIMEOUT_MS // 4)
        client.receive(frame(XID_AUTH, Opcode.AUTH, AUTH) * 2)
    world.run_disk()
    assert client.session_id not in world.tree.sessions
    assert client.is_ended


@pytest.mark.parametrize("other", [frame(XID_PING, Opcode.PING), frame(7, Opcode.SYNC, jute.buffer(b"/"))])
def test_anything_else_beside_a_login_does(world: World, other: bytes) -> None:
    client = world.client()
    for _ in range(5):
        world.pass_time(SESSION_TIMEOUT_MS // 4)
        client.receive(frame(XID_AUTH, Opcode.AUTH, AUTH) + other)
        world.run_disk()
    assert client.session_id in world.tree.sessions
    assert not client.is_ended


def test_requests_whose_numbers_end_alike_are_no_logins(world: World) -> None:
    client = world.client()
    for _ in range(5):
        world.pass_time(SESSION_TIMEOUT_MS // 4)
        client.receive(frame(7, 256 + Opcode.AUTH))
    assert client.session_id in world.tree.sessions


def test_a_login_on_a_session_that_is_over_is_dropped_without_an_answer(world: World) -> None:
    client = world.client()
    client.receive(frame(1, Opcode.CLOSE_SESSION))
    other = world.client()
    world.replica.tracker.remove(other.session_id)
    other.receive(frame(XID_AUTH, Opcode.AUTH, AUTH))
    assert not other.frames()


def test_where_an_identity_is_demanded_a_login_does_not_keep_a_session_either() -> None:
    world = World(demanded_schemes=frozenset({"x509"}))
    client = world.client()
    for _ in range(5):
        world.pass_time(SESSION_TIMEOUT_MS // 4)
        client.receive(frame(XID_AUTH, Opcode.AUTH, AUTH))
    world.run_disk()
    assert client.session_id not in world.tree.sessions


def test_a_declined_sasl_exchange_that_goes_on_ends_the_connection(client: Client) -> None:
    client.receive(frame(1, Opcode.SASL, SASL))
    assert [answer.code for answer in client.answers()] == [0]
    client.receive(frame(2, Opcode.SASL, SASL))
    assert client.is_ended
    assert not client.frames()
