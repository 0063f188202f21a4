"""A session's life: connections come and go, requests wait or fail, and the ends are final.

Time is virtual (`autojump_clock`): it passes at once when everybody waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from zkstore.client import Client, SessionState, Watch
from zkstore.client.hosts import Address
from zkstore.errors import AuthFailedError, ConnectionLossError, SessionLostError
from zkstore.model.stat import Stat
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import XID_AUTH, XID_PING, Opcode
from zkstore.wire.records import AuthPacket, PathWatchRequest, RequestHeader, SetWatches
from zkstore.wire.responses import DataResponse

pytestmark = pytest.mark.trio

Connect = Callable[..., Client]
STAT = Stat(1, 2, 3, 4, 5, 6, 7, 0, 1, 0, 11)
ANSWER = DataResponse(b"x", STAT).encode()


async def test_the_first_frame_asks_for_a_new_session(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        asked = []

        async def serve() -> None:
            connection = await server.accept()
            asked.append(await connection.handshake(timeout_ms=4000))
            await connection.until_closed()

        nursery.start_soon(serve)
        async with connect(timeout_ms=9000) as client:
            assert (client.state, client.session_id, client.timeout_ms) == (SessionState.CONNECTED, 7, 4000)
            assert client.server == Address("one", 1)
    (request,) = asked
    assert (request.timeout_ms, request.session_id, request.password) == (9000, 0, bytes(16))
    assert (request.last_zxid_seen, request.read_only) == (0, False)
    assert client.state is SessionState.CLOSED


async def test_closing_sends_close_session(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        opcodes = []

        async def serve() -> None:
            connection = await server.welcome()
            opcodes.append((await connection.answer())[0])

        nursery.start_soon(serve)
        async with connect():
            pass
    assert opcodes == [Opcode.CLOSE_SESSION]


async def test_an_error_in_the_block_comes_out_as_it_is(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await (await server.welcome()).until_closed()

        nursery.start_soon(serve)
        with pytest.raises(ZeroDivisionError):
            async with connect():
                raise ZeroDivisionError


async def test_requests_under_way_fail_with_the_connection_and_the_session_goes_on(
    server: Any, connect: Connect, autojump_clock: Any
) -> None:
    async with trio.open_nursery() as nursery:
        asked = []

        async def serve() -> None:
            connection = await server.welcome()
            await connection.answer(ANSWER, zxid=77)
            await connection.request()
            await connection.stream.aclose()
            connection = await server.accept()
            asked.append(await connection.handshake())
            await connection.answer(ANSWER)
            await connection.until_closed()

        nursery.start_soon(serve)
        async with connect() as client:
            states = client.states()
            await client.get("/a")
            with pytest.raises(ConnectionLossError, match="one:1"):
                await client.get("/a")
            assert (await client.get("/a"))[0] == b"x"  # waited for the new connection
            seen = [await states.receive() for _ in range(3)]
    assert (asked[0].session_id, asked[0].password, asked[0].last_zxid_seen) == (7, b"sixteen bytes :)", 77)
    assert seen == [SessionState.CONNECTED, SessionState.SUSPENDED, SessionState.CONNECTED]


async def test_an_expired_session_ends_requests_and_watches(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            connection = await server.welcome()
            await connection.answer(ANSWER)
            await connection.stream.aclose()
            await server.welcome(timeout_ms=0)

        nursery.start_soon(serve)
        async with connect() as client:
            watch = Watch()
            await client.get("/a", watch=watch)
            with pytest.raises(SessionLostError, match="0x7 has expired"):
                await watch.receive()
            assert client.state is SessionState.EXPIRED
            with pytest.raises(SessionLostError):
                await client.get("/a")


async def test_an_idle_client_pings_before_a_third_of_the_timeout_is_over(
    server: Any, connect: Connect, autojump_clock: Any
) -> None:
    async with trio.open_nursery() as nursery:
        times = []

        async def serve() -> None:
            connection = await server.welcome(timeout_ms=9000)
            for _ in range(3):
                header = RequestHeader.decode(Reader(await connection.frame()))
                assert header == (XID_PING, Opcode.PING)
                times.append(trio.current_time())
                await connection.reply(XID_PING)
            await connection.until_closed()

        nursery.start_soon(serve)
        start = trio.current_time()
        async with connect(timeout_ms=9000):
            await trio.sleep(10)
    assert [round(time - start, 3) for time in times] == [3, 6, 9]


async def test_a_silent_server_is_left_after_two_thirds_of_the_timeout(
    server: Any, connect: Connect, autojump_clock: Any
) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await server.welcome(timeout_ms=9000)

        nursery.start_soon(serve)
        async with connect(timeout_ms=9000) as client:
            start = trio.current_time()
            with pytest.raises(ConnectionLossError, match=r"nothing was heard from it for 6\.0 s"):
                await client.get("/a")
            assert trio.current_time() - start == pytest.approx(6)


async def test_an_answer_out_of_order_costs_the_connection(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            connection = await server.welcome()
            xid, _, _ = await connection.request()
            await connection.reply(xid + 1, ANSWER)

        nursery.start_soon(serve)
        async with connect() as client:
            with pytest.raises(ConnectionLossError, match="not the next one"):
                await client.get("/a")


async def test_watches_are_set_again_before_any_request(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        frames: list[Any] = []

        async def serve() -> None:
            connection = await server.welcome()
            await connection.answer(ANSWER, zxid=77)
            await connection.stream.aclose()
            connection = await server.welcome()
            frames.append(await connection.answer())
            frames.append(await connection.answer(ANSWER))
            await connection.event(3, b"/a")
            await connection.until_closed()

        nursery.start_soon(serve)
        async with connect() as client:
            watch = Watch()
            await client.get("/a", watch=watch)
            states = client.states()
            while await states.receive() is not SessionState.SUSPENDED:
                pass
            await client.get("/b")
            assert (await watch.receive()).path == "/a"
    (first, watches), (second, request) = frames
    assert (first, second) == (Opcode.SET_WATCHES, Opcode.GET_DATA)
    assert SetWatches.decode(watches) == SetWatches(77, (b"/a",), (), ())
    assert PathWatchRequest.decode(request) == (b"/b", False)


async def test_identities_are_proved_on_every_connection(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        packets = []

        async def serve() -> None:
            for _ in range(2):
                connection = await server.welcome()
                for _ in range(2):
                    xid, opcode, reader = await connection.request()
                    assert (xid, opcode) == (XID_AUTH, Opcode.AUTH)
                    packets.append(AuthPacket.decode(reader))
                    await connection.reply(xid, zxid=0)
                if len(packets) == 2:
                    await connection.stream.aclose()
            await connection.until_closed()

        nursery.start_soon(serve)
        async with connect(auth=[("digest", b"a:b")]) as client:
            await client.add_auth("digest", b"c:d")
            states = client.states()
            while await states.receive() is not SessionState.SUSPENDED:
                pass
            await states.receive()
            await trio.testing.wait_all_tasks_blocked()
    assert packets == 2 * [AuthPacket(0, "digest", b"a:b"), AuthPacket(0, "digest", b"c:d")]


async def test_a_refused_identity_ends_the_session(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            connection = await server.welcome()
            await connection.answer(code=-115)
            await connection.stream.aclose()

        nursery.start_soon(serve)
        async with connect() as client:
            with pytest.raises(AuthFailedError):
                await client.add_auth("nonsense", b"")
            assert client.state is SessionState.AUTH_FAILED
            with pytest.raises(AuthFailedError):
                await client.get("/a")


async def test_unreachable_servers_are_passed_over(server: Any, connect: Connect, autojump_clock: Any) -> None:
    server.unreachable = {Address("one", 1), Address("two", 2)}
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await (await server.welcome()).until_closed()

        nursery.start_soon(serve)
        start = trio.current_time()
        async with connect("one:1,two:2,three:3") as client:
            assert client.server == Address("three", 3)
            assert trio.current_time() == start


async def test_without_any_server_the_attempts_are_paced_and_the_error_says_what_to_check(
    server: Any, connect: Connect, autojump_clock: Any
) -> None:
    server.unreachable = {Address("one", 1), Address("two", 2)}
    start = trio.current_time()
    with pytest.raises(
        ConnectionLossError, match=r"one:1,two:2 within 5000 ms .*Connection refused.* check the address"
    ):
        async with connect("one:1,two:2", connect_timeout_ms=5000):
            pass
    assert trio.current_time() - start == pytest.approx(5)
    assert 6 < len(server.dialled) < 40


async def test_a_server_that_takes_and_drops_us_is_not_dialled_in_a_busy_loop(
    server: Any, connect: Connect, autojump_clock: Any
) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            while True:
                await (await server.welcome()).stream.aclose()

        nursery.start_soon(serve)
        async with connect():
            await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert len(server.dialled) < 40


async def test_a_request_cancelled_before_it_was_sent_is_never_sent(
    server: Any, connect: Connect, autojump_clock: Any
) -> None:
    async with trio.open_nursery() as nursery:
        paths = []

        async def serve() -> None:
            connection = await server.welcome()
            await connection.stream.aclose()
            connection = await server.accept()
            await trio.sleep(1)
            await connection.handshake()
            paths.append(PathWatchRequest.decode((await connection.answer(ANSWER))[1]).path)
            await connection.until_closed()

        nursery.start_soon(serve)
        async with connect() as client:
            states = client.states()
            while await states.receive() is not SessionState.SUSPENDED:
                pass
            with trio.move_on_after(0.5):
                await client.get("/impatient")
            await client.get("/patient")
    assert paths == [b"/patient"]


async def test_a_session_of_read_only_servers_is_not_asked_for_again(
    server: Any, connect: Connect, autojump_clock: Any
) -> None:
    async with trio.open_nursery() as nursery:
        asked = []

        async def serve() -> None:
            connection = await server.welcome(read_only=True)
            await connection.answer(ANSWER)
            await connection.stream.aclose()
            connection = await server.accept()
            asked.append(await connection.handshake(session_id=8))
            await connection.answer(ANSWER)
            await connection.until_closed()

        nursery.start_soon(serve)
        async with connect(read_only=True) as client:
            assert client.state is SessionState.CONNECTED_READ_ONLY
            await client.get("/a")
            states = client.states()
            while await states.receive() is not SessionState.CONNECTED:
                pass
            await client.get("/a")
            assert client.session_id == 8
    assert (asked[0].session_id, asked[0].read_only) == (0, True)


async def test_frames_may_arrive_in_any_pieces(server: Any, connect: Connect, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            connection = await server.welcome()
            xid, _, _ = await connection.request()
            for byte in jute.buffer(jute.int32(xid) + jute.int64(1) + jute.int32(0) + ANSWER):
                await connection.stream.send_all(bytes([byte]))
                await trio.testing.wait_all_tasks_blocked()
            await connection.until_closed()

        nursery.start_soon(serve)
        async with connect() as client:
            assert await client.get("/a") == (b"x", STAT)


@pytest.mark.parametrize("first", [b"HTTP/1.1 400 Bad Request", b"\xff\xff\xff\xff"])
async def test_something_that_is_no_server_is_named_as_such(
    server: Any, connect: Connect, autojump_clock: Any, first: bytes
) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            while True:
                connection = await server.accept()
                await connection.stream.send_all(first)

        nursery.start_soon(serve)
        with pytest.raises(ConnectionLossError, match="is it a ZooKeeper client port"):
            async with connect(connect_timeout_ms=1000):
                pass
        nursery.cancel_scope.cancel()
