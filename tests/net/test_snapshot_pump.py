"""A snapshot on its way to a learner."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.net.peers import Ensemble
from zkstore.errors import DamageError
from zkstore.net.snapshot_pump import Row, send_snapshot
from zkstore.wire.messages import (
    PING,
    SNAPSHOT_BEGIN,
    SNAPSHOT_END,
    Ping,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotRows,
)

pytestmark = pytest.mark.trio

BEGIN = SnapshotBegin(SNAPSHOT_BEGIN, 7, 8, 9)
SESSIONS = [(1, 4_000, b"p" * 16), (2, 8_000, b"q" * 16)]


def rows_of(count: int, value: bytes = b"v" * 100) -> list[Row]:
    return [(b"%08d" % number, value) for number in range(count)]


class Pump:
    """One snapshot that is sent, while the test turns the servers."""

    def __init__(self, ensemble: Ensemble, link: int, rows: Iterator[Row]) -> None:
        self._ensemble = ensemble
        self._link = link
        self._rows = rows
        self.results: list[bool] = []

    async def run(self) -> None:
        self.results.append(await send_snapshot(self._ensemble[1].port, self._link, BEGIN, self._rows, SESSIONS))

    async def settle(self) -> None:
        """Until the pump has ended or waits for room. Reading takes another thread, which nobody can wait for here."""
        for _ in range(20):
            await self._ensemble.settle()
            await wait_all_tasks_blocked(0.002)


@pytest.mark.parametrize("rows", [[], rows_of(1), rows_of(5_000), rows_of(3, bytes(700_000))])
async def test_the_learner_gets_every_row_in_order(three: Ensemble, rows: list[Row]) -> None:
    accepted = await three.link(2, 1)
    pump = Pump(three, accepted, iter(rows))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        while not pump.results:
            await three.settle()
    await three.settle()
    first, *batches, last = three[2].messages
    assert (first, last) == (BEGIN, SnapshotEnd(SNAPSHOT_END, tuple(SESSIONS)))
    assert [row for batch in batches if isinstance(batch, SnapshotRows) for row in batch.rows] == rows
    assert len(batches) >= len(rows) * 124 // 200_000, "in batches, not as one message"
    assert pump.results == [True]


async def test_no_more_is_read_than_the_link_takes_and_heartbeats_go_through(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    taken = 0

    def rows() -> Iterator[Row]:
        nonlocal taken
        for number in range(1_000):
            taken += 1
            yield b"%d" % number, bytes(100_000)

    three[2].port.pause(-1, True)
    pump = Pump(three, accepted, rows())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        await pump.settle()
        assert 0 < taken < 200, "the learner does not read: what the system buffers, and a little more"
        assert three[1].port.room(accepted) == 0
        three.say(1, accepted, Ping(PING, 1, 7))
        three[2].port.pause(-1, False)
        while not pump.results:
            await three.settle()
    await three.settle()
    assert taken == 1_000
    kinds = [type(message) for message in three[2].messages]
    assert kinds.index(Ping) < 100 < kinds.index(SnapshotEnd)


async def test_a_link_that_breaks_ends_it(three: Ensemble) -> None:
    accepted = await three.link(2, 1)
    three[2].port.pause(-1, True)
    pump = Pump(three, accepted, iter(rows_of(1_000, bytes(100_000))))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        await pump.settle()
        await three.kill(2)
        await pump.settle()
        assert pump.results == [False]
    assert three[1].links[-1] == ("broke", accepted, 2)


async def test_damage_that_is_met_while_reading_is_raised(three: Ensemble) -> None:
    def rows() -> Iterator[Row]:
        yield b"key", b"value"
        raise DamageError("a page is not what was written")

    accepted = await three.link(2, 1)
    with pytest.raises(DamageError):
        await send_snapshot(three[1].port, accepted, BEGIN, rows(), SESSIONS)
    await three.settle()
    assert not any(isinstance(message, SnapshotEnd) for message in three[2].messages)
