"""PEM files made into TLS contexts: what fits, what does not, and what happens when they change."""

from __future__ import annotations

import logging
import os
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.authority import Authority, parts
from zkstore.errors import ConfigError
from zkstore.net import files
from zkstore.net.certificates import Certificates, ClientAuth, TlsSettings, load_context, openssl_name


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def settings(authority: Authority) -> TlsSettings:
    return TlsSettings(authority.server_file, ca_file=authority.ca_file)


def complaint(settings: TlsSettings) -> str:
    with pytest.raises(ConfigError) as caught:
        load_context(settings)
    return str(caught.value)


def test_by_default_clients_need_a_certificate_and_tls_is_recent(settings: TlsSettings) -> None:
    context = load_context(settings)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def test_the_key_may_be_in_a_file_of_its_own(authority: Authority, settings: TlsSettings, tmp_path: Path) -> None:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    key_text, chain_text = parts(authority.server_file.read_bytes())
    key.write_bytes(key_text)
    chain.write_bytes(chain_text)
    load_context(replace(settings, certificate_file=chain, key_file=key))
    assert complaint(replace(settings, certificate_file=chain)).startswith(
        f"ssl.keyStore.location={chain}: there is no private key in PEM form in it"
    )
    assert complaint(replace(settings, certificate_file=key)).startswith(
        f"ssl.keyStore.location={key}: there is no certificate in PEM form in it"
    )


def test_an_encrypted_key_needs_its_password(authority: Authority, settings: TlsSettings, tmp_path: Path) -> None:
    sealed = replace(settings, certificate_file=authority.client("sealed", password="hunter2"))
    assert "the private key is encrypted; give ssl.keyStore.password" in complaint(sealed)
    assert "the password does not open the private key" in complaint(replace(sealed, key_password="wrong"))
    load_context(replace(sealed, key_password="hunter2"))
    password_file = tmp_path / "password"
    password_file.write_text("hunter2\n")
    load_context(replace(sealed, key_password="wrong", key_password_file=password_file))
    assert "hunter2" not in repr(replace(sealed, key_password="hunter2"))


