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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from zkstore import limits
from zkstore.errors import ConfigError
from zkstore.net.certificates import ClientAuth
from zkstore.server import ensemble_config, foreign_settings, server_lines, settings, sources
from zkstore.server.ensemble_config import FRAME_BYTES_MAX, EnsembleConfig, find_server_id
from zkstore.server.foreign_settings import Verdict
from zkstore.server.server_lines import MemberLines
from zkstore.server.sources import Given
from zkstore.zab.membership import Membership

logger = logging.getLogger(__name__)

_ALWAYS_ANSWERED: Final = frozenset({"srvr"})


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a server is told.

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
        ensemble: None is a server alone.
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
    history_enabled: bool = False
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
    throttle_local_weight: int = 1
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
    local_sessions: bool = False
    local_sessions_upgrading: bool = False
    read_only_mode: bool = False
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
    ensemble: EnsembleConfig | None = None

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
    told = [
        sources.from_file(path) if path is not None else [],
        sources.from_container_environ(environ),
        sources.from_environ(environ),
        sources.from_flags(flags),
    ]
    warnings: list[str] = []
    place = _take_member_lines(told, str(path))
    winners: dict[str, Given] = {}
    for source in told:
        winners.update(_ours(source, warnings, is_member=place is not None))
    if path is not None and "data_dir" not in winners:
        warnings.append(f"{path}: no dataDir; using {Config().data_dir.absolute()}")
    values = _parse(winners)
    config = _build(values, winners)
    if place is not None:
        config = _join(config, place, values, winners, warnings)
    elif values.get("peer_type") == "observer":
        raise ConfigError(
            f"{_shown(winners['peer_type'])}: this server stands alone, with nobody to observe; "
            "name the servers of its ensemble by server.N lines"
        )
    _advise(config, winners, warnings)
    return config, warnings


# --- who belongs to the ensemble ------------------------------------------------------------------


class _Place(NamedTuple):
    """Which server of which ensemble this is."""

    membership: Membership
    server_id: int


def _take_member_lines(told: list[list[Given]], path: str) -> _Place | None:
    """Take the lines of members out of all sources; None is a server alone.

    In their place comes what the server's own line says of clients, in that source, where it counts as the rest does.
    """
    lines, rank = _member_lines(told, path)
    for number, source in enumerate(told):
        told[number] = [given for given in source if not server_lines.is_member_line(given.key)]
    if lines is None:
        return None
    said = _last_words(told, ("data_dir", "my_id", "standalone_enabled"))
    first = _parse(said)
    place: _Place | None = None
    if len(lines.servers) == 1 and first.get("standalone_enabled", True):
        server_id = server_lines.only_server(lines)
    else:
        membership = server_lines.read(lines)
        told_by = said["my_id"].label if "my_id" in said else ""
        server_id = find_server_id(first.get("data_dir", Config().data_dir), first.get("my_id"), told_by)
        if server_id not in membership.by_id:
            ids = ", ".join(map(str, sorted(membership.by_id)))
            raise ConfigError(f"{lines.where}: there is no server.{server_id}, which this server is; there are {ids}")
        place = _Place(membership, server_id)
    own = lines.of(server_id)
    for given in server_lines.client_settings(own):
        setting = settings.BY_NAME[given.key]
        stated = next((each for each in reversed(told[rank]) if settings.find(each.key) is setting), None)
        if stated is not None and stated.value != given.value:
            raise ConfigError(f"{stated.label}={stated.value}: {own.label} says {given.value}; leave one of them out")
        told[rank].append(given)
    return place


def _member_lines(told: Sequence[Iterable[Given]], path: str) -> tuple[MemberLines | None, int]:
    """The lines of the highest source that has any, and its number."""
    found: tuple[MemberLines | None, int] = None, 0
    in_own_file: Given | None = None
    for rank, (source, where) in enumerate(zip(told, (path, "ZOO_SERVERS", "environment", "flags"), strict=True)):
        lines = server_lines.from_source(source, where)
        if lines is not None:
            found = lines, rank
        for given in source:
            if settings.find(given.key) is settings.BY_NAME["dynamicConfigFile"]:
                in_own_file, own_rank = given, rank
    if in_own_file is None:
        return found
    if found[0] is not None:
        raise ConfigError(
            f"{found[0].servers[0].label}: {in_own_file.label} names a file of such lines; leave one of them out"
        )
    return server_lines.from_file(in_own_file), own_rank


