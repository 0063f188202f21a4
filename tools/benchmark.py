"""Measures zkstore and, beside it in the same run, Apache ZooKeeper where Debian's package is installed.

    python tools/benchmark.py
    python tools/benchmark.py --quick --only get,set --picture ratios.svg

Both servers run on this machine, with their data below the same directory. Every load runs on one and then
at once on the other, round by round, so that whatever else the machine does meets both alike; a ratio is the
median of the rounds' ratios. The load generator is a process of its own (`load.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import contestants, fanout, load, report
from tools.contestants import ContestantError, Match, Server
from tools.load_requests import Nodes
from tools.report import Goal, LoadRow, Sense, ValueRow

SIZE = 100
LOAD_NODES = Nodes(1000)
PARENTS = 1000
SNAP_COUNT_OFTEN = 20_000
SNAP_COUNT_NEVER = 10_000_000
WATCHED_NODES = 100_000
WATCHERS = 100
FANOUTS = (1000, 5000)
MEASURES = ("get", "set", "mix", "create", "fanout", "watches", "start", "big", "stall")

LOADS = (
    # mode, connections, requests in flight on each, and the ratio to reach
    ("get", 1, 1, 1.3),
    ("get", 16, 1, 1.5),
    ("get", 100, 1, 1.5),
    ("get", 1000, 1, 2.0),
    ("get", 16, 16, 4.0),
    ("get", 100, 16, 4.0),
    ("set", 1, 1, 1.0),
    ("set", 16, 1, 1.0),
    ("set", 100, 1, 1.0),
    ("set", 16, 16, 1.5),
    ("set", 100, 16, 2.0),
    ("mix90", 100, 4, 2.0),
    ("create", 100, 4, 1.5),  # last: it grows the tree
)
EMPTY_START = Goal(Sense.VALUE_AT_MOST, 0.6)
MEMORY = Goal(Sense.RATIO_AT_MOST, 0.5)
BIG_START = Goal(Sense.RATIO_AT_MOST, 0.4)
FANOUT = Goal(Sense.RATIO_AT_MOST, 0.7)
WATCH_BYTES = Goal(Sense.VALUE_AT_MOST, 250)


@dataclass(frozen=True, slots=True)
class Plan(Match):
    """What to measure and for how long."""

    only: tuple[str, ...]
    seconds: float
    rounds: int
    stall_seconds: float
    big_nodes: int


def progress(message: str) -> None:
    """Tell a waiting person where the run is; results alone go to stdout."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def values_of(row: ValueRow, index: int) -> list[float]:
    """The list that contender `index` (0 is ours) fills."""
    return row.theirs if index else row.ours


def run_load(
    server: Server, mode: str, conns: int, depth: int, seconds: float, nodes: Nodes = LOAD_NODES
) -> load.LoadResult:
    """One load in a process of its own."""
    settings = ["--size", str(SIZE), "--nodes", str(nodes.count), "--parents", str(nodes.parents)]
    return load.LoadResult(**run_program(server, load.__file__, mode, str(conns), str(depth), str(seconds), *settings))


def run_program(server: Server, program: str, *arguments: str) -> dict[str, Any]:
    """What a generator prints as JSON about one server; ContestantError if it failed."""
    host, port = server.address
    return run_generator(server.contestant.name, program, f"{host}:{port}", *arguments)


def run_generator(name: str, program: str, *arguments: str) -> dict[str, Any]:
    """What a generator prints as JSON; ContestantError, which names the contestant, if it failed."""
    done = subprocess.run([sys.executable, program, *arguments, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ContestantError(f"{name}: {' '.join(arguments)} failed: {done.stderr.strip()}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


# --- the measures ---------------------------------------------------------------------------------


def measure_loads(plan: Plan, work: Path) -> list[LoadRow]:
    """Every load on both servers, after a short one that warms up connections, caches and the JVM's compiler."""
    chosen = [entry for entry in LOADS if entry[0].removesuffix("90") in plan.only]
    if not chosen:
        return []
    rows = []
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(c, work / f"loads-{c.name}")) for c in plan.contenders()]
        for server in servers:
            server.wait_until_answers()
        for mode, conns, depth, bound in chosen:
            row = LoadRow(f"{mode.removesuffix('90')} {conns}x{depth}", Goal(Sense.RATIO_AT_LEAST, bound))
            progress(row.name)
            for server in servers:
                run_load(server, mode, conns, depth, min(2.0, plan.seconds))
            for _ in range(plan.rounds):
                for server, results in zip(servers, (row.ours, row.theirs), strict=False):
                    results.append(run_load(server, mode, conns, depth, plan.seconds))
            rows.append(row)
    return rows


def measure_fanout(plan: Plan, work: Path) -> list[ValueRow]:
    """From one set until the last of all who watch the znode has been told."""
    if "fanout" not in plan.only:
        return []
    rows = []
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(c, work / f"fanout-{c.name}")) for c in plan.contenders()]
        for server in servers:
            server.wait_until_answers()
        for conns in FANOUTS:
            row = ValueRow(f"last of {conns:,} watchers is told", "ms", FANOUT)
            progress(row.name)
            for _ in range(plan.rounds):
                for index, server in enumerate(servers):
                    values_of(row, index).append(run_program(server, fanout.__file__, str(conns))["last_ms"])
            rows.append(row)
    return rows


