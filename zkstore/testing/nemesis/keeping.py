"""A run in a directory of its own, which is thrown away where nothing was wrong, and kept with its case otherwise."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from zkstore.errors import ConfigError
from zkstore.testing.nemesis.case import Case, Outcome
from zkstore.testing.nemesis.run import Look, run
from zkstore.testing.nemesis.stage import Tell

_PREFIX = "zkstore-nemesis-"


class Kept(NamedTuple):
    """What came of a case.

    Attributes:
        directory: with the servers' data and logs; None if nothing was wrong.
        case_file: the case with its plan of faults, to be run again; None if nothing was wrong.
    """

    outcome: Outcome
    directory: Path | None
    case_file: Path | None


def run_and_keep(case: Case, output: Path, name: str, tell: Tell, look: Look | None = None) -> Kept:
    """Run a case; what must be kept is kept in `output`. Raises ConfigError for kinds that cannot be had here."""
    root = Path(tempfile.mkdtemp(prefix=_PREFIX))
    directory, case_file = output / f"{name}-{case.seed}", output / f"{name}-{case.seed}.json"
    try:
        # A disk's image is a sparse file, and its content is there without it.
        ignored = shutil.ignore_patterns("*.image")
        keep = partial(shutil.copytree, root, directory, dirs_exist_ok=True, ignore=ignored)
        outcome = run(case, root, tell, keep, look)
        if not outcome.problems:
            return Kept(outcome, None, None)
        write(case_file, outcome)
        return Kept(outcome, directory, case_file)
    finally:
        shutil.rmtree(root)


def write(path: Path, outcome: Outcome) -> None:
    """The case that was run, with the very faults that came."""
    case = outcome.case.with_plan(outcome.kinds)
    path.write_text(json.dumps({"case": case.to_json(), "problems": outcome.problems}, indent=1) + "\n")


def read(path: Path) -> Case:
    """A case that `write` wrote. Raises ConfigError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("case"), dict):
        raise ConfigError(f"{path}: this is no case that a run has left behind; those have a 'case'")
    return Case.from_json(found["case"])


def clean_up_on_sigterm() -> None:
    """Whoever is told to end stops its servers, and takes its network and its disks down, as on Ctrl-C."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    # A shell has its background jobs ignore it; then there would be no other way to end a run in order.
    signal.signal(signal.SIGINT, signal.default_int_handler)