def _last_words(told: Iterable[Iterable[Given]], fields: Collection[str]) -> dict[str, Given]:
    """What counts in the end of some settings that must be known before all others, by field."""
    return {
        setting.field: given
        for source in told
        for given in source
        if (setting := settings.find(given.key)) is not None and setting.field in fields
    }


def _join(
    config: Config,
    place: _Place,
    values: Mapping[str, Any],
    winners: Mapping[str, Given],
    warnings: list[str],
) -> Config:
    """`config` with the part of a member. Raises ConfigError."""
    membership, server_id = place
    if config.frame_bytes_max > FRAME_BYTES_MAX:
        raise ConfigError(
            f"{_shown(winners['frame_bytes_max'])}: give at most {FRAME_BYTES_MAX} in an ensemble, so that every "
            "request fits into one message between servers"
        )
    ensemble = ensemble_config.build(membership, server_id, values)
    role = "participant" if ensemble.me.is_voter else "observer"
    if values.get("peer_type", role) != role:
        warnings.append(f"{_shown(winners['peer_type'])}: server.{server_id} says {role}, and that counts")
    if ensemble.tls is None:
        unused = next((given for name, given in winners.items() if name.startswith("quorum_tls_")), None)
        if unused is not None:
            warnings.append(f"{unused.label}: without sslQuorum=true nothing is encrypted between servers")
    warnings.extend(ensemble_config.advice(membership))
    return replace(config, ensemble=ensemble)


# --- settings ---------------------------------------------------------------------------------------


def _advise(config: Config, winners: Mapping[str, Given], warnings: list[str]) -> None:
    """What was said and has no effect, or more effect than some would think."""
    for setting in settings.SETTINGS:
        if setting.field.startswith("tls_") and setting.field in winners and not config.speaks_tls:
            warnings.append(f"{winners[setting.field].label}: there is no secureClientPort, so nothing is encrypted")
            break
    if "request_wait_ms_max" in winners and not config.requests_max:
        warnings.append(
            f"{winners['request_wait_ms_max'].label}: without request_throttle_max_requests no request waits"
        )
    if config.local_sessions and config.ensemble is None:
        warnings.append(f"{_shown(winners['local_sessions'])}: a server alone has no local sessions")
    elif config.local_sessions_upgrading and not config.local_sessions:
        warnings.append(
            f"{_shown(winners['local_sessions_upgrading'])}: without localSessionsEnabled=true no session is local"
        )
    if config.skip_acl:
        warnings.append(f"{winners['skip_acl'].label}={winners['skip_acl'].value}: ACLs are not checked")


def _ours(source: Iterable[Given], warnings: list[str], *, is_member: bool) -> dict[str, Given]:
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
        foreign = foreign_settings.find(given.key, is_member=is_member)
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


def _parse(winners: Mapping[str, Given]) -> dict[str, Any]:
    """The values by field. Raises ConfigError."""
    values: dict[str, Any] = {}
    for name, given in winners.items():
        setting = settings.BY_NAME[name]
        try:
            values[name] = setting.parse(given.value)
        except ValueError as error:
            raise ConfigError(f"{_shown(given)}: give {error}") from None
    return values


def _build(parsed: Mapping[str, Any], winners: Mapping[str, Given]) -> Config:
    """The part of every server."""
    values = {name: value for name, value in parsed.items() if name not in settings.ENSEMBLE_FIELDS}
    _settle_session_timeouts(values, winners)
    if "secure_client_port" in values:
        values.setdefault("client_port", None)  # A server that is only told of TLS has no plain port.
    if "tls_protocol" in values:
        values.setdefault("tls_protocols", values.pop("tls_protocol"))
    words = values.get("four_letter_words", frozenset()) | _ALWAYS_ANSWERED
    if values.get("read_only_mode", False):
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
