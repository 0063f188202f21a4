"""What a peer is told about its world, and what it found on its disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from zkstore import limits
from zkstore.zab.election import ElectionSettings

INIT_LIMIT_TICKS: Final = 10
SYNC_LIMIT_TICKS: Final = 5
"""Defaults of initLimit and syncLimit, as in Apache's sample configuration."""

FOUNDING_TICKS: Final = 2
"""Longer than servers that are started together are apart; short for somebody who starts two of three."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Durations in milliseconds, sizes in bytes.

    Attributes:
        server_id: this server's own.
        fresh_ensemble_id: 16 random bytes; becomes the ensemble's id if this server leads first of all.
        tick_ms: the unit of the two limits.
        init_limit: ticks that discovery may take.
        sync_limit: ticks after which a silent server counts as gone.
        window_bytes: segments sent to one learner and not acknowledged. It covers a fast network's delay times its
            rate; a slower learner is fed from the log.
        founding_ticks: how long a quorum of servers that are all new waits for the others before it begins.
        in_flight_bytes_max, in_flight_segments_max: proposed and not yet committed and on the leader's disk; beyond it
            `Peer.can_propose` is False.
        election: its timings.
        epoch_counter_max: the counter at which a leader asks for a new epoch; what is already numbered fits behind it.
    """

    server_id: int
    fresh_ensemble_id: bytes = b"\0" * 16
    tick_ms: int = limits.TICK_MS
    init_limit: int = INIT_LIMIT_TICKS
    sync_limit: int = SYNC_LIMIT_TICKS
    founding_ticks: int = FOUNDING_TICKS
    window_bytes: int = limits.LEARNER_WINDOW_BYTES
    in_flight_bytes_max: int = limits.IN_FLIGHT_BYTES_MAX
    in_flight_segments_max: int = limits.IN_FLIGHT_SEGMENTS_MAX
    epoch_counter_max: int = limits.EPOCH_COUNTER_MAX
    election: ElectionSettings = field(default_factory=ElectionSettings)

    @property
    def init_ms(self) -> int:
        """How long discovery may take."""
        return self.init_limit * self.tick_ms

    @property
    def founding_ms(self) -> int:
        """How long a quorum of new servers waits for the others; it has to be done within `init_ms`."""
        return min(self.founding_ticks * self.tick_ms, self.init_ms // 2)

    @property
    def sync_ms(self) -> int:
        """How long a server may be silent."""
        return self.sync_limit * self.tick_ms


@dataclass(frozen=True, slots=True)
class DurableState:
    """What lies on the disk when a server starts.

    Attributes:
        promised_epoch: no leader of a lower epoch is followed.
        adopted_epoch: the last epoch whose leader's history was taken over.
        last_zxid, last_crc: the end of the log.
        committed_zxid: what is known to be committed: the newest digest that a segment names, or the checkpoint.
        ensemble_id: None where none was agreed on.
        enrolment: FRESH, LOST or ENROLLED of `wire.messages`, as it lies on disk; None where nothing was put down yet.
    """

    promised_epoch: int = 0
    adopted_epoch: int = 0
    last_zxid: int = 0
    last_crc: int = 0
    committed_zxid: int = 0
    ensemble_id: bytes | None = None
    enrolment: int | None = None
