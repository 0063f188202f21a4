"""What a server is told: one immutable `Config`, put together from flags, environment and file.

    flags  >  ZKSTORE_* variables  >  ZOO_* variables of the ZooKeeper container image  >  file  >  defaults

The file is a zoo.cfg, or TOML if its name ends so; in both a setting goes by its zoo.cfg key or by
its field of `Config`. Read `settings` for what zkstore acts on, `foreign_settings` for what it does
not, `sources` for how each source is read, then `load` here for how they become one.
"""

from __future__ import annotations

import difflib
import logging
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from zkstore import limits
from zkstore.errors import ConfigError
from zkstore.net.certificates import ClientAuth
from zkstore.server import foreign_settings, server_lines, settings, sources
from zkstore.server.foreign_settings import Verdict
from zkstore.server.sources import Given

logger = logging.getLogger(__name__)

_CLIENT_KEYS: Final = ("clientPortAddress", "clientPort", "secureClientPortAddress", "secureClientPort")
_ALWAYS_ANSWERED: Final = frozenset({"srvr"})


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a standalone server is told.

    Attributes:
        data_log_dir: where the log lives; None is in `data_dir`.
        client_port, secure_client_port: 0 picks a free one, None does not listen; the secure one speaks TLS.
        port_unification: TLS at `client_port`, too.
        tls_*: as `net.certificates.TlsSettings`; read only where TLS is spoken.
        listen_backlog: None is the system's default.
        throttle_*, requests_max, request_wait_ms_max: see `replica.throttle`; 0 is no limit, freeze None no chance.
        connections_per_address_max, connections_max: 0 is no limit.
        memory_bytes_max: None is for the server to find out, from its cgroup or the machine.
        auth_providers: schemes for ACLs beyond those that are there by themselves.
        enforce_auth, require_sasl: clients must prove an identity of `enforce_auth_schemes`, or of SASL.
        sasl_*: see `sasl_users`.
        super_digest: `user:base64(sha1(user:password))` of the identity that passes every ACL; None is nobody.
        four_letter_words: those answered; `*` among them stands for all.
    """

    data_dir: Path = Path("data")
    data_log_dir: Path | None = None
    client_host: str = "0.0.0.0"
    client_port: int | None = settings.DEFAULT_CLIENT_PORT
    secure_client_host: str = "0.0.0.0"
    secure_client_port: int | None = None
    port_unification: bool = False
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    tls_key_password: str | None = field(default=None, repr=False)
    tls_key_password_file: Path | None = None
    tls_ca_file: Path | None = None
    tls_crl_file: Path | None = None
    tls_client_auth: ClientAuth = ClientAuth.NEED
    tls_protocols: frozenset[ssl.TLSVersion] = frozenset(settings.TLS_VERSIONS.values())
    tls_ciphers: tuple[str, ...] = ()
    listen_backlog: int | None = None
    connections_per_address_max: int = limits.CONNECTIONS_PER_ADDRESS_MAX
    connections_max: int = 0
    handshake_timeout_ms: int = limits.HANDSHAKE_TIMEOUT_MS
    frame_bytes_max: int = limits.FRAME_BYTES_MAX
    outstanding_requests_max: int = limits.OUTSTANDING_REQUESTS_MAX
    tick_ms: int = limits.TICK_MS
    session_timeout_ms_min: int = limits.SESSION_TIMEOUT_TICKS_MIN * limits.TICK_MS
    session_timeout_ms_max: int = limits.SESSION_TIMEOUT_TICKS_MAX * limits.TICK_MS
    checkpoint_txns: int = limits.CHECKPOINT_TXNS
    snapshots_kept: int = settings.DEFAULT_SNAPSHOTS_KEPT
    history_bytes_max: int = limits.HISTORY_BYTES_MAX
    memory_bytes_max: int | None = None
    throttle_tokens: int = 0
    throttle_fill_ms: int = 1
    throttle_fill_count: int = 1
    throttle_freeze_ms: int | None = None
    throttle_drop_increase: float = 0.02
    throttle_drop_decrease: float = 0.002
    throttle_decrease_ratio: float = 0.0
    throttle_weighs: bool = False
    throttle_new_weight: int = 3
    throttle_renewed_weight: int = 2
    requests_max: int = 0
    request_wait_ms_max: int = 0
    drop_stale_requests: bool = True
    check_request_age: bool = False
    container_check_ms: int = limits.CONTAINER_CHECK_MS
    container_reaps: int = limits.CONTAINER_REAPS_PER_MINUTE
    container_unused_ms: int = limits.CONTAINER_UNUSED_MS
    extended_types: bool = True
    enforce_quota: bool = False
    skip_acl: bool = False
    reconfig_enabled: bool = False
    super_digest: str | None = field(default=None, repr=False)
    x509_super_user: str | None = None
    auth_providers: frozenset[str] = frozenset()
    enforce_auth: bool = False
    enforce_auth_schemes: frozenset[str] = frozenset()
    require_sasl: bool = False
    sasl_users_file: Path | None = None
    sasl_section: str = "Server"
    sasl_super_users: frozenset[str] = frozenset()
    sasl_super_password: str | None = field(default=None, repr=False)
    allow_sasl_failed: bool = False
    four_letter_words: frozenset[str] = _ALWAYS_ANSWERED
    log_level: str = "info"

    @property
    def speaks_tls(self) -> bool:
        """Whether TLS is spoken at any port."""
        return self.secure_client_port is not None or self.port_unification


def load(config_path: Path | None, flags: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Config, list[str]]:
    """The configuration, and a line for each thing that the one who wrote it should know.

    Without `config_path` no file is read, except `$ZOO_CONF_DIR/zoo.cfg` where it exists. `flags` go by
    the fields of `Config`.

    Raises:
        ConfigError: a file that cannot be read, a value that makes no sense, or a setting that asks for
            protection or replication which this server would not give.
    """
    path = config_path or sources.container_file(environ)
    in_file = sources.from_file(path) if path is not None else []
    warnings: list[str] = []
    winners: dict[str, Given] = {}
    for source in (
        in_file,
        sources.from_container_environ(environ),
        sources.from_environ(environ),
        sources.from_flags(flags),
    ):
        winners.update(_ours(_without_server_lines(source), warnings))
    if path is not None and "data_dir" not in winners:
        warnings.append(f"{path}: no dataDir; using {Config().data_dir.absolute()}")
    config = _build(winners)
    for setting in settings.SETTINGS:
        if setting.field.startswith("tls_") and setting.field in winners and not config.speaks_tls:
            warnings.append(f"{winners[setting.field].label}: there is no secureClientPort, so nothing is encrypted")
            break
    if "request_wait_ms_max" in winners and not config.requests_max:
        warnings.append(
            f"{winners['request_wait_ms_max'].label}: without request_throttle_max_requests no request waits"
        )
    if config.skip_acl:
        warnings.append(f"{winners['skip_acl'].label}={winners['skip_acl'].value}: ACLs are not checked")
    return config, warnings


def _without_server_lines(source: list[Given]) -> list[Given]:
    """`source` with the client part of its server line as two plain settings."""
    lines = {given.key: (given.value, given.label) for given in source if server_lines.is_server_line(given.key)}
    if not lines:
        return source
    rest = [given for given in source if given.key not in lines]
    (_, label), *_ = lines.values()
    address = server_lines.read_client_address(lines)
    for key, value in zip(_CLIENT_KEYS, address, strict=True):
        if value is None:
            continue
        setting = settings.BY_NAME[key]
        stated = next((given for given in reversed(rest) if settings.BY_NAME.get(given.key) is setting), None)
        if stated is not None and stated.value != value:
            raise ConfigError(f"{stated.label}={stated.value}: {label} says {value}; leave one of them out")
        rest.append(Given(key, value, f"{label}, {key}"))
    return rest


def _ours(source: Iterable[Given], warnings: list[str]) -> dict[str, Given]:
    """By field, those settings of `source` that zkstore acts on; the others are judged here."""
    ours: dict[str, Given] = {}
    for written in source:
        given = written._replace(key=written.key.removeprefix("zookeeper."))  # as a JVM would be told
        setting = settings.find(given.key)
        if given.key.startswith("authProvider.") and not settings.is_known_provider(given.value):
            setting = None  # A class of somebody's own.
        if setting is not None:
            before = ours.get(setting.field)
            if setting.several and before is not None:
                given = given._replace(value=f"{before.value},{given.value}")
            ours[setting.field] = given
            continue
        foreign = foreign_settings.find(given.key)
        if foreign is None:
            warnings.append(f"{given.label}: unknown setting, ignored{_suggestion(given)}")
        elif given.value.lower() in foreign.harmless:
            continue
        elif foreign.verdict is Verdict.REFUSED:
            raise ConfigError(f"{_shown(given)}: {foreign.reason}")
        elif foreign.verdict is Verdict.WARNED:
            warnings.append(f"{_shown(given)}: {foreign.reason}")
        else:
            logger.debug("%s is passed over: %s", given.label, foreign.reason)
    return ours


def _shown(given: Given) -> str:
    """The setting for a message, without what is nobody's business."""
    setting = settings.find(given.key)
    is_secret = setting.secret if setting is not None else "password" in given.key.lower()
    return given.label if is_secret else f"{given.label}={given.value}"


