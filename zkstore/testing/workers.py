"""Seeds over several processes: each seed is run as it would be alone, and one that kills its process is named."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from zkstore.testing.simulation import Outcome

Run = Callable[[int], Outcome]
"""What is done with a seed. For several processes it must be something that can be pickled."""


class Died(NamedTuple):
    """A worker (from 1) has ended in the midst of a seed, and what is known of why."""

    seed: int
    worker: int
    pid: int
    reason: str

    def __str__(self) -> str:
        return f"worker {self.worker} (process {self.pid}) died with {self.reason} while it ran seed {self.seed}"


class _Worker(NamedTuple):
    number: int
    process: BaseProcess
    connection: Connection


def outcomes(seeds: Iterator[int], run: Run, jobs: int) -> Generator[Outcome | Died, None, None]:
    """What comes of each seed, as soon as it is known; with `jobs` 1 in this process, in their order.

    The next seed is taken when a worker is free for it. Close the generator to end all workers.
    """
    if jobs == 1:
        yield from map(run, seeds)
        return
    workers: list[_Worker] = []
    busy: dict[Connection, tuple[_Worker, int]] = {}

    def employ(worker: _Worker) -> None:
        seed = next(seeds, None)
        if seed is not None:
            busy[worker.connection] = worker, seed
            worker.connection.send(seed)

    try:
        for number in range(1, jobs + 1):
            workers.append(_hire(number, run))
            employ(workers[-1])
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection), "nothing else is waited for"
                worker, seed = busy.pop(connection)
                try:
                    outcome: Outcome = connection.recv()
                except (EOFError, ConnectionError):
                    yield _obituary(worker, seed)
                else:
                    employ(worker)
                    yield outcome
    finally:
        _dismiss(workers)


def _hire(number: int, run: Run) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, run), name=f"worker {number}", daemon=True)
    # Ctrl-C goes to all processes of a terminal; this one tells the others when to end.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    return _Worker(number, process, ours)


def _dismiss(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.connection.close()


def _obituary(worker: _Worker, seed: int) -> Died:
    worker.process.join()
    code = worker.process.exitcode or 0
    reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Died(seed, worker.number, worker.process.pid or 0, reason)


def _work(connection: Connection, run: Run) -> None:
    """A worker's life: until nobody is there any more to give it seeds."""
    try:
        while True:
            connection.send(run(connection.recv()))
    except (EOFError, ConnectionError):
        return
