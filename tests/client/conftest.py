"""A server for the client's tests: it speaks frames over memory and does what each test tells it, nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing

import zkstore.client
from zkstore.client.hosts import Address
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import XID_NOTIFICATION, Opcode
from zkstore.wire.records import ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader
from zkstore.wire.responses import WatcherEvent

PASSWORD = b"sixteen bytes :)"


class FakeConnection:
    """The server's end of one connection."""

    def __init__(self, address: Address, stream: trio.abc.Stream) -> None:
        self.address = address
        self.stream = stream
        self.received = b""

    async def frame(self) -> bytes | None:
        """The next frame's payload; None once the client has closed."""
        while len(self.received) < 4 or len(self.received) < 4 + int.from_bytes(self.received[:4], "big"):
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return None
            self.received += data
        end = 4 + int.from_bytes(self.received[:4], "big")
        payload, self.received = self.received[4:end], self.received[end:]
        return payload

    async def handshake(self, *, session_id: int = 7, timeout_ms: int | None = None, read_only: bool = False) -> Any:
        """Take the ConnectRequest, grant the session, and return what was asked. A timeout of 0 refuses it."""
        payload = await self.frame()
        assert payload is not None
        asked = ConnectRequest.decode(Reader(payload))
        granted = asked.timeout_ms if timeout_ms is None else timeout_ms
        response = ConnectResponse(0, granted, session_id if granted else 0, PASSWORD, read_only)
        await self.stream.send_all(jute.buffer(response.encode()))
        return asked

    async def request(self) -> tuple[int, int, Reader]:
        """The next request's xid, opcode and body. Pings are answered and left out."""
        while True:
            payload = await self.frame()
            assert payload is not None, "the client closed the connection"
            reader = Reader(payload)
            header = RequestHeader.decode(reader)
            if header.opcode != Opcode.PING:
                return header.xid, header.opcode, reader
            await self.reply(header.xid)

    async def reply(self, xid: int, body: bytes = b"", *, code: int = 0, zxid: int = 1) -> None:
        await self.stream.send_all(jute.buffer(ReplyHeader(xid, zxid, code).encode() + body))

    async def event(self, event_type: int, path: bytes, zxid: int = 9) -> None:
        await self.reply(XID_NOTIFICATION, WatcherEvent(event_type, 3, path).encode(), zxid=zxid)

    async def answer(self, body: bytes = b"", *, code: int = 0, zxid: int = 1) -> tuple[int, Reader]:
        """Take one request and answer it; return its opcode and body."""
        xid, opcode, reader = await self.request()
        await self.reply(xid, body, code=code, zxid=zxid)
        return opcode, reader

    async def until_closed(self) -> None:
        """Let the client close its session, or just go."""
        while (payload := await self.frame()) is not None:
            header = RequestHeader.decode(Reader(payload))
            with suppress(trio.BrokenResourceError):
                await self.reply(header.xid)
            if header.opcode == Opcode.CLOSE_SESSION:
                break
        await self.stream.aclose()


class FakeServer:
    """Every address that the client dials; `accept` gives the connections in order."""

    def __init__(self) -> None:
        self.dialled: list[Address] = []
        self.unreachable: set[Address] = set()
        self._sender, self._receiver = trio.open_memory_channel[FakeConnection](100)

    async def dial(self, address: Address) -> trio.abc.Stream:
        self.dialled.append(address)
        if address in self.unreachable:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        self._sender.send_nowait(FakeConnection(address, theirs))
        return ours

    async def accept(self) -> FakeConnection:
        with trio.fail_after(60):
            return await self._receiver.receive()

    async def welcome(self, **grant: Any) -> FakeConnection:
        """Accept one connection and grant its session."""
        connection = await self.accept()
        await connection.handshake(**grant)
        return connection


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def connect(server: FakeServer) -> Callable[..., zkstore.client.Client]:
    """`zkstore.client.connect` to the fake server, with the dice fixed."""

    def connect_to_fake(servers: str = "one:1", **options: Any) -> zkstore.client.Client:
        return zkstore.client.connect(servers, dial=server.dial, rng=random.Random(1), **options)

    return connect_to_fake
