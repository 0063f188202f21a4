"""One replica without sockets, disk or clock: time passes and the disk finishes when a test says so."""

from __future__ import annotations

from collections import deque
from typing import Any

from tests.replica.clients import Client, Ops
from zkstore.model.apply import apply_segment
from zkstore.model.tree import Tree
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings
from zkstore.wire import segment
from zkstore.wire.segment import Segment

START_MS = 1_700_000_000_000


class World:
    """One replica and all that it is told. `segments` are those that became durable, in order."""

    ops = Ops

    def __init__(self, tree: Tree | None = None, *, last_crc: int = 0, **settings: Any) -> None:
        self._passwords = iter(range(1, 1 << 32))
        self._ports = iter(range(4000, 65536))
        self.segments: list[Segment] = []
        self.sealed: deque[Segment] = deque()
        self.replica = Replica(
            tree or Tree.new(),
            ReplicaSettings(**settings),
            now_ms=1_000_000,
            time_ms=START_MS,
            last_crc=last_crc,
            make_password=lambda: next(self._passwords).to_bytes(16, "big"),
        )
        self.leading = self.replica.lead()

    @property
    def tree(self) -> Tree:
        return self.replica.tree

    def stranger(self, host: str = "127.0.0.1") -> Client:
        """A client that is connected and has said nothing yet."""
        return Client(self, host, next(self._ports))

    def client(self, host: str = "127.0.0.1", **changes: Any) -> Client:
        """A client with a session of its own."""
        return self.stranger(host).connect(**changes)

    # --- the disk ---------------------------------------------------------------------------------

    def seal(self) -> Segment | None:
        """Hand one segment to the disk, which does not finish yet."""
        sealed = self.leading.next_segment()
        if sealed is not None:
            self.sealed.append(sealed)
        return sealed

    def finish(self, count: int = 1) -> None:
        """The disk has written that many segments more."""
        for _ in range(count):
            written = self.sealed.popleft()
            self.segments.append(written)
            self.replica.commit_to(written.last_zxid)

    def run_disk(self) -> None:
        """Seal and finish until nothing is under way."""
        while self.seal() or self.sealed:
            self.finish(len(self.sealed))
        assert not self.replica.has_outstanding

    def lose(self) -> None:
        """The disk is full."""
        self.sealed.clear()
        self.leading.lose_proposals()

    # --- time -------------------------------------------------------------------------------------

    def pass_time(self, by_ms: int, step_ms: int = 1_000) -> None:
        """Both clocks go on, with a tick now and then."""
        end_ms = self.replica.now_ms + by_ms
        while self.replica.now_ms < end_ms:
            step_ms = min(step_ms, end_ms - self.replica.now_ms)
            self.replica.now_ms += step_ms
            self.replica.time_ms += step_ms
            self.replica.tick()

    # --- what must hold at any time ---------------------------------------------------------------

    def check_chain(self, base: Tree | None = None) -> Tree:
        """The durable segments are a chain whose replay gives this tree; gives the replayed tree."""
        replayed = base or Tree.new()
        crc = self.segments[0].prev_crc if self.segments else 0
        for stored in self.segments:
            read = segment.decode(stored.data)
            assert read == stored
            assert (read.prev_zxid, read.prev_crc) == (replayed.zxid, crc)
            assert read.digest_zxid <= read.prev_zxid
            if read.digest_zxid == replayed.zxid:
                assert read.digest == replayed.digest
            apply_segment(replayed, read.first_zxid, segment.txns(read))
            crc = read.crc
        return replayed
