"""Open files: how many, and how many of them are for clients."""

from __future__ import annotations

import resource

import pytest

from zkstore.server import descriptors


@pytest.mark.parametrize(
    ("soft", "bound"), [(1024, 960), (100, 50), (resource.RLIM_INFINITY, (1 << 20) - 64), (1 << 30, (1 << 20) - 64)]
)
def test_clients_leave_some_for_the_disk(monkeypatch: pytest.MonkeyPatch, soft: int, bound: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert descriptors.connections_bound() == bound


def test_the_limit_is_raised_to_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 5000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    descriptors.raise_limit()
    assert asked == [(5000, 5000)]


def test_a_system_that_refuses_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 5000))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.raise_limit()
