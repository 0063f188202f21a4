"""Quorums: which sets of servers may decide. Pure values without names or addresses; `membership` makes them.

The rule that everything rests on: any two quorums of one configuration intersect, and any two of two consecutive
configurations do, because between them a `Joint` decides (ensemble.md R4).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol


class Quorums(Protocol):
    """A quorum system over server ids. Ids that have no say in it never count."""

    @property
    def voters(self) -> frozenset[int]:
        """Who has a say, those with weight zero, too."""

    def has_quorum(self, ids: Set[int]) -> bool:
        """Whether these servers together may decide."""

    def weight(self, server_id: int) -> int:
        """The server's weight; 0 means that it must not be elected."""


@dataclass(frozen=True)
class Majority:
    """More than half of the voters, each with the same say."""

    voters: frozenset[int]

    def has_quorum(self, ids: Set[int]) -> bool:
        return len(self.voters & ids) * 2 > len(self.voters)

    def weight(self, server_id: int) -> int:
        return int(server_id in self.voters)


@dataclass(frozen=True)
class Grouped:
    """ZooKeeper's hierarchical quorums: more than half of the weight in more than half of the groups that weigh at all.

    `groups` are disjoint sets of voters; `weights` as (server id, weight), one for each of them.
    """

    groups: tuple[frozenset[int], ...]
    weights: tuple[tuple[int, int], ...]
    _weight_of: dict[int, int] = field(init=False, repr=False, compare=False)
    _totals: tuple[tuple[frozenset[int], int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weight_of = dict(self.weights)
        totals = [(group, sum(weight_of[server_id] for server_id in group)) for group in self.groups]
        # Looked up at every acknowledgement: worth keeping beside the fields that make the value.
        object.__setattr__(self, "_weight_of", weight_of)
        object.__setattr__(self, "_totals", tuple((group, total) for group, total in totals if total))

    @property
    def voters(self) -> frozenset[int]:
        return frozenset().union(*self.groups)

    def has_quorum(self, ids: Set[int]) -> bool:
        won = sum(sum(self.weight(server_id) for server_id in group & ids) * 2 > total for group, total in self._totals)
        return won * 2 > len(self._totals)

    def weight(self, server_id: int) -> int:
        return self._weight_of.get(server_id, 0)


@dataclass(frozen=True)
class Joint:
    """A quorum of the old configuration and one of the new: what decides while a change is not committed yet."""

    old: Quorums
    new: Quorums

    @property
    def voters(self) -> frozenset[int]:
        return self.old.voters | self.new.voters

    def has_quorum(self, ids: Set[int]) -> bool:
        return self.old.has_quorum(ids) and self.new.has_quorum(ids)

    def weight(self, server_id: int) -> int:
        return max(self.old.weight(server_id), self.new.weight(server_id))


def agreed_point(quorums: Quorums, points: Mapping[int, int]) -> int | None:
    """The largest point that a quorum has reached, where `points` says how far each server came; None without one."""
    reached: set[int] = set()
    for point, server_id in sorted(((point, server_id) for server_id, point in points.items()), reverse=True):
        reached.add(server_id)
        if quorums.has_quorum(reached):
            return point
    return None
