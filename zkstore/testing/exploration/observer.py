"""The observer of an exploration: it knows everything, and what it remembers is a value, for every state has its own.

Each property of the published protocol, and what checks it. Left: Zab's paper (Junqueira, Reed, Serafini, DSN 2011);
then the name in ZooKeeper's TLA+ models (zookeeper-specifications), our invariant, and the method of `SmallObserver`.

    paper                              TLA+ models             invariant  checked by
    one established leader an epoch    Leadership              I1         `led`
    a leader is followed by a quorum   Leadership              I1         `led`
    f.p and f.a never decrease         -                       I2         `wrote`, `promise_acknowledged`
    a transaction is one (zxid, value) -                       I3         `proposed`
    committed is in later histories    (of PrefixConsistency)  I4         `led`, `check_durability`
    total order                        TotalOrder              I5, I7     `applied`
    agreement                          Agreement               I5, I7     `applied`
    histories are prefixes             PrefixConsistency       I5, I7     `applied`
    integrity                          Integrity               I6         `applied`
    local primary order                LocalPrimaryOrder       I8         `applied`
    global primary order               GlobalPrimaryOrder      I9         `applied`
    primary integrity                  PrimaryIntegrity        I10        `proposed`
    an ack is sent from the disk       -                       I11        `acknowledged`
    ACK of NEWLEADER: f.a = e, H held  -                       I12        `adoption_acknowledged`
    deliver only after COMMIT of H     -                       I13        `followed`
    TRUNC takes nothing committed      -                       I14        `dropped`
    (reconfiguration, ATC 2012)        -                       I18        `check_durability`, `led`

The simulator checks the same, and more, on whole servers by `invariants.Observer`. The unit is the segment: a point is
the (zxid, CRC) of its end, and the CRC stands for everything before it. Every history here begins with (0, 0).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple, NoReturn

from zkstore.model.zxid import counter_of, epoch_of
from zkstore.zab.history import BEGINNING, Point
from zkstore.zab.quorums import Majority


class InvariantBroken(AssertionError):
    """Something happened that must never happen; the text begins with the invariant's name."""


class Knowledge(NamedTuple):
    """All that has to be remembered of what happened so far.

    Attributes:
        committed: the longest sequence that any server has applied.
        proposed: every point that was ever proposed.
        leaders: (epoch, server) of every leader that was established.
        adopted: (epoch, server) of every server on whose disk the epoch was adopted.
        configs: (point, voters) of every reconfiguration that was proposed.
    """

    committed: tuple[Point, ...] = (BEGINNING,)
    proposed: frozenset[Point] = frozenset({BEGINNING})
    leaders: frozenset[tuple[int, int]] = frozenset()
    adopted: frozenset[tuple[int, int]] = frozenset()
    configs: frozenset[tuple[Point, frozenset[int]]] = frozenset()


class DiskView(NamedTuple):
    """What lies on a server's disk; `points` is its history, what only a checkpoint holds of it, too."""

    promised_epoch: int
    adopted_epoch: int
    points: tuple[Point, ...]


