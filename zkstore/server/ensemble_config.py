"""What a member of an ensemble is told beyond what a server alone is: who it is, who the others are, how they talk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zkstore.errors import ConfigError
from zkstore.net.certificates import PEERS_NAMES, TlsSettings
from zkstore.net.listeners import Encryption
from zkstore.zab.membership import SERVER_ID_MAX, Member, Membership
from zkstore.zab.settings import INIT_LIMIT_TICKS, SYNC_LIMIT_TICKS

FRAME_BYTES_MAX: Final = 32 << 20
"""Largest jute.maxbuffer of a member: what one request makes must fit into one message between servers."""

MY_ID_FILE: Final = "myid"
"""In the data directory: a server's own id, and nothing else."""

_ALL_INTERFACES: Final = "0.0.0.0"
_HOW_TO_SAY_WHO: Final = "write it into that file, or give --my-id (ZKSTORE_MY_ID, ZOO_MY_ID)"


@dataclass(frozen=True, slots=True)
class EnsembleConfig:
    """One member's part of a `Config`.

    Attributes:
        server_id: this server's own; it is among the members.
        membership: what a new data directory starts with, version 0. A reconfiguration in the log counts for more.
        init_limit, sync_limit: ticks; see `zab.settings.PeerSettings`.
        listens_everywhere: the peer port is open at all interfaces, whatever the server's own line says.
        encryption: what is spoken at the peer port; EITHER while an ensemble changes to TLS.
        dials_tls: whether this server speaks TLS where it dials.
        tls: None where no TLS is spoken.
    """

    server_id: int
    membership: Membership
    init_limit: int = INIT_LIMIT_TICKS
    sync_limit: int = SYNC_LIMIT_TICKS
    listens_everywhere: bool = False
    encryption: Encryption = Encryption.NONE
    dials_tls: bool = False
    tls: TlsSettings | None = None

    @property
    def me(self) -> Member:
        """This server as the configuration names it."""
        return self.membership.by_id[self.server_id]

    def listen_addresses(self, me: Member) -> list[tuple[str, int]]:
        """Where to listen for other servers, host and port, if this server is `me`: a reconfiguration may move it.

        Two addresses that differ by their host only are one at all interfaces.
        """
        hosts = [(_ALL_INTERFACES if self.listens_everywhere else each.host, each.peer_port) for each in me.addresses]
        return list(dict.fromkeys(hosts))


def build(membership: Membership, server_id: int, values: Mapping[str, Any]) -> EnsembleConfig:
    """The part of a member; `values` go by the fields of `settings.ENSEMBLE_FIELDS`. Raises ConfigError."""
    encryption, dials_tls = Encryption.NONE, values.get("quorum_tls", False)
    if values.get("quorum_port_unification", False):
        encryption = Encryption.EITHER
    elif dials_tls:
        encryption = Encryption.TLS
    return EnsembleConfig(
        server_id=server_id,
        membership=membership,
        init_limit=values.get("init_limit", INIT_LIMIT_TICKS),
        sync_limit=values.get("sync_limit", SYNC_LIMIT_TICKS),
        listens_everywhere=values.get("quorum_listens_everywhere", False),
        encryption=encryption,
        dials_tls=dials_tls,
        tls=None if encryption is Encryption.NONE else _tls(values),
    )


def _tls(values: Mapping[str, Any]) -> TlsSettings:
    """Both sides of a connection show a certificate, and check the other's."""
    for field, name in (
        ("quorum_tls_certificate_file", PEERS_NAMES.key_store),
        ("quorum_tls_ca_file", PEERS_NAMES.trust_store),
    ):
        if field not in values:
            raise ConfigError(
                f"sslQuorum and portUnification need {name} (--{field.replace('_', '-')}): name a PEM file, or give "
                "neither of them to let servers talk without TLS"
            )
    versions = values.get("quorum_tls_protocols", values.get("quorum_tls_protocol"))
    return TlsSettings(
        certificate_file=values["quorum_tls_certificate_file"],
        key_file=values.get("quorum_tls_key_file"),
        key_password=values.get("quorum_tls_key_password"),
        key_password_file=values.get("quorum_tls_key_password_file"),
        ca_file=values["quorum_tls_ca_file"],
        crl_file=values.get("quorum_tls_crl_file"),
        ciphers=values.get("quorum_tls_ciphers", ()),
        checks_names=values.get("quorum_tls_checks_names", True),
        names=PEERS_NAMES,
        **({} if versions is None else {"versions": versions}),
    )


def find_server_id(data_dir: Path, told: int | None, told_by: str) -> int:
    """Who this server is: what it was told, or the file `myid` says; where both speak they must agree.

    Raises:
        ConfigError: nobody says, the file makes no sense, or it says another id than `told_by`.
    """
    path = data_dir / MY_ID_FILE
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if told is None:
            raise ConfigError(
                f"{path}: no such file, so this server does not know which of the ensemble's servers it is; "
                f"{_HOW_TO_SAY_WHO}: the N of its own server.N line"
            ) from None
        return told
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); put this server's number there as text") from None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(SERVER_ID_MAX))) or int(text) > SERVER_ID_MAX:
        raise ConfigError(f"{path}: {text[:40]!r} is no server's number; write one from 1 to {SERVER_ID_MAX}")
    if told is not None and told != int(text):
        raise ConfigError(
            f"{told_by}={told}: {path} says that this data belongs to server {int(text)}; a server must not use "
            "another one's data. Give each its own data directory, or correct one of the two numbers"
        )
    return int(text)


def advice(membership: Membership) -> list[str]:
    """What the one who chose these servers should know."""
    voters = len(membership.voters)
    if membership.groups or voters % 2:
        return []
    if voters == 2:
        return ["with two voters no server's failure is tolerated; make it three"]
    return [f"{voters} voters tolerate as few failures as {voters - 1} would, {voters // 2 - 1}; make the number odd"]
