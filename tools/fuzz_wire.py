"""Looks for bytes that a client could send and that the server does not stand.

    python tools/fuzz_wire.py --seconds 600
    python tools/fuzz_wire.py --seconds 600 --corpus DIR
    python tools/fuzz_wire.py INPUT ...

Attacks the decoder of every record, and conversations over a replica (`fuzz_targets.py`). Where atheris is installed
(`pip install atheris`), it chooses the bytes by the code that they reach; else hypothesis does, by its own rules.
Inputs that reach new code are kept in DIR for the next run; of an hour's, a hundred that reach what the good inputs do
not are in tests/wire/corpus. One that breaks a promise ends the run with its traceback, and is written into DIR, or
here; given as INPUT it fails again.

Ends with 0 if every promise was kept.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

INPUT_BYTES_MAX = 2048
"""Longer ones are slower, and reach no other code."""

INPUT_S_MAX = 20
"""An input that takes so long would stop a server."""


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.inputs:
        return replay(options.inputs)
    if importlib.util.find_spec("atheris") is not None:
        return guided(options.seconds, options.corpus)
    return unguided(options.seconds, options.corpus or Path())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Look for bytes that a client could send and that the server does not stand.",
        epilog="example: python tools/fuzz_wire.py --seconds 600 --corpus /tmp/corpus",
    )
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="inputs to try again, instead")
    parser.add_argument("--seconds", type=int, default=60, help="how long to look (default 60)")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="where inputs are kept from run to run")
    return parser


def replay(inputs: Sequence[Path]) -> int:
    """Each input once; one that breaks a promise ends the program with its traceback."""
    from tools import fuzz_targets

    for path in inputs:
        print(path, flush=True)
        fuzz_targets.attack(path.read_bytes())
    return 0


def guided(seconds: int, corpus: Path | None) -> int:
    """By atheris, in a child process, because it never returns to who called it."""
    with tempfile.TemporaryDirectory() as seeds:
        found = corpus or Path(seeds)
        found.mkdir(parents=True, exist_ok=True)
        child = os.fork()
        if not child:
            _run_atheris(seconds, found, Path(seeds), corpus or Path())
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _run_atheris(seconds: int, found: Path, seeds: Path, failures: Path) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["zkstore"]):
        from tools import fuzz_targets
    for number, seed in enumerate(fuzz_targets.seeds()):
        (seeds / f"seed-{number:04d}").write_bytes(seed)
    flags = [f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_S_MAX}"]
    flags += [f"-artifact_prefix={failures}/", "-print_final_stats=1"]
    directories = [str(found)] if found == seeds else [str(found), str(seeds)]
    atheris.Setup([sys.argv[0], *flags, *directories], fuzz_targets.attack)
    atheris.Fuzz()


def unguided(seconds: int, failures: Path) -> int:
    """By hypothesis: bytes at random, and good inputs with pieces of them changed."""
    from hypothesis import HealthCheck, given, seed, settings
    from hypothesis import strategies as st

    from tools import fuzz_targets

    pieces = st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"/"]))
    changes = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 8), pieces), max_size=4)
    changed = st.builds(_change, st.sampled_from(fuzz_targets.seeds()), changes)

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=400), changed))
    def attack(data: bytes) -> None:
        try:
            fuzz_targets.attack(data)
        except BaseException:
            failure = failures / f"crash-{hashlib.sha1(data).hexdigest()}"
            failure.write_bytes(data)
            print(f"fuzz_wire: {failure} breaks a promise", file=sys.stderr)
            raise

    began_s = time.monotonic()
    rounds = 0
    while time.monotonic() - began_s < seconds:
        seed(rounds)(attack)()
        rounds += 1
    print(f"{rounds * 200} inputs by hypothesis, and every promise was kept")
    return 0


def _change(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Put pieces in the place of others; the positions count from the start, around the end."""
    for position, size, piece in changes:
        at = position % (len(data) + 1)
        data = data[:at] + piece + data[at + size :]
    return data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
