"""The trace of a run: a hash over all that happened, and where it is wanted, a line for each.

Two runs of one seed are the same if their hashes are: every message, every write to a disk, every fault and every role
goes into it, each with its time and place.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from struct import Struct
from typing import Any, Final
from zlib import crc32

from zkstore.wire.segment import Segment

_EVENT: Final = Struct(">qhhI")
_LINES_MAX: Final = 200_000
_HEX: Final = frozenset({"zxid", "last_zxid", "committed_zxid", "applied_zxid", "session_id", "version"})
_SHORT_BYTES: Final = 24


class Trace:
    """All events of a run. `lines` holds the last ones, where `is_on`."""

    def __init__(self, *, is_on: bool = False) -> None:
        self.is_on = is_on
        self.lines: deque[str] = deque(maxlen=_LINES_MAX)
        self._hash = blake2b(digest_size=16)

    def event(self, time_us: int, kind: int, server_id: int, content: bytes) -> None:
        """Something happened at a server; `kind` is the caller's to number."""
        self._hash.update(_EVENT.pack(time_us, kind, server_id, crc32(content)))

    def line(self, time_us: int, server_id: int, text: str) -> None:
        """Tell it to whoever reads the trace. Ask `is_on` first, and make no text where nobody reads it."""
        who = f"s{server_id}" if server_id else "--"
        self.lines.append(f"{time_us / 1e6:11.6f} {who:>3}  {text}")

    @property
    def digest(self) -> str:
        """The hash so far, in hex."""
        return self._hash.hexdigest()


def show(value: Any, name: str = "") -> str:
    """A message or an effect, short: zxids in hex, segments by their ends, long bytes by their length."""
    if isinstance(value, Segment):
        return f"[{value.first_zxid:#x}..{value.last_zxid:#x} crc {value.crc:08x}]"
    if isinstance(value, bytes):
        return value.hex() if len(value) <= _SHORT_BYTES else f"<{len(value)} bytes>"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        fields = [f for f in value._fields if f != "kind"]
        shown = ", ".join(f"{field}={show(getattr(value, field), field)}" for field in fields)
        return f"{type(value).__name__}({shown})"
    if isinstance(value, tuple):
        return f"<{len(value)}>" if len(value) > 4 else f"({', '.join(map(show, value))})"
    if type(value) is int and (name in _HEX or value > 0xFFFFFFFF):
        return f"{value:#x}"
    return str(value)