def test_a_key_of_another_certificate_is_named(authority: Authority, settings: TlsSettings, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(parts(authority.server("other").read_bytes())[0])
    assert complaint(replace(settings, key_file=other)) == (
        f"zkstore.tlsKeyFile={other}: the private key in it does not belong to the first certificate in "
        f"{authority.server_file}"
    )


def test_what_is_no_pem_is_told_with_the_command_that_makes_it_pem(settings: TlsSettings, tmp_path: Path) -> None:
    jks, p12 = tmp_path / "store.jks", tmp_path / "store.p12"
    jks.write_bytes(bytes.fromhex("feedfeed00000002"))
    p12.write_bytes(bytes.fromhex("308209"))
    pem = tmp_path / "store.pem"
    assert complaint(replace(settings, certificate_file=p12)).endswith(
        f"Convert it by: openssl pkcs12 -in {p12} -nodes -out {pem}"
    )
    assert f"keytool -importkeystore -srckeystore {jks} " in complaint(replace(settings, certificate_file=jks))
    assert complaint(replace(settings, ca_file=jks)).endswith(f"keytool -list -rfc -keystore {jks} > {pem}")


def test_files_that_are_missing_or_empty_or_damaged_are_named(settings: TlsSettings, tmp_path: Path) -> None:
    missing, empty, damaged = tmp_path / "missing.pem", tmp_path / "empty.pem", tmp_path / "damaged.pem"
    empty.touch()
    damaged.write_bytes(b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n")
    assert complaint(replace(settings, certificate_file=missing)).startswith(
        f"ssl.keyStore.location={missing}: no such file"
    )
    assert complaint(replace(settings, ca_file=tmp_path)).startswith(
        f"ssl.trustStore.location={tmp_path}: cannot be read (Is a directory)"
    )
    assert "there is no certificate of an authority in PEM form" in complaint(replace(settings, ca_file=empty))
    assert "it is damaged" in complaint(replace(settings, ca_file=damaged))
    assert "there is no list of revoked certificates" in complaint(replace(settings, crl_file=empty))


def test_certificates_of_clients_cannot_be_judged_without_an_authority(settings: TlsSettings) -> None:
    trusting_nobody = replace(settings, ca_file=None)
    assert complaint(trusting_nobody).startswith("ssl.clientAuth=need needs ssl.trustStore.location")
    load_context(replace(trusting_nobody, client_auth=ClientAuth.NONE))


# --- ciphers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standard", "openssl"),
    [
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", "ECDHE-ECDSA-AES256-SHA384"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS_DHE_RSA_WITH_AES_256_CCM_8", "DHE-RSA-AES256-CCM8"),
        ("TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
    ],
)
def test_ciphers_go_by_their_standard_names(standard: str, openssl: str) -> None:
    assert openssl_name(standard) == openssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(f"{openssl}:@SECLEVEL=0")
    assert openssl in [cipher["name"] for cipher in context.get_ciphers()]


def test_the_ciphers_named_are_the_ones_of_tls_1_2_and_leave_1_3_out_unless_it_is_named(settings: TlsSettings) -> None:
    named = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_MADE_UP_WITH_NONSENSE")
    context = load_context(replace(settings, ciphers=named))
    assert context.maximum_version is ssl.TLSVersion.TLSv1_2
    assert [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"] == [
        "ECDHE-ECDSA-AES128-GCM-SHA256"
    ]
    context = load_context(replace(settings, ciphers=("TLS_AES_256_GCM_SHA384",)))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_ciphers_that_leave_nothing_to_agree_on_are_refused(settings: TlsSettings) -> None:
    assert "OpenSSL has none of them" in complaint(replace(settings, ciphers=("TLS_MADE_UP_WITH_NONSENSE",)))
    older_only = replace(settings, versions=frozenset({ssl.TLSVersion.TLSv1_2}))
    assert "none of them is for one of" in complaint(replace(older_only, ciphers=("TLS_AES_256_GCM_SHA384",)))


# --- changes --------------------------------------------------------------------------------------


def replace_file(path: Path, content: bytes) -> None:
    """As careful people do: written beside, then moved in place."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.rename(path)


def test_files_that_have_not_changed_are_not_read_again(settings: TlsSettings) -> None:
    held = Certificates(settings)
    before = held.context
    held.refresh()
    assert held.context is before
    held.refresh(even_if_unchanged=True)
    assert held.context is not before


def test_what_does_not_fit_changes_nothing_and_is_told_once(
    authority: Authority, settings: TlsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    held = Certificates(settings)
    before, good = held.context, authority.server_file.read_bytes()
    replace_file(authority.server_file, b"half a fi")
    held.refresh()
    held.refresh()
    assert held.context is before
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{authority.server_file}: there is no certificate" in record.getMessage()
    authority.server_file.unlink()
    held.refresh()
    assert held.context is before
    replace_file(authority.server_file, good)
    held.refresh()
    assert held.context is not before


@pytest.mark.trio
async def test_files_are_looked_at_every_few_seconds(
    authority: Authority, settings: TlsSettings, autojump_clock: MockClock
) -> None:
    held = Certificates(settings)
    before = held.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(held.watch)
        await trio.sleep(60)
        assert held.context is before
        replace_file(authority.server_file, authority.server("next").read_bytes())
        await trio.sleep(1.5 * files.LOOK_EVERY_S)
        assert held.context is not before
        nursery.cancel_scope.cancel()


def test_a_link_that_points_elsewhere_is_a_change(authority: Authority, settings: TlsSettings, tmp_path: Path) -> None:
    link = tmp_path / "current.pem"
    link.symlink_to(authority.server_file)
    held = Certificates(replace(settings, certificate_file=link))
    before, other = held.context, authority.server("other")
    stat = authority.server_file.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    link.unlink()
    link.symlink_to(other)
    held.refresh()
    assert held.context is not before