def measure_watches(plan: Plan, work: Path) -> list[ValueRow]:
    """What one watch on each znode takes of our memory; how much a JVM holds says nothing about so little."""
    if "watches" not in plan.only:
        return []
    nodes = Nodes(WATCHED_NODES, PARENTS)
    row = ValueRow(f"memory of each of {nodes.count:,} watches", "bytes", WATCH_BYTES)
    progress(row.name)
    with Server(plan.ours, work / "watches") as server:
        server.wait_until_answers()
        load.fill(server.address, nodes, SIZE)
    for _ in range(plan.rounds):
        with Server(plan.ours, work / "watches") as server:
            server.wait_until_answers(nodes.path(nodes.count - 1))
            with load.sessions([server.address], WATCHERS) as socks:
                fanout.read_all(socks, nodes, SIZE, watch=False)  # so that buffers have the size that reading takes
                before = server.memory()
                fanout.read_all(socks, nodes, SIZE, watch=True)
                grown_mib = server.memory().resident_mib - before.resident_mib
            row.ours.append(grown_mib * (1 << 20) / nodes.count)
    return [row]


def measure_empty_start(plan: Plan, work: Path) -> list[ValueRow]:
    """From the start of the process on an empty directory until the first answer."""
    if "start" not in plan.only:
        return []
    progress("start with an empty directory")
    row = ValueRow("start, empty", "s", EMPTY_START)
    for number in range(plan.rounds):
        for index, contestant in enumerate(plan.contenders()):
            with Server(contestant, work / f"empty-{number}-{contestant.name}") as server:
                values_of(row, index).append(server.wait_until_answers())
    return [row]


def measure_big_tree(plan: Plan, work: Path) -> list[ValueRow]:
    """Memory, start and stalls with many znodes; the tree is filled once, through the protocol."""
    if not {"big", "stall"} & set(plan.only):
        return []
    nodes = Nodes(plan.big_nodes, PARENTS)
    homes = [work / f"big-{contestant.name}" for contestant in plan.contenders()]
    rows = fill_big_tree(plan, homes, nodes)
    if "big" in plan.only:
        rows += measure_big_start(plan, homes, nodes)
    else:
        rows = []
    if "stall" in plan.only:
        rows += measure_stalls(plan, homes, nodes)
    return rows


def fill_big_tree(plan: Plan, homes: Sequence[Path], nodes: Nodes) -> list[ValueRow]:
    """Create the znodes, and see how much memory that took."""
    filling = ValueRow(f"{nodes.count:,} creates, one client", "s")
    resident = ValueRow(f"memory, {nodes.count:,} znodes", "MiB", MEMORY)
    anonymous = ValueRow("  of it anonymous", "MiB")
    for index, (contestant, home) in enumerate(zip(plan.contenders(), homes, strict=True)):
        progress(f"{contestant.name}: create {nodes.count:,} znodes")
        with Server(contestant, home) as server:
            server.wait_until_answers()
            began = time.perf_counter()
            load.fill(server.address, nodes, SIZE)
            values_of(filling, index).append(time.perf_counter() - began)
            memory = server.memory()
            values_of(resident, index).append(memory.resident_mib)
            values_of(anonymous, index).append(memory.anonymous_mib)
    return [filling, resident, anonymous]


def measure_big_start(plan: Plan, homes: Sequence[Path], nodes: Nodes) -> list[ValueRow]:
    """After an orderly stop: from the start of the process until the last znode is read, and the memory then."""
    progress("start with the filled directory")
    start = ValueRow(f"start, {nodes.count:,} znodes", "s", BIG_START)
    resident = ValueRow("memory after that start", "MiB", MEMORY)
    anonymous = ValueRow("  of it anonymous", "MiB")
    for _ in range(plan.rounds):
        for index, (contestant, home) in enumerate(zip(plan.contenders(), homes, strict=True)):
            with Server(contestant, home) as server:
                values_of(start, index).append(server.wait_until_answers(nodes.path(nodes.count - 1)))
                memory = server.memory()
                values_of(resident, index).append(memory.resident_mib)
                values_of(anonymous, index).append(memory.anonymous_mib)
    return [start, resident, anonymous]


