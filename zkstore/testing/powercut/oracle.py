"""What must be on a disk after a power cut at some moment of a recording, from its marks alone.

Of the log, everything up to the last append that has returned, and of one under way any first part; a cut, an install
and a promise are there whole from their return on, and before it whole or not at all. Dropping old history may be
undone. A snapshot that was taken is there and sound.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from zkstore.errors import InvariantError
from zkstore.model.apply import apply_segment
from zkstore.model.tree import SessionRecord, Tree
from zkstore.testing.powercut.events import Mark, Recording
from zkstore.wire import segment as segments_
from zkstore.wire.messages import FRESH
from zkstore.wire.segment import Segment

End = tuple[int, int]
Promises = tuple[int, int, int | None]
"""The epochs accepted and current, and the enrolment."""

BEGINNING: Final[End] = (0, 0)


def content_of(tree: Tree) -> int:
    """All that a tree holds, as a number to be compared within this process."""
    return hash((frozenset(tree.records.items()), frozenset(tree.sessions.items()), tree.zxid, tree.digest))


@dataclass(frozen=True)
class Chain:
    """A history: the ends of its segments from the oldest one known, and a tree at one of them.

    Attributes:
        ends: (zxid, crc), oldest first.
        base: the index of the end that `image` is the tree at.
        image: rows, sessions and digest; None for the tree of an empty server.
        segments: those behind `base`.
    """

    ends: tuple[End, ...] = (BEGINNING,)
    base: int = 0
    image: tuple[Any, Any, int] | None = None
    segments: tuple[Segment, ...] = ()

    def longer(self, segments: tuple[Segment, ...]) -> Chain:
        """With more segments behind its end."""
        ends = self.ends + tuple((segment.last_zxid, segment.crc) for segment in segments)
        return replace(self, ends=ends, segments=self.segments + segments)

    def cut(self, zxid: int) -> Chain:
        """Without what lies behind `zxid`."""
        count = sum(end[0] <= zxid for end in self.ends)
        assert count > self.base, "a cut before the tree that was begun with"
        return replace(self, ends=self.ends[:count], segments=self.segments[: count - 1 - self.base])

    def holder(self, zxid: int) -> int:
        """The index of the first end at or behind `zxid`."""
        return sum(end[0] < zxid for end in self.ends)


class Expectation(NamedTuple):
    """What may be found.

    Attributes:
        chains: histories, each with the indexes of the first and the last end that the log may have.
        epochs, ensembles: any of these.
        snapshots: zxids of those that must be there.
        told_zxid, told_epoch: what others rely on.
    """

    chains: tuple[tuple[Chain, int, int], ...] = ((Chain(), 0, 0),)
    epochs: tuple[Promises, ...] = ((0, 0, FRESH),)
    ensembles: tuple[bytes | None, ...] = (None,)
    snapshots: frozenset[int] = frozenset()
    told_zxid: int = 0
    told_epoch: int = 0


class Found(NamedTuple):
    """What a start finds on a disk; `error` if it does not come that far.

    Attributes:
        start, ends: of the log: what it continues, and the ends of its segments.
        tree, content: the recovered tree's zxid, and all of it (`content_of`).
        snapshots: zxid to content; None for one that is not sound.
    """

    error: str = ""
    start: End = BEGINNING
    ends: tuple[End, ...] = ()
    epochs: Promises = (0, 0, FRESH)
    ensemble: bytes | None = None
    tree_zxid: int = 0
    content: int = 0
    snapshots: tuple[tuple[int, int | None], ...] = ()


class Oracle:
    """Knows of every moment of one recording what must be found after it."""

    def __init__(self, recording: Recording) -> None:
        self._contents: dict[End, int] = {}
        self._at = [0]
        self._expectations = [Expectation()]
        for number, event in enumerate(recording.events, start=1):
            if isinstance(event, Mark):
                self._at.append(number)
                self._expectations.append(self._after(self._expectations[-1], event))

    def expectation(self, taken: int) -> Expectation:
        """For a power cut when so many events were taken."""
        return self._expectations[bisect_right(self._at, taken) - 1]

    def contents(self, taken: int) -> set[int]:
        """Of all trees that may be recovered after a power cut then."""
        return {
            self._content(chain, end)
            for chain, least, most in self.expectation(taken).chains
            for end in chain.ends[least : most + 1]
        }

    def judge(self, found: Found, expected: Expectation) -> str | None:
        """What is wrong; None if nothing is."""
        if found.error:
            return f"the server does not start: {found.error}"
        if found.epochs not in expected.epochs:
            return f"the epochs are {found.epochs}; they can only be {_either(expected.epochs)}"
        if found.epochs[0] < expected.told_epoch:
            return f"the epoch {expected.told_epoch} was promised to others, and only {found.epochs[0]} is on disk"
        if found.ensemble not in expected.ensembles:
            return f"the ensemble is {found.ensemble!r}; it can only be {_either(expected.ensembles)}"
        complaints = []
        for chain, least, most in expected.chains:
            complaint = self._compare(found, chain, least, most, expected.told_zxid)
            if complaint is None:
                return self._snapshots(found, chain, expected.snapshots)
            complaints.append(complaint)
        return "; or ".join(complaints)

    # --- comparing --------------------------------------------------------------------------------

    def _compare(self, found: Found, chain: Chain, least: int, most: int, told_zxid: int) -> str | None:
        end = found.ends[-1] if found.ends else found.start
        if end not in chain.ends:
            return f"the log ends at {_text(end)}, where no segment ever ended that was appended"
        index = chain.ends.index(end)
        if index < least:
            return f"the log ends at {_text(end)}, and was on disk up to {_text(chain.ends[least])}"
        if index > most:
            return f"the log ends at {_text(end)}, and what lies behind {_text(chain.ends[most])} must not be there"
        if end[0] < told_zxid and found.start[0] < told_zxid:
            return f"the log ends at {_text(end)}, and others were told of {told_zxid:#x}"
        if found.start not in chain.ends:
            return f"the log starts at {_text(found.start)}, where no segment ever ended"
        first = chain.ends.index(found.start)
        if found.ends != chain.ends[first + 1 : index + 1]:
            return f"the log's segments from {_text(found.start)} to {_text(end)} are not those that were appended"
        ends = [index for index, one in enumerate(chain.ends) if one[0] == found.tree_zxid]
        if not ends:
            return f"the tree is of {found.tree_zxid:#x}, where no segment ends"
        if ends[0] >= chain.base and found.content != self._content(chain, chain.ends[ends[0]]):
            return f"the tree of {found.tree_zxid:#x} is not what its txns make"
        return None

    def _snapshots(self, found: Found, chain: Chain, expected: frozenset[int]) -> str | None:
        there = dict(found.snapshots)
        missing = expected - there.keys()
        if missing:
            return f"the snapshot of {min(missing):#x} is gone"
        for zxid, content in there.items():
            if content is None:
                return f"the snapshot of {zxid:#x} is not sound"
            ends = [index for index, end in enumerate(chain.ends) if end[0] == zxid]
            if not ends:
                return f"the snapshot of {zxid:#x} is of no end of a segment"
            if ends[0] >= chain.base and content != self._content(chain, chain.ends[ends[0]]):
                return f"the snapshot of {zxid:#x} is not what its txns make"
        return None

    def _content(self, chain: Chain, end: End) -> int:
        known = self._contents.get(end)
        if known is not None:
            return known
        tree = tree_of(chain)
        self._contents[chain.ends[chain.base]] = content_of(tree)
        for segment in chain.segments:
            apply_segment(tree, segment.first_zxid, segments_.txns(segment))
            self._contents[segment.last_zxid, segment.crc] = content_of(tree)
        return self._contents[end]

    # --- what marks say ---------------------------------------------------------------------------

    def _after(self, before: Expectation, mark: Mark) -> Expectation:
        chain, least, most = before.chains[0]
        value = mark.value
        if mark.kind == "begin":
            return _begun(value)
        if mark.kind == "append":
            longer = chain.longer(tuple(segments_.decode(data) for data in value))
            return before._replace(chains=((longer, most, len(longer.ends) - 1),))
        if mark.kind == "cut":
            shorter = chain.cut(value)
            end = len(shorter.ends) - 1
            return before._replace(chains=((shorter, end, end), (chain, least, most)), told_zxid=0)
        if mark.kind == "install":
            zxid, digest, crc, rows, sessions = value
            arrived = Chain(((zxid, crc),), 0, (rows, sessions, digest))
            return before._replace(chains=((arrived, 0, 0), (chain, least, most)), snapshots=frozenset(), told_zxid=0)
        if mark.kind == "promise":
            return before._replace(epochs=(tuple(value), *before.epochs[:1]))
        if mark.kind == "belong":
            return before._replace(ensembles=(value, *before.ensembles[:1]))
        if mark.kind == "remove":
            return before._replace(snapshots=before.snapshots - {value})
        if mark.kind == "told":
            return before._replace(told_zxid=max(before.told_zxid, value))
        if mark.kind == "promised":
            return before._replace(told_epoch=max(before.told_epoch, value))
        if mark.kind == "taken":
            return before._replace(snapshots=before.snapshots | {value})
        if mark.kind in ("drop", "recovered"):
            return before
        return _ended(before, mark)


def tree_of(chain: Chain) -> Tree:
    """The tree at a chain's base."""
    if chain.image is None:
        return Tree.new()
    rows, sessions, digest = chain.image
    records = {number: SessionRecord(timeout_ms, password) for number, timeout_ms, password in sessions}
    return Tree.load(rows, records, chain.ends[chain.base][0], digest)


