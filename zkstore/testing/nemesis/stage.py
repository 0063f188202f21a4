"""What everybody who does something to the servers of a run shares: time, the servers, and the notes taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zkstore.testing.nemesis.places import Places
from zkstore.testing.nemesis.servers import Ensemble, Server
from zkstore.testing.nemesis.sockets import Sockets

LOOK_MS: Final = 50

Tell = Callable[[str], None]


class Stage:
    """Attributes:
    disturbed: to be called whenever a fault begins or ends.
    is_served: whether a client was answered since then.
    damage: overwrites a page of what a server without a process has on disk: of the log or of the checkpoint, that many
        thousandths of the way through the file.
    ended: to be called when a server's process has ended, before it is started again.
    findings: what a server did that it must not: ended by itself, or did not end when it was told to.
    is_over: everything is healed; what was still to be undone is undone already.
    """

    def __init__(
        self,
        sockets: Sockets,
        ensemble: Ensemble,
        places: Places,
        disturbed: Callable[[], None],
        is_served: Callable[[int], bool],
        ended: Callable[[Server], None],
        damage: Callable[[Server, bool, int], None],
        tell: Tell,
    ) -> None:
        self.sockets = sockets
        self.ensemble = ensemble
        self.places = places
        self.disturbed = disturbed
        self.is_served = is_served
        self.ended = ended
        self.damage = damage
        self.tell = tell
        self.findings: list[str] = []
        self.is_over = False

    def find(self, text: str) -> None:
        """Something is wrong."""
        self.tell(f"FOUND {text}")
        self.findings.append(text)

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something after a while."""
        self.sockets.call_at(self.sockets.now_us + delay_ms * 1000, action)

    def until(self, for_ms: int, undo: Callable[[], None]) -> None:
        """Undo something after a while, unless all has been undone by then."""

        def act() -> None:
            if not self.is_over:
                self.disturbed()
                undo()

        self.later(for_ms, act)
