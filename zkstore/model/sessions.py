"""Sessions' time: who has been silent for too long, and the numbers that name sessions.

A session expires when nothing was heard of it for its timeout, rounded up to the next tick: a silent one dies
between `timeout` and `timeout + tick` after its last touch, never earlier. Sessions that fall due in the same tick
share a *bucket*. A touch, which every request is, only notes the time; the session is moved to its new bucket when
its old one falls due, so that a busy session costs one move per timeout instead of one per request.

The tracker knows live sessions only: one that it has reported as expired is out of it, though its closing txn has
yet to run. `now_ms` is any clock that does not jump; the same one in every call.
"""

from __future__ import annotations

import heapq
from typing import Final

LOOKS_PER_EXPIRY: Final = 16
"""Sessions looked at for one that may expire in a turn. Moving a touched one costs a microsecond, closing one a txn."""

_CONTAINER_OWNER: Final = -(1 << 63)  # the ephemeral owner that marks a container; no session may have it


def negotiate(requested_ms: int, min_ms: int, max_ms: int) -> int:
    """The session timeout to grant: what the client asked for, within the server's bounds."""
    return max(min_ms, min(requested_ms, max_ms))


def first_session_id(server_id: int, now_ms: int) -> int:
    """The first session id that a server hands out after a start; the next ones count up from it.

    From the top: 8 bits of the server's id, the low 40 bits of the clock, 16 zeros. Signed, as on the wire, so negative
    from server 128 on; never 0, and never the mark of containers.
    """
    bits = (server_id & 0xFF) << 56 | (now_ms & 0xFF_FFFF_FFFF) << 16
    session_id = bits - (1 << 64) if bits >> 63 else bits
    return session_id + 1 if session_id in (0, _CONTAINER_OWNER) else session_id


class _Session:
    __slots__ = ("bucket_ms", "timeout_ms", "touched_ms")

    def __init__(self, timeout_ms: int, touched_ms: int) -> None:
        self.timeout_ms = timeout_ms
        self.touched_ms = touched_ms
        self.bucket_ms = 0  # where it stands; never later than its deadline


class SessionTracker:
    """The live sessions and when they expire. Inside, time is `now_ms` less all the time that was `postpone`d."""

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._stalled_ms = 0
        self._sessions: dict[int, _Session] = {}
        self._buckets: dict[int, dict[int, _Session]] = {}
        self._bucket_times: list[int] = []  # a heap of the keys of _buckets

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: int) -> bool:
        return session_id in self._sessions

    def add(self, session_id: int, timeout_ms: int, now_ms: int) -> None:
        """Start to track a session that was heard of now. One that is tracked already starts anew."""
        self.remove(session_id)
        session = self._sessions[session_id] = _Session(timeout_ms, now_ms - self._stalled_ms)
        self._put(session_id, session)

    def touch(self, session_id: int, now_ms: int, timeout_ms: int | None = None) -> bool:
        """Note that a session was heard of. False if it is not alive, or no more.

        `timeout_ms` is given when a reconnect has negotiated another one, which then holds.
        """
        session = self._sessions.get(session_id)
        if session is None:
            return False
        session.touched_ms = now_ms - self._stalled_ms
        if timeout_ms is not None and timeout_ms != session.timeout_ms:
            session.timeout_ms = timeout_ms
            # A shorter timeout may be due before the bucket it stands in.
            del self._buckets[session.bucket_ms][session_id]
            self._put(session_id, session)
        return True

    def remove(self, session_id: int) -> None:
        """Forget a session, because it was closed; nothing happens if it is not tracked."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            del self._buckets[session.bucket_ms][session_id]

    def expired(self, now_ms: int, at_most: int) -> list[int]:
        """Take out sessions whose time is over, at most `at_most` of them, and return their ids.

        One call looks at a bounded number of sessions, so a long list may take several, and one of them may return
        nothing while more are due. Until `next_due_ms` lies after `now_ms`, call again in the next turn.
        """
        clock_ms = now_ms - self._stalled_ms
        expired: list[int] = []
        looks = at_most * LOOKS_PER_EXPIRY
        while self._bucket_times and self._bucket_times[0] <= clock_ms:
            bucket = self._buckets[self._bucket_times[0]]
            while bucket and looks and len(expired) < at_most:
                looks -= 1
                session_id, session = bucket.popitem()
                if self._deadline_ms(session) <= clock_ms:
                    del self._sessions[session_id]
                    expired.append(session_id)
                else:
                    self._put(session_id, session)
            if bucket:
                break
            del self._buckets[heapq.heappop(self._bucket_times)]
        return expired

    @property
    def next_due_ms(self) -> int | None:
        """When `expired` next has something to look at; None while there is nothing to wait for."""
        return self._bucket_times[0] + self._stalled_ms if self._bucket_times else None

    def postpone(self, by_ms: int) -> None:
        """Move every session's deadline by `by_ms`: the server itself stood still for so long and heard nobody."""
        self._stalled_ms += by_ms

    def timeout_ms(self, session_id: int) -> int | None:
        """The timeout that holds for a session; None if it is not tracked."""
        session = self._sessions.get(session_id)
        return None if session is None else session.timeout_ms

    def buckets(self) -> dict[int, list[int]]:
        """All sessions by the time at which they expire unless they are heard of, the earliest first."""
        by_deadline: dict[int, list[int]] = {}
        for session_id, session in self._sessions.items():
            by_deadline.setdefault(self._deadline_ms(session) + self._stalled_ms, []).append(session_id)
        return dict(sorted(by_deadline.items()))

    def _deadline_ms(self, session: _Session) -> int:
        return ((session.touched_ms + session.timeout_ms) // self._tick_ms + 1) * self._tick_ms

    def _put(self, session_id: int, session: _Session) -> None:
        session.bucket_ms = deadline_ms = self._deadline_ms(session)
        bucket = self._buckets.get(deadline_ms)
        if bucket is None:
            bucket = self._buckets[deadline_ms] = {}
            heapq.heappush(self._bucket_times, deadline_ms)
        bucket[session_id] = session
