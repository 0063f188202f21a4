"""A replica with clients but without sockets, disk or clock, for the fuzzer: it plays them all, and checks the whole.

Deterministic: the same calls give the same bytes, so an input that fails once fails always.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from zkstore.model.apply import apply_segment
from zkstore.model.tree import Tree
from zkstore.replica.conversation import Conversation
from zkstore.replica.replica import Replica
from zkstore.replica.sasl import SaslSettings
from zkstore.replica.settings import ReplicaSettings
from zkstore.replica.throttle import RequestLimits
from zkstore.replica.waiting import State
from zkstore.wire import jute, segment
from zkstore.wire.opcodes import XID_NOTIFICATION, Opcode
from zkstore.wire.records import ConnectRequest, CreateRequest
from zkstore.wire.segment import Segment

_SASL: Final = SaslSettings({"user": "password"}, frozenset({"user"}))
_LENIENT_SASL: Final = SaslSettings({"user": "password"}, admits_failed=True)
SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"sasl": _SASL, "acl_schemes": frozenset({"digest", "ip", "sasl", "x509"})},
    {"sasl": _LENIENT_SASL, "demanded_schemes": frozenset({"digest"}), "enforce_quota": True},
    {"outstanding_max": 1, "frame_bytes_max": 200},
    {"extended_types": False, "skip_acl": True},
    {"requests": RequestLimits(1, wait_ms_max=5_000, drops_stale=True), "reconfig_enabled": True},
)
"""Settings under which other code runs; an input names one."""

_ANSWERED_AT_ONCE: Final = frozenset({Opcode.AUTH, Opcode.SASL, Opcode.PING})
_LENGTH: Final = Struct(">i")
_REPLY: Final = Struct(">iqi")
_CONNECT_REPLY_BYTES: Final = 41
_TIMEOUT_MS: Final = 10_000


class World:
    """One replica and all that it is told."""

    def __init__(self, settings: int = 0) -> None:
        passwords = (number.to_bytes(16, "big") for number in range(1, 1 << 32))
        self.replica = Replica(
            Tree.new(),
            ReplicaSettings(**SETTINGS[settings % len(SETTINGS)]),
            now_ms=1_000_000,
            time_ms=1_700_000_000_000,
            last_crc=0,
            make_password=lambda: next(passwords),
        )
        self.leading = self.replica.lead()
        self.replica.words = {b"ruok": lambda asking, rest: b"imok", b"stmk": _trace_mask}
        self.clients: list[Client] = []
        self._sealed: deque[Segment] = deque()
        self._durable: list[Segment] = []

    # --- clients ----------------------------------------------------------------------------------

    def stranger(self) -> Client:
        """Connected, and silent so far."""
        client = Client(self, self.replica.converse(("127.0.0.1", 4000 + len(self.clients))))
        self.clients.append(client)
        return client

    def client(self, session_id: int = 0, password: bytes = bytes(16)) -> Client:
        """One that has asked for a session, and got its answer."""
        client = self.stranger()
        request = ConnectRequest(0, 0, _TIMEOUT_MS, session_id, password, False)
        client.conversation.receive(jute.buffer(request.encode()))
        self.settle()
        assert len(client.output) == _CONNECT_REPLY_BYTES, f"a ConnectResponse of {len(client.output)} bytes"
        client.password = client.output[20:36]
        client.output = b""
        return client

    def reconnect(self, client: Client) -> Client:
        """The same session on a new connection, while the old one is still open."""
        return self.client(client.conversation.session_id, client.password)

    # --- the disk and the clock -------------------------------------------------------------------

    def run_disk(self, segments: int) -> bool:
        """Seal what there is and write so many segments; whether anything was to be done."""
        sealed = self.leading.next_segment()
        if sealed is not None:
            self._sealed.append(sealed)
        for _ in range(min(segments, len(self._sealed))):
            written = self._sealed.popleft()
            self._durable.append(written)
            self.replica.commit_to(written.last_zxid)
        return sealed is not None

    def lose(self) -> None:
        """The disk is full."""
        self._sealed.clear()
        self.leading.lose_proposals()

    def pass_time(self, by_ms: int) -> None:
        self.replica.now_ms += by_ms
        self.replica.time_ms += by_ms
        self.replica.tick()

    def settle(self) -> None:
        """Until nothing is under way: the disk has written all, and every client has read all."""
        while self.run_disk(len(self._sealed) + 1) or self._sealed or sum(client.read() for client in self.clients):
            pass
        self.replica.ready.clear()
        self.replica.notices.clear()

    # --- what must hold ---------------------------------------------------------------------------

    def check(self) -> None:
        """Everything that can be checked of a settled world, which is at its end afterwards."""
        assert not self.replica.has_outstanding, "something is under way for ever"
        for client in self.clients:
            client.check()
        newcomer = self.client()
        newcomer.request(Opcode.CREATE, CreateRequest(b"/newcomer", b"", ((31, "world", "anyone"),), 0).encode())
        self.settle()
        newcomer.check()
        for client in self.clients:
            client.hang_up()
        assert self.replica.watches.watch_count == 0, "a watch outlives its connection"
        assert not self.replica.conversations, "a conversation outlives its connection"
        self.pass_time(1 << 20)
        self.settle()
        assert not self.replica.tree.sessions, "a session outlives its timeout"
        assert not self.replica.tree.ephemerals, "an ephemeral outlives its session"
        self._check_tree()

    def _check_tree(self) -> None:
        """The log and the znodes alone both give this tree; the latter compares the digest as well."""
        tree = self.replica.tree
        replayed = Tree.new()
        for written in self._durable:
            read = segment.decode(written.data)
            assert read.digest_zxid != replayed.zxid or read.digest == replayed.digest, "a segment's digest is not ours"
            apply_segment(replayed, read.first_zxid, segment.txns(read))
        loaded = Tree.load(tree.records.items(), tree.sessions, tree.zxid, tree.digest)
        for name in ("records", "special", "ephemerals", "reapable", "quotas", "sessions", "zxid", "digest"):
            assert getattr(replayed, name) == getattr(tree, name), f"the log gives other {name}"
            assert getattr(loaded, name) == getattr(tree, name), f"the znodes give other {name}"
        assert loaded.children == replayed.children == tree.children, "the index of children is wrong"
        assert loaded.data_bytes == replayed.data_bytes == tree.data_bytes, "the sum of the data's lengths is wrong"


class Client:
    """One connection.

    Attributes:
        output: what came back, without the answer to the handshake.
        password: of its session.
    """

    def __init__(self, world: World, conversation: Conversation) -> None:
        self.conversation = conversation
        self.output = b""
        self.password = bytes(16)
        self._world = world
        self._due: list[int] = []
        self._last_xid = 0
        self._may_be_cut = False

    def receive(self, data: bytes) -> None:
        """Any bytes; what they ask for, nobody knows."""
        self._may_be_cut = True
        self._feed(data)

    def request(self, opcode: Opcode, body: bytes, *, in_two_pieces: bool = False) -> None:
        """A framed request, right or wrong."""
        self._last_xid += 1
        frame = jute.buffer(jute.int32(self._last_xid) + jute.int32(opcode) + body)
        middle = len(frame) // 2 if in_two_pieces else 0
        self._feed(frame[:middle])
        self._feed(frame[middle:])
        if opcode not in _ANSWERED_AT_ONCE:
            self._due.append(self._last_xid)
        if opcode == Opcode.CLOSE_SESSION:
            self._may_be_cut = True

    def _feed(self, data: bytes) -> None:
        while self.conversation.is_blocked and self.conversation.state == State.SERVING:
            if not self._world.run_disk(1) and not self.read():
                break
        self.conversation.receive(data)

    def read(self) -> bool:
        """Take what there is, and let the conversation go on; whether there was anything."""
        conversation = self.conversation
        came = b"".join(conversation.out)
        assert len(came) == conversation.out_bytes, "the count of unsent bytes is wrong"
        self.output += came
        conversation.out.clear()
        conversation.out_bytes = 0
        if conversation.paused and not conversation.is_blocked and conversation.state == State.SERVING:
            conversation.receive(b"")
            return True
        return bool(came)

    def hang_up(self) -> None:
        self._may_be_cut = True
        self.conversation.lost()

    def check(self) -> None:
        """All due answers came, in order; or the conversation has ended, and what came until then is right."""
        conversation = self.conversation
        is_over = conversation.state in (State.ENDED, State.LEAVING)
        assert is_over or not conversation.waiting, f"{conversation!r} waits for ever"
        if self._may_be_cut:
            return
        answered = [xid for xid, code, body in self._replies() if xid in self._due]
        assert answered == self._due[: len(answered)], f"{answered} answered where {self._due} were due"
        is_over = is_over or conversation.session_id not in self._world.replica.tree.sessions
        assert is_over or answered == self._due, f"{conversation!r} was not answered {self._due[len(answered) :]}"

    def _replies(self) -> Iterator[tuple[int, int, bytes]]:
        """The answers: xid, code, body. Events are looked at, and left out."""
        at, output = 0, self.output
        while at < len(output):
            (length,) = _LENGTH.unpack_from(output, at)
            stop = at + 4 + length
            assert length >= _REPLY.size and stop <= len(output), f"a frame of {length} bytes"
            xid, _, code = _REPLY.unpack_from(output, at + 4)
            body = output[at + 4 + _REPLY.size : stop]
            assert not code or len(body) in (0, 4), f"an error with a body: {body!r}"
            if xid != XID_NOTIFICATION:
                yield xid, code, body
            at = stop


def _trace_mask(asking: Conversation, rest: bytes) -> bytes | None:
    """The one word that has an argument, eight bytes of it."""
    return b"mask" if len(rest) >= 8 else None
