"""TLS between servers: both prove themselves, or nothing is said."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.authority import Authority
from tests.net.peers import Ensemble, Server, Stranger, commit, ensemble_of, vote, warnings_in
from zkstore import limits
from zkstore.errors import ConfigError
from zkstore.net.certificates import PEERS_NAMES, Certificates, TlsSettings
from zkstore.net.listeners import Encryption
from zkstore.wire.messages import PROPOSE, Propose

pytestmark = pytest.mark.trio


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


def certificates(authority: Authority, certificate: Path | None = None, **options: Any) -> Certificates:
    settings = TlsSettings(
        certificate or authority.server_file, ca_file=authority.ca_file, names=PEERS_NAMES, **options
    )
    return Certificates(settings, dials=True)


def server(
    server_id: int, its: Certificates, encryption: Encryption = Encryption.TLS, *, dials_tls: bool = True
) -> Server:
    return Server(server_id, encryption=encryption, certificates=its, settings={"dials_tls": dials_tls})


async def _talk(ensemble: Ensemble) -> None:
    """Votes and a link, both ways, with a message that takes many records."""
    for sender, to in ((1, 2), (2, 1)):
        ensemble.tell(sender, to, vote(sender))
    accepted = await ensemble.link(1, 2)
    large = Propose(PROPOSE, bytes(2_000_000), 0, ())
    ensemble.say(2, accepted, large, commit(1))
    ensemble.say(1, -1, commit(2))
    await ensemble.settle()
    assert (ensemble[1].votes, ensemble[2].votes) == ([vote(2)], [vote(1)])
    assert ensemble[1].messages == [large, commit(1)]
    assert ensemble[2].messages == [commit(2)]


async def test_servers_that_trust_each_other_talk(authority: Authority, mock_clock: MockClock) -> None:
    async with ensemble_of(server(1, certificates(authority)), server(2, certificates(authority))) as ensemble:
        await _talk(ensemble)
        ensemble[2].port.hang_up(1, "no reason")
        await ensemble.settle()
        assert ensemble[1].links[-1] == ("broke", -1, 2)


@pytest.mark.parametrize("dials_tls", [False, True])
async def test_a_port_that_takes_both_serves_an_ensemble_that_changes_over(
    authority: Authority, mock_clock: MockClock, dials_tls: bool
) -> None:
    old = server(1, certificates(authority), Encryption.EITHER, dials_tls=dials_tls)
    new = server(2, certificates(authority), Encryption.EITHER, dials_tls=not dials_tls)
    async with ensemble_of(old, new) as ensemble:
        await _talk(ensemble)


async def test_who_has_a_certificate_of_another_authority_is_not_let_in(
    authority: Authority, stranger_authority: Authority, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    forged = Certificates(
        TlsSettings(stranger_authority.server_file, ca_file=authority.ca_file, names=PEERS_NAMES), dials=True
    )
    async with ensemble_of(server(1, certificates(authority)), server(2, forged)) as ensemble:
        ensemble[2].port.dial(-1, 1)
        ensemble[1].port.dial(-1, 2)
        await ensemble.settle()
        assert ensemble[1].links == ensemble[2].links == [("broke", -1, 0)]
        said = "\n".join(warnings_in(caplog))
        assert "refused: TLS: the other server's certificate is not accepted: unable to get local issuer" in said
        assert "gossip to server 2" in said


async def test_a_certificate_that_was_revoked_is_not_accepted(
    authority: Authority, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    lost = authority.client("lost")
    watchful = certificates(authority, crl_file=authority.revoke(lost))
    async with ensemble_of(server(1, watchful), server(2, certificates(authority, lost))) as ensemble:
        ensemble[2].port.dial(-1, 1)
        await ensemble.settle()
        assert ensemble[2].links == [("broke", -1, 0)]
        assert any(
            "refused: TLS: the other server's certificate is not accepted: certificate revoked" in line
            for line in warnings_in(caplog)
        )


async def test_who_shows_no_certificate_is_not_let_in(
    authority: Authority, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with ensemble_of(server(1, certificates(authority))) as ensemble:
        stranger = Stranger(ensemble, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        for _ in range(2):
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await stranger.say(outgoing.read())
                incoming.write(stranger.socket.recv(1 << 16))
        await stranger.say(outgoing.read())
        assert stranger.is_hung_up_on()
        [line] = warnings_in(caplog)
        assert line.endswith("the other server shows no certificate (ssl.quorum.keyStore.location there)")
        stranger.close()


async def test_who_does_not_speak_tls_is_told_apart(
    authority: Authority, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with ensemble_of(server(1, certificates(authority)), Server(2)) as ensemble:
        await ensemble.settle()
        said = "\n".join(warnings_in(caplog))
        assert "refused: TLS: the other side does not speak TLS; here it must" in said
        assert "refused: the other side speaks TLS, and here it must not" in said


async def test_who_hangs_in_the_handshake_is_disconnected(
    authority: Authority, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with ensemble_of(server(1, certificates(authority))) as ensemble:
        stranger = await Stranger(ensemble, 1).say(b"\x16\x03\x01")
        mock_clock.jump(limits.PEER_HANDSHAKE_TIMEOUT_MS / 1000 + 0.2)
        await ensemble.settle()
        assert stranger.is_hung_up_on()
        assert len(warnings_in(caplog)) == 1
        stranger.close()


@pytest.mark.parametrize(("checks_names", "links"), [(True, [("broke", -1, 0)]), (False, [("dialled", -1, 2)])])
async def test_names_are_compared_where_that_is_asked_for(
    authority: Authority, mock_clock: MockClock, checks_names: bool, links: list[object]
) -> None:
    strict = certificates(authority, checks_names=checks_names)
    nameless = certificates(authority, authority.client("nameless"))
    async with ensemble_of(server(1, strict), server(2, nameless)) as ensemble:
        ensemble[1].port.dial(-1, 2)
        await ensemble.settle()
        assert ensemble[1].links == links


async def test_a_sealed_connection_that_is_cut_into_breaks(
    authority: Authority, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with ensemble_of(server(1, certificates(authority)), server(2, certificates(authority))) as ensemble:
        await ensemble.link(1, 2)
        [victim] = [each for each in ensemble[1].port._connections.values() if each.link == -1]
        victim.socket.send(b"these bytes were never sealed")
        await ensemble.settle()
        assert ensemble[2].links[-1] == ("broke", 1, 1)
        assert ensemble[1].links[-1] == ("broke", -1, 2)
        assert any(line.startswith("the link from server 1 at") and "TLS: " in line for line in warnings_in(caplog))
        assert trio.current_time() == 0


async def test_complaints_name_the_settings_of_servers(authority: Authority, tmp_path: Path) -> None:
    missing = tmp_path / "nothing.pem"
    with pytest.raises(ConfigError, match=rf"^ssl\.quorum\.keyStore\.location={missing}: no such file"):
        certificates(authority, missing)
    with pytest.raises(ConfigError, match=r"^ssl\.quorum\.clientAuth=need needs ssl\.quorum\.trustStore\.location"):
        Certificates(TlsSettings(authority.server_file, names=PEERS_NAMES), dials=True)
    with pytest.raises(ConfigError, match=r"give ssl.quorum.keyStore.password, or ssl.quorum.keyStore.passwordPath"):
        certificates(authority, authority.client("sealed", password="hunter2"))


async def test_a_certificate_that_changes_is_used_for_dialling_and_for_being_dialled(authority: Authority) -> None:
    held = certificates(authority)
    before = (held.context, held.dialling_context)
    held.refresh(even_if_unchanged=True)
    assert held.context is not before[0]
    assert held.dialling_context is not before[1]
    assert held.dialling_context is not None
    assert held.dialling_context.verify_mode is held.context.verify_mode is ssl.CERT_REQUIRED
