"""The conversations of one server's one life, fed and emptied as the server's own client port does it."""

from __future__ import annotations

from typing import Final

from zkstore.replica.conversation import Conversation
from zkstore.replica.replica import Replica
from zkstore.replica.waiting import State
from zkstore.testing.world.doors import Doors

_FIRST_PORT: Final = 1024
_PORTS: Final = 60_000


class Guests:
    """Conversations by the doors that they came through.

    `flush` after everything that happens to the server: what it has to say goes out, who was held up goes on.

    Attributes:
        held_bytes_max: the most that one client ever had to wait with.
    """

    def __init__(self, doors: Doors, replica: Replica) -> None:
        self._doors = doors
        self._replica = replica
        self._by_door: dict[int, Conversation] = {}
        self._door_of: dict[Conversation, int] = {}
        self._held: dict[Conversation, bytes] = {}
        self.held_bytes_max = 0

    def __len__(self) -> int:
        return len(self._by_door)

    @property
    def holds_up(self) -> bool:
        """Whether somebody's bytes wait here."""
        return bool(self._held)

    def accepted(self, door: int) -> None:
        """Somebody has come."""
        conversation = self._replica.converse(("10.0.0.1", _FIRST_PORT + door % _PORTS))
        self._by_door[door] = conversation
        self._door_of[conversation] = door

    def came(self, door: int, data: bytes) -> None:
        """Bytes of a client."""
        conversation = self._by_door.get(door)
        if conversation is None:
            return
        if conversation.is_blocked or conversation in self._held:
            held = self._held[conversation] = self._held.get(conversation, b"") + data
            self.held_bytes_max = max(self.held_bytes_max, len(held))
            return
        conversation.receive(data)
        # A quick read's answer does not make it ready: whoever has fed a conversation looks at what it has to say.
        self._replica.ready[conversation] = None

    def broke(self, door: int) -> None:
        """A client has gone."""
        conversation = self._by_door.pop(door, None)
        if conversation is not None:
            del self._door_of[conversation]
            self._held.pop(conversation, None)
            conversation.lost()

    def flush(self) -> None:
        """Send what there is, and go on with input that waited for it."""
        for conversation in [one for one in self._held if not one.is_blocked]:
            self._feed_held(conversation)
        while self._replica.ready:
            ready, self._replica.ready = self._replica.ready, {}
            for conversation in ready:
                door = self._door_of.get(conversation)
                if door is not None:
                    self._empty(door, conversation)

    def _feed_held(self, conversation: Conversation) -> None:
        conversation.receive(self._held.pop(conversation))
        self._replica.ready[conversation] = None

    def _empty(self, door: int, conversation: Conversation) -> None:
        self._send(door, conversation)
        while conversation.paused and not conversation.is_blocked and conversation.state == State.SERVING:
            conversation.receive(b"")
            if not conversation.out:
                break
            self._send(door, conversation)
        if conversation.state == State.ENDED:
            del self._by_door[door], self._door_of[conversation]
            self._held.pop(conversation, None)
            self._doors.hang_up(door)

    def _send(self, door: int, conversation: Conversation) -> None:
        if conversation.out:
            data = b"".join(conversation.out)
            conversation.out.clear()
            conversation.out_bytes = 0
            self._doors.answer(door, data)
