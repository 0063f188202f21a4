"""Did everything that happened have a right to? `check` judges one whole `History` and counts what it looked at.

Because every answer names a zxid, nothing is sampled and nothing is searched for: each rule is one pass over the
history. `verdict.RULES` lists them. What an answer must contain is `replay`'s affair; the rest stands here.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from zkstore.testing.checkers.comparing import SYSTEM_FAILURE
from zkstore.testing.checkers.history import WRITES, Call, Channel, Closing, History, Life
from zkstore.testing.checkers.local_sessions import check_local_refusal, check_local_sessions
from zkstore.testing.checkers.replay import Replay
from zkstore.testing.checkers.verdict import Verdict
from zkstore.wire.opcodes import Opcode


@dataclass(frozen=True, slots=True)
class Allowances:
    """What a run's settings allow.

    Attributes:
        tick_us: the servers' tick: sessions end that much late.
        clock_error: how much a server's clock may run fast or slow, as a part of 1.
        settle_us: how long after the last fault sessions' timers may begin anew, for there is an election first.
        quiet_us: how long after it until the leader surely hears of whom the other servers hear of.
        behind_us: how old the newest txn may be that a server does not know of and still answers.
        serve_us: how long after the last fault writes must be answered.
        answer_us: how long an answer may take at the end of a run.
    """

    tick_us: int
    clock_error: float = 0.0
    settle_us: int = 0
    quiet_us: int = 0
    behind_us: int = 60_000_000
    serve_us: int = 60_000_000
    answer_us: int = 5_000_000


def check(history: History, allowances: Allowances) -> Verdict:
    """Judge a run that is over."""
    verdict = Verdict()
    for complaint in history.complaints:
        verdict.violate(complaint.rule, complaint.zxid, complaint.text)
    for rule, count in history.counts.items():
        verdict.counts[rule] += count
    replay = Replay(history, verdict)
    replay.run()
    for life in history.lives.values():
        _check_order(life, replay.applied, verdict)
        _check_monotony(life, verdict)
    _check_syncs(history, verdict)
    _check_expiry(history, allowances, verdict)
    _check_timeliness(history, allowances, verdict)
    _check_service(history, allowances, verdict)
    _check_answers(history, allowances, verdict)
    verdict.counts["sessions"] += 1
    if history.sessions_created > history.session_requests:
        verdict.violate(
            "sessions", 0, f"{history.sessions_created} sessions for {history.session_requests} requests for one"
        )
    return verdict


# --- one session's order --------------------------------------------------------------------------


def _check_order(life: Life, applied: dict[tuple[int, int], tuple[int, int]], verdict: Verdict) -> None:
    """Writes in the history stand in the order of the requests; on one connection none is left out before others."""
    last: tuple[int, Call] | None = None
    for channel in life.channels:
        left_out: Call | None = None
        for call in channel.calls:
            if call.opcode not in WRITES:
                continue
            zxid, code = applied.get((life.session_id, call.xid), (0, 0))
            if not zxid:
                if call.code != SYSTEM_FAILURE:
                    left_out = left_out or call
                continue
            verdict.counts["request order"] += 1
            if left_out is not None:
                verdict.violate("request order", zxid, f"{call!r} was applied, {left_out!r} before it was not")
            if code:
                continue  # A refusal may come late, when the session has moved.
            if last is not None and zxid <= last[0]:
                verdict.violate("request order", zxid, f"{call!r} was applied before {last[1]!r}")
            last = zxid, call


def _check_monotony(life: Life, verdict: Verdict) -> None:
    """What a session is shown never goes back; on another server it only counts what answers have shown."""
    answered_zxid = 0
    previous: Channel | None = None
    for channel in life.channels:
        seen_zxid, rule = answered_zxid, "monotonic reads"
        if previous is not None and previous.server_id != channel.server_id and channel.received:
            rule = "monotonic over servers"
        for item in channel.received:
            if item.zxid == -1:
                continue
            verdict.counts[rule] += 1
            if item.zxid < seen_zxid:
                verdict.violate(rule, item.zxid, f"{item!r} on {channel!r}: {seen_zxid:#x} had been shown")
            seen_zxid = max(seen_zxid, item.zxid)
            rule = "monotonic reads"
            if isinstance(item, Call) and item.opcode != Opcode.PING:
                answered_zxid = max(answered_zxid, item.zxid)
        previous = channel


def _check_syncs(history: History, verdict: Verdict) -> None:
    for channel in history.channels:
        for item in channel.received:
            if isinstance(item, Call) and item.opcode == Opcode.SYNC and item.code == 0:
                verdict.counts["sync"] += 1
                if item.zxid < item.floor:
                    verdict.violate("sync", item.zxid, f"{item!r}: {item.floor:#x} had been shown before it was asked")


# --- sessions' time -------------------------------------------------------------------------------


def _check_expiry(history: History, allowances: Allowances, verdict: Verdict) -> None:
    over: dict[int, Closing] = {}
    for closing in history.closings:
        if closing.session_id in over:
            continue
        over[closing.session_id] = closing
        if closing.cxid == 0:
            _check_not_early(history, history.lives[closing.session_id], closing, allowances, verdict)
    for life in history.lives.values():
        if life.is_local or life.refused_us < life.created_us:
            check_local_refusal(history, life, allowances.clock_error, verdict)
        elif life.refused_us >= 0:
            _check_refusal(life, over.get(life.session_id), allowances, verdict)
        if not life.is_local:
            _check_at_last(history, life, over.get(life.session_id), allowances, verdict)
    check_local_sessions(history, allowances.clock_error, 2 * allowances.tick_us + history.report_us, verdict)


def _check_not_early(history: History, life: Life, closing: Closing, allowances: Allowances, verdict: Verdict) -> None:
    """The leader must have heard nothing for the whole timeout.

    What it has surely heard of: requests that needed it. While all is calm, also what others heard and told it.
    """
    verdict.counts["expiry not early"] += 1
    timeout_us = int(life.timeout_us * (1 - allowances.clock_error))
    heard_us = closing.leader_us
    if closing.heard_us - allowances.quiet_us > history.calm_us:
        heard_us = max(heard_us, closing.heard_us)
    if closing.applied_us < heard_us + timeout_us:
        verdict.violate(
            "expiry not early",
            closing.zxid,
            f"session {life.session_id:#x} ended at {closing.applied_us} us; it was heard of at {heard_us} us"
            f" and has {life.timeout_us} us",
        )


def _check_refusal(life: Life, closing: Closing | None, allowances: Allowances, verdict: Verdict) -> None:
    """A client that wants its session back is refused only once that is over, or as good as over."""
    if any(call.opcode == Opcode.CLOSE_SESSION for channel in life.channels for call in channel.calls):
        return  # It wanted it to end, and may not have heard that it did.
    verdict.counts["expiry not early"] += 1
    timeout_us = int(life.timeout_us * (1 - allowances.clock_error))
    closed = closing is not None and closing.applied_us <= life.refused_us
    if not closed and life.refused_us < life.leader_us + timeout_us:
        verdict.violate(
            "expiry not early",
            0,
            f"session {life.session_id:#x} was refused at {life.refused_us} us; the leader heard of it at"
            f" {life.leader_us} us and it has {life.timeout_us} us",
        )


def _check_at_last(
    history: History, life: Life, closing: Closing | None, allowances: Allowances, verdict: Verdict
) -> None:
    """A session that nobody speaks for is over in time, counted from the last fault at the earliest."""
    if life.silent_us < 0:
        return
    verdict.counts["expiry at last"] += 1
    end_us = history.ended_us if closing is None else closing.applied_us
    since_us = max(life.silent_us, life.created_us, history.calm_us + allowances.settle_us)
    latest_us = since_us + int(life.timeout_us * (1 + allowances.clock_error)) + 2 * allowances.tick_us
    if end_us > latest_us + history.report_us:
        verdict.violate(
            "expiry at last",
            0,
            f"session {life.session_id:#x} is still there at {end_us} us;"
            f" its client was last heard of at {life.silent_us} us",
        )


# --- in time --------------------------------------------------------------------------------------


def _check_timeliness(history: History, allowances: Allowances, verdict: Verdict) -> None:
    """A read may be behind what others have applied, but not for long."""
    ends = history.segment_ends
    first_zxids = [history.txns[start][0] for start in [0, *ends][:-1]] if ends else []
    for channel in history.channels:
        for item in channel.received:
            if not isinstance(item, Call) or item.opcode in WRITES:
                continue
            verdict.counts["timeliness"] += 1
            following = bisect_right(first_zxids, item.zxid)
            if following == len(first_zxids):
                continue
            behind_us = item.called_us - history.segment_ends_us[following]
            verdict.behind_us = max(verdict.behind_us, behind_us)
            if behind_us > allowances.behind_us:
                verdict.violate("timeliness", item.zxid, f"{item!r}: it does not know of what is {behind_us} us old")


def _check_service(history: History, allowances: Allowances, verdict: Verdict) -> None:
    """Of all that is asked once there is no fault any more, something is soon answered."""
    asked_until_us = history.ended_us if history.rested_us < 0 else history.rested_us
    since_us = history.healed_us
    answered = [
        item.returned_us
        for channel in history.channels
        for item in channel.received
        if isinstance(item, Call) and item.opcode in WRITES and item.called_us >= since_us
    ]
    verdict.counts["service at last"] += 1
    if answered:
        verdict.served_us = min(answered) - since_us
    late = verdict.served_us > allowances.serve_us
    if late or (not answered and asked_until_us > since_us + allowances.serve_us):
        verdict.violate(
            "service at last", 0, f"the last fault was at {since_us} us, the first answer {verdict.served_us} us later"
        )


def _check_answers(history: History, allowances: Allowances, verdict: Verdict) -> None:
    """Nobody who is still there at the end waits for an answer from before."""
    for channel in history.channels:
        if channel.closed_us >= 0:
            continue
        verdict.counts["answers at last"] += 1
        for call in channel.calls:
            if call.returned_us < 0 and call.called_us < history.ended_us - allowances.answer_us:
                verdict.violate("answers at last", 0, f"{call!r} at {history.ended_us} us")
                break
