"""The leader's side of discovery (Zab's phase 1): find an epoch that a quorum promises, and see that nobody in that
quorum has a more recent history.

    GATHERING    learners join; a quorum makes the epoch: one above all that it has promised
    PROMISING    that epoch goes on this disk
    ASKING       NewEpoch was sent; a quorum of EpochAcks ends it
    ADOPTING     the epoch is adopted on this disk; its initial history is the log as it is now

An epoch that a learner had promised before may have been promised to another leader, so that learner does not count.
"""

from __future__ import annotations

from typing import Final

from zkstore import limits
from zkstore.wire.messages import NEW_EPOCH, REFUSAL, EpochAck, NewEpoch, Refusal
from zkstore.zab.core import Core
from zkstore.zab.synchronisation import ASKED, JOINED, PLACED, Handle

GATHERING: Final = 0
PROMISING: Final = 1
ASKING: Final = 2
ADOPTING: Final = 3


class Discovery:
    """`epoch` is 0 until it is chosen; `phase` is one of the above."""

    def __init__(self, core: Core, handles: dict[int, Handle]) -> None:
        self.phase = GATHERING
        self.epoch = 0
        self._core = core
        self._handles = handles
        self._ensemble_id = b""
        self._acks: set[int] = set()

    def gather(self) -> None:
        """Choose the epoch if a quorum has joined."""
        core = self._core
        joins = [handle.join for handle in self._handles.values() if handle.join is not None]
        if self.phase != GATHERING or not core.has_quorum({core.server_id, *(join.server_id for join in joins)}):
            return
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
        if core.weighs(handle.server_id) and ack.adopted_epoch >= 0:
            if (ack.adopted_epoch, ack.last_zxid) > (core.adopted_epoch, core.end[0]):
                core.leave(
                    f"server {handle.server_id} has a more recent history: epoch {ack.adopted_epoch}, zxid"
                    f" {ack.last_zxid:#x}; mine: epoch {core.adopted_epoch}, zxid {core.end[0]:#x}"
                )
                return
            self._acks.add(handle.server_id)
        self._count()

    def _count(self) -> None:
        core = self._core
        if core.has_quorum(self._acks):
            self.phase = ADOPTING
            core.adopt(self.epoch)
            return
        joined = [handle for handle in self._handles.values() if handle.join is not None]
        answered = {handle.server_id for handle in joined if handle.stage != ASKED}
        if len(answered) == len(joined) and core.has_quorum({core.server_id} | answered):
            core.leave(f"epoch {self.epoch} had been promised before by too many; the next one will be free")
