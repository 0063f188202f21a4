"""The client: ZooKeeper's operations as async methods, with str paths below the chroot and plain results."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeVar

import trio

from zkstore.client import hosts
from zkstore.client.chroot import Chroot
from zkstore.client.connection import Dial, dial_tcp
from zkstore.client.history import History
from zkstore.client.session import Session, SessionState
from zkstore.client.transaction import Transaction, create_operation, error_for
from zkstore.client.watching import Kind, Watch, WatchTable
from zkstore.errors import ConnectionLossError, NoNodeError, NoWatcherError
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import Stat
from zkstore.model.watches import WatchKind
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import AddWatchMode, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    AuthPacket,
    DeleteRequest,
    PathRequest,
    PathWatchRequest,
    ReconfigRequest,
    RemoveWatchesRequest,
    SetAclRequest,
    SetDataRequest,
)
from zkstore.wire.responses import (
    AclResponse,
    Children2Response,
    ChildrenResponse,
    ClientInfo,
    DataResponse,
    NumberResponse,
    PathResponse,
    StatResponse,
    WhoAmIResponse,
)

T = TypeVar("T")

CLOSE_S_MAX = 2.0
"""How long closing may wait for the server, even when cancelled: long enough to have one's ephemerals removed."""

_ADD_WATCH_KINDS = {
    AddWatchMode.PERSISTENT: Kind.PERSISTENT,
    AddWatchMode.PERSISTENT_RECURSIVE: Kind.PERSISTENT_RECURSIVE,
}


