"""Through all states of a small ensemble: breadth first, every state once, the safety of agreement in each.

From each state, everything that may happen next is tried: a message arrives, a disk finishes the oldest thing asked of
it, a server decides to lead or to follow, a leader proposes, changes the voters or gives up, a link breaks at one end
(with or without what was under way), a server crashes or starts. How often the latter things happen is bounded;
messages and disks are not. Because it is breadth first, the way to a violation is one of the shortest there are.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from zkstore.testing.exploration.disk import SIZE_MAX, SmallDisk, membership
from zkstore.testing.exploration.observer import Knowledge
from zkstore.testing.exploration.server import SmallServer
from zkstore.testing.exploration.states import Servers
from zkstore.testing.exploration.world import Action, Spent, State, Step

_SHARES: Final = (0.85, 0.12, 0.03)
"""How often a walk lets messages and disks get on, lets servers decide something, and lets something go wrong."""


@dataclass
class Report:
    """What an exploration came to.

    Attributes:
        states: different ones; `transitions` led to them.
        depth: of the last state, in actions.
        server_states: different ones of single servers.
        is_complete: whether there was nothing left to try.
        checks: how often the observer was told of something to check, by its method.
        violation: the first one, and `trace` the way to it; a walk's is there in any case.
        knowledge: what the observer knew at the end of a walk.
    """

    states: int = 0
    transitions: int = 0
    depth: int = 0
    server_states: int = 0
    is_complete: bool = False
    checks: Counter[str] = field(default_factory=Counter)
    violation: str | None = None
    trace: list[Action] = field(default_factory=list)
    knowledge: Knowledge = field(default_factory=Knowledge)


class Exploration:
    """`size` servers, of which all or `voters` vote at the beginning, and all states they can be in."""

    def __init__(self, size: int = 3, most: Spent | None = None, voters: frozenset[int] | None = None) -> None:
        assert size <= SIZE_MAX, f"at most {SIZE_MAX} servers"
        self.size = size
        self.config = membership(voters or range(1, size + 1))
        self.most = most or Spent()
        self.reconfigurations: tuple[tuple[int, ...], ...] = ()
        self.servers = Servers()
        self.checks: Counter[str] = Counter()

    def beginning(self) -> State:
        """All servers down, with empty disks."""
        servers = [SmallServer(server_id, self.config, SmallDisk()) for server_id in range(1, self.size + 1)]
        numbers = tuple(self.servers.add(server) for server in servers)
        return State(numbers, (), Knowledge(), Spent())

    def explore(
        self, start: State, *, states_max: int, progress: Callable[[Report], None] | None = None, every: int = 10_000
    ) -> Report:
        """Try everything from `start` on, until nothing is left, `states_max` were found or an invariant is broken."""
        report = Report(states=1, checks=self.checks)
        origin: dict[State, tuple[State, Action] | None] = {start: None}
        frontier: deque[tuple[State, int]] = deque([(start, 0)])
        while frontier and report.states < states_max and report.violation is None:
            state, depth = frontier.popleft()
            for action in self.actions(state):
                report.transitions += 1
                try:
                    found = self.after(state, action)
                except AssertionError as error:
                    report.violation = str(error) or repr(error)
                    report.trace = [*_way(origin, state), action]
                    break
                if found not in origin:
                    origin[found] = (state, action)
                    frontier.append((found, depth + 1))
                    report.states += 1
                    report.depth = depth + 1
                    if progress is not None and report.states % every == 0:
                        progress(report)
        report.server_states = len(self.servers)
        report.is_complete = not frontier and report.violation is None
        return report

    def walk(self, start: State, dice: Random, *, steps_max: int) -> Report:
        """One course at random, far longer than `explore` comes; work under way is mostly done first."""
        report, state = Report(states=1, checks=self.checks), start
        while report.violation is None and report.transitions < steps_max:
            choices = [list(self._work(state)), list(self._decisions(state)), list(self._faults(state))]
            if not any(choices):
                report.is_complete = True
                break
            [kind] = dice.choices(choices, [bool(kind) * share for kind, share in zip(choices, _SHARES, strict=True)])
            action = dice.choice(kind)
            report.trace.append(action)
            report.transitions += 1
            try:
                state = self.after(state, action)
            except AssertionError as error:
                report.violation = str(error) or repr(error)
        report.server_states = len(self.servers)
        report.depth = report.transitions
        report.knowledge = state.knowledge
        return report

    def play(self, state: State, *script: Action) -> State:
        """The state after these actions, with everything delivered and on the disks after each; nothing is counted."""
        for action in script:
            state = self.after(state, action)
            while (step := next(self._work(state), None)) is not None:
                state = self.after(state, step)
        return state._replace(spent=Spent())

    # --- what may happen --------------------------------------------------------------------------

    def actions(self, state: State) -> Iterator[Action]:
        """Everything that may happen next."""
        yield from self._work(state)
        yield from self._decisions(state)
        yield from self._faults(state)

    def _work(self, state: State) -> Iterator[Action]:
        """What is under way, on links and to disks."""
        for place, link in enumerate(state.links):
            if link.leader_link and link.up:
                yield Action("receives from", link.leader, link.learner, place, message=link.up[0])
            if link.learner_link and link.down:
                yield Action("receives from", link.learner, link.leader, place, message=link.down[0])
        for server, number in enumerate(state.servers, 1):
            if self.servers.summaries[number].has_disk_work:
                yield Action("disk finishes", server)

    def _decisions(self, state: State) -> Iterator[Action]:
        spent, most = state.spent, self.most
        for server, number in enumerate(state.servers, 1):
            summary = self.servers.summaries[number]
            if not summary.is_up:
                yield Action("starts", server)
                continue
            if summary.may_decide:
                if spent.leads < most.leads:
                    yield Action("leads", server)
                leaders = [
                    n for n, other in enumerate(state.servers, 1) if self.servers.summaries[other].wishes_to_lead
                ]
                if spent.follows < most.follows:
                    yield from (Action("follows", server, other) for other in leaders if other != server)
            if summary.can_propose and spent.proposals < most.proposals:
                yield Action("proposes", server)
            if summary.can_reconfigure and spent.reconfigurations < most.reconfigurations:
                yield from (Action("makes voters of", server, voters=voters) for voters in self.reconfigurations)

    def _faults(self, state: State) -> Iterator[Action]:
        spent, most = state.spent, self.most
        for server, number in enumerate(state.servers, 1):
            summary = self.servers.summaries[number]
            if summary.is_up and spent.crashes < most.crashes:
                yield Action("crashes", server)
                if any(server in (link.learner, link.leader) for link in state.links):
                    yield Action("crashes", server, is_lossy=True)
            if summary.wishes_to_lead and spent.give_ups < most.give_ups:
                yield Action("gives up", server)
            if summary.can_purge and spent.purges < most.purges:
                yield Action("purges", server)
        if spent.breaks < most.breaks:
            for place, link in enumerate(state.links):
                for is_lossy in (False, True):
                    if link.learner_link:
                        yield Action("loses its link to", link.learner, link.leader, place, is_lossy)
                    if link.leader_link:
                        yield Action("loses its link to", link.leader, link.learner, place, is_lossy)

    # --- and what comes of it ---------------------------------------------------------------------

    def after(self, state: State, action: Action) -> State:
        """The next state. Raises InvariantBroken, or an AssertionError of the server's own."""
        return Step(self.servers, self.checks, self.config.voters, state).take(action)


def _way(origin: dict[State, tuple[State, Action] | None], state: State) -> list[Action]:
    way = []
    while (step := origin[state]) is not None:
        state, action = step
        way.append(action)
    return way[::-1]