def _suggestion(given: Given) -> str:
    if given.label == f"{sources.PREFIX}{given.key.upper()}":
        candidates = {setting.field: f"{sources.PREFIX}{setting.field.upper()}" for setting in settings.SETTINGS}
    else:
        foreign = [entry.pattern for entry in foreign_settings.FOREIGN_SETTINGS if not entry.pattern.endswith("*")]
        candidates = {name.lower(): name for name in [*foreign, *settings.BY_NAME]}
    close = difflib.get_close_matches(given.key.lower(), candidates, n=1, cutoff=0.75)
    return f"; did you mean {candidates[close[0]]}?" if close else ""


def _build(winners: Mapping[str, Given]) -> Config:
    values: dict[str, Any] = {}
    for name, given in winners.items():
        setting = settings.BY_NAME[name]
        try:
            values[name] = setting.parse(given.value)
        except ValueError as error:
            raise ConfigError(f"{_shown(given)}: give {error}") from None
    _settle_session_timeouts(values, winners)
    if "secure_client_port" in values:
        values.setdefault("client_port", None)  # A server that is only told of TLS has no plain port.
    if "tls_protocol" in values:
        values.setdefault("tls_protocols", values.pop("tls_protocol"))
    words = values.get("four_letter_words", frozenset()) | _ALWAYS_ANSWERED
    if values.pop("read_only_mode", False):
        words |= {"isro"}
    return replace(Config(), **{**values, "four_letter_words": words})


def _settle_session_timeouts(values: dict[str, Any], winners: Mapping[str, Given]) -> None:
    """Fill in the bounds that follow from the tick, and refuse bounds that let no timeout through."""
    shortest, longest = settings.session_timeouts(values.get("tick_ms", limits.TICK_MS))
    if values.get("session_timeout_ms_min") is None:
        values["session_timeout_ms_min"] = shortest
    if values.get("session_timeout_ms_max") is None:
        values["session_timeout_ms_max"] = longest
    low, high = values["session_timeout_ms_min"], values["session_timeout_ms_max"]
    if high > settings.INT_MAX:
        label, tick_ms = winners["tick_ms"].label, values["tick_ms"]
        raise ConfigError(f"{label}={tick_ms}: sessions of {high} ms are too long for clients; give a shorter tick")
    if low > high:
        given = winners.get("session_timeout_ms_min") or winners["session_timeout_ms_max"]
        raise ConfigError(
            f"{given.label}={given.value}: the shortest session timeout ({low} ms) is above the longest ({high} ms); "
            "give minSessionTimeout and maxSessionTimeout so that the first is not above the second"
        )
