"""kazoo's recipes against a real server: they rely on every promise about watches, ephemerals and sequences."""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Callable

import pytest
from kazoo.client import KazooClient

from tests.interop.conftest import Connect
from tests.interop.processes import WAIT_S, ServerProcess, wait_until

pytestmark = pytest.mark.interop

MakeClient = Callable[[], KazooClient]


@pytest.fixture
def client(lasting_server: ServerProcess, root: str, connect: Connect) -> MakeClient:
    """Another application."""
    return lambda: connect(lasting_server, root)


def in_parallel(*works: Callable[[], object]) -> None:
    """Run all, each in a thread of its own; what one raises is raised."""
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except AssertionError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive(), "still not done"
    if failures:
        raise failures[0]


def test_a_lock_is_held_by_one_at_a_time(client: MakeClient) -> None:
    inside: list[str] = []
    seen: list[str] = []

    def contend(name: str) -> Callable[[], None]:
        own = client()

        def work() -> None:
            for _ in range(5):
                with own.Lock("/lock", name):
                    inside.append(name)
                    assert inside == [name], f"{inside} hold the lock"
                    seen.append(name)
                    inside.pop()

        return work

    in_parallel(*(contend(f"worker-{number}") for number in range(4)))
    assert Tally(seen) == {f"worker-{number}": 5 for number in range(4)}


def test_a_lock_passes_on_when_its_holder_disappears(client: MakeClient) -> None:
    first, second = client(), client()
    lock = first.Lock("/lock", "first")
    assert lock.acquire(timeout=WAIT_S)
    waiting = second.Lock("/lock", "second")
    assert not waiting.acquire(blocking=False)
    assert waiting.contenders() == ["first"]
    first.stop()
    assert waiting.acquire(timeout=WAIT_S)
    assert waiting.contenders() == ["second"]


def test_readers_share_a_lock_and_a_writer_does_not(client: MakeClient) -> None:
    one, two, three = client(), client(), client()
    with one.ReadLock("/lock"), two.ReadLock("/lock"):
        assert not three.WriteLock("/lock").acquire(blocking=False)
    with three.WriteLock("/lock"):
        assert not one.ReadLock("/lock").acquire(blocking=False)


def test_a_semaphore_has_as_many_leases_as_it_was_given(client: MakeClient) -> None:
    one, two, three = client(), client(), client()
    first, second = one.Semaphore("/semaphore", max_leases=2), two.Semaphore("/semaphore", max_leases=2)
    third = three.Semaphore("/semaphore", max_leases=2)
    assert first.acquire() and second.acquire()
    assert not third.acquire(blocking=False)
    first.release()
    assert third.acquire(timeout=WAIT_S)


def test_an_election_has_one_leader_at_a_time_and_everybody_gets_a_turn(client: MakeClient) -> None:
    leading: list[str] = []
    led: list[str] = []

    def candidate(name: str) -> Callable[[], None]:
        own = client()

        def lead() -> None:
            leading.append(name)
            assert leading == [name], f"{leading} lead"
            led.append(name)
            leading.pop()

        return lambda: own.Election("/election", name).run(lead)

    in_parallel(*(candidate(f"candidate-{number}") for number in range(3)))
    assert sorted(led) == ["candidate-0", "candidate-1", "candidate-2"]


def test_a_party_knows_its_members(client: MakeClient) -> None:
    one, two = client(), client()
    party, other = one.Party("/party", "one"), two.Party("/party", "two")
    party.join()
    other.join()
    assert sorted(party) == ["one", "two"]
    two.stop()
    wait_until(lambda: sorted(party) == ["one"])


def test_a_counter_loses_no_increment(client: MakeClient) -> None:
    clients = [client() for _ in range(3)]

    def count(own: KazooClient) -> Callable[[], None]:
        def work() -> None:
            counter = own.Counter("/counter")
            for _ in range(10):
                counter += 1

        return work

    in_parallel(*map(count, clients))
    assert clients[0].Counter("/counter").value == 30


def test_a_data_watch_sees_the_newest_data_until_the_znode_goes(client: MakeClient) -> None:
    writer, reader = client(), client()
    seen: list[bytes | None] = []
    reader.DataWatch("/config", lambda data, stat: seen.append(data))
    assert seen == [None]
    writer.create("/config", b"0")
    wait_until(lambda: seen[-1] == b"0")
    for number in range(1, 20):
        writer.set("/config", b"%d" % number)
    wait_until(lambda: seen[-1] == b"19")
    writer.delete("/config")
    wait_until(lambda: seen[-1] is None)
    numbers = [int(data) for data in seen if data is not None]
    assert numbers == sorted(numbers)


