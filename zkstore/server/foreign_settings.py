"""Settings of Apache ZooKeeper's that zkstore knows and has no value of its own for, each with the reason.

The rule: what asks for protection or replication that this server would not give is refused; what
asks for something that people would miss is warned of; what has nothing to act on here, or is so
without being asked for, is passed over. Who belongs to an ensemble (`server.N`) is read in `server_lines`.
"""

from __future__ import annotations

from enum import Enum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple


class Verdict(Enum):
    """What becomes of a setting."""

    REFUSED = "refused"
    WARNED = "warned of"
    PASSED_OVER = "passed over"


class ForeignSetting(NamedTuple):
    """`pattern` is a key, or several by a `*`; with one of the `harmless` values (lower case) nothing is to be said."""

    pattern: str
    verdict: Verdict
    reason: str
    harmless: frozenset[str] = frozenset()


_OFF: Final = frozenset({"", "false", "no"})
_ON: Final = frozenset({"", "true", "yes"})
_REFUSED, _WARNED, _PASSED_OVER = Verdict.REFUSED, Verdict.WARNED, Verdict.PASSED_OVER

_REVOKED: Final = "nobody is asked over the network; give a list of revoked certificates by zkstore.tlsCrlFile"
_SUBJECTS: Final = "identities are the subjects of certificates; remove the setting"
_NO_KERBEROS: Final = "users log in by DIGEST-MD5"
_SERVERS_REVOKED: Final = "nobody is asked over the network; give a list by zkstore.quorumTlsCrlFile"
_NO_NAMES: Final = "who dials proves itself by its certificate and the list of members; no name is looked up"
_OWN_TIMEOUTS: Final = "each step of a connection between servers has a limit of its own"
_ONE_SERVER: Final = "a single server has nobody to talk to"
_NO_ADMIN_PORT: Final = "figures come from the four-letter words, mntr above all"
_THREADS: Final = "zkstore needs no tuning of threads and queues"
_JAVA: Final = "concerns Java"

