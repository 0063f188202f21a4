"""The leader's side of discovery (Zab's phase 1): find an epoch that a quorum promises, and see that nobody in that
quorum has a more recent history.

    GATHERING    learners join; a quorum makes the epoch: one above all that it has promised
    PROMISING    that epoch goes on this disk
    ASKING       NewEpoch was sent; a quorum of EpochAcks ends it
    ADOPTING     the epoch is adopted on this disk; its initial history is the log as it is now

An epoch that a learner had promised before may have been promised to another leader, so that learner does not count.
Nor does one that may have forgotten what it promised: `enrolment` says who counts when.
"""

from __future__ import annotations

from typing import Final

from zkstore import limits
from zkstore.wire.messages import ENROLLED, FRESH, LOST, NEW_EPOCH, REFUSAL, EpochAck, NewEpoch, Refusal
from zkstore.zab import enrolment
from zkstore.zab.core import Core
from zkstore.zab.enrolment import EVERYBODY, FOUNDING, QUORUM
from zkstore.zab.synchronisation import ASKED, BEFORE_ALL, JOINED, PLACED, Handle

GATHERING: Final = 0
PROMISING: Final = 1
ASKING: Final = 2
ADOPTING: Final = 3


class Discovery:
    """Attributes:
    epoch: 0 until it is chosen.
    phase: one of the above.
    kind: the quorum that takes part, QUORUM, EVERYBODY or FOUNDING of `enrolment`; None until the epoch is chosen.
    """

    def __init__(self, core: Core, handles: dict[int, Handle]) -> None:
        self.phase = GATHERING
        self.epoch = 0
        self.kind: str | None = None
        self._since_ms = core.now_ms
        self._core = core
        self._handles = handles
        self._ensemble_id = b""
        self._needed: set[int] = set()
        self._acks: set[int] = set()

    def gather(self) -> None:
        """Choose the epoch if a quorum has joined. To be called for each learner, and as time passes."""
        core = self._core
        if self.phase != GATHERING:
            return
        self.kind = self._kind()
        if self.kind is None:
            return
        joins = []
        for handle in self._handles.values():
            if handle.join is not None:
                handle.enrol_above = BEFORE_ALL
                handle.has_vote = handle.join.enrolment == ENROLLED or self.kind != QUORUM
                joins.append(handle.join)
        if self.kind != QUORUM:
            self._needed = set(self._enrolments())
            core.note(f"epochs begin with {self.kind}: {', '.join(map(str, sorted(self._needed)))}")
        self.epoch = max([core.promised_epoch, *(join.promised_epoch for join in joins)]) + 1
        if self.epoch > limits.EPOCH_MAX:
            core.stop("I2", core.end[0], f"epoch {self.epoch} is above {limits.EPOCH_MAX}: no epochs are left")
            return
        self.phase = PROMISING
        # The id goes with the promise like a ballot's value: the one of the highest promise is kept.
        known = [(core.promised_epoch, core.ensemble_id or b"")]
        if core.adopted_epoch == 0 or core.ensemble_id is None:
            known += [(join.promised_epoch, join.ensemble_id) for join in joins]
        found = max(((epoch, ensemble_id) for epoch, ensemble_id in known if ensemble_id), default=(0, b""))[1]
        self._ensemble_id = found or core.settings.fresh_ensemble_id
        if self._ensemble_id != core.ensemble_id:
            core.belong(self._ensemble_id)
        core.promise(self.epoch)

    def _kind(self) -> str | None:
        """Which quorum has joined."""
        core, enrolments = self._core, self._enrolments()
        if core.has_quorum({server_id for server_id, known in enrolments.items() if known == ENROLLED}):
            return QUORUM
        known = set(enrolments.values())
        if core.voters <= enrolments.keys() and LOST not in known:
            return EVERYBODY
        has_waited = core.now_ms - self._since_ms >= core.settings.founding_ms
        if known == {FRESH} and has_waited and core.has_quorum(set(enrolments)):
            return FOUNDING
        return None

    def _enrolments(self) -> dict[int, int]:
        """What the voters that take part say of themselves."""
        core = self._core
        joined = [(handle.server_id, handle.join) for handle in self._handles.values()]
        found = {server_id: join.enrolment for server_id, join in joined if join and core.is_voter(server_id)}
        if core.is_voter(core.server_id):
            found[core.server_id] = core.said_enrolment
        return found

    def obstacle(self) -> str:
        """For the log: who takes part and does not count; empty if that is nobody."""
        return enrolment.why_not(self._enrolments())

    def needs(self, server_id: int) -> bool:
        """Whether the epoch was chosen with that server, which had a vote for that reason alone."""
        return server_id in self._needed

    @property
    def has_own_vote(self) -> bool:
        """Whether this server's own promise counts."""
        return self._core.is_enrolled or self.kind != QUORUM

    def ask(self, handle: Handle) -> str | None:
        """Tell a learner the epoch, if it is on this disk, and the learner's promise allows it.

        Returns why the learner cannot be served, or None.
        """
        core, join = self._core, handle.join
        assert join is not None, "a learner joins first"
        if join.promised_epoch > self.epoch:
            reason = f"server {join.server_id} has promised epoch {join.promised_epoch}, above {self.epoch}"
            if not core.is_member(join.server_id):
                core.send(handle.link, Refusal(REFUSAL, reason))
                return reason
            # It could never follow this epoch, so there has to be another.
            core.leave(reason)
        elif self.phase >= ASKING:
            handle.stage = ASKED
            core.send(handle.link, NewEpoch(NEW_EPOCH, self.epoch, self._ensemble_id))
        return None

    def promised(self) -> None:
        """The epoch is on this disk."""
        self.phase = ASKING
        if self.has_own_vote:
            self._acks.add(self._core.server_id)
        for handle in list(self._handles.values()):
            if handle.stage == JOINED:
                self.ask(handle)
        self._count()

    def acked(self, handle: Handle, ack: EpochAck) -> None:
        """A learner has the promise on its disk, and says what its log holds."""
        core = self._core
        handle.stage = PLACED
        handle.point = (ack.last_zxid, ack.last_crc)
        if self.phase != ASKING:
            return
        # What only servers without weight hold was never committed, and they cannot be elected to keep it.
        if ack.adopted_epoch >= 0 and handle.has_vote:
            is_ahead = (ack.adopted_epoch, ack.last_zxid) > (core.adopted_epoch, core.end[0])
            if core.weighs(handle.server_id) and is_ahead:
                core.leave(
                    f"server {handle.server_id} has a more recent history: epoch {ack.adopted_epoch}, zxid"
                    f" {ack.last_zxid:#x}; mine: epoch {core.adopted_epoch}, zxid {core.end[0]:#x}"
                )
                return
            self._acks.add(handle.server_id)
        self._count()

    def _count(self) -> None:
        core = self._core
        if self._is_enough(self._acks):
            self.phase = ADOPTING
            core.adopt(self.epoch)
            return
        joined = [handle for handle in self._handles.values() if handle.join is not None]
        answered = {handle.server_id for handle in joined if handle.stage != ASKED}
        if len(answered) == len(joined) and self._is_enough({core.server_id} | answered):
            core.leave(f"epoch {self.epoch} had been promised before by too many; the next one will be free")

    def _is_enough(self, ids: set[int]) -> bool:
        core = self._core
        return ids >= core.voters if self.kind == EVERYBODY else core.has_quorum(ids)
