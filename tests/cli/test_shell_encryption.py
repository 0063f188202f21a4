"""TLS options of the shell."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.authority import Authority
from zkstore.cli.shell.encryption import TlsOptions, from_properties, make_context, with_flags
from zkstore.errors import ConfigError


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def flags(**given: Path) -> TlsOptions:
    return with_flags(
        TlsOptions(),
        tls=False,
        ca_file=given.get("ca"),
        certificate_file=given.get("cert"),
        key_file=given.get("key"),
    )


def test_nothing_asked_for_is_no_tls() -> None:
    assert make_context(flags()) is None


def test_naming_a_file_asks_for_tls(authority: Authority) -> None:
    context = make_context(flags(ca=authority.ca_file, cert=authority.client("alice")))
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_of_properties_for_zkcli_is_understood(authority: Authority, tmp_path: Path) -> None:
    password, path = tmp_path / "password", tmp_path / "client.properties"
    password.write_text("hunter2\n")
    path.write_text(
        "zookeeper.client.secure=true\n"
        "zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty\n"
        f"zookeeper.ssl.keyStore.location={authority.client('alice', password='hunter2')}\n"
        f"zookeeper.ssl.keyStore.passwordPath={password}\n"
        f"ssl.trustStore.location={authority.ca_file}\n"
        "ssl.hostnameVerification=false\n"
    )
    options = from_properties(path)
    assert "hunter2" not in repr(options)
    context = make_context(options)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_flags_win_over_the_file(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.write_text("ssl.trustStore.location=/nowhere\n")
    options = with_flags(
        from_properties(path), tls=False, ca_file=authority.ca_file, certificate_file=None, key_file=None
    )
    assert (options.is_on, options.ca_file) == (True, authority.ca_file)


def test_files_that_do_not_fit_are_named(authority: Authority, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    for given, complaint in [
        ({"ca": missing}, f"{missing}: no certificates of authorities (No such file or directory)"),
        ({"cert": missing}, f"{missing}: no certificate with its private key (No such file or directory)"),
        ({"cert": authority.ca_file}, f"{authority.ca_file}: no certificate with its private key (not pem)"),
        (
            {"cert": authority.client("alice"), "key": authority.server_file},
            f"alice.pem and {authority.server_file}: no certificate with its private key (key values mismatch)",
        ),
        ({"key": authority.server_file}, f"{authority.server_file}: a key proves nothing without its certificate"),
    ]:
        with pytest.raises(ConfigError) as caught:
            make_context(flags(**given))
        assert complaint in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        from_properties(missing)