def measure_stalls(plan: Plan, homes: Sequence[Path], nodes: Nodes) -> list[ValueRow]:
    """What checkpoints cost the writers: the same sets all over the big tree with many checkpoints, and with none."""
    with_p99 = ValueRow("set 100x4, p99 with checkpoints", "ms")
    without_p99 = ValueRow("  p99 without", "ms")
    factor = ValueRow("  p99 with ÷ without", "×")
    longest = ValueRow("  longest stall with checkpoints", "ms")
    longest_without = ValueRow("  longest stall without", "ms")
    for index, (contestant, home) in enumerate(zip(plan.contenders(), homes, strict=True)):
        results = []
        for snap_count in (SNAP_COUNT_OFTEN, SNAP_COUNT_NEVER):
            progress(f"{contestant.name}: set on the filled tree, snapCount={snap_count}")
            with Server(contestant, home, snap_count=snap_count) as server:
                server.wait_until_answers()
                run_load(server, "set", 100, 4, 3.0, nodes)
                results.append(run_load(server, "set", 100, 4, plan.stall_seconds, nodes))
        often, never = results
        values_of(with_p99, index).append(often.p99_us / 1000)
        values_of(without_p99, index).append(never.p99_us / 1000)
        values_of(factor, index).append(often.p99_us / max(1, never.p99_us))
        values_of(longest, index).append(often.longest_us / 1000)
        values_of(longest_without, index).append(never.longest_us / 1000)
    return [with_p99, without_p99, factor, longest, longest_without]


# --- the program ----------------------------------------------------------------------------------


def names_from(measures: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads a comma-separated choice of measures."""

    def names(given: str) -> tuple[str, ...]:
        chosen = tuple(name.strip() for name in given.split(","))
        if unknown := set(chosen) - set(measures):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {','.join(measures)}")
        return chosen

    return names


def add_plan(arguments: argparse.ArgumentParser, measures: Sequence[str]) -> None:
    """What is measured, how long and how often; the same for one server and for several."""
    arguments.add_argument("--quick", action="store_true", help="one short round of everything, on smaller trees")
    arguments.add_argument(
        "--only", type=names_from(measures), default=tuple(measures), help=f"choose from {','.join(measures)}"
    )
    arguments.add_argument("--seconds", type=float, help="length of a load (default 5, quick 2)")
    arguments.add_argument("--rounds", type=int, help="how often each contestant's turn comes (default 3, quick 1)")
    arguments.add_argument("--no-apache", action="store_true", help="measure zkstore alone")
    arguments.add_argument("--work-dir", type=Path, help="where the servers' data goes for the time")


def svg_file(given: str) -> Path:
    """The picture's file name, which must say what the file will hold."""
    if not given.endswith(".svg"):
        raise argparse.ArgumentTypeError(f"{given}: the picture is SVG; give a name that ends in .svg")
    return Path(given)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        description="Measure zkstore and, where it is installed, Apache ZooKeeper beside it.",
        epilog="example: python tools/benchmark.py --only get,set --seconds 3 --json figures.json --picture ratios.svg",
    )
    add_plan(arguments, MEASURES)
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds there")
    arguments.add_argument("--picture", type=svg_file, metavar="FILE.svg", help="write a bar chart of the ratios there")
    arguments.add_argument(
        "--zkstore-command", type=shlex.split, help="what to start instead of this checkout; a zoo.cfg is appended"
    )
    return arguments


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan that the command line asks for."""
    quick = options.quick
    return Plan(
        only=options.only,
        seconds=options.seconds or (2.0 if quick else 5.0),
        rounds=options.rounds or (1 if quick else 3),
        stall_seconds=6.0 if quick else 20.0,
        big_nodes=100_000 if quick else 1_000_000,
        ours=contestants.zkstore(options.zkstore_command),
        theirs=None if options.no_apache else contestants.apache(),
    )


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """A directory for both servers' data, removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="zkstore-benchmark-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def conditions(rounds: int, seconds: float) -> str:
    """Where and how the figures were measured, for one sentence."""
    cores = len(os.sched_getaffinity(0))
    counted = "1 round" if rounds == 1 else f"{rounds} rounds"
    return (
        f"Python {platform.python_version()}, {cores} cores shared by server and load generator, "
        f"{counted} of {seconds:g} s, {SIZE} bytes a znode"
    )


def main() -> int:
    """Measure and print; 0 if every goal that could be judged is reached, 1 if not or if a server failed."""
    options = parser().parse_args()
    plan = make_plan(options)
    try:
        with scratch(options.work_dir) as work:
            loads = measure_loads(plan, work)
            others = (measure_fanout, measure_watches, measure_empty_start, measure_big_tree)
            values = [row for measure in others for row in measure(plan, work)]
    except (ContestantError, load.LoadError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(f"{conditions(plan.rounds, plan.seconds)}.\n")
    if loads:
        print(report.load_table(loads) + "\n")
    if values:
        print(report.value_table(values) + "\n")
    rows: list[LoadRow | ValueRow] = [*loads, *values]
    if options.json:
        figures = {
            "conditions": conditions(plan.rounds, plan.seconds),
            "machine": platform.platform(),
            "rows": [row.figures() for row in rows],
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.picture:
        options.picture.write_text(report.picture(rows, conditions(plan.rounds, plan.seconds)))
    return int(any(row.reached() is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
