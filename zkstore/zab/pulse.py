"""The leader's pulse: who is alive, and whether a quorum still follows.

The leader pings every half tick, with a number that counts up. A learner that echoes it has followed nobody else since:
so once a quorum has echoed a ping that was sent after a question, nobody else led when the question was asked.
"""

from __future__ import annotations

from collections import deque

from zkstore.wire.messages import PING, Ping
from zkstore.zab.core import Core
from zkstore.zab.effects import Confirmed
from zkstore.zab.synchronisation import WAITING, Handle


class Pulse:
    """Pings to learners, and what comes back. `due_ms` is when the next round of pings goes out."""

    def __init__(self, core: Core, handles: dict[int, Handle]) -> None:
        self.due_ms = core.now_ms
        self._core = core
        self._handles = handles
        self._heard_ms: dict[int, int] = {}
        self._probe = 0
        self._echoes: dict[int, int] = {}
        self._ticket = self._asked_ticket = 0
        # (number of a ping, the ticket that it settles), oldest first.
        self._probes: deque[tuple[int, int]] = deque()

    # --- who is alive -----------------------------------------------------------------------------

    def heard(self, server_id: int) -> None:
        """Something has come from that server."""
        self._heard_ms[server_id] = self._core.now_ms

    def lost(self, server_id: int) -> None:
        """Its link broke. It still counts as alive for a tick: it may be dialling anew."""
        settings = self._core.settings
        still_ms = self._core.now_ms - settings.sync_ms + settings.tick_ms
        self._heard_ms[server_id] = min(self._heard_ms.get(server_id, still_ms), still_ms)

    def alive(self) -> set[int]:
        """This server, and those that were heard of lately."""
        core = self._core
        since_ms = core.now_ms - core.settings.sync_ms
        return {core.server_id} | {server_id for server_id, heard in self._heard_ms.items() if heard > since_ms}

    # --- pings ------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Ping everybody who has joined, and tell them the commit point."""
        core = self._core
        self.due_ms = core.now_ms + core.settings.tick_ms // 2
        self._probe += 1
        settled_ticket = self._probes[-1][1] if self._probes else self._ticket
        if self._asked_ticket > settled_ticket:
            self._probes.append((self._probe, self._asked_ticket))
        for handle in self._handles.values():
            if handle.stage != WAITING:
                committed = min(core.known_committed, handle.committed_limit)
                handle.told_committed = max(handle.told_committed, committed)
                core.send(handle.link, Ping(PING, self._probe, committed))

    def takes(self, probe: int) -> bool:
        """Whether a ping of that number was ever sent."""
        return probe <= self._probe

    def echoed(self, server_id: int, probe: int) -> None:
        """A learner that has adopted the epoch has echoed a ping."""
        self._echoes[server_id] = max(self._echoes.get(server_id, 0), probe)
        core = self._core
        while self._probes:
            wanted, ticket = self._probes[0]
            echoing = {other for other, echo in self._echoes.items() if echo >= wanted}
            if not core.has_quorum({core.server_id} | echoing):
                return
            self._probes.popleft()
            self._ticket = ticket
            core.effects.append(Confirmed(ticket))
        if self._asked_ticket > self._ticket:
            self.ping()

    def confirm(self) -> int:
        """Ask a quorum whether this server still leads; at once, unless a question is under way."""
        core = self._core
        self._asked_ticket += 1
        if core.has_quorum({core.server_id}):
            self._ticket = self._asked_ticket
            core.effects.append(Confirmed(self._ticket))
        elif not self._probes:
            self.ping()
        return self._asked_ticket
