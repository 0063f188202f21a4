"""Runs of many power cuts: loads are recorded and cut, in processes of their own, and what is wrong is kept.

A batch is one load with one seed. Its process records it and cuts it; then it records some starts on its images and
cuts those; then it has real servers started on a few. A page that makes no sense may end the process: the batch's
directory says of which recording and which cut that was.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from zkstore.errors import ZkStoreError
from zkstore.testing.powercut import asking, damaged, loads, opening, served
from zkstore.testing.powercut.campaign import Campaign, Finding, Plan, Tally, image_of, moments
from zkstore.testing.powercut.disk import Image
from zkstore.testing.powercut.events import Mark, Recording
from zkstore.testing.powercut.oracle import Oracle, content_of
from zkstore.testing.powercut.served import RecordingError

NAMES: Final = (*loads.LOADS, damaged.LOAD, *served.LOADS)

_FINDINGS_MAX: Final = 5
_RECOVERIES: Final = 6
_RECORDING: Final = "recording"
_PLAN: Final = "plan.json"


class Batch(NamedTuple):
    """What one process does: a load, its seed, and how much of it.

    Attributes:
        images_max: different images of the load itself; a recovery gets a tenth of that.
        servers: images on which a real server is started and asked.
    """

    load: str
    seed: int
    images_max: int
    servers: int
    scratch: str
    output: str


@dataclass(slots=True)
class Outcome:
    """What came of a batch.

    Attributes:
        recordings: that were cut.
        servers: real ones that were started and asked.
        findings: sentences.
        cases: where those are kept that can be replayed, one for each finding.
    """

    batch: Batch
    recordings: int = 0
    servers: int = 0
    tally: Tally = field(default_factory=Tally)
    findings: list[str] = field(default_factory=list)
    cases: list[str] = field(default_factory=list)


def batches(
    names: tuple[str, ...], seed: int, images: int, servers: int, scratch: Path, output: Path
) -> Iterator[Batch]:
    """Without end: every load in turn, with one seed after the other. `images` of each."""
    for number in count(seed):
        for load in names:
            place = scratch / f"{load.replace(' ', '-')}-{number}"
            yield Batch(load, number, images, servers, str(place), str(output))


def outcomes(work: Iterator[Batch], jobs: int) -> Generator[Outcome, None, None]:
    """Of batch after batch, `jobs` at a time, each when it is done. Close the generator to end them all."""
    running: dict[Connection, tuple[BaseProcess, Batch]] = {}
    try:
        while True:
            while len(running) < jobs and (batch := next(work, None)) is not None:
                running.update([_begin(batch)])
            if not running:
                return
            for connection in wait(list(running)):
                assert isinstance(connection, Connection), "nothing else is waited for"
                process, batch = running.pop(connection)
                try:
                    outcome: Outcome = connection.recv()
                except EOFError:
                    process.join()
                    outcome = _died(batch, process.exitcode or 0)
                process.join()
                shutil.rmtree(batch.scratch, ignore_errors=True)
                yield outcome
    finally:
        for process, batch in running.values():
            process.terminate()
            process.join()
            shutil.rmtree(batch.scratch, ignore_errors=True)


def _begin(batch: Batch) -> tuple[Connection, tuple[BaseProcess, Batch]]:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(theirs, batch), daemon=True)
    process.start()
    theirs.close()
    return ours, (process, batch)


def _report(connection: Connection, batch: Batch) -> None:
    logging.getLogger("zkstore").addHandler(logging.NullHandler())  # starts on images have much to say
    connection.send(run(batch))


def _died(batch: Batch, code: int) -> Outcome:
    """Its process has ended in the midst of it: the cut it was about to start on is kept."""
    reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    outcome = Outcome(batch)
    message = f"the process died with {reason}"
    scratch = Path(batch.scratch)
    try:
        plan = Plan(*json.loads((scratch / _PLAN).read_text()))
        recording = Recording.load(scratch / _RECORDING)
    except (OSError, ValueError, TypeError) as error:
        outcome.findings.append(f"{batch.load}, seed {batch.seed}: {message} before the first cut ({error})")
        return outcome
    _keep(outcome, recording, Finding(plan, message))
    return outcome


def run(batch: Batch) -> Outcome:
    """One batch, in this process."""
    scratch = Path(batch.scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    outcome = Outcome(batch)
    try:
        _cut_all(outcome, scratch)
    except RecordingError as error:
        outcome.findings.append(f"{batch.load}, seed {batch.seed}: it cannot be recorded: {error}")
    return outcome


def _cut_all(outcome: Outcome, scratch: Path) -> None:
    batch = outcome.batch
    random = Random(f"{batch.load} {batch.seed}")
    for recording in _recordings(batch, scratch):
        _cut(outcome, recording, batch.images_max, scratch)
        if batch.load == damaged.LOAD:
            continue  # its images are no server's that is alone
        for _ in range(_RECOVERIES):
            plan = _plan(recording, random)
            try:
                recovery = loads.record_recovery(recording, plan, scratch / "recorded")
            except ZkStoreError as error:
                _keep(outcome, recording, Finding(plan, f"a recorded start fails: {error}"))
            else:
                _cut(outcome, recovery, batch.images_max // 10, scratch)
        _ask(outcome, recording, random, scratch)


def _recordings(batch: Batch, scratch: Path) -> Iterator[Recording]:
    if batch.load in loads.LOADS:
        yield loads.record(batch.load, batch.seed, scratch / "recorded")
    elif batch.load == damaged.LOAD:
        yield damaged.record(batch.seed, scratch / "recorded")
    else:
        yield from served.record(batch.load, batch.seed, scratch / "recorded")


def _plan(recording: Recording, random: Random) -> Plan:
    """A cut to recover from: often one that has lost whatever was not safe, for that is the most work."""
    marks = [number for number, event in enumerate(recording.events, start=1) if isinstance(event, Mark)]
    if random.random() < 0.5 and marks:
        return Plan(random.choice(marks), "nothing", random.getrandbits(40))
    return Plan(random.choice(sorted(moments(recording.events))), "drawn", random.getrandbits(40))


def _cut(outcome: Outcome, recording: Recording, images_max: int, scratch: Path) -> None:
    recording.save(scratch / _RECORDING)
    with (scratch / _PLAN).open("wb", buffering=0) as note:

        def about_to(plan: Plan) -> None:
            note.seek(0)
            note.write(json.dumps(plan).encode().ljust(100))

        campaign = Campaign(recording, scratch / "image", seed=outcome.batch.seed, about_to=about_to)
        outcome.recordings += 1
        for finding in campaign.run(images_max):
            _keep(outcome, recording, finding)
            if len(outcome.findings) >= _FINDINGS_MAX:
                break
        outcome.tally.add(campaign.tally)


def _ask(outcome: Outcome, recording: Recording, random: Random, scratch: Path) -> None:
    """Have real servers started on some images. One that is alone serves all that it has."""
    about = {**recording.about, "is_member": False}
    oracle = Oracle(recording)
    for _ in range(outcome.batch.servers):
        plan = _plan(recording, random)
        image = image_of(recording, plan)
        opening.lay_out(image, scratch / "asked")
        store = opening.open_store(scratch / "asked", about)
        tree = store.recover().tree
        store.close()
        complaint = None
        if content_of(tree) not in oracle.contents(plan.taken):
            complaint = "the tree is none that may be there"
        opening.lay_out(image, scratch / "asked")
        complaint = complaint or asking.ask(scratch / "asked", about, tree)
        outcome.servers += 1
        if complaint is not None:
            _keep(outcome, recording, Finding(plan, f"a real server: {complaint}"))


# --- cases ----------------------------------------------------------------------------------------


def _keep(outcome: Outcome, recording: Recording, finding: Finding) -> None:
    """Save what is wrong: the recording, the plan, and the image that it makes."""
    batch = outcome.batch
    where = Path(batch.output) / f"power-cut-{batch.load.replace(' ', '-')}-{batch.seed}-{len(outcome.findings) + 1}"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    recording.save(where / _RECORDING)
    (where / _PLAN).write_text(json.dumps(finding.plan) + "\n")
    (where / "finding.txt").write_text(f"{recording.about}\n{finding.message}\n")
    opening.lay_out(image_of(recording, finding.plan), where / "image")
    outcome.findings.append(f"{recording.about['load']}, seed {batch.seed}: {finding.message}")
    outcome.cases.append(str(where))


def replay(case: Path, scratch: Path, tell: Callable[[str], None]) -> str | None:
    """Do a kept case again; what is wrong still, None if nothing is. Raises OSError, ValueError and TypeError where
    it is none."""
    recording = Recording.load(case / _RECORDING)
    plan = Plan(*json.loads((case / _PLAN).read_text()))
    image: Image = image_of(recording, plan)
    tell(f"{recording.about}")
    for number, event in enumerate(recording.events[: plan.taken + 1]):
        if number >= plan.taken - 10:
            tell(f"{number:6} {'the cut is before ' if number == plan.taken else ''}{str(event)[:120]}")
    opening.lay_out(image, scratch)
    found = opening.start(scratch, recording.about)
    oracle = Oracle(recording)
    return oracle.judge(found, oracle.expectation(plan.taken))
