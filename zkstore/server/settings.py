"""The settings that zkstore acts on: their names, how each value is read, and a line of help for each.

One table serves every source. A setting's `field` is its name in `Config`, in a TOML file, as a flag
(`--client-port`) and as a variable (`ZKSTORE_CLIENT_PORT`); its `key` is its name in a zoo.cfg.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from zkstore import limits
from zkstore.net.certificates import ClientAuth

INT_MAX: Final = 2**31 - 1
"""Largest number where a client or Java keeps 32 bits."""

_FRAME_BYTES_CEILING: Final = 1 << 30
"""A longer frame's length could be mistaken for a four-letter word: the lowest, "conf", is 0x636f6e66."""

_SUPER_DIGEST: Final = re.compile(r"[^:]+:[A-Za-z0-9+/]{27}=")
_PROVIDERS: Final = {
    "DigestAuthenticationProvider": "digest",
    "IPAuthenticationProvider": "ip",
    "SASLAuthenticationProvider": "sasl",
    "X509AuthenticationProvider": "x509",
}
_PROVIDERS_PACKAGE: Final = "org.apache.zookeeper.server.auth."

TLS_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
"""By Java's names."""

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

Parser = Callable[[str], Any]
"""Text to value. A ValueError's text is what would do, to be read after "give": "a whole number from 1 to 9"."""


def whole_number(lowest: int, highest: int = INT_MAX) -> Parser:
    """Decimal, or hexadecimal after 0x as people write jute.maxbuffer."""

    def parse(text: str) -> int:
        hexadecimal = re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}", text)
        if hexadecimal or re.fullmatch(r"[+-]?[0-9]{1,20}", text):
            value = int(text, 16 if hexadecimal else 10)
            if lowest <= value <= highest:
                return value
        raise ValueError(f"a whole number from {lowest} to {highest}")

    return parse


def number_or_default(lowest: int) -> Parser:
    """A whole number; -1 asks for the default, given as None."""
    number = whole_number(lowest)

    def parse(text: str) -> int | None:
        if text == "-1":
            return None
        try:
            return int(number(text))
        except ValueError as error:
            raise ValueError(f"{error}, or -1 for the default") from None

    return parse


def boolean(text: str) -> bool:
    """`true` or `false` in any case, as ZooKeeper."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise ValueError("true or false")


def yes_or_no(text: str) -> bool:
    """skipACL's own spelling beside the booleans'."""
    if text.lower() in ("yes", "no", "true", "false"):
        return text.lower() in ("yes", "true")
    raise ValueError("yes or no")


def byte_count(text: str) -> int:
    """Bytes, or with K, M, G or T a multiple of 1024 of them."""
    match = re.fullmatch(r"([0-9]{1,18}) ?([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ValueError("a number of bytes above 0, such as 1073741824, 512M or 1G")
    return int(match[1]) * _UNITS[match[2].upper()]


def directory(text: str) -> Path:
    """A path; whether it can be used is for storage to find out."""
    if not text or "\0" in text:
        raise ValueError("the path of a directory")
    return Path(text)


def file(text: str) -> Path:
    """A path; whether it can be read is for its reader to find out."""
    if not text or "\0" in text:
        raise ValueError("the path of a file")
    return Path(text)


def name(text: str) -> str:
    """Any text but none."""
    if not text:
        raise ValueError("a name")
    return text


def password(text: str) -> str:
    """Any text but none."""
    if not text:
        raise ValueError("a password")
    return text


def host(text: str) -> str:
    """A host name or an address; brackets around an IPv6 address are dropped."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not bare or re.search(r"[\s\[\]/]", bare):
        raise ValueError("a host name or an address, such as 127.0.0.1, or 0.0.0.0 for all interfaces")
    return bare


def ratio(text: str) -> float:
    """A part of one, as a decimal."""
    if re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", text) and 0.0 <= float(text) <= 1.0:
        return float(text)
    raise ValueError("a number from 0 to 1, such as 0.02")


def words(text: str) -> frozenset[str]:
    """A comma list; blanks do not count."""
    return frozenset(word.strip() for word in text.split(",") if word.strip())


def client_auth(text: str) -> ClientAuth:
    """One of three names, in any case."""
    try:
        return ClientAuth(text.lower())
    except ValueError:
        raise ValueError("need, want or none") from None


def tls_versions(text: str) -> frozenset[ssl.TLSVersion]:
    """A comma list of Java's names; the versions that nobody should use any more are not among them."""
    found = [TLS_VERSIONS.get(word) for word in words(text)]
    versions = frozenset(version for version in found if version is not None)
    if len(versions) < len(found) or not versions:
        raise ValueError("TLSv1.2, TLSv1.3 or both with a comma between them")
    return versions


