"""Does to real servers what their owners fear, under a recorded load, and says what was lost and how long it took.

    python tools/crash_test.py                                          one server, kill -9, one minute
    python tools/crash_test.py --minutes 10 --parallel 2                two servers side by side, each by itself
    python tools/crash_test.py --servers 3 --faults kill,pause,partition --minutes 5
    python tools/crash_test.py --faults all --json report.json --picture timeline.svg

Every request and its answer are recorded; what the servers have on disk is read whenever one has ended, and at the end
all of it is judged: no acknowledged write is missing, every read equals the tree at its zxid, sessions, watches and
ephemerals keep their promises. Checkpoints, snapshots and the dropping of old history go on all the time: the server's
settings make them frequent.

Servers live in new directories below the one for temporary files, and at free ports: nothing else is touched. Some
faults need more than a user may do; `--faults all` takes those that are to be had here.

Ends with 0 if nothing was wrong, with 1 if something was (data, logs and a case to replay are kept, and named), with 2
if it cannot be run so. Ctrl-C ends it early; what has come to its end by then is reported.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import crash_report
from tools.crash_lanes import Lanes, LanesError
from zkstore.errors import ConfigError
from zkstore.testing.nemesis import keeping
from zkstore.testing.nemesis.case import Case, refuse_unknown
from zkstore.testing.nemesis.faults import KINDS, Pace

_INTERRUPTED = 128 + signal.SIGINT
_ALL = "all"
_OF_ONE = ("kill",)
_OF_SEVERAL = ("kill", "pause", "restart")
_ALONE = Case(
    0,
    servers=1,
    think_us=10_000,
    timeouts_ms=(1_000, 2_000),
    calm_ms=2_000,
    checkpoint_txns=150,
    history_bytes_max=24 << 20,
    pace=Pace(gap_ms=(5, 500), lasts_ms=(100, 1_000), down_ms=(0, 1)),
    in_turn=True,
)
_TOGETHER = Case(
    0, think_us=20_000, calm_ms=6_000, checkpoint_txns=300, pace=Pace((300, 2_500), (200, 4_000), (0, 2_000))
)


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    keeping.clean_up_on_sigterm()
    began_s = time.monotonic()
    try:
        first = _first_case(options)
        lanes = Lanes(first, options.output, options.parallel, 60 * options.minutes, is_replay=bool(options.replay))
        records = lanes.run()
    except ConfigError as error:
        print(f"crash_test: {error}", file=sys.stderr)
        return 2
    except LanesError as error:
        print(f"crash_test: {error}", file=sys.stderr)
        return 1
    if not records:
        print("crash_test: interrupted before a run came to its end, so nothing can be said", file=sys.stderr)
        return _INTERRUPTED
    found = crash_report.summary(records, first.kinds, time.monotonic() - began_s)
    print("\n".join(crash_report.text(found)))
    if options.json:
        options.json.write_text(json.dumps({"summary": found, "runs": records}, indent=1) + "\n")
    if options.picture:
        options.picture.write_text(crash_report.picture(records, _subtitle(first.servers, found)))
    return 1 if found["problems"] or found["not_judged"] == found["runs"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Crash real servers under a recorded load, and judge what they kept.",
        epilog="example: python tools/crash_test.py --servers 3 --faults kill,pause --minutes 5 --picture timeline.svg",
    )
    parser.add_argument("--servers", type=int, choices=(1, 3, 5, 7), default=1, help="1 stands alone (default)")
    parser.add_argument(
        "--faults",
        default="",
        metavar="F,...",
        help=f"of {', '.join(KINDS)}; or {_ALL} (default {','.join(_OF_ONE)}; of several servers"
        f" {','.join(_OF_SEVERAL)})",
    )
    parser.add_argument("--minutes", type=float, default=1.0, metavar="M", help="for how long (default 1)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="of faults in each run (default 30)")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="so many runs at a time (default 1)")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="of each run (default 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first run (default 0)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="the case that a run has left behind, once more")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, for programs")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="what happened when")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where data is kept (default here)")
    return parser


def _first_case(options: argparse.Namespace) -> Case:
    """Raises ConfigError."""
    if options.replay:
        return keeping.read(options.replay)
    usual = _ALONE if options.servers == 1 else _TOGETHER
    kinds: tuple[str, ...] = tuple(kind.strip() for kind in options.faults.split(",") if kind.strip())
    if kinds == (_ALL,):
        kinds = ()
    elif not kinds:
        kinds = _OF_ONE if options.servers == 1 else _OF_SEVERAL
    refuse_unknown(kinds)
    if options.parallel < 1 or options.seconds <= 0 or options.minutes < 0 or options.clients < 1:
        raise ConfigError("--parallel, --seconds, --clients and --minutes are numbers above 0")
    return replace(
        usual,
        seed=options.seed,
        servers=options.servers,
        for_ms=int(min(options.seconds, max(1.0, 60 * options.minutes)) * 1000),
        clients=options.clients,
        kinds=kinds,
    )


def _subtitle(servers: int, found: dict[str, Any]) -> str:
    counted = ", ".join(f"{name} {count:,}" for name, count in found["faults"].items()) or "no faults"
    wrong = f"{len(found['problems'])} problems" if found["problems"] else "nothing was lost, nothing wrong"
    return f"{servers} server{'s' if servers > 1 else ''}; {counted}; {wrong}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
