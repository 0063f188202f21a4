"""Fixtures for pytest, there for everybody who has zkstore installed: a server, or three, for each test that asks.

    def test_locks(zk_server):
        client = KazooClient(zk_server.address)

Nothing is imported before a test asks, so that other tests of the same environment start as quickly as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from zkstore.testing.servers import Ensemble, Server


@pytest.fixture
def zk_server(tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own."""
    from zkstore.testing.servers import Server

    with Server(tmp_path / "zkstore") as server:
        yield server


@pytest.fixture
def zk_ensemble(tmp_path: Path) -> Iterator[Ensemble]:
    """Three servers of this test's own."""
    from zkstore.testing.servers import Ensemble

    with Ensemble(3, tmp_path / "zkstore") as ensemble:
        yield ensemble
