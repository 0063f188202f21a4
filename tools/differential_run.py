"""Runs scripts on a pair of servers, and shrinks one on which they differ."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from tools import contestants
from tools.contestants import Contestant, Server
from tools.differential_play import SUPER_CREDENTIAL, Log, Side
from tools.differential_rules import masked
from tools.differential_script import Connect, Frame, Send, Step, name_of
from tools.differential_seen import Event, Reply, results_of
from zkstore.wire.opcodes import Opcode

T = TypeVar("T")

Address = tuple[str, int]

_SUPER_DIGEST = "super:" + base64.b64encode(hashlib.sha1(SUPER_CREDENTIAL).digest()).decode()

SETTINGS = {
    "DigestAuthenticationProvider.superDigest": _SUPER_DIGEST,
    "enforceQuota": "true",
    "extendedTypesEnabled": "true",
    "maxSessionTimeout": "60000",
    "minSessionTimeout": "20000",
}
"""What both servers are told, so that nothing depends on their defaults."""

_RUN_NUMBERS = itertools.count(1)


class Difference(NamedTuple):
    """The first step after which two servers were not the same to their clients."""

    step: int
    """Index of the last step that was sent."""
    logs: tuple[tuple[str, Log], ...]
    """By server, what each connection saw, as compared."""


class Pair:
    """Two servers that should answer alike."""

    def __init__(self, addresses: dict[str, Address]) -> None:
        self._addresses = addresses
        self.answers: Counter[tuple[str, int]] = Counter()
        """How often each request was answered by each code, and "event" by type: what the scripts reached."""

    def play(self, script: Sequence[Step]) -> Difference | None:
        """Play a script below a znode of its own; the first difference."""
        root = b"/d%d" % next(_RUN_NUMBERS)
        sides = [Side(name, address, root) for name, address in self._addresses.items()]
        try:
            for last, steps in bursts(script):
                for side in sides:
                    side.begin(steps)
                logs = _merge(sides, steps)
                self._count(logs[-1])
                compared = [masked(log, steps) for log in logs]
                if any(log != compared[0] for log in compared):
                    names = [side.name for side in sides]
                    return Difference(last, tuple(zip(names, compared, strict=True)))
            return None
        finally:
            for side in sides:
                side.clear()

    def _count(self, log: Log) -> None:
        for seen in itertools.chain.from_iterable(log.values()):
            if isinstance(seen, Reply):
                undone = any(result.opcode == Opcode.ERROR for result in results_of(seen))
                self.answers[name_of(seen.opcode) + ", undone" * undone, seen.code] += 1
            elif isinstance(seen, Event):
                self.answers["event", seen.type] += 1


def _merge(sides: Sequence[Side], steps: Sequence[Step]) -> list[Log]:
    """What each side saw of the steps that have begun: on their own connection first, then on all."""
    answers = [side.end(steps) for side in sides]
    for side in sides:
        if any(isinstance(step, Send) and step.hangs_up for step in steps):
            side.hang_up(steps[0].link)
        side.send_fences()
    logs = [side.read_fences() for side in sides]
    link = steps[0].link
    return [{**log, link: [*answer, *log.get(link, [])]} for answer, log in zip(answers, logs, strict=True)]


def bursts(script: Sequence[Step]) -> Iterator[tuple[int, list[Step]]]:
    """The script in pieces that are sent at once, each with the index of its last step."""
    burst: list[Step] = []
    for index, step in enumerate(script):
        burst.append(step)
        following = script[index + 1] if index + 1 < len(script) else None
        goes_on = isinstance(step, Connect | Send) and step.is_pipelined and isinstance(following, Send | Frame)
        if not (goes_on and following is not None and following.link == step.link):
            yield index, burst
            burst = []


def shrink(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """A part of `items` on which `fails` still holds, and of which no single item can be left out."""
    kept = list(items)
    size = len(kept) // 2
    while size:
        start = 0
        shrunk = False
        while start < len(kept):
            candidate = kept[:start] + kept[start + size :]
            if candidate and fails(candidate):
                kept, shrunk = candidate, True
            else:
                start += size
        size = size if shrunk and size == 1 else size // 2
    return kept


def reference() -> Contestant | None:
    """Apache ZooKeeper, told not to wait for its disk, since no power cut ends a test; None if it is not installed."""
    apache = contestants.apache()
    return None if apache is None else replace(apache, settings={**apache.settings, "forceSync": "no"})


@contextmanager
def servers(rivals: Sequence[Contestant], home: Path) -> Iterator[dict[str, Address]]:
    """Start them below `home`; by name, where they listen."""
    with ExitStack() as stack:
        started = {}
        for contestant in rivals:
            place = home / contestant.name
            place.mkdir(parents=True)
            told = replace(contestant, settings={**SETTINGS, **contestant.settings})
            started[contestant.name] = stack.enter_context(Server(told, place))
        for server in started.values():
            server.wait_until_answers()
        yield {name: server.address for name, server in started.items()}
