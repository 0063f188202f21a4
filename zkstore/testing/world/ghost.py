"""A connection that nobody stands behind any more: it repeats a server's first word, hangs, and goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zkstore.testing.world.network import Wire

if TYPE_CHECKING:
    from zkstore.testing.world.world import World

_LINK = -1


class Ghost:
    """A station that pretends to be a server which has dialled twice."""

    is_up = True
    has_power = True
    is_choked = False

    def __init__(self, world: World, server_id: int, haunted: int, first_word: bytes) -> None:
        self.server_id = server_id
        world.ghosts += 1
        self.life = -world.ghosts  # No life of the server's own has this number.
        self._world = world
        self._haunted = haunted
        self._first_word = first_word

    def haunt(self, for_ms: int) -> None:
        """Dial, and go away after a while."""
        network = self._world.network
        network.dial(self, _LINK, self._haunted)
        self._world.agenda.call_in(for_ms * 1000, network.hang_up, self.server_id, self.life, _LINK)

    def link_dialled(self, life: int, link: int, server_id: int) -> None:
        """Say the first word."""
        self._world.network.send(self.server_id, self.life, link, self._first_word)

    def gossip_came(self, life: int, data: bytes) -> None:
        """Nobody listens; nor below."""

    def link_accepted(self, life: int, wire: Wire) -> int:
        return 1

    def link_came(self, life: int, link: int, data: bytes) -> None: ...

    def link_broke(self, life: int, link: int) -> None: ...
