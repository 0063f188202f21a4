"""Watch fan-out and the memory of watches, measured on a server with a handful of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import benchmark, contestants, fanout, load
from tools.benchmark import make_plan, measure_fanout, measure_watches, parser
from tools.contestants import Server, four_letter_word
from tools.load import LoadError
from tools.load_requests import Nodes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(contestants.zkstore(), tmp_path_factory.mktemp("fanout")) as running:
        running.wait_until_answers()
        yield running


def watch_count(server: Server) -> int:
    """As the server counts them."""
    found = re.search(rb"Total watches:(\d+)", four_letter_word(server.address, b"wchs"))
    assert found is not None
    return int(found[1])


def test_every_watcher_is_waited_for(server: Server) -> None:
    result = fanout.run(server.address, 7, 2)
    assert (result.conns, result.rounds) == (7, 2)
    assert 0 < result.first_ms <= result.last_ms
    assert "conns=7" in result.line()


def test_a_watcher_that_is_not_told_fails_the_measurement(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "watch", lambda socks: None)
    monkeypatch.setattr(fanout, "PATIENCE_S", 0.05)
    with pytest.raises(LoadError, match="3 connections were not told"):
        fanout.run(server.address, 3, 1)


def test_each_znode_gets_one_watch(server: Server) -> None:
    nodes = Nodes(250, 5)
    load.fill(server.address, nodes, 10)
    with load.sessions([server.address], 3) as socks:
        fanout.read_all(socks, nodes, 10, watch=False)
        assert watch_count(server) == 0
        fanout.read_all(socks, nodes, 10, watch=True)
        assert watch_count(server) == 250


def test_a_load_lists_as_many_children_as_it_is_told(server: Server) -> None:
    result = load.run([server.address], "children", 1, 1, 0.05, nodes=Nodes(10, listed=120))
    assert result.requests > 0


def test_the_benchmark_has_a_row_for_each_number_of_watchers_and_one_for_their_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "FANOUTS", (2, 3))
    monkeypatch.setattr(benchmark, "WATCHED_NODES", 1_000)
    plan = make_plan(parser().parse_args(["--quick", "--no-apache", "--only", "fanout,watches"]))
    rows = [*measure_fanout(plan, tmp_path), *measure_watches(plan, tmp_path)]
    assert [row.name for row in rows] == [
        "last of 2 watchers is told",
        "last of 3 watchers is told",
        "memory of each of 1,000 watches",
    ]
    assert [len(row.ours) for row in rows] == [1, 1, 1]
    assert rows[0].ours[0] > 0
