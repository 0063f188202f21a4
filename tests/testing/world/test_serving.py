"""The world with clients: an ensemble as in production breaks no rule, and bugs put into it are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from zkstore.replica.leading import Leading
from zkstore.replica.learning import Learning
from zkstore.testing.plans import plan as planning
from zkstore.testing.world.serving import ServingWorld

SEEDS = range(8000, 8008)
SEEDS_MAX = 25


def _run(seed: int) -> ServingWorld:
    world = ServingWorld(planning.make(seed))
    world.run()
    return world


def _wrong(world: ServingWorld) -> list[str]:
    verdict = world.verdict
    return [str(one) for one in [*world.observer.violations, *(verdict.violations if verdict else ())]]


@pytest.fixture(scope="module")
def worlds() -> list[ServingWorld]:
    return [_run(seed) for seed in SEEDS]


def test_an_ensemble_breaks_no_rule(worlds: list[ServingWorld]) -> None:
    assert [text for world in worlds for text in _wrong(world)] == []


def test_every_rule_is_looked_at(worlds: list[ServingWorld]) -> None:
    counts: Counter[str] = Counter()
    for world in worlds:
        assert world.verdict is not None
        counts.update(world.verdict.counts)
    assert [rule for rule, count in counts.items() if not count] == []


def test_clients_are_served_by_all_kinds_of_servers(worlds: list[ServingWorld]) -> None:
    servers = {channel.server_id for world in worlds for channel in world.history.channels if channel.received}
    assert len(servers) > 3
    leaders = {leader for world in worlds for leader in world.observer.leaders.values()}
    assert len(leaders) > 1


def test_the_same_seed_gives_the_same_run(worlds: list[ServingWorld]) -> None:
    again = _run(SEEDS[0])
    assert again.trace.digest == worlds[0].trace.digest
    assert again.history.txns == worlds[0].history.txns


Patch = pytest.MonkeyPatch


def _a_sync_that_asks_nobody(patch: Patch) -> None:
    patch.setattr(Learning, "sync", lambda self, conversation, xid, body: None)


def _a_learner_that_does_not_tell_who_was_here(patch: Patch) -> None:
    patch.setattr(Learning, "take_touched", lambda self: ())


def _a_new_leader_that_gives_sessions_less_time(patch: Patch) -> None:
    begin = Leading.__init__

    def hurry(self: Leading, replica: Any, *arguments: Any) -> None:
        begin(self, replica, *arguments)
        for session_id, session in replica.tree.sessions.items():
            replica.tracker.touch(session_id, replica.now_ms, session.timeout_ms // 4)

    patch.setattr(Leading, "__init__", hurry)


@pytest.mark.parametrize(
    ("put_in", "rule"),
    [
        (_a_sync_that_asks_nobody, "sync"),
        (_a_learner_that_does_not_tell_who_was_here, "expiry not early"),
        (_a_new_leader_that_gives_sessions_less_time, "expiry not early"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_bug_in_an_ensemble_is_found(put_in: Callable[[Patch], None], rule: str, monkeypatch: Patch) -> None:
    put_in(monkeypatch)
    for seed in range(SEEDS[0], SEEDS[0] + SEEDS_MAX):
        if any(text.startswith(rule) for text in _wrong(_run(seed))):
            return
    raise AssertionError(f"{SEEDS_MAX} runs did not find it")
