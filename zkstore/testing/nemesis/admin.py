"""Who changes the members: a recorded client like all others, which asks until it gets what it wants."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from zkstore.model.paths import CONFIG
from zkstore.testing.checkers.history import Call, History
from zkstore.testing.clients import operating
from zkstore.testing.clients.client import Client, ClientWorld
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import PathWatchRequest, ReconfigRequest
from zkstore.zab import membership
from zkstore.zab.membership import Membership

VOTER: Final = "participant"
OBSERVER: Final = "observer"

_LOOK_US: Final = 250_000


class Admin:
    """A `clients.User` that compares the members with `wanted`, and asks for one change at a time.

    Attributes:
        wanted: the role of each server that is to belong; nobody else is to.
        found: the members as last read.
    """

    def __init__(
        self,
        world: ClientWorld,
        history: History,
        random: Random,
        servers: tuple[int, ...],
        line: Callable[[int, str], str],
        *,
        timeout_ms: int,
    ) -> None:
        self.wanted = dict.fromkeys(servers, VOTER)
        self.found: Membership | None = None
        self._world = world
        self._history = history
        self._random = random
        self._servers = servers
        self._line = line
        self._timeout_ms = timeout_ms
        self._is_resting = False
        self._turn = 0
        self._client = self._make_client()

    def _make_client(self) -> Client:
        return Client(
            self._world,
            self._history,
            self._random,
            self._servers,
            self,
            timeout_ms=self._timeout_ms,
            credential=operating.CREDENTIAL,
        )

    def start(self) -> None:
        """Begin."""
        self._client.start()

    def rest(self) -> None:
        """Ask for nothing more."""
        self._is_resting = True

    @property
    def is_content(self) -> bool:
        """The members are as wanted, as far as it knows."""
        return self.found is not None and self._roles(self.found) == self.wanted

    @staticmethod
    def _roles(members: Membership) -> dict[int, str]:
        return {one.server_id: VOTER if one.is_voter else OBSERVER for one in members.members}

    def is_member(self, server_id: int) -> bool:
        """Whether the ensemble had this server, when that was last read."""
        return self.found is not None and server_id in self.found.by_id

    # --- what the client says ---------------------------------------------------------------------

    def connected(self) -> None:
        """Look at once."""
        self._turn += 1
        self._look(self._turn)

    def answered(self, call: Call) -> None:
        """Compare, and change something; or look again after a while."""
        if call.opcode == Opcode.GET_DATA and not call.code:
            text = Reader(call.body).buffer()
            # Before the first leader has said who belongs, nothing stands there.
            self.found = membership.parse(text, CONFIG.decode()) if text else None
            request = self._change()
            if request is not None and not self._is_resting:
                self._client.request(Opcode.RECONFIG, request)
                return
        self._turn += 1
        turn = self._turn
        self._world.call_at(self._world.now_us + _LOOK_US, lambda: self._look(turn))

    def told(self, event_type: int, path: bytes) -> None:
        """It watches nothing."""

    def lost(self) -> None:
        """What was asked may have been done or not; it will look."""
        self._turn += 1

    def expired(self) -> None:
        """Another session."""
        self._turn += 1
        if not self._is_resting:
            self._world.call_at(self._world.now_us + _LOOK_US, self._renew)

    def _renew(self) -> None:
        self._client = self._make_client()
        self._client.start()

    def _look(self, turn: int) -> None:
        if turn == self._turn and self._client.is_at_work and not self._is_resting:
            self._client.request(Opcode.GET_DATA, PathWatchRequest(CONFIG, False))

    # --- one change -------------------------------------------------------------------------------

    def _change(self) -> ReconfigRequest | None:
        """Somebody comes or gets another role first, then somebody goes; None if all is as wanted."""
        if self.found is None:
            return None
        roles = self._roles(self.found)
        for server_id, role in self.wanted.items():
            if roles.get(server_id) != role:
                return ReconfigRequest(self._line(server_id, role), None, None, self.found.version)
        for server_id in roles:
            if server_id not in self.wanted:
                return ReconfigRequest(None, str(server_id), None, self.found.version)
        return None
