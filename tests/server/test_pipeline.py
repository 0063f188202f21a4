"""The pipeline over a disk that writes when the test lets it."""

from __future__ import annotations

import logging
import select
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.interop.raw import Reply, create, greeting
from zkstore.errors import DiskFullError, StorageError
from zkstore.model.tree import Tree
from zkstore.replica.conversation import Conversation
from zkstore.replica.member import alone
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings
from zkstore.server import pipeline
from zkstore.server.pipeline import Pipeline, Summary
from zkstore.storage.store import Store
from zkstore.wire.segment import Segment


class Disk:
    """Keeps the chain as a log does. `gate` holds the writer back while it is clear; `failures` come first.

    Each segment takes `takes_s` by the disk's own clock, which is the pipeline's.
    """

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.threads: list[str] = []
        self.failures: list[StorageError | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self.clock_s = self.takes_s = 0.0

    def append(self, segments: Sequence[Segment]) -> None:
        assert self.gate.wait(10), "the test never let the disk write"
        self.threads.append(threading.current_thread().name)
        self.clock_s += self.takes_s
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        [segment] = segments
        end = (self.segments[-1].last_zxid, self.segments[-1].crc) if self.segments else (0, 0)
        if (segment.prev_zxid, segment.prev_crc) != end:
            raise StorageError("the segment does not continue the log")
        self.segments.append(segment)


class World:
    """One client, one replica, one pipeline, one disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.replica = Replica(
            Tree.new(),
            ReplicaSettings(),
            now_ms=0,
            time_ms=0,
            last_crc=0,
            make_password=lambda: bytes(16),
        )
        member = alone(self.replica)
        member.start()
        self.pipeline = Pipeline(member, cast(Store, cast(Any, self.disk)))
        self.client = self.replica.converse(("127.0.0.1", 1))
        self.client.receive(greeting())
        self.hand_over_and_collect()
        self.codes()

    def write(self, *numbers: int) -> None:
        """Requests whose xid is their number; nothing is handed over yet."""
        for number in numbers:
            self.client.receive(create(number, b"/n%d" % number))

    def collect(self) -> None:
        """Wait for the writer's report, and take it."""
        with select.epoll() as epoll:
            epoll.register(self.pipeline.descriptor, select.EPOLLIN)
            assert epoll.poll(10), "the writer reports nothing"
        self.pipeline.collect()

    def hand_over_and_collect(self) -> None:
        self.pipeline.hand_over()
        while self.pipeline.is_writing:
            self.collect()

    def codes(self) -> list[tuple[int, int]]:
        """Xid and code of each answer since the last look."""
        return [(reply.xid, reply.code) for reply in replies(self.client)]

    def quicken(self) -> None:
        """Write until the disk counts as quick."""
        for number in range(1000, 1100):
            self.write(number)
            self.hand_over_and_collect()
        self.codes()
        self.disk.threads.clear()


def replies(conversation: Conversation) -> list[Reply]:
    data = b"".join(conversation.out)
    conversation.out.clear()
    conversation.out_bytes = 0
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        numbers = (int.from_bytes(data[start:stop], "big", signed=True) for start, stop in ((4, 8), (8, 16), (16, 20)))
        found.append(Reply(*numbers, data[20:end]))
        data = data[end:]
    return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    disk = Disk()
    monkeypatch.setattr(pipeline, "time", SimpleNamespace(perf_counter=lambda: disk.clock_s))
    world = World(disk)
    yield world
    world.disk.gate.set()
    world.pipeline.close()


def test_nothing_is_answered_before_it_is_durable(world: World) -> None:
    world.disk.gate.clear()
    world.write(1)
    world.pipeline.hand_over()
    world.pipeline.collect()
    assert world.codes() == []
    assert world.pipeline.is_writing
    world.disk.gate.set()
    world.collect()
    assert world.codes() == [(1, 0)]
    assert not world.pipeline.is_writing


def test_what_comes_while_the_disk_writes_forms_the_next_segment(world: World) -> None:
    world.disk.gate.clear()
    world.write(1)
    world.pipeline.hand_over()
    world.write(2, 3, 4)
    world.pipeline.hand_over()
    world.disk.gate.set()
    world.collect()
    world.hand_over_and_collect()
    assert world.codes() == [(number, 0) for number in (1, 2, 3, 4)]
    sizes = [segment.last_zxid - segment.prev_zxid for segment in world.disk.segments]
    assert sizes == [1, 1, 3]  # the first is the session
    assert world.pipeline.segments == 3
    assert world.pipeline.sync_ms.count == 3


def test_fewer_writes_than_last_time_wait_for_company_until_nothing_more_comes(world: World) -> None:
    world.write(1, 2, 3)
    world.hand_over_and_collect()
    world.write(4)
    world.pipeline.gather()
    assert not world.pipeline.is_writing
    world.write(5, 6)
    world.pipeline.gather()
    assert world.pipeline.is_writing
    world.collect()
    world.write(7)
    world.pipeline.gather()
    assert not world.pipeline.is_writing
    world.hand_over_and_collect()
    assert world.codes() == [(number, 0) for number in range(1, 8)]


def test_a_quick_disk_is_not_waited_for_by_the_thread(world: World) -> None:
    world.quicken()
    world.write(1)
    world.pipeline.hand_over()
    assert world.codes() == [(1, 0)]
    world.write(2, 3)
    world.pipeline.gather()
    assert world.codes() == [(2, 0), (3, 0)]
    assert set(world.disk.threads) == {threading.current_thread().name}


def test_a_disk_that_begins_to_stall_is_waited_for_by_the_thread_until_it_is_quick_again(world: World) -> None:
    world.quicken()
    world.disk.takes_s = 0.02
    world.write(1)
    world.pipeline.hand_over()
    assert world.codes() == [(1, 0)]
    for number in range(60):
        world.write(number)
        world.hand_over_and_collect()
    assert set(world.disk.threads[1:]) == {"log writer"}
    world.disk.takes_s = 0.0
    world.quicken()
    world.write(2)
    world.pipeline.hand_over()
    assert world.disk.threads == [threading.current_thread().name]


def test_a_disk_that_is_never_quick_is_only_tried_by_the_loop(world: World) -> None:
    world.quicken()
    world.disk.takes_s = 0.004  # too slow for the loop, and no standstill
    for number in range(104):
        world.write(number)
        world.hand_over_and_collect()
    in_loop = [name for name in world.disk.threads if name != "log writer"]
    assert len(in_loop) == 4


def test_a_full_disk_refuses_writes_and_takes_them_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.disk.failures = [DiskFullError("no space"), DiskFullError("no space")]
    for number in (1, 2, 3):
        world.write(number)
        world.hand_over_and_collect()
    assert world.codes() == [(1, -1), (2, -1), (3, 0)]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "writes are refused until there is space" in caplog.messages[0]
    assert "has space again" in caplog.messages[1]
    assert set(world.replica.tree.records) >= {b"/n3"} and b"/n1" not in world.replica.tree.records


def test_writes_that_queue_up_behind_one_that_found_no_space_are_refused_with_it(world: World) -> None:
    world.disk.gate.clear()
    world.disk.failures = [DiskFullError("no space")]
    world.write(1)
    world.pipeline.hand_over()
    world.write(2, 3)
    world.disk.gate.set()
    world.collect()
    world.write(4)
    world.hand_over_and_collect()
    assert world.codes() == [(1, -1), (2, -1), (3, -1), (4, 0)]


def test_a_full_disk_takes_nothing_back_that_is_durable_already(world: World) -> None:
    world.disk.gate.clear()
    world.disk.failures = [None, DiskFullError("no space")]
    world.write(1)
    world.pipeline.hand_over()
    world.write(2)
    world.disk.gate.set()
    world.collect()
    while world.pipeline.is_writing:
        world.collect()
    world.write(3)
    world.hand_over_and_collect()
    assert world.codes() == [(1, 0), (2, -1), (3, 0)]


def test_any_other_failure_of_the_disk_ends_it(world: World) -> None:
    world.disk.failures = [StorageError("the disk is on fire")]
    world.write(1)
    world.pipeline.hand_over()
    with pytest.raises(StorageError, match="on fire"):
        world.collect()
    assert world.codes() == []


def test_a_summary_knows_count_sum_and_extremes() -> None:
    summary = Summary()
    for value in (3.0, 1.0, 2.0):
        summary.add(value)
    assert (summary.count, summary.sum, summary.min, summary.max) == (3, 6.0, 1.0, 3.0)
    summary.reset()
    assert (summary.count, summary.sum, summary.min, summary.max) == (0, 0.0, 0.0, 0.0)
