"""The reactor where TLS is spoken: the same conversations, sealed."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import ORGANIZATION, Authority
from tests.interop.raw import create, get_data, greeting, request, set_data
from tests.net.conftest import Caller, World
from zkstore.net.certificates import Certificates, ClientAuth, TlsSettings
from zkstore.net.connection import PortSettings
from zkstore.net.listeners import Encryption
from zkstore.wire.opcodes import XID_NOTIFICATION, Opcode


class SecureCaller(Caller):
    """A client that speaks TLS."""

    def __init__(self, world: World, context: ssl.SSLContext, receive_buffer: int | None = None) -> None:
        super().__init__(world, receive_buffer)
        world.callers.append(self)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.has_heard_farewell = False

    def shake_hands(self) -> SecureCaller:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                super().say(self._outgoing.read())
                assert self._listen(), "the port has nothing to say in the handshake"
            else:
                super().say(self._outgoing.read())
                return self

    def _listen(self) -> bool:
        sealed = super().read()
        self._incoming.write(sealed)
        return bool(sealed)

    def say(self, data: bytes) -> None:
        self._tls.write(data)
        super().say(self._outgoing.read())

    def say_farewell(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        super().say(self._outgoing.read())

    def read(self, most: int = 1 << 20) -> bytes:
        while True:
            try:
                data = self._tls.read(most)
            except ssl.SSLWantReadError:
                if not self._listen():
                    return b""
            else:
                self.has_heard_farewell = not data
                return data

    def join(self) -> SecureCaller:
        self.shake_hands()
        self.say(greeting(timeout_ms=20_000))
        assert len(self.frames()) == 1
        return self

    def identities(self) -> list[bytes]:
        """What whoAmI says, undecoded."""
        self.say(request(1, Opcode.WHO_AM_I))
        return [reply.body for reply in self.replies()]

    @property
    def certificate(self) -> bytes | None:
        return self._tls.getpeercert(binary_form=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def alice(authority: Authority) -> ssl.SSLContext:
    return authority.client_context(authority.client("alice"))


MakeSecureWorld = Callable[..., World]


@pytest.fixture
def make_secure_world(authority: Authority) -> Iterator[MakeSecureWorld]:
    worlds: list[World] = []

    def make(
        *,
        client_auth: ClientAuth = ClientAuth.NEED,
        encryption: Encryption = Encryption.TLS,
        certificates: Certificates | None = None,
        **bounds: int,
    ) -> World:
        settings = TlsSettings(authority.server_file, ca_file=authority.ca_file, client_auth=client_auth)
        world = World(
            PortSettings(**{"connections_per_address_max": 0, **bounds}),
            encryption=encryption,
            certificates=certificates or Certificates(settings),
        )
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def secure_world(make_secure_world: MakeSecureWorld) -> World:
    return make_secure_world()


# --- conversations --------------------------------------------------------------------------------


def test_a_request_is_answered_in_the_turn_in_which_it_comes(secure_world: World, alice: ssl.SSLContext) -> None:
    caller = SecureCaller(secure_world, alice).join()
    caller.say(create(1, b"/n", b"data") + get_data(2, b"/n"))
    assert [(reply.xid, reply.code) for reply in caller.replies()] == [(1, 0), (2, 0)]
    assert not secure_world.port.turn(may_wait=False)


def test_bytes_that_come_one_by_one_make_the_same_conversation(secure_world: World, alice: ssl.SSLContext) -> None:
    caller = SecureCaller(secure_world, alice).join()
    caller._tls.write(get_data(7, b"/"))
    for byte in caller._outgoing.read():
        assert caller.replies() == []
        Caller.say(caller, bytes([byte]))
    assert [reply.xid for reply in caller.replies()] == [7]


def test_answers_wait_for_a_client_that_reads_slowly_and_arrive_whole(
    secure_world: World, alice: ssl.SSLContext
) -> None:
    caller = SecureCaller(secure_world, alice, receive_buffer=4096).join()
    data = bytes(range(256)) * 3000
    caller.say(create(1, b"/big", data))
    assert [reply.code for reply in caller.replies()] == [0]
    for xid in range(2, 8):
        caller.say(get_data(xid, b"/big"))
    [connection] = secure_world.port.connections.values()
    assert connection.conversation.out_bytes > len(data)
    replies = caller.replies()
    assert [reply.xid for reply in replies] == list(range(2, 8))
    assert all(data in reply.body for reply in replies)
    assert connection.conversation.out_bytes == 0


def test_what_others_cause_is_sent_in_the_same_turn(make_secure_world: MakeSecureWorld, alice: ssl.SSLContext) -> None:
    world = make_secure_world(encryption=Encryption.EITHER)
    watcher, writer = SecureCaller(world, alice).join(), world.join()
    writer.say(create(1, b"/n"))
    watcher.say(get_data(1, b"/n", watch=True))
    assert len(watcher.replies()) == 1
    writer.socket.sendall(set_data(2, b"/n", b"new"))
    world.port.turn(may_wait=False)
    assert [reply.xid for reply in watcher.replies()] == [XID_NOTIFICATION]


# --- who comes in ---------------------------------------------------------------------------------


def test_a_certificate_is_an_identity(secure_world: World, alice: ssl.SSLContext) -> None:
    [identities] = SecureCaller(secure_world, alice).join().identities()
    assert b"x509" in identities
    assert b"CN=alice,OU=" in identities
    assert f"O={ORGANIZATION}".encode() in identities


def test_without_a_certificate_nobody_comes_in_where_one_is_needed(
    secure_world: World, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caller = SecureCaller(secure_world, authority.client_context()).shake_hands()
    with pytest.raises(ssl.SSLError, match="certificate required"):
        caller.read()
    assert "the client shows no certificate" in caplog.text


@pytest.mark.parametrize("client_auth", [ClientAuth.WANT, ClientAuth.NONE])
def test_without_a_certificate_a_client_comes_in_where_none_is_needed(
    make_secure_world: MakeSecureWorld, authority: Authority, client_auth: ClientAuth
) -> None:
    world = make_secure_world(client_auth=client_auth)
    [identities] = SecureCaller(world, authority.client_context()).join().identities()
    assert b"x509" not in identities


def test_a_certificate_of_somebody_elses_authority_is_turned_away(
    secure_world: World, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stranger = Authority(tmp_path).client("mallory")
    caller = SecureCaller(secure_world, authority.client_context(stranger)).shake_hands()
    with pytest.raises(ssl.SSLError, match="unknown ca"):
        caller.read()
    assert "the client's certificate is not accepted" in caplog.text


def test_a_certificate_that_was_revoked_is_turned_away(
    make_secure_world: MakeSecureWorld, authority: Authority, alice: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bob = authority.client("bob")
    settings = TlsSettings(authority.server_file, ca_file=authority.ca_file, crl_file=authority.revoke(bob))
    world = make_secure_world(certificates=Certificates(settings))
    SecureCaller(world, alice).join()
    caller = SecureCaller(world, authority.client_context(bob)).shake_hands()
    with pytest.raises(ssl.SSLError, match="revoked"):
        caller.read()
    assert "the client's certificate is not accepted: certificate revoked" in caplog.text


def test_who_does_not_speak_tls_is_hung_up_on(secure_world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caller = secure_world.call()
    caller.say(greeting())
    caller.read()
    assert caller.is_hung_up_on
    assert "the client does not speak TLS" in caplog.text


def test_who_speaks_tls_at_a_plain_port_is_hung_up_on(
    make_secure_world: MakeSecureWorld, alice: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = make_secure_world(encryption=Encryption.NONE)
    caller = SecureCaller(world, alice)
    with pytest.raises(AssertionError, match="nothing to say"):
        caller.shake_hands()
    assert "the client speaks TLS, and this port does not" in caplog.text


def test_a_port_for_both_tells_by_the_first_byte(make_secure_world: MakeSecureWorld, alice: ssl.SSLContext) -> None:
    world = make_secure_world(encryption=Encryption.EITHER)
    secure, plain = SecureCaller(world, alice).join(), world.join()
    for caller in (secure, plain):
        caller.say(get_data(1, b"/"))
        assert [reply.code for reply in caller.replies()] == [0]
    word = world.call()
    word.say(greeting()[:3])
    assert not word.is_hung_up_on


# --- the end --------------------------------------------------------------------------------------


def test_the_last_answer_is_followed_by_a_farewell(secure_world: World, alice: ssl.SSLContext) -> None:
    caller = SecureCaller(secure_world, alice).join()
    caller.say(request(1, Opcode.CLOSE_SESSION))
    assert [(reply.xid, reply.code) for reply in caller.replies()] == [(1, 0)]
    assert caller.has_heard_farewell


def test_a_clients_farewell_ends_the_connection(secure_world: World, alice: ssl.SSLContext) -> None:
    caller = SecureCaller(secure_world, alice).join()
    caller.say_farewell()
    assert not secure_world.port.connections


def test_a_handshake_may_not_take_forever(make_secure_world: MakeSecureWorld, alice: ssl.SSLContext) -> None:
    world = make_secure_world(handshake_timeout_ms=1_000)
    silent, halfway = world.call(), SecureCaller(world, alice).shake_hands()
    world.pass_time(2_000)
    assert silent.is_hung_up_on
    assert Caller.read(halfway) == b""
    assert not world.port.connections


def test_connections_are_counted_whatever_they_speak(make_secure_world: MakeSecureWorld, alice: ssl.SSLContext) -> None:
    world = make_secure_world(encryption=Encryption.EITHER, connections_per_address_max=2)
    SecureCaller(world, alice).join()
    world.join()
    assert world.call().is_hung_up_on


# --- certificates that change ---------------------------------------------------------------------


def test_a_new_certificate_is_for_those_who_come_after(
    make_secure_world: MakeSecureWorld, authority: Authority, alice: ssl.SSLContext, tmp_path: Path
) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(authority.server("first").read_bytes())
    certificates = Certificates(TlsSettings(path, ca_file=authority.ca_file))
    world = make_secure_world(certificates=certificates)
    before = SecureCaller(world, alice).join()
    path.write_bytes(authority.server("second").read_bytes())
    certificates.refresh()
    after = SecureCaller(world, alice).join()
    assert before.certificate != after.certificate
    before.say(get_data(1, b"/"))
    assert [reply.code for reply in before.replies()] == [0]