class Client:
    """One session with an ensemble; made by `connect`, used inside its `async with`.

    Every method raises a RequestError when the server refuses (NoNodeError, BadVersionError, ...), ConnectionLossError
    when the connection broke under way, and SessionLostError once the session is gone. While there is no connection,
    calls wait; bound that with trio's timeouts.
    """

    def __init__(
        self, servers: hosts.ConnectString, session: Session, chroot: Chroot, connect_timeout_ms: float
    ) -> None:
        self._servers = servers
        self._session = session
        self._chroot = chroot
        self._connect_timeout_ms = connect_timeout_ms
        self._nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self.history = History(session, chroot)

    # --- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Client:
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        self._nursery.start_soon(self._session.run)
        try:
            await self._first_connection()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()

    async def _first_connection(self) -> None:
        with trio.move_on_after(self._connect_timeout_ms / 1000):
            await self._session.wait_connected()
            return
        names = ",".join(map(str, self._servers.addresses))
        raise ConnectionLossError(
            f"cannot connect to {names} within {self._connect_timeout_ms:.0f} ms ({self._session.failure}); "
            "check the address, that the server runs, and that it has a quorum"
        )

    async def _leave(self) -> None:
        # The nursery is left by hand, so that an error of the user's comes out as it is and not in a group.
        assert self._nursery_manager is not None and self._nursery is not None
        with trio.CancelScope(deadline=trio.current_time() + CLOSE_S_MAX, shield=True):
            await self._session.close()
        self._nursery.cancel_scope.cancel()
        await self._nursery_manager.__aexit__(None, None, None)

    async def close(self) -> None:
        """End the session now; every later call raises SessionLostError."""
        await self._session.close()

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._session.state

    @property
    def session_id(self) -> int:
        """The session's id, signed as in `Stat.ephemeral_owner`."""
        return self._session.session_id

    @property
    def timeout_ms(self) -> int:
        """The session timeout that the server granted."""
        return self._session.timeout_ms

    @property
    def server(self) -> hosts.Address | None:
        """The server that we talk to now."""
        return self._session.server

    @property
    def failure(self) -> str:
        """Why the last attempt to connect failed, or the last connection ended; for people."""
        return self._session.failure

    @property
    def connections(self) -> int:
        """On how many connections the session has been alive; another one after each that was lost."""
        return self._session.connections

    def states(self) -> trio.MemoryReceiveChannel[SessionState]:
        """A channel with the session's state now and every one that follows; it ends after a final one."""
        return self._session.states()

    # --- writes -----------------------------------------------------------------------------------

    async def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        acl: tuple[Acl, ...] = OPEN_ACL,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl_ms: int | None = None,
    ) -> str:
        """Create a znode; return its path, which for a sequential one ends in the counter."""
        op = create_operation(
            self._chroot.to_server(path),
            data,
            acl,
            ephemeral=ephemeral,
            sequential=sequential,
            container=container,
            ttl_ms=ttl_ms,
        )
        response = await self._ask(op.opcode, op.request.encode(), path, PathResponse.decode)
        return self._chroot.to_user(response.path or b"")

    async def set(self, path: str, data: bytes | None, *, version: int = -1) -> Stat:
        """Replace a znode's data, if it has `version` (-1: any)."""
        request = SetDataRequest(self._chroot.to_server(path), data, version)
        return (await self._ask(Opcode.SET_DATA, request.encode(), path, StatResponse.decode)).stat

    async def delete(self, path: str, *, version: int = -1) -> None:
        """Delete a znode without children, if it has `version` (-1: any)."""
        request = DeleteRequest(self._chroot.to_server(path), version)
        await self._ask(Opcode.DELETE, request.encode(), path, _nothing)

    async def set_acl(self, path: str, acl: tuple[Acl, ...], *, version: int = -1) -> Stat:
        """Replace a znode's ACL, if its `aversion` is `version` (-1: any)."""
        request = SetAclRequest(self._chroot.to_server(path), acl, version)
        return (await self._ask(Opcode.SET_ACL, request.encode(), path, StatResponse.decode)).stat

    def transaction(self) -> Transaction:
        """Several writes that happen together or not at all."""
        return Transaction(self._session, self._chroot)

    # --- reads ------------------------------------------------------------------------------------

    async def get(self, path: str, *, watch: Watch | None = None) -> tuple[bytes | None, Stat]:
        """A znode's data (None is null, which is not empty) and Stat. `watch` hears once of a change or deletion."""
        response = await self._read(Opcode.GET_DATA, path, watch, Kind.DATA, DataResponse.decode)
        return response.data, response.stat

    async def exists(self, path: str, *, watch: Watch | None = None) -> Stat | None:
        """A znode's Stat, or None. `watch` hears once of its creation, change or deletion."""
        try:
            return (await self._read(Opcode.EXISTS, path, watch, Kind.DATA, StatResponse.decode)).stat
        except NoNodeError:
            return None

    async def children(self, path: str, *, watch: Watch | None = None) -> list[str]:
        """The names of a znode's children, sorted. `watch` hears once when one comes or goes, or of its deletion."""
        return (await self.children_and_stat(path, watch=watch))[0]

    async def children_and_stat(self, path: str, *, watch: Watch | None = None) -> tuple[list[str], Stat]:
        """As `children`, with the parent's Stat."""
        response = await self._read(Opcode.GET_CHILDREN2, path, watch, Kind.CHILD, Children2Response.decode)
        return sorted(name.decode("utf-8", "replace") for name in response.children), response.stat

    async def get_acl(self, path: str) -> tuple[tuple[Acl, ...], Stat]:
        """A znode's ACL and Stat."""
        request = PathRequest(self._chroot.to_server(path))
        response = await self._ask(Opcode.GET_ACL, request.encode(), path, AclResponse.decode)
        acl = tuple(Acl(perms, scheme or "", identity or "") for perms, scheme, identity in response.acl or ())
        return acl, response.stat

    async def get_config(self, *, watch: Watch | None = None) -> tuple[bytes | None, Stat]:
        """The ensemble's members as text, and the Stat of the znode that holds it; the chroot plays no part."""
        path = "/zookeeper/config"
        body = PathWatchRequest(path.encode(), watch is not None).encode()
        noted = self._watch_on_success(Kind.DATA, path.encode(), watch)
        response = await self._ask(Opcode.GET_DATA, body, path, DataResponse.decode, noted)
        return response.data, response.stat

    async def reconfigure(
        self,
        *,
        joining: str | None = None,
        leaving: str | None = None,
        members: str | None = None,
        from_version: int = -1,
    ) -> tuple[bytes | None, Stat]:
        """Change the ensemble's members; its new ones as text, and the Stat of the znode that holds them.

        `joining` has server lines and `leaving` server numbers, with commas between them; or `members` has all server
        lines. `from_version` is the version (a zxid) that the members must have now, -1 any. Raises
        ReconfigDisabledError where the servers do not allow it, UnimplementedError from a server that stands alone.
        """
        body = ReconfigRequest(joining, leaving, members, from_version).encode()
        response = await self._ask(Opcode.RECONFIG, body, None, DataResponse.decode)
        return response.data, response.stat

    async def ephemerals(self, prefix: str = "/") -> list[str]:
        """Paths of this session's ephemeral znodes that begin with `prefix` as text, sorted."""
        request = PathRequest(self._chroot.to_server(prefix))
        response = await self._ask(Opcode.GET_EPHEMERALS, request.encode(), prefix, ChildrenResponse.decode)
        return sorted(map(self._chroot.to_user, response.children))

    async def descendant_count(self, path: str) -> int:
        """How many znodes are below `path`, at any depth."""
        request = PathRequest(self._chroot.to_server(path))
        response = await self._ask(Opcode.GET_ALL_CHILDREN_NUMBER, request.encode(), path, NumberResponse.decode)
        return response.number

    async def sync(self, path: str = "/") -> None:
        """Wait until the server has all that was committed before; later reads of this client show it."""
        request = PathRequest(self._chroot.to_server(path))
        await self._ask(Opcode.SYNC, request.encode(), path, _nothing)

    # --- identities -------------------------------------------------------------------------------

    async def add_auth(self, scheme: str, credential: bytes | None) -> None:
        """Prove an identity, on this connection and on those to come. A refusal ends the session's use for good.

        `credential` is user:password for scheme digest; None where a scheme needs nothing, as x509 does.
        """
        await self._ask(Opcode.AUTH, AuthPacket(0, scheme, credential).encode(), None, _nothing)
        self._session.add_identity(scheme, credential)

    async def who_am_i(self) -> list[ClientInfo]:
        """The identities of this connection."""
        response = await self._ask(Opcode.WHO_AM_I, b"", None, WhoAmIResponse.decode)
        return list(response.identities)

    # --- watches ----------------------------------------------------------------------------------

    async def add_watch(
        self, path: str, mode: AddWatchMode = AddWatchMode.PERSISTENT, *, watch: Watch | None = None
    ) -> Watch:
        """Hear of every change of `path` (and, recursive, of all below it) until the watch is removed."""
        watch = watch or Watch()
        server_path = self._chroot.to_server(path)
        noted = self._watch_on_success(_ADD_WATCH_KINDS[mode], server_path, watch)
        await self._ask(Opcode.ADD_WATCH, AddWatchRequest(server_path, mode).encode(), path, _nothing, noted)
        return watch

    async def remove_watches(self, path: str, kind: WatchKind = WatchKind.ANY, *, local: bool = False) -> None:
        """Remove this client's watches of `path`; each Watch is told. Raises NoWatcherError if there are none.

        With `local` they go even when no server is connected to hear of it.
        """
        server_path = self._chroot.to_server(path)
        if not (local and not self.state.is_connected):
            body = RemoveWatchesRequest(server_path, kind).encode()
            await self._ask(Opcode.REMOVE_WATCHES, body, path, _nothing)
        if not self._session.watches.remove(kind, server_path) and local:
            raise NoWatcherError(path)

    # --- how it is asked --------------------------------------------------------------------------

    async def _read(
        self, opcode: Opcode, path: str, watch: Watch | None, kind: Kind, decode: Callable[[Reader], T]
    ) -> T:
        server_path = self._chroot.to_server(path)
        noted = self._watch_on_success(kind, server_path, watch)
        if opcode is Opcode.EXISTS and watch is not None:
            noted = self._watch_existence(server_path, watch)
        body = PathWatchRequest(server_path, watch is not None).encode()
        return await self._ask(opcode, body, path, decode, noted)

    async def _ask(
        self,
        opcode: int,
        body: bytes,
        path: str | None,
        decode: Callable[[Reader], T],
        on_reply: Callable[[int], None] | None = None,
    ) -> T:
        reply = await self._session.request(opcode, body, on_reply)
        if reply.code != 0:
            raise error_for(reply.code, path)
        return decode(reply.body)

    def _watch_on_success(self, kind: Kind, path: bytes, watch: Watch | None) -> Callable[[int], None] | None:
        if watch is None:
            return None

        def note(code: int) -> None:
            if code == 0:
                self._session.watches.add(kind, path, watch)

        return note

    def _watch_existence(self, path: bytes, watch: Watch) -> Callable[[int], None]:
        def note(code: int) -> None:
            if code in (0, NoNodeError.code):  # a watch on what is not there waits for its creation
                self._session.watches.add(Kind.DATA if code == 0 else Kind.EXIST, path, watch)

        return note


def connect(
    servers: str,
    *,
    timeout_ms: int = 10_000,
    connect_timeout_ms: float | None = None,
    auth: Iterable[tuple[str, bytes | None]] = (),
    read_only: bool = False,
    dial: Dial = dial_tcp,
    rng: random.Random | None = None,
) -> Client:
    """A client of `servers` ("host:port,host:port/chroot"), for `async with`, which waits for the first connection.

    Entering raises ConnectionLossError if no server answers within `connect_timeout_ms` (default: the session
    timeout), AuthFailedError if one refuses `auth`, a list of (scheme, credential). `read_only` takes servers that
    have lost their quorum, too. `dial` opens the byte stream: `dial_tls(context)` for TLS. Raises ConfigError.
    """
    parsed = hosts.parse(servers)
    chroot = Chroot(parsed.chroot)
    session = Session(
        parsed.addresses,
        timeout_ms=timeout_ms,
        identities=auth,
        read_only=read_only,
        dial=dial,
        rng=rng or random.Random(),
        watches=WatchTable(chroot.to_user),
    )
    return Client(parsed, session, chroot, timeout_ms if connect_timeout_ms is None else connect_timeout_ms)


def _nothing(_: Reader) -> None:
    """The body of an answer that says nothing more."""
