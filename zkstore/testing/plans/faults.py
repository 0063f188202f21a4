"""Faults: typed, timed, planned before a run begins, and data: a plan can be printed, stored, thinned out and replayed.

Times are milliseconds of true time. A server is named by its id, or by what it is when the fault comes: `LEADER`, or
-1, -2, ... for the first, second, ... of the others in the order of their ids.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias, get_args

from zkstore.zab.effects import Adopt, Append, Belong, Cut, Install, InstallBegin, InstallRows, Promise

LEADER: Final = 0
BEFORE: Final = "before"
AFTER: Final = "after"

DISK_EFFECTS: Final = {
    kind.__name__: kind for kind in (Promise, Adopt, Belong, Append, Cut, InstallBegin, InstallRows, Install)
}


class Crash(NamedTuple):
    """The process dies; `part_permille` of the write under way is on disk. With `is_power`, its machine is gone, too:
    nobody closes its connections."""

    at_ms: int
    server: int
    down_ms: int
    part_permille: int
    is_power: bool


class CrashAt(NamedTuple):
    """From `at_ms` on, the server crashes at its `nth` disk effect of that kind: BEFORE anything of it is on disk, or
    AFTER, when it is there and nobody was told."""

    at_ms: int
    server: int
    effect: str
    nth: int
    moment: str
    down_ms: int


class Pause(NamedTuple):
    """The process stands still; what came meanwhile comes all at once."""

    at_ms: int
    server: int
    for_ms: int


class ClockJump(NamedTuple):
    """Its calendar is set to another time."""

    at_ms: int
    server: int
    by_ms: int


class DiskSlow(NamedTuple):
    """Every write takes `factor` times as long."""

    at_ms: int
    server: int
    for_ms: int
    factor: int


class DiskStall(NamedTuple):
    """No write ends before it is over."""

    at_ms: int
    server: int
    for_ms: int


class DiskFull(NamedTuple):
    """Every write is refused."""

    at_ms: int
    server: int
    for_ms: int


class DiskFails(NamedTuple):
    """Every write fails and may have been done nevertheless; then the process starts again."""

    at_ms: int
    server: int
    for_ms: int


class BitRot(NamedTuple):
    """A bit of a segment in the log turns over; the place counts from the oldest."""

    at_ms: int
    server: int
    place_permille: int
    bit: int


class WipeDisk(NamedTuple):
    """The process dies, and comes back to an empty disk; but only where the others know all that was ever promised: a
    quorum of them, in every configuration that anybody may go by, has a vote."""

    at_ms: int
    server: int
    down_ms: int


class Partition(NamedTuple):
    """Nothing passes between these servers and the others."""

    at_ms: int
    for_ms: int
    servers: tuple[int, ...]


class OneWay(NamedTuple):
    """Nothing passes from one server to the other; LEADER as the second means: from the first to anybody."""

    at_ms: int
    for_ms: int
    sender: int
    receiver: int


class Mute(NamedTuple):
    """Nothing that a server says passes; or, if `hears`, it says and does not hear."""

    at_ms: int
    for_ms: int
    server: int
    hears: bool


class Flap(NamedTuple):
    """A server is cut off and back again, in turn."""

    at_ms: int
    for_ms: int
    server: int
    period_ms: int


class Reset(NamedTuple):
    """All connections of a server break."""

    at_ms: int
    server: int


class SlowLinks(NamedTuple):
    """Whatever goes to and from a server takes `factor` times as long."""

    at_ms: int
    for_ms: int
    server: int
    factor: int


class LossyGossip(NamedTuple):
    """That part of all votes is lost, as many come twice, and they overtake each other."""

    at_ms: int
    for_ms: int
    permille: int


class Ghost(NamedTuple):
    """A second connection of `server` to whom it joined last, which repeats its first word and then hangs."""

    at_ms: int
    for_ms: int
    server: int


class Reconfigure(NamedTuple):
    """The membership is to change: this server joins (as a "voter" or an "observer") or leaves ("leave"); or the voters
    are put into other groups and weigh otherwise ("regroup"), as the number of milliseconds has it."""

    at_ms: int
    server: int
    role: str


class HandOver(NamedTuple):
    """The leader is asked to let another one lead."""

    at_ms: int


class ClientsCut(NamedTuple):
    """That part of a server's clients lose their connections."""

    at_ms: int
    server: int
    share_permille: int


class ClientsBlocked(NamedTuple):
    """No client reaches that server, nor it them."""

    at_ms: int
    server: int
    for_ms: int


class TakeCheckpoint(NamedTuple):
    """A server brings its checkpoint up to date and drops its log but for the last `kept` segments."""

    at_ms: int
    server: int
    kept: int


Fault: TypeAlias = (
    Crash
    | CrashAt
    | Pause
    | ClockJump
    | DiskSlow
    | DiskStall
    | DiskFull
    | DiskFails
    | BitRot
    | WipeDisk
    | Partition
    | OneWay
    | Mute
    | Flap
    | Reset
    | SlowLinks
    | LossyGossip
    | Ghost
    | Reconfigure
    | HandOver
    | TakeCheckpoint
    | ClientsCut
    | ClientsBlocked
)

KINDS: Final[dict[str, Any]] = {kind.__name__: kind for kind in get_args(Fault)}


def to_json(fault: Fault) -> dict[str, Any]:
    """As a JSON object: its kind, then its fields."""
    return {"fault": type(fault).__name__, **fault._asdict()}


def from_json(fields: dict[str, Any]) -> Fault:
    """What `to_json` made. Raises ValueError for what is no fault."""
    fields = dict(fields)
    kind = KINDS.get(fields.pop("fault", ""))
    if kind is None or set(fields) != set(kind._fields):
        raise ValueError(f"{fields!r:.200} is no fault; the kinds are {', '.join(KINDS)}")
    fault: Fault = kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
    return fault


def describe(fault: Fault) -> str:
    """One line."""
    fields = [f"{name.removesuffix('_ms')}={_shown(name, value)}" for name, value in fault._asdict().items()]
    return f"{fault.at_ms / 1000:8.3f} s  {type(fault).__name__}({', '.join(fields[1:])})"


def _shown(name: str, value: Any) -> str:
    if name in ("server", "sender", "receiver"):
        return _name(value)
    if name == "servers":
        return f"{{{', '.join(map(_name, value))}}}"
    return f"{value} ms" if name.endswith("_ms") else str(value)


def _name(server: int) -> str:
    if server > 0:
        return f"s{server}"
    return "the leader" if server == LEADER else f"other #{-server}"
