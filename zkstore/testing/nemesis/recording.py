"""The history of a run of real servers, in which it is known only at the end what the servers had on their disks."""

from __future__ import annotations

from typing import NamedTuple

from zkstore.testing.checkers.history import Channel, History


class Move(NamedTuple):
    """A session that had begun at one server only was given back by another, at that time."""

    session_id: int
    server_id: int
    at_us: int


class Recording(History):
    """A history that is told late which local sessions had been made known to all."""

    def __init__(self, *, report_us: int, local_sessions: bool = False, upgrades: bool = False) -> None:
        super().__init__(report_us=report_us, local_sessions=local_sessions, upgrades=upgrades)
        self._moves: list[Move] = []

    def welcomed(
        self, session_id: int, timeout_us: int, password: bytes, server_id: int, asked_us: int, now_us: int
    ) -> Channel:
        """See `History`; whether another server may know the session is judged at the end."""
        life = self.lives.get(session_id)
        has_moved = life is not None and life.is_local and life.channels[0].server_id != server_id
        if life is not None and has_moved:
            self._moves.append(Move(session_id, server_id, now_us))
            life.is_local = False
        channel = super().welcomed(session_id, timeout_us, password, server_id, asked_us, now_us)
        if life is not None and has_moved:
            life.is_local = True
        return channel

    def judge_moves(self, margin_us: int) -> None:
        """Once all logs have been told: who moved must have been known to all by then, give or take so much."""
        for move in self._moves:
            life = self.lives[move.session_id]
            if life.created_us < 0 or life.created_us > move.at_us + margin_us:
                text = f"server {move.server_id} gave back session {move.session_id:#x} of another at {move.at_us} us"
                self.complain("sessions", 0, text)
