"""What a peer knows and where it stands: everything about it that may be asked. `peer` moves it."""

from __future__ import annotations

from typing import NamedTuple

from zkstore.wire.messages import FOLLOWING, LEADING, LOOKING, LOST, OBSERVING, Join
from zkstore.zab.core import Core
from zkstore.zab.effects import Effect
from zkstore.zab.election import Election
from zkstore.zab.history import History
from zkstore.zab.leader import Leader
from zkstore.zab.learner import Learner
from zkstore.zab.membership import Membership
from zkstore.zab.settings import DurableState, PeerSettings


class LearnerStatus(NamedTuple):
    """What a leader knows of one learner. One that is not enrolled may have forgotten what it promised (`enrolment`),
    and does not count."""

    server_id: int
    link: int
    votes: bool
    is_up_to_date: bool
    acked_zxid: int
    silent_ms: int
    is_enrolled: bool = True


class Standing:
    """The parts of a peer, and what they say to those who ask. Nothing here changes anything."""

    def __init__(
        self, settings: PeerSettings, config: Membership, state: DurableState, history: History, now_ms: int
    ) -> None:
        self.settings = settings
        self._core = Core(settings, config, state, history, now_ms)
        self._election = Election(settings.server_id, settings.election)
        self._election.configure(config)
        self._config_changes = 0
        self._leader: Leader | None = None
        self._learner: Learner | None = None
        self._is_started = self._is_electing = self._is_established = False
        self._is_disk_ok = True
        self._is_retired = False
        self._may_be_alone = True
        self._next_link = -1
        self._waiting: dict[int, tuple[int, Join | None]] = {}
        self._failures = 0
        self._retry_at_ms = now_ms
        self._first_choice: int | None = None
        self._gone: frozenset[int] = frozenset()

    # --- what it knows ----------------------------------------------------------------------------

    @property
    def effects(self) -> list[Effect]:
        """What is to be done, in order; the owner empties the list."""
        return self._core.effects

    @effects.setter
    def effects(self, effects: list[Effect]) -> None:
        self._core.effects = effects

    @property
    def now_ms(self) -> int:
        """The time, as the owner has set it."""
        return self._core.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self._core.now_ms = now_ms

    @property
    def role(self) -> int:
        """messages.LEADING, FOLLOWING or OBSERVING once `Lead` or `Follow` was given; LOOKING otherwise."""
        if not self._is_established:
            return LOOKING
        if self._leader is not None:
            return LEADING
        return FOLLOWING if self._core.is_voter(self.settings.server_id) else OBSERVING

    @property
    def epoch(self) -> int:
        """The present leader's epoch, as far as it is known; else the last one that was adopted."""
        role = self._leader or self._learner
        return role.epoch if role is not None and role.epoch else self._core.adopted_epoch

    @property
    def leader_id(self) -> int | None:
        """Whom this server follows or wishes to, itself included."""
        if self._leader is not None:
            return self.settings.server_id
        return self._learner.leader if self._learner is not None else None

    @property
    def promised_epoch(self) -> int:
        """On disk."""
        return self._core.promised_epoch

    @property
    def adopted_epoch(self) -> int:
        """On disk."""
        return self._core.adopted_epoch

    @property
    def ensemble_id(self) -> bytes | None:
        """On disk."""
        return self._core.ensemble_id

    @property
    def is_enrolled(self) -> bool:
        """Whether this server has a vote, if it is a voter; on disk."""
        return self._core.is_enrolled

    @property
    def has_lost_data(self) -> bool:
        """Whether this server's data was damaged and set aside, and has not been replaced yet."""
        return self._core.enrolment == LOST

    @property
    def committed_zxid(self) -> int:
        """The state machine was told of everything up to here."""
        return self._core.committed_zxid

    @property
    def logged_zxid(self) -> int:
        """Everything up to here is in this server's log, on disk."""
        return self._core.durable[0]

    @property
    def config(self) -> Membership:
        """The configuration that is known to be committed."""
        return self._core.config

    @property
    def pending_config(self) -> Membership | None:
        """One that is in the log and not known to be committed."""
        return self._core.pending[1] if self._core.pending else None

    @property
    def can_propose(self) -> bool:
        """Whether `propose` may be called now."""
        return self._leader is not None and not self._core.is_stopped and self._leader.can_propose

    @property
    def in_flight_count(self) -> int:
        """Segments proposed and not yet both committed and on this server's disk."""
        return len(self._leader.broadcast) if self._leader is not None else 0

    @property
    def backlog_bytes(self) -> int:
        """Asked of the disk and not done. While it is large, the owner should not read what learned from a leader."""
        return self._core.backlog_bytes

    @property
    def is_stopped(self) -> bool:
        """Whether an invariant was broken: no call has any effect from then on."""
        return self._core.is_stopped

    @property
    def next_due_ms(self) -> int | None:
        """When `tick` has something to do at the latest; None if nothing depends on time."""
        dues = [self._election.next_due_ms if self._is_electing else None]
        dues.append(self._retry_at_ms if self._is_looking and not self._is_electing else None)
        dues.append(self._leader.next_due_ms if self._leader is not None else None)
        dues.append(self._learner.next_due_ms if self._learner is not None else None)
        return min((due for due in dues if due is not None), default=None)

    def learners(self) -> list[LearnerStatus]:
        """Who learns from this server."""
        if self._leader is None:
            return []
        return [
            LearnerStatus(
                handle.server_id,
                handle.link,
                self._core.is_voter(handle.server_id),
                handle.is_up_to_date,
                handle.acked_zxid,
                self.now_ms - handle.heard_ms,
                handle.is_enrolled,
            )
            for handle in self._leader.handles()
        ]

    @property
    def _is_looking(self) -> bool:
        return self._leader is None and self._learner is None
