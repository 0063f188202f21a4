"""Whose word counts: a server that may have forgotten what it promised or acknowledged has no vote until a leader has
brought it in step. That it has is a fact on its disk.

An empty disk looks the same whether it is a new server's or one that was wiped, and a wiped server would help to lose
what it has acknowledged (ZOOKEEPER-261). So a server is not believed before it was *enrolled*:

    FRESH      nothing here: a new server, or a wiped one; or data that was never an ensemble's
    LEARNING   as FRESH, and an ensemble's history has begun to arrive (only said, not put on disk)
    LOST       what was here was damaged, and was set aside
    ENROLLED   all that this server ever promised and acknowledged since it was enrolled is here

Discovery begins with one of these quorums, and only those that it names count:

    a quorum of enrolled servers
    all voters, unless one has LOST what it had: no other disk knows more, so nothing that is anywhere is passed over
    founding: a quorum of servers that are all fresh, once the others had some time to answer

In the last two, whoever takes part is enrolled with the epoch's adoption: every voter has promised this epoch, so what
was forgotten cannot matter any more. In the first, others are enrolled later: it must be sure by then that no leader of
another epoch can go on with what they promised before they forgot it. That is so when a quorum of others holds
something that was begun after the server had joined: it was there when the epoch was chosen that the quorum adopted, or
something was proposed behind its Join and committed. Whoever else would lead needs one of that quorum, finds that its
history is more recent than his own, and gives up.

What remains: founding cannot tell an ensemble's first start, with a server that is slow, from one whose only server
with data is down while all that are up are new or wiped. It then begins anew, says so, and gives the ensemble another
id, so that nothing is mixed when the old server comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zkstore.wire.messages import ENROLLED, FRESH, LEARNING, LOST
from zkstore.zab.settings import DurableState

QUORUM: Final = "a quorum of servers that have a vote"
EVERYBODY: Final = "all voters"
FOUNDING: Final = "servers that are all new"


def of_disk(state: DurableState) -> int:
    """What a server's disk says. One from before this was put down has a vote if it was in an ensemble."""
    if state.enrolment is not None:
        return state.enrolment
    return ENROLLED if state.ensemble_id is not None and state.adopted_epoch > 0 else FRESH


def said(enrolment: int, *, is_of_ensemble: bool, has_history: bool) -> int:
    """What a server says of itself in its Join."""
    return LEARNING if enrolment == FRESH and is_of_ensemble and has_history else enrolment


def why_not(enrolments: Mapping[int, int]) -> str:
    """Of those that take part, who has no vote and why; empty if that is nobody."""
    reasons = {
        FRESH: "their data directories were empty",
        LEARNING: "they have not been brought in step",
        LOST: "their data was damaged and set aside; to give it up for lost, empty their data directories",
    }
    named = {
        enrolment: ", ".join(str(server_id) for server_id in sorted(enrolments) if enrolments[server_id] == enrolment)
        for enrolment in reasons
    }
    return "; ".join(f"without a vote: servers {ids} ({reasons[key]})" for key, ids in named.items() if ids)
