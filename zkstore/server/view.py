"""What a running server tells about itself: `figures.ServerView` over the replica, the store and the client port."""

from __future__ import annotations

import resource
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from zkstore.model.sessions import SessionTracker
from zkstore.net.client_port import ClientPort
from zkstore.net.connection import Connection
from zkstore.replica.conversation import Conversation
from zkstore.replica.member import Member
from zkstore.replica.waiting import State
from zkstore.server.checkpoints import Checkpoints
from zkstore.server.config import Config
from zkstore.server.figures import (
    ConnectionFigures,
    DirectorySizes,
    EnsembleFigures,
    ExpiryBucket,
    LearnerFigures,
    Overview,
    SessionFigures,
    WatchTotals,
)
from zkstore.server.pipeline import Summary
from zkstore.server.tally import Tally
from zkstore.storage.store import Store
from zkstore.wire.messages import FOLLOWING, LEADING, OBSERVING
from zkstore.wire.opcodes import Opcode

_DESCRIPTORS: Final = Path("/proc/self/fd")

OPERATION_CODES: Final[dict[int, str]] = {
    Opcode.CREATE_SESSION: "SESS",
    Opcode.PING: "PING",
    Opcode.CREATE: "CREA",
    Opcode.CREATE2: "CREA",
    Opcode.CREATE_CONTAINER: "CREA",
    Opcode.CREATE_TTL: "CREA",
    Opcode.DELETE: "DELE",
    Opcode.EXISTS: "EXIS",
    Opcode.GET_DATA: "GETD",
    Opcode.SET_DATA: "SETD",
    Opcode.GET_ACL: "GETA",
    Opcode.SET_ACL: "SETA",
    Opcode.GET_CHILDREN: "GETC",
    Opcode.GET_CHILDREN2: "GETC",
    Opcode.GET_ALL_CHILDREN_NUMBER: "GETACN",
    Opcode.GET_EPHEMERALS: "GETE",
    Opcode.MULTI: "MULT",
    Opcode.MULTI_READ: "MLTR",
    Opcode.SYNC: "SYNC",
    Opcode.SET_WATCHES: "SETW",
    Opcode.SET_WATCHES2: "STW2",
    Opcode.ADD_WATCH: "ADDW",
    Opcode.CHECK_WATCHES: "CHKW",
    Opcode.REMOVE_WATCHES: "REMW",
    Opcode.RECONFIG: "RECO",
    Opcode.WHO_AM_I: "HOMI",
    Opcode.CLOSE_SESSION: "CLOS",
}
"""The last operation of a connection as the word `cons` prints it."""


_MODES: Final = {LEADING: "leader", FOLLOWING: "follower", OBSERVING: "observer"}


class Disk(Protocol):
    """What is counted where segments are written."""

    segments: int
    sync_ms: Summary