class SmallObserver:
    """Is told of every step; raises InvariantBroken at the first one that must not be.

    Attributes:
        voters: of the configuration at the beginning; the majority decides.
        knowledge: keep it, and put it back to look at another course of events.
    """

    def __init__(self, voters: frozenset[int], knowledge: Knowledge) -> None:
        self.voters = voters
        self.knowledge = knowledge

    # --- disks ------------------------------------------------------------------------------------

    def wrote(self, server: int, before: DiskView, after: DiskView) -> None:
        """A disk has changed."""
        if before.promised_epoch > after.promised_epoch or before.adopted_epoch > after.adopted_epoch:
            _broken("I2", f"an epoch on the disk of server {server} went back: {before} to {after}")
        if max(after.adopted_epoch, epoch_of(after.points[-1][0])) > after.promised_epoch:
            _broken("I2", f"server {server} holds more than it has promised: {after}")
        if after.adopted_epoch > before.adopted_epoch:
            adopted = self.knowledge.adopted | {(after.adopted_epoch, server)}
            self.knowledge = self.knowledge._replace(adopted=adopted)

    def dropped(self, server: int, points: tuple[Point, ...]) -> None:
        """Segments were removed from a log."""
        gone = set(points) & set(self.knowledge.committed)
        if gone:
            _broken("I14", f"server {server} removed what is committed: {_text(gone)}")

    def check_durability(self, disks: dict[int, DiskView], known_before: int) -> None:
        """What was applied anywhere is on the disks of a quorum, at any time, whoever is down.

        `known_before`: how much was committed before this step; what a reconfiguration changes, both sides must have.
        """
        committed = self.knowledge.committed
        for place in range(min(known_before, len(committed) - 1), len(committed)):
            holders = {server for server, disk in disks.items() if committed[place] in disk.points}
            configs = {self._voters_at(committed[: place + 1])}
            if place >= known_before:
                configs.add(self._voters_at(committed[:place]))
            for voters in configs:
                if not Majority(voters).has_quorum(holders):
                    _broken(
                        "I4" if len(configs) == 1 else "I18",
                        f"{_text(committed[place:])} is committed, and on the disks of {sorted(holders)} only; voters:"
                        f" {sorted(voters)}",
                    )

    def _voters_at(self, committed: tuple[Point, ...]) -> frozenset[int]:
        """Who votes, once this is committed."""
        configs = dict(self.knowledge.configs)
        return next((configs[point] for point in reversed(committed) if point in configs), self.voters)

    # --- what servers say -------------------------------------------------------------------------

    def promise_acknowledged(self, server: int, epoch: int, disk: DiskView) -> None:
        """EpochAck was sent, or by the leader NewEpoch."""
        if disk.promised_epoch < epoch:
            _broken("I2", f"server {server} spoke of its promise {epoch}, which is not on its disk: {disk}")

    def acknowledged(self, server: int, zxid: int, disk: DiskView) -> None:
        """Ack was sent."""
        if disk.points[-1][0] < zxid:
            _broken("I11", f"server {server} acknowledged {zxid:#x}; on its disk: {disk}")

    def adoption_acknowledged(self, server: int, epoch: int, initial: Point, disk: DiskView) -> None:
        """NewLeaderAck was sent; `initial` is the end of the history that NewLeader named."""
        if disk.adopted_epoch != epoch or initial not in disk.points:
            _broken("I12", f"server {server} acknowledged epoch {epoch} and {_text([initial])}; on its disk: {disk}")

    # --- roles ------------------------------------------------------------------------------------

    def led(self, server: int, epoch: int, log: tuple[Point, ...]) -> None:
        """A leader is established; `log` is its history then."""
        known = self.knowledge
        others = {other for led, other in known.leaders if led == epoch}
        if others:
            _broken("I1", f"server {server} leads epoch {epoch}, which {sorted(others)} led before")
        adopters = {adopter for adopted, adopter in known.adopted if adopted == epoch}
        if not Majority(self._voters_at(known.committed)).has_quorum(adopters):
            _broken("I1", f"server {server} leads epoch {epoch}, which is on the disks of {sorted(adopters)} only")
        if not _begins_with(log, known.committed):
            _broken("I4", f"server {server} leads epoch {epoch} with {_text(log)}; committed: {_text(known.committed)}")
        self.knowledge = known._replace(leaders=known.leaders | {(epoch, server)})

    def followed(self, server: int, epoch: int, leader: int) -> None:
        """A learner serves clients."""
        if (epoch, leader) not in self.knowledge.leaders:
            _broken("I13", f"server {server} serves under {leader} in epoch {epoch}, which is not established")

    def stopped(self, server: int, invariant: str, text: str) -> None:
        """A server says that an invariant is broken, which no disk here gives a reason for."""
        _broken(invariant, f"server {server} stops: {text}")

    # --- the history ------------------------------------------------------------------------------

    def proposed(
        self,
        server: int,
        epoch: int,
        point: Point,
        applied: tuple[Point, ...],
        voters: frozenset[int] | None = None,
    ) -> None:
        """A leader proposed a segment, having applied `applied`; `voters` is who shall vote from then on."""
        known = self.knowledge
        if (epoch, server) not in known.leaders:
            _broken("I6", f"server {server} proposes in epoch {epoch}, which it does not lead")
        twins = {other for other in known.proposed if other[0] == point[0] and other != point}
        if twins:
            _broken("I3", f"{_text([point])} of server {server} was {_text(twins)} before")
        earlier = tuple(other for other in known.committed if epoch_of(other[0]) < epoch)
        if not _begins_with(applied, earlier):
            _broken("I10", f"server {server} proposes in epoch {epoch} with {_text(applied)}; others: {_text(earlier)}")
        configs = known.configs if voters is None else known.configs | {(point, voters)}
        self.knowledge = known._replace(proposed=known.proposed | {point}, configs=configs)

    def applied(self, server: int, points: tuple[Point, ...]) -> None:
        """A server has applied all of these, oldest first, since the beginning."""
        known = self.knowledge
        if not (_begins_with(points, known.committed) or _begins_with(known.committed, points)):
            _broken("I5", f"server {server} applied {_text(points)}; others: {_text(known.committed)}")
        if not known.proposed.issuperset(points):
            _broken("I6", f"server {server} applied what nobody proposed: {_text(set(points) - known.proposed)}")
        for (earlier, _), (later, _) in pairwise(points):
            if epoch_of(earlier) > epoch_of(later):
                _broken("I9", f"server {server} applied {later:#x} behind {earlier:#x}")
            if later != earlier + 1 and (epoch_of(later) == epoch_of(earlier) or counter_of(later) != 1):
                _broken("I8", f"server {server} applied {later:#x} behind {earlier:#x}: a hole")
        if len(points) > len(known.committed):
            self.knowledge = known._replace(committed=points)


def _broken(invariant: str, text: str) -> NoReturn:
    raise InvariantBroken(f"{invariant}: {text}")


def _begins_with(points: tuple[Point, ...], beginning: tuple[Point, ...]) -> bool:
    return points[: len(beginning)] == beginning


def _text(points: Iterable[Point]) -> str:
    return "[" + ", ".join(f"{zxid:#x}/{crc:08x}" for zxid, crc in sorted(points)) + "]"
