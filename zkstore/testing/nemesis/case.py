"""What to run, and what came of it: plain values, which a report or a file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from zkstore.errors import ConfigError
from zkstore.testing.checkers.verdict import Verdict
from zkstore.testing.nemesis import faults as planning
from zkstore.testing.nemesis.faults import KINDS, Fault, Pace
from zkstore.testing.nemesis.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Case:
    """What to run: everything but the time that things take follows from it.

    Attributes:
        servers: one stands alone; several are an ensemble.
        for_ms: how long faults come.
        kinds: of faults; empty for all that this machine allows.
        think_us: the mean pause of a client between two recipes.
        timeouts_ms: of sessions.
        calm_ms: how long clients go on once there is no fault any more.
        local_sessions: new sessions are known to one server only; with `upgrades_sessions` to all before they own
            something.
        checkpoint_txns, history_bytes_max: the servers' settings. Only of a server alone may history be dropped.
        pace: how the faults of a plan follow each other.
        in_turn: a fault waits until clients are served again after the one before; most do.
        plan: the faults; None for those that the seed makes.
    """

    seed: int
    servers: int = 3
    for_ms: int = 20_000
    clients: int = 8
    kinds: tuple[str, ...] = ()
    think_us: int = 60_000
    timeouts_ms: tuple[int, ...] = (2_000, 4_000)
    calm_ms: int = 10_000
    local_sessions: bool = False
    upgrades_sessions: bool = False
    checkpoint_txns: int = 1_000
    history_bytes_max: int = 1 << 40
    pace: Pace = field(default_factory=Pace)
    in_turn: bool = False
    plan: tuple[Fault, ...] | None = None

    def faults(self, kinds: tuple[str, ...]) -> tuple[Fault, ...]:
        """What is to happen; `kinds` are those that this machine allows."""
        if self.plan is not None:
            return self.plan
        return tuple(planning.plan(self.seed, self.servers, self.for_ms, kinds, self.pace)) if kinds else ()

    def with_plan(self, kinds: tuple[str, ...]) -> Case:
        """The same with its faults written out."""
        return replace(self, kinds=kinds, plan=self.faults(kinds))

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        plan = None if self.plan is None else [planning.to_json(fault) for fault in self.plan]
        return {**asdict(self), "pace": self.pace._asdict(), "plan": plan}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Case:
        """What `to_json` made. Raises ConfigError for what is no case."""
        known = {each.name for each in fields(cls)}
        if set(given) - known or "seed" not in given:
            raise ConfigError(f"a case has a seed, and of {', '.join(sorted(known))} what differs from the usual")
        values = dict(given)
        try:
            if values.get("plan") is not None:
                values["plan"] = tuple(map(planning.from_json, values["plan"]))
            if "pace" in values:
                values["pace"] = Pace(**{name: tuple(pair) for name, pair in values["pace"].items()})
            for name in ("kinds", "timeouts_ms"):
                if name in values:
                    values[name] = tuple(values[name])
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"no case: {error}") from None
        return cls(**values)


def refuse_unknown(kinds: tuple[str, ...]) -> None:
    """Raises ConfigError for a kind of fault that nobody knows."""
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise ConfigError(f"there is no kind {min(unknown)!r}; choose from {', '.join(KINDS)}")


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        kinds: of faults that could come.
        findings: what was wrong beside the verdict's violations.
        epochs: how many leaders there were.
        late_us: how much too late the clients were called at most: how busy the machine was.
        starts: how often a server's process was started.
        is_judged: False where history was dropped before it could be read, so that nothing can be said.
        dropped_zxid: up to where the servers had dropped their history at the end; 0 if nobody did.
    """

    case: Case
    kinds: tuple[str, ...]
    findings: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    struck: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    answers: int = 0
    txns: int = 0
    epochs: int = 0
    late_us: int = 0
    starts: int = 0
    dropped_zxid: int = 0
    is_judged: bool = True
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def problems(self) -> list[str]:
        """All that is wrong, as text."""
        violations = self.verdict.violations if self.verdict is not None else []
        return [*self.findings, *map(str, violations)]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        verdict = self.verdict
        return {
            "seed": self.case.seed,
            "servers": self.case.servers,
            "kinds": list(self.kinds),
            "local_sessions": self.case.local_sessions,
            "problems": self.problems,
            "struck": self.struck,
            "calls": self.calls,
            "answers": self.answers,
            "txns": self.txns,
            "leaders": self.epochs,
            "late_ms": self.late_us // 1000,
            "starts": self.starts,
            "dropped_zxid": self.dropped_zxid,
            "judged": self.is_judged,
            "checks": verdict.counts if verdict is not None else {},
            "never_checked": verdict.never() if verdict is not None else [],
            "first_answer_ms": verdict.served_us // 1000 if verdict is not None else -1,
            "behind_ms": verdict.behind_us // 1000 if verdict is not None else 0,
            "seen": dict(verdict.seen) if verdict is not None else {},
            "timeline": self.timeline.to_json(),
        }
