"""A realistic mix of what clients do, from a seed: who they are, which recipe comes next, and when they misbehave.

Each actor has one client at a time and works off one recipe after the other, with pauses between them. Now and then it
changes servers, with or without telling the old one, or vanishes so that its session has to expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Final

from zkstore.testing.checkers.answers import NODE_EXISTS
from zkstore.testing.checkers.history import Call, History
from zkstore.testing.clients import operating
from zkstore.testing.clients.client import Client, ClientWorld, State
from zkstore.testing.clients.recipes import (
    CREDENTIALS,
    RECIPES,
    ROOTS,
    Await,
    Pause,
    Recipe,
    Step,
    ask_path,
    create,
    sync_then_read,
)
from zkstore.wire.opcodes import Opcode

_HOP: Final = 0.02
_HOP_QUIETLY: Final = 0.02
_VANISH: Final = 0.01
_NEW_SESSION_US_MAX: Final = 2_000_000
_CHOICES: Final = [recipe for recipe, _ in RECIPES]
_IDLE: Final = 15
_IDLE_ACTORS: Final = (1, 2)
_EMPHASIS: Final = (0, 1, 1, 5)


class Actor:
    """Somebody who uses the servers: a `clients.User`.

    `think_us` is the mean pause between two recipes, `weights` how often each is chosen, added up.
    """

    def __init__(
        self,
        world: ClientWorld,
        history: History,
        random: Random,
        servers: Sequence[int],
        *,
        timeout_ms: int,
        credential: bytes | None,
        think_us: int,
        weights: Sequence[int],
        is_loyal: bool = False,
    ) -> None:
        self._world = world
        self._history = history
        self._random = random
        self._servers = servers
        self._timeout_ms = timeout_ms
        self._credential = credential
        self._think_us = think_us
        self._weights = weights
        self._is_loyal = is_loyal
        self._recipe: Recipe | None = None
        self._answers: list[Call] = []
        self._due = 0
        self._awaits = False
        self._turn = 0
        self._resting = False
        self.client = self._make_client()

    def _make_client(self) -> Client:
        return Client(
            self._world,
            self._history,
            self._random,
            self._servers,
            self,
            timeout_ms=self._timeout_ms,
            credential=self._credential,
            is_loyal=self._is_loyal,
        )

    def start(self) -> None:
        """Begin."""
        self.client.start()

    def rest(self) -> None:
        """Ask for nothing more; the connection is kept alive."""
        self._resting = True

    def look_once_more(self) -> bool:
        """Ask for a last sync and read, so that whatever is to be told has to come before; False if nobody can."""
        if not self.client.is_at_work:
            return False
        self._abandon()
        self._go(self._farewell())
        return True

    def _farewell(self) -> Recipe:
        yield (ask_path(Opcode.SYNC, b"/"), ask_path(Opcode.GET_ALL_CHILDREN_NUMBER, b"/"))

    # --- what the client says ---------------------------------------------------------------------

    def connected(self) -> None:
        """Go on after a moment."""
        self._abandon()
        self._later(self._random.randrange(1_000, 1 + max(2_000, self._think_us)))

    def answered(self, call: Call) -> None:
        """When all answers are there, the recipe goes on."""
        if self._recipe is None:
            return
        self._answers.append(call)
        if len(self._answers) == self._due:
            answers, self._answers = self._answers, []
            self._advance(answers)

    def told(self, event_type: int, path: bytes) -> None:
        """A recipe may wait for one."""
        if self._awaits:
            self._turn += 1
            self._advance([])

    def lost(self) -> None:
        """The recipe is dropped."""
        self._abandon()

    def expired(self) -> None:
        """Another session."""
        self._abandon()
        if not self._resting:
            self._world.call_at(self._world.now_us + self._random.randrange(_NEW_SESSION_US_MAX), self._renew)

    def _renew(self) -> None:
        if not self._resting:
            self.client = self._make_client()
            self.client.start()

    # --- one recipe after the other ---------------------------------------------------------------

    def _abandon(self) -> None:
        self._turn += 1
        self._awaits = False
        self._answers = []
        recipe, self._recipe = self._recipe, None
        if recipe is not None:
            recipe.close()

    def _later(self, delay_us: int) -> None:
        self._turn += 1
        turn = self._turn

        def go_on() -> None:
            if turn == self._turn and self.client.is_at_work:
                self._take_turn()

        self._world.call_at(self._world.now_us + delay_us, go_on)

    def _take_turn(self) -> None:
        """A wait is over, or it is time for the next recipe."""
        if self._recipe is not None:
            self._awaits = False
            self._advance([])
            return
        if self._resting:
            return
        chance = self._random.random()
        if chance < _HOP + _HOP_QUIETLY:
            self.client.hop(quietly=chance < _HOP_QUIETLY)
        elif chance < _HOP + _HOP_QUIETLY + _VANISH:
            self.client.stop()
            self.expired()
        else:
            self._go(self._choose())

    def _choose(self) -> Recipe:
        (choice,) = self._random.choices(_CHOICES, cum_weights=self._weights)
        return choice(self._random)

    def _go(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._take(next(recipe))

    def _advance(self, answers: list[Call]) -> None:
        self._awaits = False
        recipe = self._recipe
        assert recipe is not None, "nothing is under way"
        try:
            step = recipe.send(answers)
        except StopIteration:
            self._recipe = None
            self._later(int(self._random.expovariate(1 / self._think_us)) + 1)
        else:
            self._take(step)

    def _take(self, step: Step) -> None:
        if isinstance(step, Pause):
            self._later(step.us)
        elif isinstance(step, Await):
            self._later(step.us)
            self._awaits = True
        elif not step:
            self._advance([])
        else:
            self._due = len(step)
            for opcode, record in step:
                self.client.request(opcode, record)


class Founder(Actor):
    """An actor that makes the roots of all the recipes' znodes first, as often as it takes."""

    _has_founded = False

    def connected(self) -> None:
        """The roots before anything else."""
        super().connected()
        if not self._has_founded:
            self._abandon()
            self._go(self._found())

    def _found(self) -> Recipe:
        done = yield tuple(create(root) for root in ROOTS)
        self._has_founded = {call.code for call in done} <= {0, NODE_EXISTS}


