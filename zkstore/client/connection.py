"""One connection: frames over a stream, and the handshake. A session has many of these in its life."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

from zkstore.client.hosts import Address
from zkstore.errors import ConnectionLossError, ProtocolError
from zkstore.limits import ANSWER_BYTES_MAX, RECEIVE_BYTES
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.records import ConnectRequest, ConnectResponse

Dial = Callable[[Address], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a server, or raises OSError."""


async def dial_tcp(address: Address) -> trio.abc.Stream:
    """A plain TCP connection."""
    return await trio.open_tcp_stream(address.host, address.port)


def dial_tls(context: ssl.SSLContext) -> Dial:
    """TLS connections; `context` says whom to trust and what to show (`ssl.create_default_context(cafile=...)`)."""

    async def dial(address: Address) -> trio.abc.Stream:
        stream = await trio.open_ssl_over_tcp_stream(address.host, address.port, ssl_context=context)
        try:
            await stream.do_handshake()
        except BaseException as error:
            await trio.aclose_forcefully(stream)
            if isinstance(error, trio.BrokenResourceError):
                raise ConnectionLossError(f"no TLS connection: {_reason(error)}") from error
            raise
        return stream

    return dial


class Connection:
    """Frames in both directions. Whatever ends the connection is a `ConnectionLossError` that says what happened."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._received = bytearray()

    async def send(self, data: bytes) -> None:
        """Send bytes that are whole frames."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLossError(f"the connection broke: {_reason(error)}") from error

    async def receive(self) -> list[bytes]:
        """Wait for bytes; return the payloads of all frames that they complete, which may be none."""
        try:
            data = await self._stream.receive_some(RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLossError(f"the connection broke: {_reason(error)}") from error
        if not data:
            raise ConnectionLossError("the server closed the connection")
        self._received += data
        return self._take_frames()

    async def aclose(self) -> None:
        """Close without ceremony; a broken stream is closed already."""
        await trio.aclose_forcefully(self._stream)

    def _take_frames(self) -> list[bytes]:
        received, frames, offset = self._received, [], 0
        while len(received) - offset >= 4:
            length = int.from_bytes(received[offset : offset + 4], "big", signed=True)
            if not 0 <= length <= ANSWER_BYTES_MAX:
                raise ProtocolError(f"the server sent a frame of {length} bytes; is it a ZooKeeper client port?")
            end = offset + 4 + length
            if len(received) < end:
                break
            frames.append(bytes(received[offset + 4 : end]))
            offset = end
        del received[:offset]
        return frames


class Handshake(NamedTuple):
    """What a server answered to a ConnectRequest, and the frames that came right behind."""

    response: ConnectResponse
    rest: list[bytes]


async def shake_hands(connection: Connection, request: ConnectRequest) -> Handshake:
    """Ask for a session; whether it was granted is in the response. Raises ConnectionLossError or ProtocolError."""
    await connection.send(jute.buffer(request.encode()))
    frames: list[bytes] = []
    while not frames:
        frames = await connection.receive()
    return Handshake(ConnectResponse.decode(Reader(frames[0])), frames[1:])


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error) or type(error).__name__