def tls_version(text: str) -> frozenset[ssl.TLSVersion]:
    """One version, or `TLS` for all of them."""
    return frozenset(TLS_VERSIONS.values()) if text == "TLS" else tls_versions(text)


def ciphers(text: str) -> tuple[str, ...]:
    """A comma list of standard names, in the order of preference."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def auth_providers(text: str) -> frozenset[str]:
    """Schemes, or the classes that serve them in Apache's server."""
    found = words(text)
    if not found or not all(is_known_provider(word) for word in found):
        raise ValueError("digest, ip, sasl or x509")
    return frozenset(_PROVIDERS.get(word.rpartition(".")[2], word) for word in found)


def is_known_provider(text: str) -> bool:
    """Whether it is a scheme that is served here, or its class in Apache's server."""
    return text in _PROVIDERS.values() or text in {_PROVIDERS_PACKAGE + name for name in _PROVIDERS}


def peer_type(text: str) -> str:
    """One of two names."""
    if text not in ("participant", "observer"):
        raise ValueError("participant or observer")
    return text


def super_digest(text: str) -> str:
    """`user:base64(sha1(user:password))`, as the shell and DigestAuthenticationProvider print it."""
    if _SUPER_DIGEST.fullmatch(text) is None:
        raise ValueError("a user name, a colon and the base64 SHA-1 of user:password (28 characters)")
    return text


def log_level(text: str) -> str:
    """One of four names, in any case."""
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("debug, info, warning or error")
    return text.lower()


class Setting(NamedTuple):
    """One setting; `secret` values are not repeated in messages, those of `several` keys (`key.1`, `key.2`) add up."""

    field: str
    key: str
    parse: Parser
    help: str
    secret: bool = False
    several: bool = False


_ENSEMBLE_SETTINGS: Final = (
    Setting("my_id", "zkstore.myId", whole_number(0, 255), "which of the server.N this is, unless the file myid says"),
    Setting("peer_type", "peerType", peer_type, "participant or observer; the server's own line counts"),
    Setting(
        "dynamic_config_file", "dynamicConfigFile", file, "file of the server.N lines that an ensemble starts with"
    ),
    Setting("standalone_enabled", "standaloneEnabled", boolean, "false: one server line makes an ensemble of one"),
    Setting("init_limit", "initLimit", whole_number(1), "ticks that a server may take to come in step"),
    Setting("sync_limit", "syncLimit", whole_number(1), "ticks after which a silent server counts as gone"),
    Setting("quorum_listens_everywhere", "quorumListenOnAllIPs", boolean, "listen for other servers at all interfaces"),
    Setting("quorum_tls", "sslQuorum", boolean, "speak TLS with the other servers"),
    Setting("quorum_port_unification", "portUnification", boolean, "let servers come in with TLS and without"),
    Setting(
        "quorum_tls_certificate_file",
        "ssl.quorum.keyStore.location",
        file,
        "PEM file of our certificate and private key, for other servers",
    ),
    Setting("quorum_tls_key_file", "zkstore.quorumTlsKeyFile", file, "PEM file of that private key"),
    Setting(
        "quorum_tls_key_password", "ssl.quorum.keyStore.password", password, "what opens that private key", secret=True
    ),
    Setting("quorum_tls_key_password_file", "ssl.quorum.keyStore.passwordPath", file, "file with what opens it"),
    Setting(
        "quorum_tls_ca_file",
        "ssl.quorum.trustStore.location",
        file,
        "PEM file of those who issue servers' certificates",
    ),
    Setting("quorum_tls_crl_file", "zkstore.quorumTlsCrlFile", file, "PEM file of servers' revoked certificates"),
    Setting("quorum_tls_protocol", "ssl.quorum.protocol", tls_version, "the one version of TLS between servers"),
    Setting("quorum_tls_protocols", "ssl.quorum.enabledProtocols", tls_versions, "versions of TLS between servers"),
    Setting("quorum_tls_ciphers", "ssl.quorum.ciphersuites", ciphers, "ciphers between servers"),
    Setting(
        "quorum_tls_checks_names",
        "ssl.quorum.hostnameVerification",
        boolean,
        "a server's certificate must have the name that it is dialled by (default true)",
    ),
)

ENSEMBLE_FIELDS: Final = frozenset(setting.field for setting in _ENSEMBLE_SETTINGS)
"""Those that concern members of an ensemble only; they end up in `Config.ensemble`."""

