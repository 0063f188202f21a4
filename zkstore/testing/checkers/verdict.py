"""What came of checking a run: rules broken, and how often each rule was looked at.

A rule that was never looked at proves nothing, so the counts stand beside the violations.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

RULES: Final = {
    "agreement": "all servers apply the same segments, each behind the one before it (I3, I5, I8, I9)",
    "digests": "equal zxid, equal digest, on all servers and in the replay (I15)",
    "survival": "a write answered with success is in the history, at the zxid of its answer (I4, G5)",
    "real time": "a write is behind everything that any client was shown before it was asked (G1)",
    "at most once": "a request is applied once or never, and only one that was asked, as it was asked (G6, I6)",
    "request order": "a session's writes are applied in the order of its requests, without gaps (G2)",
    "answer order": "answers come in the order of the requests (G2, I19)",
    "writes": "a write succeeds or fails as the tree before it says, and is answered so (G4)",
    "multi": "a multi does all or nothing at one zxid (G4)",
    "reads": "a read equals the tree at the zxid of its answer (G3)",
    "monotonic reads": "the zxids that a session is shown never go back (I19, G3)",
    "monotonic over servers": "nor do they when it comes back to another server (I19, G3)",
    "sync": "a sync is behind everything that any client was shown before it was asked (G10)",
    "watch events": "a watch event comes once, in order, before any answer that shows its cause (I20, G7)",
    "restored watches": "setWatches tells at once what was missed (G7)",
    "ephemerals": "an ephemeral lives exactly as long as its session (I17, G8)",
    "sequences": "sequence numbers are unique and increase under one parent (G9)",
    "sessions": "a session has one client, begins once, and does nothing before and after its life (I17)",
    "expiry not early": "no session ends while its client keeps in touch (R14)",
    "expiry at last": "the session of a silent client ends (I21)",
    "timeliness": "whoever answers knows of everything that is older than a bound (G11)",
    "service at last": "some time after the last fault, writes are answered (I21)",
    "answers at last": "who stays connected when all is well is answered, and everybody finds a server (I21)",
    "bounds": "every queue stays within its bound",
    "final state": "at the end all servers hold everything that was acknowledged, and the same (I4, I15, I21)",
}
"""Every rule by its name, with the invariants and guarantees of the reference that it checks."""

_VIOLATIONS_MAX: Final = 50


class Violation(NamedTuple):
    """One rule broken at one zxid (0 where there is none)."""

    rule: str
    zxid: int
    text: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.zxid:#x}: {self.text} [{RULES[self.rule]}]"


class Verdict:
    """All violations, the first ones first, and all counts.

    Attributes:
        counts: how often each rule was looked at.
        seen: what the clients met: answers by opcode and code, kinds of txns, events.
        behind_us: the most that an answer was behind the history.
        served_us: how long after the last fault the first write was answered; -1 if none was.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.counts: dict[str, int] = dict.fromkeys(RULES, 0)
        self.seen: Counter[str] = Counter()
        self.behind_us = 0
        self.served_us = -1

    def violate(self, rule: str, zxid: int, text: str) -> None:
        """A rule is broken."""
        assert rule in RULES, f"there is no rule {rule!r}"
        if len(self.violations) < _VIOLATIONS_MAX:
            self.violations.append(Violation(rule, zxid, text))

    def never(self) -> list[str]:
        """Rules that were never looked at."""
        return [rule for rule, count in self.counts.items() if not count]
