"""What a replica is told about its world when it starts; nothing in it changes while the server runs."""

from __future__ import annotations

from dataclasses import dataclass

from zkstore import limits
from zkstore.model import acl as acls
from zkstore.replica.sasl import SaslSettings
from zkstore.replica.throttle import UNLIMITED, RequestLimits, TokenBucket


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """What the state machine is told about its world; every duration in milliseconds.

    Attributes:
        x509_super_user: the subject of a certificate that passes every ACL.
        acl_schemes: those that ACLs may name besides `world` and `auth`.
        demanded_schemes: a client must have proved an identity of one of them before anything else; empty demands none.
        sasl: None where nobody can log in by it.
        requests: None where they do not wait for each other.
        reconfig_enabled: clients may change the members of the ensemble; `standalone_enabled`: but for the last two.
        read_only_mode: without a leader, serve reads to clients that ask for no more.
        local_sessions: new sessions are known to this server alone. With `local_sessions_upgrading` one is made
            known to all before it creates an ephemeral; without, it cannot.
    """

    server_id: int = 1
    tick_ms: int = limits.TICK_MS
    session_timeout_ms_min: int = limits.TICK_MS * limits.SESSION_TIMEOUT_TICKS_MIN
    session_timeout_ms_max: int = limits.TICK_MS * limits.SESSION_TIMEOUT_TICKS_MAX
    frame_bytes_max: int = limits.FRAME_BYTES_MAX
    outstanding_max: int = limits.OUTSTANDING_REQUESTS_MAX
    super_digest: str | None = None
    x509_super_user: str | None = None
    acl_schemes: frozenset[str] = acls.DEFAULT_SCHEMES
    demanded_schemes: frozenset[str] = frozenset()
    sasl: SaslSettings | None = None
    skip_acl: bool = False
    extended_types: bool = True
    enforce_quota: bool = False
    reconfig_enabled: bool = False
    standalone_enabled: bool = True
    read_only_mode: bool = False
    local_sessions: bool = False
    local_sessions_upgrading: bool = False
    container_check_interval_ms: int = limits.CONTAINER_CHECK_MS
    container_never_used_ms: int = limits.CONTAINER_UNUSED_MS
    container_reaps_per_minute: int = limits.CONTAINER_REAPS_PER_MINUTE
    throttle: TokenBucket = UNLIMITED
    requests: RequestLimits | None = None
