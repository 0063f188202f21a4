"""What the differential tester does to its two servers, as a list of steps that a seed decides and a person can read.

A step names things by labels, so that one script means the same on every server and on every run: `~` in a path is
the run's own znode, `a` is a connection, `s1` a session, and zxids count from the beginning of the run.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from zkstore.wire.multi import MultiRequest
from zkstore.wire.opcodes import Opcode

Body: TypeAlias = Any
"""A request record of `zkstore.wire`, or bytes as they stand."""


class Connect(NamedTuple):
    """Open `link`, for a new session that gets the label `session`, or for a known one if `is_new` is False.

    `is_ahead` claims to have seen a zxid that no server has reached; `read_only` None leaves the byte out.
    `is_pipelined` sends the next step's request without waiting for the answer.
    """

    link: str
    session: str
    is_new: bool
    password_is_right: bool = True
    is_ahead: bool = False
    timeout_ms: int = 30_000
    read_only: bool | None = False
    is_pipelined: bool = False


class Send(NamedTuple):
    """One request on `link`.

    `cut` bytes are missing at its end, or `tail` follows it. `is_pipelined` sends it together with the next step's
    request; `hangs_up` closes the connection from this side after the answer.
    """

    link: str
    xid: int
    opcode: int
    body: Body = b""
    cut: int = 0
    tail: bytes = b""
    is_pipelined: bool = False
    hangs_up: bool = False


class Frame(NamedTuple):
    """Bytes on `link` that are no request, their length in front (another one than theirs, perhaps)."""

    link: str
    payload: bytes
    length: int


class HangUp(NamedTuple):
    """Close `link` from this side; the session lives on."""

    link: str


Step: TypeAlias = Connect | Send | Frame | HangUp


def rooted(value: Any, root: bytes, base_zxid: int) -> Any:
    """A record, or anything in one, with `~` replaced by the run's znode and a relative zxid by the server's own."""
    if isinstance(value, bytes):
        return value.replace(b"~", root)
    if isinstance(value, tuple):
        items = [rooted(item, root, base_zxid) for item in value]
        fields = getattr(value, "_fields", None)
        if fields is None:
            return tuple(items)
        if "relative_zxid" in fields:
            items[0] += base_zxid
        return type(value)(*items)
    return value


def encode(step: Send, root: bytes, base_zxid: int) -> bytes:
    """The body's bytes as they go out."""
    body = rooted(step.body, root, base_zxid)
    encoded: bytes = body if isinstance(body, bytes) else body.encode()
    return encoded[: len(encoded) - step.cut] + step.tail


def describe(step: Step) -> str:
    """One line (a multi: several) for a person."""
    if isinstance(step, Connect):
        return f"{step.link}: connect " + _words(
            f"new session {step.session}" if step.is_new else f"session {step.session}",
            "" if step.password_is_right else "wrong password",
            "ahead of the server's zxid" if step.is_ahead else "",
            f"timeout {step.timeout_ms} ms",
            {None: "no read-only byte", True: "read-only", False: ""}[step.read_only],
            "together with the next" if step.is_pipelined else "",
        )
    if isinstance(step, Frame):
        return f"{step.link}: frame of length {step.length}: {step.payload.hex() or 'nothing'}"
    if isinstance(step, HangUp):
        return f"{step.link}: hang up"
    return f"{step.link}: {name_of(step.opcode)} " + _words(
        _describe_body(step.body),
        f"cut by {step.cut} bytes" if step.cut else "",
        f"followed by {step.tail.hex()}" if step.tail else "",
        f"xid {step.xid}",
        "together with the next" if step.is_pipelined else "",
        "then hang up" if step.hangs_up else "",
    )


def name_of(opcode: int) -> str:
    """An opcode's name, or its number."""
    return Opcode(opcode).name.lower() if opcode in Opcode.__members__.values() else f"opcode {opcode}"


def _words(*words: str) -> str:
    return ", ".join(filter(None, words))


def _describe_body(body: Body) -> str:
    if isinstance(body, bytes):
        return f"body {body.hex()}" if body else ""
    if isinstance(body, MultiRequest):
        operations = [f"\n     {name_of(op.opcode)} {_describe_body(op.request)}" for op in body.ops]
        return "of" + "".join(operations) + "\n     end"
    return _fields(body)


def _fields(record: Any) -> str:
    return " ".join(f"{name}={_value(value)}" for name, value in zip(record._fields, record, strict=True))


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value)[1:]
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_value, value)) + ")"
    return repr(value)
