"""What a running server can tell about itself: the records, and the `ServerView` that hands them out.

The rooms that show figures (four-letter words, metrics) know a server by this view only; the server
implements it. Every method is asked for what one answer needs, so what is costly is counted only then.
Paths are bytes, session ids signed, times ms, as everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from zkstore.server.config import Config
from zkstore.zab.membership import Membership


class Overview(NamedTuple):
    """The server in ten numbers, cheap at any time.

    Attributes:
        latency_min_ms, latency_avg_ms, latency_max_ms: from a request's arrival to its answer, since the last reset.
        received, sent: frames since the last reset.
        connections: client connections, the asking one included.
        outstanding: requests received and not answered.
        mode: standalone, leader, follower, observer or read-only.
    """

    latency_min_ms: int
    latency_avg_ms: float
    latency_max_ms: int
    received: int
    sent: int
    connections: int
    outstanding: int
    zxid: int
    mode: str
    node_count: int


class SessionFigures(NamedTuple):
    """What a connection with a session adds to its line in `cons`.

    Attributes:
        last_operation: four letters, SESS PING CREA DELE EXIS GETD SETD and so on; NA after a reset.
        established_ms: wall clock when the connection was made.
        last_cxid: xid of the last ordinary request; negative if none was seen.
        last_zxid: of the last answer; -1 after a reset.
        last_response_ms: monotonic clock of the last answer; 0 after a reset.
    """

    session_id: int
    last_operation: str
    established_ms: int
    timeout_ms: int
    last_cxid: int
    last_zxid: int
    last_response_ms: int
    last_latency_ms: int
    latency_min_ms: int
    latency_avg_ms: float
    latency_max_ms: int


class ConnectionFigures(NamedTuple):
    """One client connection.

    Attributes:
        interest: 1 waits to read, 4 to write, 5 both, 0 neither, as the one that asks by a four-letter word.
        queued: answers that wait to be sent.
        expires_ms: wall clock at which it will be closed if nothing comes.
        session: None as long as there is no session.
    """

    host: str
    port: int
    interest: int
    queued: int
    received: int
    sent: int
    expires_ms: int
    session: SessionFigures | None


class ExpiryBucket(NamedTuple):
    """The sessions that expire together if nothing is heard of them; `expires_ms` by the wall clock."""

    expires_ms: int
    session_ids: Collection[int]


class WatchTotals(NamedTuple):
    """Data watches, as `wchs` counts them: child watches are not among them."""

    connections: int
    paths: int
    watches: int


class LearnerFigures(NamedTuple):
    """What a leader knows of one server that learns from it."""

    server_id: int
    is_voter: bool
    is_in_step: bool
    acked_zxid: int
    silent_ms: int


class EnsembleFigures(NamedTuple):
    """One member of an ensemble that serves.

    Attributes:
        epoch: that of the leader, which is `leader_id`.
        logged_zxid: the end of this server's log, on disk.
        pending_syncs: syncs of clients here that wait.
        proposal_bytes: of the proposals since it leads, the (last, least, most) size; -1 before the first one.
        learners: empty but on the leader.
        members: the configuration in effect.
    """

    server_id: int
    epoch: int
    leader_id: int
    logged_zxid: int
    pending_syncs: int
    proposal_bytes: tuple[int, int, int]
    learners: tuple[LearnerFigures, ...]
    members: Membership


class DirectorySizes(NamedTuple):
    """Bytes of the files of the data directory and of the log."""

    data_bytes: int
    log_bytes: int


class ServerView(Protocol):
    """A running server as those see it who show its figures."""

    def config(self) -> Config:
        """What the server was told, with `client_port` the one it listens on."""

    def is_serving(self) -> bool:
        """Whether requests are answered now; while False only the methods above the line are called."""

    def is_read_only(self) -> bool:
        """Whether only reads are served."""

    # --- asked only while the server serves -------------------------------------------------------

    def overview(self) -> Overview:
        """The server in ten numbers."""

    def ensemble(self) -> EnsembleFigures | None:
        """The server among the others; None for a server alone, and in read-only mode."""

    def metrics(self) -> Mapping[str, int | float]:
        """Further figures by ZooKeeper's names without `zk_`; a name is there only if its value is true.

        Those of most use: watch_count, ephemerals_count, approximate_data_size, global_sessions, uptime (ms),
        open_file_descriptor_count, max_file_descriptor_count, connection_rejected, stale_sessions_expired, and
        avg_ min_ max_ cnt_ sum_ of fsynctime, snapshottime, readlatency and updatelatency.
        """

    def connections(self) -> Iterable[ConnectionFigures]:
        """Every client connection, the asking one included."""

    def expiry_buckets(self) -> Iterable[ExpiryBucket]:
        """Sessions by the time of their expiry, the earliest first; none where another server keeps their time."""

    def local_expiry_buckets(self) -> Iterable[ExpiryBucket] | None:
        """The sessions that only this server knows, likewise; None where new ones are known to all."""

    def session_timeouts(self) -> Mapping[int, int]:
        """All sessions that every server knows, with their timeouts, in ms."""

    def ephemerals(self) -> Mapping[int, Collection[bytes]]:
        """The paths of ephemerals by their owner; sessions without any are left out."""

    def watch_totals(self) -> WatchTotals:
        """How many data watches there are."""

    def data_watches(self) -> Iterable[tuple[bytes, Collection[int]]]:
        """Each path with data watches, and the sessions that hold them."""

    def digests(self) -> Iterable[tuple[int, int]]:
        """(zxid, digest of the tree) of some moments, the oldest first."""

    def directory_sizes(self) -> DirectorySizes:
        """What lies on disk; walks the directories."""

    def reset_connection_statistics(self) -> None:
        """Every connection's counters and latencies start anew."""

    def reset_server_statistics(self) -> None:
        """The server's counters and latencies start anew; gauges stay."""