def test_a_children_watch_sees_who_comes_and_goes(client: MakeClient) -> None:
    writer, reader = client(), client()
    writer.create("/members")
    seen: list[set[str]] = []
    reader.ChildrenWatch("/members", lambda children: seen.append(set(children)))
    assert seen == [set()]
    for name in "abc":
        writer.create(f"/members/{name}", ephemeral=True)
    wait_until(lambda: seen[-1] == {"a", "b", "c"})
    writer.stop()
    wait_until(lambda: seen[-1] == set())


def test_a_queue_hands_out_each_entry_once_in_order(client: MakeClient) -> None:
    producer, consumers = client(), [client(), client()]
    queue = producer.Queue("/queue")
    for number in range(20):
        queue.put(b"%d" % number)
    queue.put(b"urgent", priority=1)
    assert len(queue) == 21
    taken: list[list[bytes]] = [[], []]

    def consume(own: KazooClient, into: list[bytes]) -> Callable[[], None]:
        def work() -> None:
            entries = own.Queue("/queue")
            while (entry := entries.get()) is not None:
                into.append(entry)

        return work

    in_parallel(*map(consume, consumers, taken))
    assert sorted(taken[0] + taken[1]) == sorted([b"urgent", *(b"%d" % number for number in range(20))])
    for mine in taken:
        numbers = [int(entry) for entry in mine if entry != b"urgent"]
        assert numbers == sorted(numbers)


def test_a_locking_queue_gives_an_entry_back_when_its_consumer_disappears(client: MakeClient) -> None:
    one, two = client(), client()
    queue = one.LockingQueue("/queue")
    queue.put_all([b"first", b"second"])
    assert queue.get(timeout=WAIT_S) == b"first"
    one.stop()
    other = two.LockingQueue("/queue")
    taken = []
    for _ in range(2):
        taken.append(other.get(timeout=WAIT_S))
        assert other.consume()
    assert taken == [b"first", b"second"]
    assert len(other) == 0


def test_a_barrier_holds_until_it_is_removed(client: MakeClient) -> None:
    one, two = client(), client()
    barrier = one.Barrier("/barrier")
    barrier.create()
    assert not two.Barrier("/barrier").wait(timeout=0.1)
    passed: list[bool] = []
    in_parallel(lambda: passed.append(two.Barrier("/barrier").wait(timeout=WAIT_S)), barrier.remove)
    assert passed == [True]


def test_a_double_barrier_lets_all_in_together(client: MakeClient) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def member(number: int) -> Callable[[], None]:
        barrier = client().DoubleBarrier("/double", num_clients=3)

        def work() -> None:
            inside.append(number)
            barrier.enter()
            seen.append(len(inside))
            barrier.leave()

        return work

    in_parallel(*map(member, range(3)))
    assert seen == [3, 3, 3]


def test_a_set_is_partitioned_among_its_members(client: MakeClient) -> None:
    items = [f"item-{number}" for number in range(7)]
    partitions: list[list[str]] = []
    settled = threading.Barrier(2)

    def member(number: int) -> Callable[[], None]:
        own = client()

        def work() -> None:
            partitioner = own.SetPartitioner("/partitions", items, identifier=f"m{number}", time_boundary=0.3)
            while not (partitioner.acquired and len(list(partitioner)) < len(items)):
                assert not partitioner.failed
                if partitioner.release:
                    partitioner.release_set()
                else:
                    partitioner.wait_for_acquire(1)
            partitions.append(list(partitioner))
            settled.wait(WAIT_S)
            partitioner.finish()

        return work

    in_parallel(member(0), member(1))
    assert sorted(partitions[0] + partitions[1]) == items
    assert {len(partition) for partition in partitions} == {3, 4}


def test_a_tree_cache_follows_a_subtree(client: MakeClient) -> None:
    from kazoo.recipe.cache import TreeCache

    writer, reader = client(), client()
    writer.create("/tree/a", b"1", makepath=True)
    cache = TreeCache(reader, "/tree")
    cache.start()
    wait_until(lambda: cache.get_data("/tree/a") is not None)
    assert cache.get_data("/tree/a").data == b"1"
    writer.set("/tree/a", b"2")
    writer.create("/tree/a/b", b"3")
    wait_until(lambda: cache.get_data("/tree/a/b") is not None and cache.get_data("/tree/a").data == b"2")
    assert set(cache.get_children("/tree/a")) == {"b"}
    writer.delete("/tree", recursive=True)
    wait_until(lambda: cache.get_data("/tree/a/b") is None)
    cache.close()
