"""Measures three zkstore servers and, beside them in the same run, three of Apache ZooKeeper.

    python tools/ensemble_benchmark.py
    python tools/ensemble_benchmark.py --only loads --seconds 3

As `benchmark.py` does it for one server. Clients are spread evenly over the three servers.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import benchmark, contestants, load, report
from tools.benchmark import SIZE, progress, scratch, values_of
from tools.contestants import ContestantError, Match
from tools.ensembles import Ensemble
from tools.load_requests import Nodes, set_request
from tools.report import Goal, LoadRow, Sense, ValueRow

LOADS = (
    # mode, connections, requests in flight on each, and the ratio to reach
    ("set", 1, 1, 1.0),
    ("set", 15, 1, 1.2),
    ("set", 99, 1, 1.5),
    ("set", 99, 16, 1.5),
    ("get", 99, 1, 1.2),
    ("get", 99, 16, 2.0),
    ("mix90", 99, 4, 2.0),
)
MEASURES = ("loads", "failover", "catchup", "big")
NODES = Nodes(1000)
PARENTS = 1000
LOSSES = 10
SETTLED_S = 1.0
"""Between two losses of the leader, once all three serve."""

MEMORY = Goal(Sense.RATIO_AT_MOST, 0.6)
KILLED = Goal(Sense.RATIO_AT_MOST, 0.5)
KILLED_S = Goal(Sense.VALUE_AT_MOST, 0.3)
STOPPED_S = Goal(Sense.VALUE_AT_MOST, 0.15)
CATCH_UP = Goal(Sense.RATIO_AT_MOST, 0.5)
BIG_FACTOR = Goal(Sense.VALUE_AT_MOST, 1.2)


@dataclass(frozen=True, slots=True)
class Plan(Match):
    """What to measure and for how long."""

    only: tuple[str, ...]
    seconds: float
    rounds: int
    losses: int
    behind_txns: int
    big_nodes: int


# --- the measures ---------------------------------------------------------------------------------


def run_load(ensemble: Ensemble, mode: str, conns: int, depth: int, seconds: float) -> load.LoadResult:
    """One load in a process of its own."""
    addresses = ",".join(f"{host}:{port}" for host, port in ensemble.addresses)
    settings = ["--size", str(SIZE), "--nodes", str(NODES.count)]
    name = ensemble.contestant.name
    return load.LoadResult(
        **benchmark.run_generator(name, load.__file__, addresses, mode, str(conns), str(depth), str(seconds), *settings)
    )


def measure_loads(plan: Plan, work: Path) -> list[LoadRow | ValueRow]:
    """Every load on both ensembles, after a short one to warm up; then what the servers hold."""
    rows: list[LoadRow | ValueRow] = []
    memory = ValueRow("memory of the three after these loads", "MiB", MEMORY)
    with ExitStack() as stack:
        ensembles = [stack.enter_context(Ensemble(c, work / f"loads-{c.name}")) for c in plan.contenders()]
        for ensemble in ensembles:
            ensemble.wait_until_serving()
        for mode, conns, depth, bound in LOADS:
            row = LoadRow(f"{mode.removesuffix('90')} {conns}x{depth}", Goal(Sense.RATIO_AT_LEAST, bound))
            progress(row.name)
            for ensemble in ensembles:
                run_load(ensemble, mode, conns, depth, min(2.0, plan.seconds))
            for _ in range(plan.rounds):
                for ensemble, results in zip(ensembles, (row.ours, row.theirs), strict=False):
                    results.append(run_load(ensemble, mode, conns, depth, plan.seconds))
            rows.append(row)
        for index, ensemble in enumerate(ensembles):
            values_of(memory, index).append(ensemble.memory().resident_mib)
    return [*rows, memory]


def measure_failover(plan: Plan, work: Path) -> list[LoadRow | ValueRow]:
    """The leader killed, and the leader stopped in order, again and again."""
    killed = ValueRow("leader killed: until a new connection's first write", "s", KILLED)
    in_seconds = ValueRow("  the same, in seconds", "s", KILLED_S)
    stopped = ValueRow("leader stopped in order: longest time without a write", "s", STOPPED_S)
    for index, contestant in enumerate(plan.contenders()):
        progress(f"{contestant.name}: lose the leader {2 * plan.losses} times")
        with Ensemble(contestant, work / f"failover-{contestant.name}") as ensemble:
            for _ in range(plan.losses):
                values_of(killed, index).append(time_to_write_after_kill(ensemble))
                values_of(stopped, index).append(gap_of_an_orderly_stop(ensemble))
    in_seconds.ours, in_seconds.theirs = killed.ours, killed.theirs
    return [killed, in_seconds, stopped]


def time_to_write_after_kill(ensemble: Ensemble) -> float:
    """Seconds from kill -9 of the leader until another server acknowledges a write to a new connection."""
    leader = ensemble.wait_until_serving()
    time.sleep(SETTLED_S)
    began = time.perf_counter()
    ensemble.kill(leader, signal.SIGKILL)
    ensemble.wait_for_a_write(but=leader)
    seconds = time.perf_counter() - began
    ensemble.wait_for_end(leader)
    ensemble.start(leader)
    return seconds


def gap_of_an_orderly_stop(ensemble: Ensemble) -> float:
    """SIGTERM to the leader while a client at each other server writes: the longest time without an answer to any."""
    leader = ensemble.wait_until_serving()
    time.sleep(SETTLED_S)
    answered: list[float] = []
    is_over = threading.Event()
    writers = [
        threading.Thread(target=write_on, args=(address, answered, is_over))
        for number, address in enumerate(ensemble.addresses)
        if number != leader
    ]
    for writer in writers:
        writer.start()
    time.sleep(SETTLED_S)
    began = time.perf_counter()
    ensemble.kill(leader, signal.SIGTERM)
    ensemble.wait_for_end(leader)
    ensemble.wait_for_a_write(but=leader)
    time.sleep(SETTLED_S)
    is_over.set()
    for writer in writers:
        writer.join()
    times = sorted(moment for moment in answered if moment > began)
    ensemble.start(leader)
    return max(after - before for before, after in zip([began, *times], times, strict=False))


def write_on(address: load.Address, answered: list[float], is_over: threading.Event) -> None:
    """Set a znode again and again, on a new connection where one breaks, and note when each was answered."""
    while not is_over.is_set():
        try:
            load.fill(address, Nodes(1, listed=1), SIZE)
            with load.caller(address) as client:
                client.sock.settimeout(load.PATIENCE_S)
                while not is_over.is_set():
                    error, _ = client.call(set_request(1, NODES.path(0), b"x"))
                    if not error:
                        answered.append(time.perf_counter())
        except (OSError, load.LoadError):
            time.sleep(0.005)


def measure_catch_up(plan: Plan, work: Path) -> list[LoadRow | ValueRow]:
    """A follower comes back when the others are far ahead: from its start until it serves all that they have."""
    row = ValueRow(f"a follower {plan.behind_txns:,} txns behind, until in step", "s", CATCH_UP)
    for index, contestant in enumerate(plan.contenders()):
        progress(f"{contestant.name}: leave a follower {plan.behind_txns:,} txns behind")
        with Ensemble(contestant, work / f"catchup-{contestant.name}") as ensemble:
            leader = ensemble.wait_until_serving()
            follower = (leader + 1) % len(ensemble.addresses)
            ensemble.kill(follower, signal.SIGTERM)
            ensemble.wait_for_end(follower)
            count = write_many(ensemble.addresses[leader], plan.behind_txns)
            target = zxid_of(ensemble, leader)
            began = time.perf_counter()
            ensemble.start(follower)
            while (ensemble.ask(follower, "Mode") or "") != "follower" or zxid_of(ensemble, follower) < target:
                time.sleep(0.02)
            values_of(row, index).append(time.perf_counter() - began)
            progress(f"{contestant.name}: {count:,} txns")
    return [row]


def write_many(address: load.Address, count: int) -> int:
    """Have so many sets answered, or a few more."""
    load.fill(address, NODES, SIZE)
    done = 0
    with load.caller(address) as client:
        frames = [set_request(1, NODES.path(number), b"y" * SIZE) for number in range(NODES.count)]
        chunk = b"".join(frames)
        client.sock.sendall(chunk)
        while done < count:
            client.sock.sendall(chunk)
            for _ in frames:
                if client.receive()[1]:
                    raise ContestantError("a set failed")
            done += len(frames)
        for _ in frames:
            client.receive()
    return done + len(frames)


def zxid_of(ensemble: Ensemble, number: int) -> int:
    """The last zxid that a server has applied, -1 where it does not say."""
    return int(ensemble.ask(number, "Zxid") or "-1", 16)


def measure_big(plan: Plan, work: Path) -> list[LoadRow | ValueRow]:
    """Whether a new leader takes longer with many znodes; only ours, for it is a ratio to itself."""
    row = ValueRow(f"failover with {plan.big_nodes:,} znodes ÷ with 1,000", "×", BIG_FACTOR)
    medians = []
    for count in (NODES.count, plan.big_nodes):
        progress(f"zkstore: lose the leader {plan.losses} times with {count:,} znodes")
        with Ensemble(plan.ours, work / f"big-{count}") as ensemble:
            leader = ensemble.wait_until_serving()
            load.fill(ensemble.addresses[leader], Nodes(count, PARENTS if count > NODES.count else 0), SIZE)
            medians.append(report.middle_value([time_to_write_after_kill(ensemble) for _ in range(plan.losses)]))
    row.ours.append(medians[1] / medians[0])
    return [row]


# --- the program ----------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        description="Measure three zkstore servers and, where it is installed, three of Apache ZooKeeper beside them.",
        epilog="example: python tools/ensemble_benchmark.py --only loads,failover --json figures.json",
    )
    benchmark.add_plan(arguments, MEASURES)
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds there")
    return arguments


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan that the command line asks for."""
    quick = options.quick
    return Plan(
        only=options.only,
        seconds=options.seconds or (2.0 if quick else 5.0),
        rounds=options.rounds or (1 if quick else 3),
        losses=3 if quick else LOSSES,
        behind_txns=50_000 if quick else 1_000_000,
        big_nodes=50_000 if quick else 1_000_000,
        ours=contestants.zkstore(),
        theirs=None if options.no_apache else contestants.apache(),
    )


def main() -> int:
    """Measure and print; 0 if every goal that could be judged is reached, 1 if not or if a server failed."""
    options = parser().parse_args()
    plan = make_plan(options)
    measures: dict[str, Callable[[Plan, Path], list[LoadRow | ValueRow]]] = {
        "loads": measure_loads,
        "failover": measure_failover,
        "catchup": measure_catch_up,
        "big": measure_big,
    }
    try:
        with scratch(options.work_dir) as work:
            rows = [row for name in plan.only for row in measures[name](plan, work)]
    except (ContestantError, load.LoadError, OSError) as error:
        print(f"ensemble_benchmark: {error}", file=sys.stderr)
        return 1
    conditions = f"Three servers on one machine; {benchmark.conditions(plan.rounds, plan.seconds)}"
    print(f"{conditions}.\n")
    loads = [row for row in rows if isinstance(row, LoadRow)]
    values = [row for row in rows if isinstance(row, ValueRow)]
    if loads:
        print(report.load_table(loads) + "\n")
    if values:
        print(report.value_table(values) + "\n")
    if options.json:
        figures = {"conditions": conditions, "rows": [row.figures() for row in rows]}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(any(row.reached() is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
