"""Judging sessions that one server alone knows: no txn begins or ends them, so what is known is what clients were told.

Such a session is its server's affair until a txn makes it known to all, before it owns its first ephemeral: `replay`
sees to that order, and from then on the session is judged as any other.
"""

from __future__ import annotations

from zkstore.testing.checkers.history import History, Life
from zkstore.testing.checkers.verdict import Verdict
from zkstore.wire.multi import MultiRequest
from zkstore.wire.opcodes import EPHEMERAL_MODES, Opcode
from zkstore.wire.records import CreateRequest


def check_local_refusal(history: History, life: Life, clock_error: float, verdict: Verdict) -> None:
    """Its own server refuses a client only if the session was silent for too long, or the server was stopped since.

    Another server always refuses. One that was to be made known to all may be lost on the way to the leader.
    """
    if life.refused_us < 0:
        return
    verdict.counts["expiry not early"] += 1
    home = life.channels[0].server_id
    if life.refused_by != home or _wanted_more(life, history.upgrades):
        return
    began_us = life.channels[0].opened_us
    if any(began_us <= forgotten_us <= life.refused_us for forgotten_us in history.forgotten_us.get(home, ())):
        return
    heard_us = max(life.heard_us)
    if life.refused_us < heard_us + int(life.timeout_us * (1 - clock_error)):
        verdict.violate(
            "expiry not early",
            0,
            f"session {life.session_id:#x} was refused by its own server at {life.refused_us} us; that heard of it at"
            f" {heard_us} us, and it has {life.timeout_us} us",
        )


def _wanted_more(life: Life, upgrades: bool) -> bool:
    """Whether its client wanted the session to end, or to be known to all."""
    calls = [call for channel in life.channels for call in channel.calls]
    return any(call.opcode == Opcode.CLOSE_SESSION or (upgrades and _needs_owner(call.request)) for call in calls)


def _needs_owner(request: object) -> bool:
    operations = [operation.request for operation in request.ops] if isinstance(request, MultiRequest) else [request]
    return any(isinstance(one, CreateRequest) and one.flags in EPHEMERAL_MODES for one in operations)


def check_local_sessions(history: History, clock_error: float, late_us: int, verdict: Verdict) -> None:
    """What is left at the end, of sessions whose clients have been silent for longer than their time?

    They may end `late_us` late. Their time begins anew when their server begins to serve, and after its own standstill.
    """
    for server_id, session_ids in history.left_local.items():
        since_us = max(history.calm_us, history.serving_us[server_id])
        for session_id in session_ids:
            life = history.lives.get(session_id)
            if life is None or life.silent_us < 0:
                continue
            verdict.counts["expiry at last"] += 1
            latest_us = max(life.silent_us, since_us) + int(life.timeout_us * (1 + clock_error)) + late_us
            if history.ended_us > latest_us:
                verdict.violate(
                    "expiry at last",
                    0,
                    f"server {server_id} still knows session {session_id:#x} at {history.ended_us} us; its client was"
                    f" last heard of at {life.silent_us} us",
                )
