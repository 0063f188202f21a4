"""A running server as what a backup is made of: everything comes over the network, from where history is shown.

The backup is written in a thread, as it is from a directory; what it asks for is asked in the trio loop, by its client.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Final

import trio

from zkstore.client import Client, connect, dial_tcp, dial_tls
from zkstore.client.history import HistoryFacts, Slice
from zkstore.errors import ConfigError, DamageError, StorageError, ZkStoreError
from zkstore.exchange import backup
from zkstore.exchange.backup import Written
from zkstore.inspection.facts import Facts, Reach
from zkstore.limits import PASSWORD_BYTES
from zkstore.model.tree import SessionRecord, session_digest
from zkstore.storage.log import Epochs, Link
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment

_TIMEOUT_MS: Final = 30_000
_CONNECT_TIMEOUT_MS: Final = 10_000


class RemoteView:
    """The whole tree as of one zxid. `znodes` can be gone through more than once; each time it is asked for anew."""

    def __init__(self, client: Client, zxid: int) -> None:
        self._client = client
        first = trio.from_thread.run(_first, client.history.slices(zxid))
        assert first.digest is not None and first.crc is not None, "the first slice of a tree has its digest"
        self.zxid, self.crc = first.zxid, first.crc
        # Who may not see a password gets another one: nobody comes back to such a session, and it expires.
        self.sessions = {
            number: SessionRecord(timeout_ms, password or secrets.token_bytes(PASSWORD_BYTES))
            for number, (timeout_ms, password) in (first.sessions or {}).items()
        }
        digest = sum(session_digest(number, session) for number, session in self.sessions.items())
        self.digest = (first.digest + digest) & 0xFFFFFFFFFFFFFFFF

    def znodes(self) -> Iterator[tuple[bytes, bytes]]:
        """Every znode as (path, record), in the order of paths."""
        slices = self._client.history.slices(self.zxid)
        while (found := trio.from_thread.run(_next, slices)) is not None:
            yield from found.rows


class RemoteSource:
    """A server's history as an `exchange.backup.Origin`; for use in a thread.

    Attributes:
        facts: as far as the server tells.
        damage: none; the server refuses to show what is damaged.
    """

    def __init__(self, client: Client, name: str, found: HistoryFacts) -> None:
        self._client = client
        self._found = found
        self.damage: list[DamageError] = []
        self.facts = Facts(
            Path(name),
            "running server",
            store_id=found.store_id,
            ensemble_id=found.ensemble_id,
            epochs=Epochs(*found.epochs),
            reach=[Reach(found.first_zxid, found.end_zxid)],
            first_time_ms=found.first_time_ms,
            last_time_ms=found.last_time_ms,
        )

    def view(self, zxid: int | None = None) -> RemoteView:
        """The tree as of then, or of when the backup was begun."""
        view = RemoteView(self._client, self._found.end_zxid if zxid is None else zxid)
        link = Link(view.zxid, view.crc)
        if self.facts.end.zxid <= view.zxid:
            self.facts.end = link
        else:
            self.facts.start = link  # the other end of the log that will be asked for
        return view

    def segments(self, after_zxid: int = 0, up_to_zxid: int | None = None) -> Iterator[Segment]:
        """Those that hold the zxids between the two, decoded and checked."""
        end = self._found.end_zxid if up_to_zxid is None else up_to_zxid
        is_last = False
        while not is_last:
            found, is_last = trio.from_thread.run(self._client.history.segments, after_zxid)
            for data in found:
                segment = segments_.decode(data)
                if segment.first_zxid > end:
                    return
                yield segment
                after_zxid = segment.last_zxid

    def time_ms_at(self, zxid: int) -> int | None:
        """When a txn was proposed; None where the server would not tell."""
        if not self._found.sees_all or zxid > self._found.end_zxid:
            return None
        segment = next(self.segments(zxid - 1, zxid), None)
        return None if segment is None else segments_.txns(segment)[max(zxid - segment.first_zxid, 0)].time_ms


class Ordered:
    """What of a server is wanted, and who asks: `auth` is a list of "scheme:credential"; `tls` None is plain TCP."""

    def __init__(
        self, servers: str, *, at: str | None, with_history: bool, auth: list[str], tls: ssl.SSLContext | None
    ) -> None:
        self.servers = servers
        self.at = at
        self.with_history = with_history
        self.dial = dial_tcp if tls is None else dial_tls(tls)
        self.identities = [_identity(each) for each in auth]


def write(ordered: Ordered, file: BinaryIO, progress: Callable[[str], None]) -> tuple[Written, bool]:
    """Write a backup of a running server; returns, too, whether it was shown its passwords. Raises StorageError."""
    try:
        return trio.run(_write, ordered, file, progress)
    except StorageError:
        raise
    except ConfigError as error:
        raise StorageError(str(error)) from error
    except ZkStoreError as error:
        raise StorageError(f"{ordered.servers}: {error}") from error


async def _write(ordered: Ordered, file: BinaryIO, progress: Callable[[str], None]) -> tuple[Written, bool]:
    client = connect(
        ordered.servers,
        timeout_ms=_TIMEOUT_MS,
        connect_timeout_ms=_CONNECT_TIMEOUT_MS,
        auth=ordered.identities,
        dial=ordered.dial,
    )
    async with client:
        found = await client.history.facts()
        if ordered.with_history and not found.sees_all:
            raise StorageError(
                "history holds sessions' passwords, and is given to who passes every ACL only",
                where=ordered.servers,
                advice="Say --auth digest:super:PASSWORD, or leave out --history",
            )
        zxid = None if ordered.at is None else await client.history.resolve(ordered.at)
        source = RemoteSource(client, ordered.servers, found)

        def in_thread() -> Written:
            return backup.write(source, file, zxid=zxid, with_history=ordered.with_history, progress=progress)

        written = await trio.to_thread.run_sync(in_thread, abandon_on_cancel=True)
        return written, found.sees_all


def _identity(text: str) -> tuple[str, bytes]:
    scheme, colon, credential = text.partition(":")
    if not (scheme and colon):
        raise StorageError(f"--auth takes scheme:credential, as in digest:user:password, not {text!r}")
    return scheme, credential.encode()


async def _first(slices: AsyncGenerator[Slice, None]) -> Slice:
    async with aclosing(slices):
        return await anext(slices)


async def _next(slices: AsyncIterator[Slice]) -> Slice | None:
    return await anext(slices, None)
