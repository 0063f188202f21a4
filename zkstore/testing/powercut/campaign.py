"""Cuts the power at the moments of one recording, again and again, and has each image started and judged.

Images are told apart by their content. One that was seen before is not started again, but judged again all the same:
at a later moment more is demanded of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from zkstore.testing.powercut import choices, opening
from zkstore.testing.powercut.disk import Disk, Image
from zkstore.testing.powercut.events import Event, Mark, Recording, Sync, Write
from zkstore.testing.powercut.oracle import Expectation, Found, Oracle

_ROUNDS_MAX = 10_000
_FRESH_MIN = 3
_SECOND_WAY_EVERY = 16


class Plan(NamedTuple):
    """A power cut: when so many events were taken, and what reached the disk.

    `is_second_way`: the checkpoint is spoilt as well, so that the start must find another way back.
    """

    taken: int
    kind: str
    number: int
    is_second_way: bool = False


class Finding(NamedTuple):
    """Something that is wrong behind a power cut."""

    plan: Plan
    message: str


@dataclass(slots=True)
class Tally:
    """What was looked at.

    Attributes:
        moments: of all recordings.
        images: different ones, each started.
        judged: images at their moments.
        second_ways: images that were started once more without their checkpoint.
        kinds: choices by kind.
    """

    moments: int = 0
    images: int = 0
    judged: int = 0
    second_ways: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count another recording's, too."""
        self.moments += other.moments
        self.images += other.images
        self.judged += other.judged
        self.second_ways += other.second_ways
        self.kinds.update(other.kinds)


class Campaign:
    """All cuts of one recording. `scratch` is where images are laid out, best in memory.

    `about_to` is called with each plan before its image is started: a page that makes no sense may end the process.
    """

    def __init__(
        self,
        recording: Recording,
        scratch: Path,
        *,
        seed: int = 0,
        about_to: Callable[[Plan], None] = lambda plan: None,
    ) -> None:
        self.recording = recording
        self.tally = Tally()
        self._oracle = Oracle(recording)
        self._scratch = scratch
        self._random = Random(seed)
        self._about_to = about_to
        self._seen: dict[frozenset[tuple[str, int]], Found] = {}
        self._moments = frozenset(moments(recording.events))
        self.tally.moments = len(self._moments)

    def run(self, images_max: int) -> Iterator[Finding]:
        """Until there were so many different images, or hardly any new one is found."""
        with opening.unprobed():
            for round_number in range(_ROUNDS_MAX):
                before = self.tally.images
                yield from self._round(round_number, images_max)
                if self.tally.images >= images_max or (round_number > 3 and self.tally.images - before < _FRESH_MIN):
                    return

    def _round(self, round_number: int, images_max: int) -> Iterator[Finding]:
        disk = Disk(self.recording)
        for number, event in enumerate(self.recording.events):
            if number in self._moments:
                drawn = [(choices.DRAWN, self._random.getrandbits(48)) for _ in range(3)]
                for kind, choice in drawn if round_number else choices.plain(disk):
                    if self.tally.images >= images_max:
                        return
                    yield from self._cut(disk, Plan(number, kind, choice))
            disk.take(event)

    def _cut(self, disk: Disk, plan: Plan) -> Iterator[Finding]:
        image = disk.image(choices.make(disk, plan.kind, plan.number))
        expected = self._oracle.expectation(plan.taken)
        self.tally.judged += 1
        self.tally.kinds[plan.kind] += 1
        key = frozenset((path, hash(content)) for path, content in image.items() if not path.endswith("lock.mdb"))
        found = self._seen.get(key)
        if found is None:
            self.tally.images += 1
            found = self._seen[key] = self._start(image, plan)
            if self.tally.images % _SECOND_WAY_EVERY == 0:
                yield from self._second_way(image, plan, expected)
        complaint = self._oracle.judge(found, expected)
        if complaint is not None:
            yield Finding(plan, complaint)

    def _second_way(self, image: Image, plan: Plan, expected: Expectation) -> Iterator[Finding]:
        """The checkpoint is worth nothing: a snapshot, or the beginning, and the log behind it must do."""
        spoilt = without_checkpoint(image)
        starts = [chain.ends[0] == (0, 0) and chain.image is None for chain, _, _ in expected.chains]
        if spoilt is None or not (expected.snapshots or all(starts)):
            return
        self.tally.second_ways += 1
        plan = plan._replace(is_second_way=True)
        complaint = self._oracle.judge(self._start(spoilt, plan), expected)
        if complaint is not None:
            yield Finding(plan, f"without its checkpoint, {complaint}")

    def _start(self, image: Image, plan: Plan) -> Found:
        self._about_to(plan)
        opening.lay_out(image, self._scratch)
        return opening.start(self._scratch, self.recording.about)


def moments(events: list[Event]) -> Iterator[int]:
    """When to cut: before each sync, when the most is unsafe, and behind each mark, when the most is demanded."""
    for number, event in enumerate(events):
        if isinstance(event, Sync) or (isinstance(event, Write) and event.is_durable):
            yield number
        elif isinstance(event, Mark):
            yield number + 1
    yield len(events) - 1


def image_of(recording: Recording, plan: Plan) -> Image:
    """The image that a plan makes."""
    disk = Disk(recording)
    for event in recording.events[: plan.taken]:
        disk.take(event)
    image = disk.image(choices.make(disk, plan.kind, plan.number))
    return (without_checkpoint(image) or image) if plan.is_second_way else image


def without_checkpoint(image: Image) -> Image | None:
    """The image with nonsense for its checkpoint; None where it has none."""
    path = f"{opening.DATA}/tree/data.mdb"
    content = image.get(path)
    return {**image, path: bytes(len(content))} if content else None
