"""The state of everything in an exploration, and what follows from one thing that happens."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from zkstore.testing.exploration.observer import Knowledge, SmallObserver
from zkstore.testing.exploration.server import Dialled, Event, Fact, Sent
from zkstore.testing.exploration.states import Servers
from zkstore.wire.messages import LinkMessage

_END: Final = None
"""Stands in a link's queue where the other side has closed it."""


class Link(NamedTuple):
    """A link from a learner to a leader; an end's number is 0 once that server has done with it."""

    learner: int
    learner_link: int
    leader: int
    leader_link: int
    up: tuple[LinkMessage | None, ...]
    down: tuple[LinkMessage | None, ...]


class Spent(NamedTuple):
    """How often things happened that are bounded; and, as `Exploration.most`, how often they may."""

    leads: int = 0
    follows: int = 0
    proposals: int = 0
    crashes: int = 0
    breaks: int = 0
    give_ups: int = 0
    purges: int = 0
    reconfigurations: int = 0


class State(NamedTuple):
    """Everything, as a value. `servers` are numbers of `Servers`, the first one is server 1's."""

    servers: tuple[int, ...]
    links: tuple[Link, ...]
    knowledge: Knowledge
    spent: Spent


class Action(NamedTuple):
    """What happens next. `link` is a place in `State.links`; `is_lossy`: what was under way on it is lost."""

    kind: str
    server: int
    other: int = 0
    link: int = -1
    is_lossy: bool = False
    message: LinkMessage | None = None
    voters: tuple[int, ...] = ()

    def __str__(self) -> str:
        text = f"server {self.server}: {self.kind}"
        if self.other:
            text += f" {self.other}"
        if self.voters:
            text += f" {', '.join(map(str, self.voters))}"
        if self.is_lossy:
            text += ", and what was under way is lost"
        return text if self.message is None else f"{text}: {self.message!r:.100}"


_METHODS: Final = {
    "receives from": "receive",
    "disk finishes": "write",
    "starts": "boot",
    "leads": "lead",
    "follows": "follow",
    "proposes": "propose",
    "crashes": "crash",
    "gives up": "give_up",
    "purges": "purge",
    "makes voters of": "reconfigure",
    "loses its link to": "lose",
}