# The first match counts, so the particular stands before the general.
FOREIGN_SETTINGS: Final = (
    # Protection.
    ForeignSetting("ssl.quorum.*", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("ssl.keyStore.type", _PASSED_OVER, "the file says what it is; PEM is read"),
    ForeignSetting("ssl.trustStore.*", _PASSED_OVER, "the file says what it is; PEM is read, and needs no password"),
    ForeignSetting("ssl.crl", _REFUSED, _REVOKED, _OFF),
    ForeignSetting("ssl.ocsp", _REFUSED, _REVOKED, _OFF),
    ForeignSetting("ssl.clientHostnameVerification", _REFUSED, _SUBJECTS, _OFF),
    ForeignSetting("ssl.hostnameVerification", _PASSED_OVER, "concerns clients"),
    ForeignSetting("ssl.authProvider", _REFUSED, _SUBJECTS, frozenset({"", "x509"})),
    ForeignSetting("ssl.handshakeDetectionTimeoutMillis", _PASSED_OVER, "see nio.sessionlessCnxnTimeout"),
    ForeignSetting(
        "ssl.*", _REFUSED, "this server does not know it, and it may be meant to protect; remove the setting"
    ),
    ForeignSetting("client.certReload", _PASSED_OVER, "certificates that change are always read anew"),
    ForeignSetting(
        "requireClientAuthScheme",
        _REFUSED,
        "no server acts on it; give sessionRequireClientSASLAuth=true to demand SASL, and remove the setting",
        frozenset({"", "none"}),
    ),
    ForeignSetting(
        "DigestAuthenticationProvider.enabled", _REFUSED, "digest cannot be switched off", frozenset({"true"})
    ),
    ForeignSetting("DigestAuthenticationProvider.digestAlg", _REFUSED, "digests are SHA1 here", frozenset({"sha1"})),
    ForeignSetting("ensembleAuthName", _REFUSED, "this server does not check the ensemble's name; remove the setting"),
    ForeignSetting("authProvider.*", _WARNED, "not loaded; identities are ip, digest, x509 and sasl"),
    ForeignSetting("X509AuthenticationProvider.*", _REFUSED, _SUBJECTS),
    ForeignSetting("letAnySaslUserDoX", _WARNED, "an ACL gives rights only to those whom it names"),
    ForeignSetting("sasl.*", _PASSED_OVER, _NO_KERBEROS),
    ForeignSetting("jaasLoginRenew", _PASSED_OVER, _NO_KERBEROS),
    ForeignSetting("kerberos.*", _PASSED_OVER, _NO_KERBEROS),
    ForeignSetting("IPAuthenticationProvider.*", _PASSED_OVER, "concerns HTTP"),
    ForeignSetting("fips-mode", _PASSED_OVER, _JAVA),
    ForeignSetting("audit.enable", _WARNED, "there is no audit log", _OFF),
    ForeignSetting("audit.*", _PASSED_OVER, "there is no audit log"),
    # Replication.
    ForeignSetting("oraclePath", _REFUSED, "no oracle is asked who leads; remove the setting, and have three servers"),
    ForeignSetting("connectToLearnerMasterLimit", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("electionAlg", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("electionPortBindRetry", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("cnxTimeout", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("quorum*", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("sslQuorum*", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("multiAddress.*", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("observer*", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("learner.*", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("follower.*", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("leader.*", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("leaderServes", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("syncEnabled", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("tcpKeepAlive", _PASSED_OVER, _ONE_SERVER),
    # The disk.
    ForeignSetting("forceSync", _WARNED, "zkstore always syncs before it answers a write", frozenset({"yes", "true"})),
    ForeignSetting("autopurge.purgeInterval", _PASSED_OVER, "history is kept within zkstore.historyBytesMax"),
    ForeignSetting("preAllocSize", _PASSED_OVER, "LMDB manages the log's space"),
    ForeignSetting("snapSizeLimitInKb", _PASSED_OVER, "a checkpoint costs what changed; snapCount sets how often"),
    ForeignSetting("txnLogSizeLimitInKb", _PASSED_OVER, "LMDB manages the log's space"),
    ForeignSetting("snapshot.*", _PASSED_OVER, "concerns Apache's snapshot files"),
    ForeignSetting("commitLogCount", _PASSED_OVER, "the log itself serves who catches up"),
    ForeignSetting("fsync.warningthresholdms", _PASSED_OVER, "sync times are among mntr's figures"),
    ForeignSetting("flushDelay", _PASSED_OVER, "a group commits as soon as the disk is free"),
    ForeignSetting("maxWriteQueuePollTime", _PASSED_OVER, "a group commits as soon as the disk is free"),
    ForeignSetting("maxBatchSize", _PASSED_OVER, "a group commits as soon as the disk is free"),
    ForeignSetting("digest.enabled", _PASSED_OVER, "the tree's digest is always checked"),
    ForeignSetting("jute.maxbuffer.extrasize", _PASSED_OVER, "records on disk need no extra limit"),
    ForeignSetting("closeSessionTxn.enabled", _PASSED_OVER, "concerns Apache's log"),
    ForeignSetting("serializeLastProcessedZxid.enabled", _PASSED_OVER, "checkpoints always carry their zxid"),
    ForeignSetting("datadir.autocreate", _PASSED_OVER, "a missing data directory is created"),
    ForeignSetting("db.autocreate", _PASSED_OVER, "a missing data directory is created"),
    ForeignSetting("trust.empty.snapshot", _PASSED_OVER, "recovery never trusts what it cannot check"),
    # Requests and connections.
    ForeignSetting("maxResponseCacheSize", _PASSED_OVER, "every znode is kept as its answer"),
    ForeignSetting("maxGetChildrenResponseCacheSize", _PASSED_OVER, "every znode is kept as its answer"),
    ForeignSetting("enableEagerACLCheck", _PASSED_OVER, _ONE_SERVER),
    ForeignSetting("emulate353TTLNodes", _PASSED_OVER, "concerns Apache's log of 3.5.3"),
    ForeignSetting("request_throttle_stall_time", _PASSED_OVER, "requests that wait go on as soon as they may"),
    ForeignSetting(
        "request_stale_connection_check", _WARNED, "requests that wait are dropped with their connection", _ON
    ),
    ForeignSetting("request_throttler.shutdownTimeout", _PASSED_OVER, "a stop carries out what has been read"),
    ForeignSetting("largeRequest*", _PASSED_OVER, "frames and memory are bounded without it"),
    ForeignSetting("clientTcpKeepAlive", _PASSED_OVER, "session timeouts find dead clients"),
    ForeignSetting("serverCnxnFactory", _PASSED_OVER, _JAVA),
    ForeignSetting("nio.*", _PASSED_OVER, _THREADS),
    ForeignSetting("netty.*", _PASSED_OVER, _JAVA),
    ForeignSetting("commitProcessor.*", _PASSED_OVER, _THREADS),
    ForeignSetting("watchManagerName", _PASSED_OVER, _JAVA),
    ForeignSetting("watcherCleaner*", _PASSED_OVER, _JAVA),
    ForeignSetting("jvm.*", _PASSED_OVER, _JAVA),
    ForeignSetting("jmx.*", _PASSED_OVER, _JAVA),
    # Figures.
    ForeignSetting("metricsProvider.*", _PASSED_OVER, _NO_ADMIN_PORT),
    ForeignSetting("admin.*", _PASSED_OVER, _NO_ADMIN_PORT),
)


_OF_A_MEMBER: Final = (
    ForeignSetting("ssl.quorum.keyStore.type", _PASSED_OVER, "the file says what it is; PEM is read"),
    ForeignSetting(
        "ssl.quorum.trustStore.*", _PASSED_OVER, "the file says what it is; PEM is read, without a password"
    ),
    ForeignSetting("ssl.quorum.clientAuth", _WARNED, "every server must show a certificate", frozenset({"", "need"})),
    ForeignSetting("ssl.quorum.clientHostnameVerification", _WARNED, _NO_NAMES, _OFF),
    ForeignSetting("ssl.quorum.crl", _REFUSED, _SERVERS_REVOKED, _OFF),
    ForeignSetting("ssl.quorum.ocsp", _REFUSED, _SERVERS_REVOKED, _OFF),
    ForeignSetting("ssl.quorum.handshakeDetectionTimeoutMillis", _PASSED_OVER, _OWN_TIMEOUTS),
    ForeignSetting(
        "ssl.quorum.*", _REFUSED, "this server does not know it, and it may be meant to protect; remove the setting"
    ),
    ForeignSetting("sslQuorumReloadCertFiles", _PASSED_OVER, "certificates that change are always read anew"),
    ForeignSetting(
        "quorum.auth.enableSasl", _REFUSED, "servers prove themselves by certificates; give sslQuorum=true", _OFF
    ),
    ForeignSetting("quorum.auth.*RequireSasl", _REFUSED, "servers prove themselves by certificates", _OFF),
    ForeignSetting("electionAlg", _REFUSED, "there is one way to elect; give 3, or remove it", frozenset({"3"})),
    ForeignSetting("leaderServes", _WARNED, "the leader serves clients, too", _ON),
    ForeignSetting("syncEnabled", _WARNED, "observers log what they learn", _ON),
    ForeignSetting("observerMasterPort", _WARNED, "observers learn from the leader", frozenset({"", "0"})),
    ForeignSetting("connectToLearnerMasterLimit", _PASSED_OVER, "initLimit holds for it, too"),
    ForeignSetting("cnxTimeout", _PASSED_OVER, _OWN_TIMEOUTS),
    ForeignSetting("quorumCnxnTimeoutMs", _PASSED_OVER, _OWN_TIMEOUTS),
    ForeignSetting("electionPortBindRetry", _PASSED_OVER, "servers talk at one port; the election port stays closed"),
    ForeignSetting("multiAddress.*", _PASSED_OVER, "all addresses of a server are dialled, and the first one counts"),
)
"""What is to be said of a member of an ensemble, and is nothing to a server alone."""


def find(key: str, *, is_member: bool = False) -> ForeignSetting | None:
    """The entry for `key`, or None for a key that nobody knows."""
    entries = _OF_A_MEMBER + FOREIGN_SETTINGS if is_member else FOREIGN_SETTINGS
    return next((setting for setting in entries if fnmatchcase(key, setting.pattern)), None)
