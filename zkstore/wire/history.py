"""History over the client protocol: one request that only clients of zkstore send, to servers that are told to answer.

Its number is far from all that ZooKeeper uses. The request is a jute record like the others; an answer's body is
msgpack, also behind an error, where it is a text for people. To a server that does not offer it, it is an unknown
opcode, and answered by UNIMPLEMENTED.

    FACTS       what can be seen: a dictionary, see `server.past`
    RESOLVE     `text`, a zxid or a time, to a zxid
    GET         the image of the znode `path` as of `zxid`: the body of a getData answer
    CHILDREN    [image, [name, ...], whether more follow]: of `path` as of `zxid`, behind the name `after`
    SLICE       znodes as of `zxid` in the order of paths, behind the path `after`: a dictionary
    SEGMENTS    [[segment, ...], whether that was all]: byte for byte, behind `zxid`
    EVENTS      [[[zxid, time in ms, event type, path], ...], zxid up to which it looked, zxid at which all ends]: what
                a persistent recursive watch of `path` would have told behind `zxid`
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from zkstore.wire import jute
from zkstore.wire.jute import Reader

HISTORY: Final = 0x7A6B7374
"""The opcode: "zkst"."""

NEWEST: Final = -1
"""As `zxid`: as of now."""

_FIXED: Final = Struct(">iq")


class Kind(IntEnum):
    """What is asked for."""

    FACTS = 1
    RESOLVE = 2
    GET = 3
    CHILDREN = 4
    SLICE = 5
    SEGMENTS = 6
    EVENTS = 7


class HistoryRequest(NamedTuple):
    """The one record; what a kind does not need is empty. `after` None is from the beginning."""

    kind: int
    zxid: int = NEWEST
    path: bytes | None = b"/"
    after: bytes | None = None
    text: str | None = ""

    @classmethod
    def decode(cls, reader: Reader) -> HistoryRequest:
        return cls(reader.int32(), reader.int64(), reader.buffer(), reader.buffer(), reader.string())

    def encode(self) -> bytes:
        fixed = _FIXED.pack(self.kind, self.zxid)
        return fixed + jute.buffer(self.path) + jute.buffer(self.after) + jute.string(self.text)