class Step:
    """From one state to the next."""

    def __init__(self, database: Servers, checks: Counter[str], voters: frozenset[int], state: State) -> None:
        self.database = database
        self.checks = checks
        self.servers = list(state.servers)
        self.links = list(state.links)
        self.observer = SmallObserver(voters, state.knowledge)
        self.spent = state.spent
        self._before = state

    def take(self, action: Action) -> State:
        """The state after the action. Raises InvariantBroken, or an AssertionError of the server's own."""
        getattr(self, _METHODS[action.kind])(action)
        return self._state()

    def _state(self) -> State:
        if self.servers != list(self._before.servers):
            summaries = self.database.summaries
            disks = {server: summaries[number].disk for server, number in enumerate(self.servers, 1)}
            self.observer.check_durability(disks, len(self._before.knowledge.committed))
        return State(tuple(self.servers), tuple(sorted(self.links, key=_ends)), self.observer.knowledge, self.spent)

    # --- actions ----------------------------------------------------------------------------------

    def receive(self, action: Action) -> None:
        """The first message of a queue arrives; or its end."""
        index, link = action.link, self.links[action.link]
        if link.leader == action.server:
            number, message = link.leader_link, link.up[0]
            self.links[index] = link._replace(up=link.up[1:])
        else:
            number, message = link.learner_link, link.down[0]
            self.links[index] = link._replace(down=link.down[1:])
        if message is _END:
            del self.links[index]
            self._do(action.server, Event("broke", number))
        else:
            self._do(action.server, Event("receive", number, message=message))

    def write(self, action: Action) -> None:
        """A disk finishes something."""
        self._do(action.server, Event("write"))

    def boot(self, action: Action) -> None:
        """A server starts."""
        self._do(action.server, Event("boot"))

    def lead(self, action: Action) -> None:
        """A server decides to lead."""
        self.spent = self.spent._replace(leads=self.spent.leads + 1)
        self._do(action.server, Event("lead"))

    def follow(self, action: Action) -> None:
        """A server decides to follow."""
        self.spent = self.spent._replace(follows=self.spent.follows + 1)
        self._do(action.server, Event("follow", server_id=action.other))

    def propose(self, action: Action) -> None:
        """A leader proposes."""
        self.spent = self.spent._replace(proposals=self.spent.proposals + 1)
        self._do(action.server, Event("propose"))

    def reconfigure(self, action: Action) -> None:
        """A leader proposes other voters."""
        self.spent = self.spent._replace(reconfigurations=self.spent.reconfigurations + 1)
        self._do(action.server, Event("propose", voters=action.voters))

    def give_up(self, action: Action) -> None:
        """A leader has heard of nobody for long."""
        self.spent = self.spent._replace(give_ups=self.spent.give_ups + 1)
        self._do(action.server, Event("give_up"))

    def purge(self, action: Action) -> None:
        """A server shortens its log."""
        self.spent = self.spent._replace(purges=self.spent.purges + 1)
        self._do(action.server, Event("purge"))

    def crash(self, action: Action) -> None:
        """A server goes down; the others see its links end."""
        self.spent = self.spent._replace(crashes=self.spent.crashes + 1)
        self._do(action.server, Event("crash"))
        for link in [link for link in self.links if action.server in (link.learner, link.leader)]:
            self._close(link, action.server, action.is_lossy)

    def lose(self, action: Action) -> None:
        """One end of a link notices that it broke; the other end will."""
        self.spent = self.spent._replace(breaks=self.spent.breaks + 1)
        link = self.links[action.link]
        number = link.learner_link if link.learner == action.server else link.leader_link
        self._close(link, action.server, action.is_lossy)
        self._do(action.server, Event("broke", number))

    # --- what servers do --------------------------------------------------------------------------

    def _do(self, server: int, event: Event) -> None:
        number, out = self.database.step(self.servers[server - 1], event)
        self.servers[server - 1] = number
        for item in out:
            if isinstance(item, Fact):
                self.checks[item.name] += 1
                getattr(self.observer, item.name)(*item.arguments)
            elif isinstance(item, Sent):
                self._send(server, item)
            else:
                self._connect(server, item)

    def _send(self, server: int, sent: Sent) -> None:
        for index, link in enumerate(self.links):
            if (link.learner, link.learner_link) == (server, sent.link):
                if sent.message is _END:
                    self._close(link, server, False)
                elif link.leader_link:
                    self.links[index] = link._replace(up=(*link.up, sent.message))
                return
            if (link.leader, link.leader_link) == (server, sent.link):
                if sent.message is _END:
                    self._close(link, server, False)
                elif link.learner_link:
                    self.links[index] = link._replace(down=(*link.down, sent.message))
                return

    def _connect(self, server: int, dialled: Dialled) -> None:
        leader = dialled.server_id
        summary = self.database.summaries[self.servers[leader - 1]]
        if not summary.is_up:
            self._do(server, Event("broke", dialled.link))
            return
        number = summary.links + 1
        self.links.append(Link(server, dialled.link, leader, number, (), ()))
        self._do(leader, Event("accepted", number))
        self._do(server, Event("dialled", dialled.link, leader))

    def _close(self, link: Link, server: int, is_lossy: bool) -> None:
        """One end has done with the link; the other end finds out behind what is still under way."""
        index = self.links.index(link)
        if server == link.learner:
            other, under_way = link.leader_link, () if is_lossy else link.up
            closed = link._replace(learner_link=0, down=(), up=(*under_way, _END))
        else:
            other, under_way = link.learner_link, () if is_lossy else link.down
            closed = link._replace(leader_link=0, up=(), down=(*under_way, _END))
        if other:
            self.links[index] = closed
        else:
            del self.links[index]


def _ends(link: Link) -> tuple[int, int, int, int]:
    return link.learner, link.learner_link, link.leader, link.leader_link
