"""Who may come in, and as whom: what a Config says about TLS, SASL and identities, checked as a whole and loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zkstore.errors import ConfigError
from zkstore.model.acl import DEFAULT_SCHEMES
from zkstore.net.certificates import Certificates, TlsSettings
from zkstore.replica.sasl import SaslSettings
from zkstore.server.config import Config
from zkstore.server.sasl_users import SaslUsers

_SUPER: Final = "super"
_HOW_TO_SERVE: Final = {
    "sasl": "name a file of users by java.security.auth.login.config (--sasl-users-file)",
    "x509": "give secureClientPort and the certificates that it needs",
}


@dataclass(frozen=True, slots=True)
class Entrance:
    """What the client port and the replica are told.

    Attributes:
        certificates: None where no TLS is spoken with clients.
        peer_certificates: None where none is spoken with other servers.
        acl_schemes: those that ACLs may name besides `world` and `auth`.
        demanded_schemes: a client must prove an identity of one of them first; empty demands none.
        sasl: None where nobody can log in by it.
        users: those of a file, None where there is no file.
    """

    certificates: Certificates | None
    peer_certificates: Certificates | None
    acl_schemes: frozenset[str]
    demanded_schemes: frozenset[str]
    sasl: SaslSettings | None
    users: SaslUsers | None


def load(config: Config) -> Entrance:
    """Read all files that `config` names for it. Raises ConfigError."""
    fixed = {} if config.sasl_super_password is None else {_SUPER: config.sasl_super_password}
    users = None
    if config.sasl_users_file is not None:
        users = SaslUsers(config.sasl_users_file, config.sasl_section, fixed)
    passwords = fixed if users is None else users.passwords
    sasl = SaslSettings(passwords, config.sasl_super_users, config.allow_sasl_failed) if passwords else None
    schemes = DEFAULT_SCHEMES | config.auth_providers
    if config.speaks_tls:
        schemes |= {"x509"}
    if sasl is not None:
        schemes |= {"sasl"}
    certificates = Certificates(_tls(config)) if config.speaks_tls else None
    peer_certificates = None
    if config.ensemble is not None and config.ensemble.tls is not None:
        peer_certificates = Certificates(config.ensemble.tls, dials=True)
    return Entrance(certificates, peer_certificates, schemes, _demanded(config, schemes, sasl), sasl, users)


def _tls(config: Config) -> TlsSettings:
    if config.tls_certificate_file is None:
        raise ConfigError(
            "TLS needs ssl.keyStore.location (--tls-certificate-file): name a PEM file with the server's certificate "
            "and its private key, or remove secureClientPort and client.portUnification"
        )
    return TlsSettings(
        certificate_file=config.tls_certificate_file,
        key_file=config.tls_key_file,
        key_password=config.tls_key_password,
        key_password_file=config.tls_key_password_file,
        ca_file=config.tls_ca_file,
        crl_file=config.tls_crl_file,
        client_auth=config.tls_client_auth,
        versions=config.tls_protocols,
        ciphers=config.tls_ciphers,
    )


def _demanded(config: Config, schemes: frozenset[str], sasl: SaslSettings | None) -> frozenset[str]:
    if config.require_sasl:
        key, demanded = "sessionRequireClientSASLAuth=true", frozenset({"sasl"})
    elif config.enforce_auth:
        key, demanded = "enforce.auth.enabled=true", config.enforce_auth_schemes
        if not demanded:
            raise ConfigError(f"{key} needs enforce.auth.schemes: name at least one, for example digest,x509")
    else:
        return frozenset()
    for scheme in sorted(demanded - schemes):
        how = _HOW_TO_SERVE.get(scheme, f"this server has {', '.join(sorted(schemes))}; name one of these")
        raise ConfigError(f"{key}: nobody can prove an identity of scheme {scheme} here; {how}")
    if demanded == {"sasl"} and sasl is None:
        raise ConfigError(f"{key}: nobody can prove an identity of scheme sasl here; {_HOW_TO_SERVE['sasl']}")
    return demanded