class Operator(Actor):
    """An actor that changes the members of the ensemble, and does nothing else."""

    def _choose(self) -> Recipe:
        return operating.operate(self._servers, self._random)


class Workload:
    """A number of actors, each with a random generator of its own, so that what one does moves no other's dice.

    Every second run emphasizes some recipes and leaves out others, for a crowd that wants the same thing finds what a
    bit of everything does not. Some actors only look now and then whether there is something new: they may have been
    silent while their server fell behind.
    """

    def __init__(
        self,
        world: ClientWorld,
        history: History,
        random: Random,
        servers: Sequence[int],
        *,
        count: int,
        timeouts_ms: Sequence[int],
        think_us: int,
        are_loyal: bool = False,
        has_operator: bool = False,
    ) -> None:
        weights = [weight for _, weight in RECIPES]
        if random.random() < 0.5:
            weights = [weight * random.choice(_EMPHASIS) + 1 for weight in weights]
        added_up = list(accumulate(weights))
        self._world, self._history = world, history
        idle = [weight * (recipe is sync_then_read) for recipe, weight in RECIPES]
        rarely = list(accumulate(idle))
        self.actors = [
            (Founder if number == 0 else Actor)(
                world,
                history,
                Random(random.getrandbits(64)),
                servers,
                timeout_ms=random.choice(timeouts_ms),
                credential=random.choice(CREDENTIALS),
                think_us=think_us * (_IDLE if number in _IDLE_ACTORS else 1),
                weights=rarely if number in _IDLE_ACTORS else added_up,
                is_loyal=are_loyal,
            )
            for number in range(count)
        ]
        if has_operator:
            self.actors.append(
                Operator(
                    world,
                    history,
                    Random(random.getrandbits(64)),
                    servers,
                    timeout_ms=random.choice(timeouts_ms),
                    credential=operating.CREDENTIAL,
                    think_us=think_us,
                    weights=added_up,
                    is_loyal=are_loyal,
                )
            )

    def start(self) -> None:
        """All begin."""
        for actor in self.actors:
            actor.start()

    def rest(self) -> None:
        """Nobody asks for anything more."""
        self._history.rested(self._world.now_us)
        for actor in self.actors:
            actor.rest()

    def look_once_more(self) -> int:
        """A last sync and read of everybody; how many there are. Who has a session must have found a server by now."""
        present = [actor.look_once_more() for actor in self.actors]
        for actor, is_there in zip(self.actors, present, strict=True):
            client = actor.client
            if not is_there and client.state != State.GONE:
                text = f"the client of session {client.session_id:#x} finds no server"
                self._history.complain("answers at last", client.last_zxid, text)
        return sum(present)
