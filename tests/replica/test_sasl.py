"""SASL DIGEST-MD5, against another project's client side, and what comes of it for a connection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from puresasl.client import SASLClient

from tests.replica.clients import Answer, Client
from tests.replica.world import World
from zkstore.errors import AuthFailedError
from zkstore.model.acl import Acl
from zkstore.replica.sasl import REALM, Exchange, SaslSettings
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode

USERS = {"bob": "builder", "super": "hero", "zoë": "naïve", "漢": "字", 'o,"dd': 'x\\y=,"'}
AUTH_FAILED, AUTH_REQUIRED = -115, -124


def other_side(user: str, password: str, **options: Any) -> SASLClient:
    return SASLClient(REALM, "zookeeper", "DIGEST-MD5", username=user, password=password, **options)


def respond(user: str, password: str, challenge: bytes) -> bytes:
    answer = other_side(user, password).process(challenge)
    assert isinstance(answer, bytes)
    return answer


# --- the exchange ---------------------------------------------------------------------------------


@pytest.mark.parametrize("user", sorted(USERS))
def test_both_sides_prove_that_they_know_the_password(user: str) -> None:
    exchange, client = Exchange(USERS, "0af1"), other_side(user, USERS[user])
    response = client.process(exchange.step(b""))
    assert exchange.user is None
    proof = exchange.step(response)
    assert exchange.user == user
    client.process(proof)
    assert client.complete


@pytest.mark.parametrize(("user", "password"), [("bob", "wreck"), ("bob", ""), ("eve", "builder"), ("eve", "nobody")])
def test_who_does_not_know_the_password_fails(user: str, password: str) -> None:
    exchange = Exchange(USERS, "0af1")
    challenge = exchange.step(b"")
    with pytest.raises(AuthFailedError):
        exchange.step(respond(user, password, challenge))
    assert exchange.user is None


def test_a_response_is_good_for_one_challenge() -> None:
    first, second = Exchange(USERS, "0af1"), Exchange(USERS, "0af2")
    response = respond("bob", "builder", first.step(b""))
    second.step(b"")
    with pytest.raises(AuthFailedError):
        second.step(response)
    first.step(response)
    with pytest.raises(AuthFailedError):
        first.step(response)


def test_the_response_must_be_for_this_service() -> None:
    exchange = Exchange(USERS, "0af1")
    challenge = exchange.step(b"")
    other = SASLClient(REALM, "imap", "DIGEST-MD5", username="bob", password="builder")
    with pytest.raises(AuthFailedError):
        exchange.step(other.process(challenge))


def test_the_first_token_gets_a_challenge_whatever_it_says() -> None:
    response = respond("bob", "builder", Exchange(USERS, "0af1").step(b""))
    exchange = Exchange(USERS, "0af1")
    assert exchange.step(response) == b'realm="zk-sasl-md5",nonce="0af1",charset=utf-8,algorithm=md5-sess'
    assert exchange.user is None


@given(st.binary(max_size=5000))
def test_other_bytes_fail_and_nothing_worse(token: bytes) -> None:
    exchange = Exchange(USERS, "0af1")
    exchange.step(b"")
    with pytest.raises(AuthFailedError):
        exchange.step(token)


@given(at=st.integers(0, 300), byte=st.integers(0, 255))
def test_a_response_with_another_byte_in_it_proves_nobody_else(at: int, byte: int) -> None:
    exchange = Exchange(USERS, "0af1")
    response = bytearray(respond("bob", "builder", exchange.step(b"")))
    response[at % len(response)] = byte
    try:
        exchange.step(bytes(response))
    except AuthFailedError:
        assert exchange.user is None
    else:
        assert exchange.user == "bob"  # The byte was the same, or in the case of a letter that does not matter.


# --- on a connection ------------------------------------------------------------------------------


def world_of(*, demanded: frozenset[str] = frozenset(), **sasl: Any) -> World:
    return World(
        sasl=SaslSettings(USERS, **sasl), acl_schemes=frozenset({"digest", "ip", "sasl"}), demanded_schemes=demanded
    )


def ask(client: Client, token: bytes) -> Answer:
    client.request(Opcode.SASL, jute.buffer(token))
    (answer,) = client.answers()
    return answer


def token_of(answer: Answer) -> bytes | None:
    return Reader(answer.body).buffer()


def log_in(client: Client, user: str, password: str) -> Answer:
    challenge = token_of(ask(client, b""))
    assert challenge is not None
    return ask(client, respond(user, password, challenge))


def test_a_user_who_has_logged_in_is_an_identity() -> None:
    client = world_of().client()
    answer = log_in(client, "bob", "builder")
    assert (answer.zxid, answer.code) == (0, 0)
    assert (token_of(answer) or b"").startswith(b"rspauth=")
    assert client.who_am_i().identities == {("ip", "127.0.0.1"), ("sasl", "bob")}


def test_acls_may_name_users_and_auth_stands_for_them() -> None:
    world = world_of()
    bob, other = world.client(), world.client()
    log_in(bob, "bob", "builder")
    assert bob.create(b"/mine", b"x", acl=((31, "auth", ""),)).code == 0
    assert bob.get_acl(b"/mine").acl == (Acl(31, "sasl", "bob"),)
    assert other.get_data(b"/mine").code == -102
    assert bob.get_data(b"/mine").code == 0
    assert other.create(b"/for-bob", b"x", acl=((1, "sasl", "bob"),)).code == 0
    assert bob.get_data(b"/for-bob").code == 0


def test_sasl_users_named_super_users_pass_every_acl() -> None:
    world = world_of(super_users=frozenset({"bob"}))
    bob, owner = world.client(), world.client()
    owner.create(b"/locked", acl=((31, "digest", "a:b"),))
    assert bob.get_data(b"/locked").code == -102
    log_in(bob, "bob", "builder")
    assert bob.get_data(b"/locked").code == 0


def test_the_user_super_passes_entries_of_scheme_sasl_only() -> None:
    world = world_of()
    hero, owner = world.client(), world.client()
    log_in(hero, "super", "hero")
    owner.create(b"/for-bob", acl=((31, "sasl", "bob"),))
    owner.create(b"/locked", acl=((31, "digest", "a:b"),))
    assert hero.get_data(b"/for-bob").code == 0
    assert hero.get_data(b"/locked").code == -102


def test_who_fails_is_hung_up_on() -> None:
    client = world_of().client()
    answer = log_in(client, "bob", "wreck")
    assert (answer.zxid, answer.code, token_of(answer)) == (0, AUTH_FAILED, None)
    assert client.is_ended


def test_who_fails_may_go_on_where_that_is_allowed() -> None:
    client = world_of(admits_failed=True).client()
    answer = log_in(client, "bob", "wreck")
    assert (answer.code, token_of(answer)) == (0, None)
    assert client.who_am_i().identities == {("ip", "127.0.0.1")}
    assert log_in(client, "bob", "builder").code == 0


# --- where it is demanded -------------------------------------------------------------------------


def test_where_sasl_is_demanded_who_fails_is_told_so_even_if_failing_is_allowed() -> None:
    client = world_of(demanded=frozenset({"sasl"}), admits_failed=True).client()
    assert log_in(client, "bob", "wreck").code == AUTH_REQUIRED
    assert client.is_ended


def test_who_has_logged_in_is_served_where_that_is_demanded() -> None:
    client = world_of(demanded=frozenset({"sasl"})).client()
    log_in(client, "bob", "builder")
    assert client.create(b"/a").code == 0
