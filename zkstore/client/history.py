"""What a server tells of the past, where it was told to (`zkstore serve --history-enabled`).

Moments are zxids; `resolve` makes one of a time. Everybody sees what the ACLs of that time let them, and only who
passes every ACL the whole of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, NamedTuple

import msgpack

from zkstore.client.chroot import Chroot
from zkstore.client.session import Session
from zkstore.client.watching import EventType
from zkstore.errors import HistoryError, NoAuthError, NoNodeError, UnimplementedError
from zkstore.model.stat import Stat
from zkstore.wire.history import HISTORY, NEWEST, HistoryRequest, Kind
from zkstore.wire.jute import Reader
from zkstore.wire.responses import DataResponse

_NOT_SHOWN: Final = (
    "this server shows no history. A zkstore server does when it is started with --history-enabled"
    " (zkstore.historyEnabled=true)"
)


class HistoryFacts(NamedTuple):
    """What can be seen.

    Attributes:
        end_zxid: the newest that is committed there.
        first_zxid: the oldest from which on the tree can be seen.
        log_zxid: events and segments are known behind it.
        first_time_ms, last_time_ms: of the log's txns; None where there are none.
        sees_all: we pass every ACL there.
    """

    end_zxid: int
    first_zxid: int
    log_zxid: int
    first_time_ms: int | None
    last_time_ms: int | None
    store_id: str
    ensemble_id: str
    epochs: tuple[int, int]
    sees_all: bool


class PastEvent(NamedTuple):
    """What a watch would have told, and when that was."""

    type: EventType
    path: str
    zxid: int
    time_ms: int


class Slice(NamedTuple):
    """Part of a tree as of `zxid`, in the order of paths, which are whole, whatever the chroot.

    The first one also has `digest`, of the znodes alone; `crc`, of the segment that ends there; and `sessions`, as id
    to (timeout in ms, password), which is empty for who may not see it.
    """

    zxid: int
    rows: tuple[tuple[bytes, bytes], ...]
    is_last: bool
    digest: int | None = None
    crc: int | None = None
    sessions: Mapping[int, tuple[int, bytes]] | None = None


class History:
    """One client's questions about the past; `Client.history`.

    Every method raises HistoryError where the server shows no history, or none that reaches back so far; NoNodeError
    and NoAuthError for the time asked for; and what every request of a client may raise.
    """

    def __init__(self, session: Session, chroot: Chroot) -> None:
        self._session = session
        self._chroot = chroot

    async def facts(self) -> HistoryFacts:
        """How far it reaches."""
        return HistoryFacts(**await self._ask(Kind.FACTS))

    async def resolve(self, text: str) -> int:
        """The zxid that a text means: "0x10000002a", "2026-03-01T14:00", "2h ago"; times by the server's clock."""
        zxid: int = await self._ask(Kind.RESOLVE, text=text)
        return zxid

    async def get_at(self, path: str, zxid: int) -> tuple[bytes | None, Stat]:
        """A znode's data and Stat as of `zxid`."""
        image: bytes = await self._ask(Kind.GET, zxid, path=self._chroot.to_server(path))
        return _opened(image)

    async def children_at(self, path: str, zxid: int) -> tuple[list[str], Stat]:
        """The names of a znode's children as of `zxid`, sorted, and its own Stat."""
        names: list[bytes] = []
        has_more = True
        while has_more:
            after = names[-1] if names else None
            image, more, has_more = await self._ask(Kind.CHILDREN, zxid, path=self._chroot.to_server(path), after=after)
            names += more
        return sorted(name.decode("utf-8", "replace") for name in names), _opened(image)[1]

    async def events(self, path: str, after_zxid: int) -> AsyncGenerator[tuple[list[PastEvent], int], None]:
        """What a recursive watch of `path` would have told behind `after_zxid`, in portions, up to the server's newest.

        With each portion comes the zxid up to which everything has been told by then.
        """
        is_done = False
        while not is_done:
            found, looked_to, end = await self._ask(Kind.EVENTS, after_zxid, path=self._chroot.to_server(path))
            events = [
                PastEvent(EventType(kind), self._chroot.to_user(where), zxid, time_ms)
                for zxid, time_ms, kind, where in found
            ]
            is_done, after_zxid = looked_to >= end, looked_to
            yield events, looked_to

    async def slices(self, zxid: int = NEWEST) -> AsyncGenerator[Slice, None]:
        """The whole tree as of `zxid`, or of now."""
        after: bytes | None = None
        is_last = False
        while not is_last:
            found = Slice(**await self._ask(Kind.SLICE, zxid, after=after))
            zxid, is_last = found.zxid, found.is_last
            after = found.rows[-1][0] if found.rows else after
            yield found

    async def segments(self, after_zxid: int) -> tuple[tuple[bytes, ...], bool]:
        """Segments of the log that hold what follows `after_zxid`, byte for byte, and whether those were all.

        For who passes every ACL only.
        """
        found, is_last = await self._ask(Kind.SEGMENTS, after_zxid)
        return found, is_last

    async def _ask(
        self, kind: Kind, zxid: int = NEWEST, *, path: bytes = b"/", after: bytes | None = None, text: str = ""
    ) -> Any:
        reply = await self._session.request(HISTORY, HistoryRequest(kind, zxid, path, after, text).encode())
        if reply.code == UnimplementedError.code:
            raise HistoryError(_NOT_SHOWN)
        body: Reader = reply.body
        found = msgpack.unpackb(body.fixed(body.remaining), use_list=False, strict_map_key=False)
        if reply.code == NoNodeError.code:
            raise NoNodeError(self._chroot.to_user(found.encode()))
        if reply.code == NoAuthError.code:
            raise NoAuthError(self._chroot.to_user(found.encode()))
        if reply.code != 0:
            raise HistoryError(found)
        return found


def _opened(image: bytes) -> tuple[bytes | None, Stat]:
    response = DataResponse.decode(Reader(image))
    return response.data, response.stat
