"""Where explorations begin, and how much may happen in them. Each is a moment at which implementations have erred.

A scenario's script is played without a fault; from its end on, everything is tried.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from zkstore.testing.exploration.explorer import Exploration
from zkstore.testing.exploration.world import Action, Spent, State


class Scenario(NamedTuple):
    """A beginning, and what may happen then.

    Attributes:
        what: for people.
        script: what happens first.
        most: how often which thing may happen then.
        voters: at the beginning; None for all three servers.
        reconfigurations: voters that a leader may wish for.
    """

    what: str
    script: tuple[Action, ...]
    most: Spent
    voters: frozenset[int] | None = None
    reconfigurations: tuple[tuple[int, ...], ...] = ()

    def begin(self) -> tuple[Exploration, State]:
        """Play the script."""
        exploration = Exploration(voters=self.voters)
        state = exploration.play(exploration.beginning(), *self.script)
        exploration.most, exploration.reconfigurations = self.most, self.reconfigurations
        return exploration, state


_UP: Final = tuple(Action("starts", server) for server in (1, 2, 3))
_ESTABLISHED: Final = (*_UP, Action("leads", 3), Action("follows", 1, 3), Action("follows", 2, 3))
_LEFT_BEHIND: Final = (
    *_ESTABLISHED,
    Action("proposes", 3),
    Action("crashes", 1),
    Action("proposes", 3),
    Action("purges", 3),
    Action("starts", 1),
)
_DEPOSED: Final = (
    *_ESTABLISHED,
    Action("proposes", 3),
    # Both learners look for another leader; the old one does not know, and goes on.
    Action("loses its link to", 1, 3, 0, is_lossy=True),
    Action("loses its link to", 2, 3, 0, is_lossy=True),
    Action("proposes", 3),
    Action("leads", 2),
    Action("follows", 1, 2),
)

SCENARIOS: Final = {
    "birth": Scenario(
        "three empty servers become an ensemble", _UP, Spent(leads=2, follows=3, proposals=1, give_ups=1)
    ),
    "crash at birth": Scenario(
        "a server crashes while the first epoch is agreed on", _UP, Spent(leads=2, follows=3, crashes=1, give_ups=1)
    ),
    "broken link": Scenario(
        "a link breaks under proposals, and is made anew", _ESTABLISHED, Spent(proposals=2, breaks=1, follows=1)
    ),
    "new leader": Scenario(
        "a server crashes under a proposal, and another leads",
        _ESTABLISHED,
        Spent(proposals=1, crashes=1, leads=1, follows=2),
    ),
    "two new leaders": Scenario(
        "one new leader after the other",
        _ESTABLISHED,
        Spent(proposals=2, crashes=1, leads=2, follows=3, give_ups=1),
    ),
    "deposed leader": Scenario(
        "a leader with a proposal of its own comes back to a later epoch",
        _DEPOSED,
        Spent(proposals=1, give_ups=1, leads=1, follows=2, crashes=1),
    ),
    "left behind": Scenario(
        "a server that needs a snapshot comes back under a proposal",
        _LEFT_BEHIND,
        Spent(proposals=1, follows=2, crashes=1),
    ),
    "left behind twice": Scenario(
        "the log is shortened while a server is brought up to date",
        _LEFT_BEHIND,
        Spent(proposals=2, follows=2, breaks=1, purges=1),
    ),
    "one remains": Scenario(
        "the leader becomes the only voter",
        _ESTABLISHED,
        Spent(reconfigurations=1, crashes=1, leads=1, follows=2),
        reconfigurations=((3,),),
    ),
    "leader leaves": Scenario(
        "the leader makes the two others the only voters, under a proposal",
        _ESTABLISHED,
        Spent(reconfigurations=1, proposals=1, breaks=1, leads=1, follows=2),
        reconfigurations=((1, 2),),
    ),
    "voter replaced": Scenario(
        "one of two voters gives its vote to a third server",
        (*_UP, Action("leads", 2), Action("follows", 1, 2), Action("follows", 3, 2)),
        Spent(reconfigurations=1, crashes=1, leads=1, follows=2),
        voters=frozenset({1, 2}),
        reconfigurations=((2, 3),),
    ),
}

WALK: Final = Scenario(
    "anything may happen, several times",
    _UP,
    Spent(leads=30, follows=60, proposals=20, crashes=8, breaks=8, give_ups=8, purges=2, reconfigurations=4),
    reconfigurations=((1, 2), (2, 3), (3,), (1, 2, 3)),
)
"""For walks at random: far too much to try all of it."""