def _begun(value: Any) -> Expectation:
    ends, rows, sessions, digest, tail, epochs, ensemble, snapshots = value
    known = Chain(tuple(map(tuple, ends)), len(ends) - 1, (rows, sessions, digest))
    chain = known.longer(tuple(segments_.decode(data) for data in tail))
    end = len(chain.ends) - 1
    return Expectation(((chain, end, end),), (tuple(epochs),), (ensemble,), frozenset(snapshots))


def _ended(before: Expectation, mark: Mark) -> Expectation:
    """After done, refused or failed."""
    chain, least, most = before.chains[0]
    if mark.kind == "done":
        if mark.value == "append":
            return before._replace(chains=((chain, most, most),))
        if mark.value in ("cut", "install"):
            return before._replace(chains=((chain, most, most),))
        if mark.value == "promise":
            return before._replace(epochs=before.epochs[:1])
        if mark.value == "belong":
            return before._replace(ensembles=before.ensembles[:1])
        return before
    if mark.kind == "refused":
        if mark.value == "append":
            shorter = chain.cut(chain.ends[least][0])
            return before._replace(chains=((shorter, least, least),))
        if mark.value == "promise":
            return before._replace(epochs=before.epochs[1:])
        if mark.value == "drop":
            return before
    raise InvariantError("recording", 0, f"{mark.value} {mark.kind}: a recording must not go on behind that")


def _either(values: tuple[object, ...]) -> str:
    return " or ".join(map(str, values))


def _text(end: End) -> str:
    return f"{end[0]:#x}/{end[1]:08x}"