SETTINGS: Final = (
    Setting("data_dir", "dataDir", directory, "directory of the log, the tree and the snapshots"),
    Setting("data_log_dir", "dataLogDir", directory, "another directory for the log alone"),
    Setting("client_host", "clientPortAddress", host, "address to listen on for clients"),
    Setting("client_port", "clientPort", whole_number(0, 65535), "port to listen on for clients; 0 picks a free one"),
    Setting("secure_client_host", "secureClientPortAddress", host, "address to listen on for clients that speak TLS"),
    Setting("secure_client_port", "secureClientPort", whole_number(0, 65535), "port for clients that speak TLS"),
    Setting("port_unification", "client.portUnification", boolean, "take clients that speak TLS at clientPort, too"),
    Setting("tls_certificate_file", "ssl.keyStore.location", file, "PEM file of our certificate chain and private key"),
    Setting("tls_key_file", "zkstore.tlsKeyFile", file, "PEM file of the private key, where it is in one of its own"),
    Setting("tls_key_password", "ssl.keyStore.password", password, "what opens the private key", secret=True),
    Setting("tls_key_password_file", "ssl.keyStore.passwordPath", file, "file with what opens the private key"),
    Setting("tls_ca_file", "ssl.trustStore.location", file, "PEM file of those who issue clients' certificates"),
    Setting("tls_crl_file", "zkstore.tlsCrlFile", file, "PEM file of clients' certificates that were revoked"),
    Setting("tls_client_auth", "ssl.clientAuth", client_auth, "a client's certificate: need (default), want or none"),
    Setting(
        "tls_protocol", "ssl.protocol", tls_version, "the one version of TLS, unless ssl.enabledProtocols is given"
    ),
    Setting("tls_protocols", "ssl.enabledProtocols", tls_versions, "versions of TLS; by default TLSv1.2,TLSv1.3"),
    Setting("tls_ciphers", "ssl.ciphersuites", ciphers, "ciphers, by their standard names"),
    Setting("listen_backlog", "clientPortListenBacklog", number_or_default(1), "connections waiting to be taken"),
    Setting("connections_per_address_max", "maxClientCnxns", whole_number(0), "connections per address; 0: no limit"),
    Setting("connections_max", "maxCnxns", whole_number(0), "connections in all; 0: no limit"),
    Setting("handshake_timeout_ms", "nio.sessionlessCnxnTimeout", whole_number(1), "ms a client may take to say hello"),
    Setting("frame_bytes_max", "jute.maxbuffer", whole_number(64, _FRAME_BYTES_CEILING), "largest request, in bytes"),
    Setting("outstanding_requests_max", "globalOutstandingLimit", whole_number(1), "writes under way at most"),
    Setting("tick_ms", "tickTime", whole_number(1), "ms of one tick, the unit of session timeouts"),
    Setting("session_timeout_ms_min", "minSessionTimeout", number_or_default(1), "shortest session timeout, in ms"),
    Setting("session_timeout_ms_max", "maxSessionTimeout", number_or_default(1), "longest session timeout, in ms"),
    Setting("checkpoint_txns", "snapCount", whole_number(2), "txns from one checkpoint to the next"),
    Setting(
        "snapshots_kept",
        "autopurge.snapRetainCount",
        whole_number(1),
        "snapshots kept at most; at least one",
    ),
    Setting("history_bytes_max", "zkstore.historyBytesMax", byte_count, "disk budget of old log and snapshots"),
    Setting("history_enabled", "zkstore.historyEnabled", boolean, "show clients of zkstore old states and events"),
    Setting("memory_bytes_max", "zkstore.memoryBytesMax", byte_count, "memory at which growing writes are refused"),
    Setting(
        "throttle_tokens", "connection_throttle_tokens", whole_number(0), "sessions asked for at once; 0: no limit"
    ),
    Setting("throttle_fill_ms", "connection_throttle_fill_time", whole_number(1), "ms from one refill to the next"),
    Setting("throttle_fill_count", "connection_throttle_fill_count", whole_number(1), "tokens of one refill"),
    Setting(
        "throttle_freeze_ms",
        "connection_throttle_freeze_time",
        number_or_default(0),
        "ms from one change of the chance to be turned away to the next; -1: no chance plays a part",
    ),
    Setting("throttle_drop_increase", "connection_throttle_drop_increase", ratio, "what no tokens add to that chance"),
    Setting("throttle_drop_decrease", "connection_throttle_drop_decrease", ratio, "what all tokens take from it"),
    Setting("throttle_decrease_ratio", "connection_throttle_decrease_ratio", ratio, "tokens gone that still are all"),
    Setting("throttle_weighs", "connection_throttle_weight_enabled", boolean, "sessions take tokens by weight"),
    Setting(
        "throttle_new_weight", "connection_throttle_global_session_weight", whole_number(1), "weight of a new session"
    ),
    Setting(
        "throttle_renewed_weight",
        "connection_throttle_renew_session_weight",
        whole_number(1),
        "weight of one that comes back",
    ),
    Setting("throttle_local_weight", "connection_throttle_local_session_weight", whole_number(1), "of a local one"),
    Setting(
        "requests_max",
        "request_throttle_max_requests",
        whole_number(0),
        "writes under way before others wait; 0: any",
    ),
    Setting(
        "request_wait_ms_max", "throttled_op_wait_time", whole_number(0), "ms after which one that waited is refused"
    ),
    Setting("drop_stale_requests", "request_throttle_drop_stale", boolean, "hang up where one that waited is stale"),
    Setting(
        "check_request_age",
        "request_stale_latency_check",
        boolean,
        "stale is what waits for a session's timeout",
    ),
    Setting("container_check_ms", "znode.container.checkIntervalMs", whole_number(1), "ms from one sweep to the next"),
    Setting(
        "container_reaps", "znode.container.maxPerMinute", whole_number(1), "containers and TTL znodes reaped a minute"
    ),
    Setting(
        "container_unused_ms", "znode.container.maxNeverUsedIntervalMs", whole_number(0), "0: never-used ones stay"
    ),
    Setting("extended_types", "extendedTypesEnabled", boolean, "serve TTL znodes"),
    Setting("enforce_quota", "enforceQuota", boolean, "refuse writes beyond a hard quota"),
    Setting("reconfig_enabled", "reconfigEnabled", boolean, "let clients change the ensemble by reconfig"),
    Setting("skip_acl", "skipACL", yes_or_no, "do not check ACLs"),
    Setting(
        "super_digest", "DigestAuthenticationProvider.superDigest", super_digest, "who passes every ACL", secret=True
    ),
    Setting(
        "x509_super_user", "X509AuthenticationProvider.superUser", name, "certificate subject that passes every ACL"
    ),
    Setting("auth_providers", "authProvider", auth_providers, "more schemes for ACLs: sasl, x509", several=True),
    Setting("enforce_auth", "enforce.auth.enabled", boolean, "demand an identity before anything else"),
    Setting("enforce_auth_schemes", "enforce.auth.schemes", words, "schemes one of which must be proved then"),
    Setting("require_sasl", "sessionRequireClientSASLAuth", boolean, "demand that clients log in by SASL"),
    Setting(
        "sasl_users_file", "java.security.auth.login.config", file, "SASL users: a JAAS file, or user = password lines"
    ),
    Setting("sasl_section", "sasl.serverconfig", name, "the JAAS file's section that counts; by default Server"),
    Setting("sasl_super_users", "superUser", words, "SASL users that pass every ACL", several=True),
    Setting(
        "sasl_super_password", "SASLAuthenticationProvider.superPassword", password, "of SASL user super", secret=True
    ),
    Setting("allow_sasl_failed", "allowSaslFailedClients", boolean, "who fails to log in goes on without an identity"),
    Setting("four_letter_words", "4lw.commands.whitelist", words, "four-letter words answered, or * for all"),
    Setting("local_sessions", "localSessionsEnabled", boolean, "in an ensemble: new sessions concern one server only"),
    Setting(
        "local_sessions_upgrading",
        "localSessionsUpgradingEnabled",
        boolean,
        "until they create an ephemeral; or never",
    ),
    Setting("read_only_mode", "readonlymode.enabled", boolean, "without a leader, serve reads; and answer isro"),
    Setting("log_level", "zkstore.logLevel", log_level, "debug, info, warning or error"),
    *_ENSEMBLE_SETTINGS,
)
"""In the order a reader wants them in --help."""

BY_NAME: Final = {name: setting for setting in SETTINGS for name in (setting.field, setting.key)}

_SEVERAL: Final = {setting.key: setting for setting in SETTINGS if setting.several}


def find(key: str) -> Setting | None:
    """The setting that goes by `key`."""
    stem, dot, _ = key.partition(".")
    return BY_NAME.get(key) or (_SEVERAL.get(stem) if dot else None)


DEFAULT_CLIENT_PORT: Final = 2181
DEFAULT_SNAPSHOTS_KEPT: Final = 3


def session_timeouts(tick_ms: int) -> tuple[int, int]:
    """The default bounds of session timeouts, in ms."""
    return limits.SESSION_TIMEOUT_TICKS_MIN * tick_ms, limits.SESSION_TIMEOUT_TICKS_MAX * tick_ms
