"""Fixtures: a world with a replica in it, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.replica.clients import Client
from tests.replica.world import World


@pytest.fixture
def world() -> World:
    """A fresh server."""
    return World()


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """Fresh servers by the number, or with settings of their own."""
    return World


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    """A client of `world`; at the end the log must be a chain that gives its tree."""
    yield world.client()
    world.run_disk()
    assert world.check_chain().records == world.tree.records
