"""What a Config says about who may come in, as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.authority import Authority
from zkstore.errors import ConfigError
from zkstore.net.certificates import ClientAuth
from zkstore.server import entrance
from zkstore.server.config import Config


def complaint(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        entrance.load(config)
    return str(caught.value)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text("bob = builder\n")
    return path


def test_by_default_everybody_comes_in_plain() -> None:
    loaded = entrance.load(Config())
    assert (loaded.certificates, loaded.sasl, loaded.demanded_schemes) == (None, None, frozenset())
    assert loaded.acl_schemes == {"digest", "ip"}


def test_a_secure_port_makes_certificates_identities(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    config = Config(
        secure_client_port=0,
        tls_certificate_file=authority.server_file,
        tls_ca_file=authority.ca_file,
        enforce_auth=True,
        enforce_auth_schemes=frozenset({"x509"}),
    )
    loaded = entrance.load(config)
    assert loaded.certificates is not None
    assert loaded.acl_schemes == {"digest", "ip", "x509"}
    assert loaded.demanded_schemes == {"x509"}


@pytest.mark.parametrize("config", [Config(secure_client_port=2281), Config(port_unification=True)])
def test_tls_needs_a_certificate(config: Config) -> None:
    assert complaint(config).startswith("TLS needs ssl.keyStore.location (--tls-certificate-file)")


def test_tls_without_clients_certificates_needs_no_authority(tmp_path: Path) -> None:
    config = Config(
        port_unification=True,
        tls_certificate_file=Authority(tmp_path).server_file,
        tls_client_auth=ClientAuth.NONE,
    )
    assert entrance.load(config).certificates is not None


def test_users_make_sasl_an_identity(users: Path) -> None:
    loaded = entrance.load(
        Config(
            sasl_users_file=users, sasl_super_password="hero", sasl_super_users=frozenset({"bob"}), require_sasl=True
        )
    )
    assert loaded.sasl is not None
    assert loaded.sasl.passwords == {"bob": "builder", "super": "hero"}
    assert loaded.sasl.super_users == {"bob"}
    assert loaded.acl_schemes == {"digest", "ip", "sasl"}
    assert loaded.demanded_schemes == {"sasl"}
    assert "builder" not in repr(loaded)
    assert "hero" not in repr(loaded)


def test_a_provider_makes_its_scheme_fit_for_acls_though_nobody_can_prove_it() -> None:
    assert entrance.load(Config(auth_providers=frozenset({"sasl"}))).acl_schemes == {"digest", "ip", "sasl"}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(enforce_auth=True), "enforce.auth.enabled=true needs enforce.auth.schemes"),
        (
            Config(enforce_auth=True, enforce_auth_schemes=frozenset({"digest", "kerberos"})),
            "nobody can prove an identity of scheme kerberos here; this server has digest, ip; name one of these",
        ),
        (Config(enforce_auth=True, enforce_auth_schemes=frozenset({"x509"})), "give secureClientPort"),
        (Config(require_sasl=True), "sessionRequireClientSASLAuth=true: nobody can prove an identity of scheme sasl"),
        (
            Config(require_sasl=True, auth_providers=frozenset({"sasl"})),
            "name a file of users by java.security.auth.login.config (--sasl-users-file)",
        ),
    ],
)
def test_a_demand_that_nobody_could_meet_is_refused(config: Config, text: str) -> None:
    assert text in complaint(config)


def test_schemes_alone_demand_nothing() -> None:
    assert entrance.load(Config(enforce_auth_schemes=frozenset({"digest"}))).demanded_schemes == frozenset()