class View:
    """One server, as those see it who show its figures."""

    def __init__(
        self,
        config: Config,
        member: Member,
        store: Store,
        port: ClientPort,
        pipeline: Disk,
        checkpoints: Checkpoints,
        tally: Tally | None = None,
    ) -> None:
        self._config = config
        self._member = member
        self._replica = replica = member.replica
        self._store = store
        self._port = port
        self._pipeline = pipeline
        self._checkpoints = checkpoints
        self._tally = tally
        self._started_ms = replica.now_ms

    def config(self) -> Config:
        """What the server was told, with the port that it listens on."""
        return self._config

    def is_serving(self) -> bool:
        """A server alone serves as long as it runs, a member while it leads or follows."""
        return self._replica.role.is_serving

    def is_read_only(self) -> bool:
        """Whether it is a member without a leader, which serves reads."""
        return self._replica.role.is_read_only

    def overview(self) -> Overview:
        """The server in ten numbers. Reads count with a latency of 0: they are answered in the turn they arrive in."""
        figures = self._replica.figures
        return Overview(
            latency_min_ms=figures.latency_min_ms,
            latency_avg_ms=round(figures.update_total_ms / max(1, figures.received), 4),
            latency_max_ms=figures.latency_max_ms,
            received=figures.received,
            sent=self._sent(),
            connections=len(self._port.connections),
            outstanding=self._replica.role.outstanding_count,
            zxid=self._replica.tree.zxid,
            mode=self._mode(),
            node_count=len(self._replica.tree.records) + 1,  # ZooKeeper counts the root twice
        )

    def _sent(self) -> int:
        return self._replica.figures.sent + sum(conversation.sent for conversation in self._replica.conversations)

    def _mode(self) -> str:
        if self._config.ensemble is None:
            return "standalone"
        return "read-only" if self.is_read_only() else _MODES[self._member.peer.role]

    def ensemble(self) -> EnsembleFigures | None:
        """The server among the others; None for a server alone, and in read-only mode."""
        if self._config.ensemble is None or self.is_read_only():
            return None
        peer = self._member.peer
        assert peer.leader_id is not None, "who serves has a leader"
        return EnsembleFigures(
            server_id=self._config.ensemble.server_id,
            epoch=peer.epoch,
            leader_id=peer.leader_id,
            logged_zxid=peer.logged_zxid,
            pending_syncs=len(self._replica.syncs.waiting),
            proposal_bytes=(-1, -1, -1) if self._tally is None else self._tally.proposal_bytes,
            learners=tuple(
                LearnerFigures(
                    learner.server_id, learner.votes, learner.is_up_to_date, learner.acked_zxid, learner.silent_ms
                )
                for learner in peer.learners()
            ),
            members=self._member.members,
        )

    def metrics(self) -> Mapping[str, int | float]:
        """Everything else that is counted, by ZooKeeper's names."""
        replica, tree = self._replica, self._replica.tree
        values: dict[str, int | float] = {
            "watch_count": replica.watches.watch_count,
            "ephemerals_count": sum(map(len, tree.ephemerals.values())),
            "approximate_data_size": tree.data_bytes,
            "global_sessions": len(tree.sessions),
            "local_sessions": len(replica.local),
            "uptime": replica.now_ms - self._started_ms,
            "connection_rejected": replica.figures.connections_rejected,
            "stale_sessions_expired": replica.figures.sessions_expired,
            "request_throttle_wait_count": replica.figures.requests_held,
            "throttled_ops": replica.figures.requests_throttled,
            "stale_requests_dropped": replica.figures.requests_dropped,
            "proposal_count": replica.figures.proposals,
            "commit_count": self._pipeline.segments,
            "max_file_descriptor_count": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        }
        if _DESCRIPTORS.is_dir():
            values["open_file_descriptor_count"] = sum(1 for _ in _DESCRIPTORS.iterdir())
        figures = replica.figures
        values["cnt_updatelatency"] = figures.update_count
        values["sum_updatelatency"] = figures.update_total_ms
        values["avg_updatelatency"] = round(figures.update_total_ms / max(1, figures.update_count), 4)
        values["max_updatelatency"] = figures.latency_max_ms
        values.update(_summary("fsynctime", self._pipeline.sync_ms))
        values.update(_summary("snapshottime", self._checkpoints.duration_ms))
        if self._tally is not None:
            values.update(self._tally.metrics(replica.now_ms))
            values.update(_summary("election_time", self._tally.election_ms))
        return values

    def connections(self) -> Iterable[ConnectionFigures]:
        """Every client connection."""
        return [self._connection(connection) for connection in self._port.connections.values()]

    def _connection(self, connection: Connection) -> ConnectionFigures:
        conversation = connection.conversation
        host, port = conversation.peer
        return ConnectionFigures(
            host=host,
            port=port,
            interest=0 if conversation.state in (State.GREETING, State.ENDED) else connection.interest & 5,
            queued=len(conversation.waiting),
            received=conversation.received,
            sent=conversation.sent,
            expires_ms=self._replica.time_ms + (conversation.timeout_ms or self._config.handshake_timeout_ms),
            session=self._session(conversation) if conversation.session_id else None,
        )

    def _session(self, conversation: Conversation) -> SessionFigures:
        answered = max(1, conversation.sent)
        return SessionFigures(
            session_id=conversation.session_id,
            last_operation=OPERATION_CODES.get(conversation.last_opcode, "NA"),
            established_ms=conversation.established_ms,
            timeout_ms=conversation.timeout_ms,
            last_cxid=conversation.last_xid,
            last_zxid=conversation.last_zxid,
            last_response_ms=conversation.last_response_ms,
            last_latency_ms=conversation.last_latency_ms,
            latency_min_ms=0,
            latency_avg_ms=round(conversation.latency_total_ms / answered, 4),
            latency_max_ms=conversation.latency_max_ms,
        )

    def expiry_buckets(self) -> Iterable[ExpiryBucket]:
        """Sessions by the time of their expiry, which the leader knows; without a leader there are local ones only."""
        return self._buckets(self._replica.local.tracker if self.is_read_only() else self._replica.tracker)

    def local_expiry_buckets(self) -> Iterable[ExpiryBucket] | None:
        """The sessions that only this server knows."""
        if self.is_read_only() or not self._replica.settings.local_sessions:
            return None
        return self._buckets(self._replica.local.tracker)

    def _buckets(self, tracker: SessionTracker) -> list[ExpiryBucket]:
        to_wall_clock_ms = self._replica.time_ms - self._replica.now_ms
        buckets = tracker.buckets()
        return [ExpiryBucket(due_ms + to_wall_clock_ms, sessions) for due_ms, sessions in buckets.items()]

    def session_timeouts(self) -> Mapping[int, int]:
        """All sessions with their timeouts."""
        return {session_id: session.timeout_ms for session_id, session in self._replica.tree.sessions.items()}

    def ephemerals(self) -> Mapping[int, Collection[bytes]]:
        """The paths of ephemerals by their owner."""
        return self._replica.tree.ephemerals

    def watch_totals(self) -> WatchTotals:
        """How many data watches there are."""
        watches = self._replica.watches
        return WatchTotals(watches.connections_watching, watches.paths_watched, watches.total)

    def data_watches(self) -> Iterable[tuple[bytes, Collection[int]]]:
        """Each path with data watches, and the sessions that hold them."""
        return [
            (path, [conversation.session_id for conversation in watchers])
            for path, watchers in self._replica.watches.by_path().items()
        ]

    def digests(self) -> Iterable[tuple[int, int]]:
        """(zxid, digest of the tree) of some moments, the oldest first, and of now: quiet servers can be compared."""
        tree, kept = self._replica.tree, list(self._replica.digests)
        now = tree.zxid, tree.digest
        return kept if now in kept[-1:] else [*kept, now]

    def directory_sizes(self) -> DirectorySizes:
        """What lies on disk."""
        sizes = self._store.sizes()
        return DirectorySizes(sizes.tree_bytes + sizes.snapshots_bytes, sizes.log_file_bytes)

    def reset_connection_statistics(self) -> None:
        """Every connection's counters and latencies start anew."""
        for conversation in self._replica.conversations:
            self._replica.figures.sent += conversation.sent
            conversation.reset_statistics()

    def reset_server_statistics(self) -> None:
        """The server's counters and latencies start anew."""
        self._replica.figures.reset()
        self._replica.figures.sent = -sum(conversation.sent for conversation in self._replica.conversations)
        if self._tally is not None:
            self._tally.reset()
        self._pipeline.sync_ms.reset()
        self._checkpoints.duration_ms.reset()


def _summary(name: str, summary: Summary) -> dict[str, int | float]:
    average = summary.sum / summary.count if summary.count else 0.0
    return {
        f"avg_{name}": round(average, 4),
        f"min_{name}": int(summary.min),
        f"max_{name}": int(summary.max),
        f"cnt_{name}": summary.count,
        f"sum_{name}": int(summary.sum),
    }
