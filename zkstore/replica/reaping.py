"""Reaping: containers that lost their last child and TTL znodes that nobody renewed go, each by a txn of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zkstore.model.record import CONTAINER_OWNER, ttl_ms_of
from zkstore.replica.prepare import Asking
from zkstore.replica.proposal import Proposal
from zkstore.wire.opcodes import Opcode

if TYPE_CHECKING:
    from zkstore.replica.leading import Leading
    from zkstore.replica.replica import Replica

_MINUTE_MS: Final = 60_000


def sweep(leading: Leading) -> None:
    """Propose to delete what is over, at most as many as the settings allow in a minute."""
    replica = leading.replica
    settings = replica.settings
    most = max(1, settings.container_reaps_per_minute * settings.container_check_interval_ms // _MINUTE_MS)
    due: list[bytes] = []
    for path, owner in replica.tree.reapable.items():
        if path not in replica.tree.children and _is_over(replica, path, owner):
            due.append(path)
            if len(due) == most:
                break
    for path in due:
        asking = Asking(0, 0, replica.time_ms, leading.proposed_zxid + 1, ())
        txn = leading.prepare.reap(asking, path)
        if txn is not None:
            leading.propose(Proposal(txn, None, 0, Opcode.DELETE_CONTAINER, replica.now_ms))


def _is_over(replica: Replica, path: bytes, owner: int) -> bool:
    """Whether a znode without children has had its time (protocol: ephemerals, containers, TTL)."""
    stat = replica.tree.stat(path)
    age_ms = replica.time_ms - stat.mtime_ms
    if owner == CONTAINER_OWNER:
        return stat.cversion > 0 or 0 < replica.settings.container_never_used_ms < age_ms
    ttl_ms = ttl_ms_of(owner)
    assert ttl_ms is not None, f"{path!r} is neither a container nor a TTL znode"
    return age_ms > ttl_ms
