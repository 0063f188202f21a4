"""Who is let in at the peer port, and in whose name they may speak.

TLS, where it is spoken, has proved that the ensemble's authority vouches for the other side. Here it says which server
it is; that is compared with the list of members, and from then on it speaks for itself only.
"""

from __future__ import annotations

from collections.abc import Callable

from zkstore.errors import ProtocolError
from zkstore.net.peer_dials import Address
from zkstore.net.peer_frames import ADDRESSES_MAX, GOSSIP, Answer, Hello, decode_answer, decode_hello
from zkstore.wire.messages import VERSION, Join, Message, Vote


class Greeting:
    """The introductions of one server.

    Attributes:
        ensemble_id: said to others, and compared with theirs where both have one; b"" until one was agreed on.
        addresses: where others dial this server, said to those who may not know it.
        admits: whether a server that is no member may come in nevertheless, by its id: who is to be added to an
            ensemble must be in step with it first.
    """

    def __init__(self, server_id: int, is_member: Callable[[int], bool]) -> None:
        self.ensemble_id = b""
        self.addresses: tuple[Address, ...] = ()
        self.admits: Callable[[int], bool] = lambda server_id: False
        self._server_id = server_id
        self._is_member = is_member

    def hello(self, purpose: str, to: int) -> Hello:
        """What to say first to a server that was dialled."""
        return Hello(VERSION, purpose, self._server_id, to, self.ensemble_id, self.addresses[:ADDRESSES_MAX])

    def answer(self, body: bytes) -> tuple[Hello | None, Answer]:
        """Who has called, or None if they are refused; and the answer."""
        hello: Hello | None = None
        try:
            hello = decode_hello(body)
            refusal = self._refusal(hello.sender, hello.ensemble_id)
            if hello.receiver != self._server_id:
                refusal = f"server {hello.receiver} is wanted, and this is server {self._server_id}"
        except ProtocolError as error:
            refusal = str(error)
        return None if refusal else hello, Answer(VERSION, self._server_id, self.ensemble_id, refusal)

    def check(self, body: bytes, wanted: int) -> None:
        """The other side's answer. Raises ProtocolError if it is not who was wanted, or wants nothing of us."""
        answer = decode_answer(body)
        if answer.sender != wanted:
            raise ProtocolError(f"server {answer.sender} answers there; correct the line server.{wanted}, or its myid")
        if answer.refusal:
            raise ProtocolError(f"it refuses: {answer.refusal!r}")
        refusal = self._refusal(answer.sender, answer.ensemble_id)
        if refusal:
            raise ProtocolError(refusal)

    def _refusal(self, server_id: int, ensemble_id: bytes) -> str:
        """Why we have nothing to do with that server; empty if there is no reason."""
        if server_id == self._server_id:
            return f"it says that it is server {server_id}, and so is this one; give each server a myid of its own"
        if not self._is_member(server_id) and not self.admits(server_id):
            return f"server {server_id} is not a member of this ensemble"
        ours = self.ensemble_id
        if ensemble_id and ours and ensemble_id != ours:
            return (
                f"server {server_id} is of ensemble {ensemble_id.hex()}, this one of {ours.hex()}; "
                "correct the server lines, or start it with an empty data directory"
            )
        return ""


def check_sender(message: Message, purpose: str, server_id: int) -> None:
    """Whether that server may say this, here. Raises ProtocolError."""
    if isinstance(message, Vote):
        if purpose != GOSSIP:
            raise ProtocolError("a vote on a link")
        if message.sender != server_id:
            raise ProtocolError(f"a vote in the name of server {message.sender}")
    elif purpose == GOSSIP:
        raise ProtocolError(f"a {type(message).__name__} where votes are exchanged")
    elif isinstance(message, Join) and message.server_id != server_id:
        raise ProtocolError(f"a Join in the name of server {message.server_id}")
