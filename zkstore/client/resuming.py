"""A stream of events from a zxid of the past on, over into those of now: none is missing, and none comes twice.

A recursive watch is left first, and its events wait; then the server tells what happened up to a zxid, and from the
watch come only those behind it. After a lost connection the server, this one or another, tells again what happened
since; a server's watches know nothing of the time before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import trio

from zkstore.client.watching import Watch, WatchEvent
from zkstore.errors import ConnectionLossError
from zkstore.wire.opcodes import AddWatchMode

if TYPE_CHECKING:
    from zkstore.client.client import Client

_LOOK_S: Final = 0.5


class Resumption:
    """One stream. `tell` gets each event, of `path` and below, behind `after_zxid`."""

    def __init__(self, client: Client, path: str, after_zxid: int, tell: Callable[[WatchEvent], None]) -> None:
        self._client = client
        self._path = path
        self._tell = tell
        self._complete_to = after_zxid  # all events up to there were told,
        self._partial_zxid = 0  # and of this one, behind it,
        self._partial_count = 0  # so many
        self._connection = -1  # on which that was so

    async def run(self) -> None:
        """Until cancelled. Raises HistoryError, RequestErrors, SessionLostError and WatchOverflowError."""
        client = self._client
        with Watch() as watch:
            while True:
                try:
                    await client.add_watch(self._path, AddWatchMode.PERSISTENT_RECURSIVE, watch=watch)
                    break
                except ConnectionLossError:
                    continue
            event: WatchEvent | None = None
            while True:
                await self._catch_up()
                if event is not None:
                    self._tell_of_now(event)
                    event = None
                with trio.move_on_after(_LOOK_S):
                    event = await watch.receive()

    async def _catch_up(self) -> None:
        """Tell what the server knows to have happened, up to what it knows now; once on each connection."""
        while self._connection != self._client.connections:
            connection = self._client.connections
            try:
                await self._client.sync(self._path)
                async with aclosing(self._client.history.events(self._path, self._complete_to)) as portions:
                    async for events, complete_to in portions:
                        for event in events:
                            self._tell_once(WatchEvent(event.type, event.path, event.zxid))
                        self._complete_to = max(self._complete_to, complete_to)
            except ConnectionLossError:
                continue
            self._connection = connection

    def _tell_once(self, event: WatchEvent) -> None:
        """Of a txn whose events were told in part, only the rest: they come in the same order."""
        if event.zxid == self._partial_zxid and self._partial_count:
            self._partial_count -= 1
        else:
            self._tell(event)

    def _tell_of_now(self, event: WatchEvent) -> None:
        if event.zxid <= self._complete_to:
            return
        self._complete_to = event.zxid - 1
        self._partial_count = self._partial_count + 1 if event.zxid == self._partial_zxid else 1
        self._partial_zxid = event.zxid
        self._tell(event)
