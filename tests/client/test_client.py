"""Each operation: what goes out, what comes back, and which exception a code becomes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from zkstore.client import OPEN_ACL, Acl, AddWatchMode, Client, EventType, Watch, WatchKind
from zkstore.errors import (
    BadArgumentsError,
    BadVersionError,
    ClientError,
    NodeExistsError,
    NoNodeError,
    NoWatcherError,
)
from zkstore.model.stat import Stat
from zkstore.wire import jute
from zkstore.wire.multi import MultiRequest, MultiResponse, Result
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    CreateRequest,
    CreateTtlRequest,
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
    CreatedResponse,
    DataResponse,
    NumberResponse,
    PathResponse,
    StatResponse,
    WhoAmIResponse,
)

pytestmark = pytest.mark.trio

STAT = Stat(1, 2, 3, 4, 5, 6, 7, 0, 1, 0, 11)
ALL = Acl(31, "digest", "u:x")

OPERATIONS: dict[str, tuple[Callable[[Client], Awaitable[Any]], Opcode, Any, bytes, Any]] = {
    "create": (
        lambda client: client.create("/a", b"x"),
        Opcode.CREATE,
        CreateRequest(b"/app/a", b"x", OPEN_ACL, CreateMode.PERSISTENT),
        PathResponse(b"/app/a").encode(),
        "/a",
    ),
    "create, ephemeral and sequential": (
        lambda client: client.create("/a", None, ephemeral=True, sequential=True, acl=(ALL,)),
        Opcode.CREATE,
        CreateRequest(b"/app/a", None, (ALL,), CreateMode.EPHEMERAL_SEQUENTIAL),
        PathResponse(b"/app/a0000000001").encode(),
        "/a0000000001",
    ),
    "create, container": (
        lambda client: client.create("/a", container=True),
        Opcode.CREATE_CONTAINER,
        CreateRequest(b"/app/a", b"", OPEN_ACL, CreateMode.CONTAINER),
        CreatedResponse(b"/app/a", STAT).encode(),
        "/a",
    ),
    "create with a time to live": (
        lambda client: client.create("/a", ttl_ms=5),
        Opcode.CREATE_TTL,
        CreateTtlRequest(b"/app/a", b"", OPEN_ACL, CreateMode.TTL, 5),
        CreatedResponse(b"/app/a", STAT).encode(),
        "/a",
    ),
    "set": (
        lambda client: client.set("/a", b"x", version=3),
        Opcode.SET_DATA,
        SetDataRequest(b"/app/a", b"x", 3),
        StatResponse(STAT).encode(),
        STAT,
    ),
    "delete": (lambda client: client.delete("/a"), Opcode.DELETE, DeleteRequest(b"/app/a", -1), b"", None),
    "set_acl": (
        lambda client: client.set_acl("/a", (ALL,), version=2),
        Opcode.SET_ACL,
        SetAclRequest(b"/app/a", (ALL,), 2),
        StatResponse(STAT).encode(),
        STAT,
    ),
    "get_acl": (
        lambda client: client.get_acl("/a"),
        Opcode.GET_ACL,
        PathRequest(b"/app/a"),
        AclResponse((ALL,), STAT).encode(),
        ((ALL,), STAT),
    ),
    "get": (
        lambda client: client.get("/"),
        Opcode.GET_DATA,
        PathWatchRequest(b"/app", False),
        DataResponse(None, STAT).encode(),
        (None, STAT),
    ),
    "exists": (
        lambda client: client.exists("/a"),
        Opcode.EXISTS,
        PathWatchRequest(b"/app/a", False),
        StatResponse(STAT).encode(),
        STAT,
    ),
    "children": (
        lambda client: client.children("/a"),
        Opcode.GET_CHILDREN2,
        PathWatchRequest(b"/app/a", False),
        Children2Response((b"z", b"b"), STAT).encode(),
        ["b", "z"],
    ),
    "get_config": (
        lambda client: client.get_config(),
        Opcode.GET_DATA,
        PathWatchRequest(b"/zookeeper/config", False),
        DataResponse(b"version=0", STAT).encode(),
        (b"version=0", STAT),
    ),
    "reconfigure": (
        lambda client: client.reconfigure(joining="server.2=b:1:2;3", leaving="1", from_version=0x10),
        Opcode.RECONFIG,
        ReconfigRequest("server.2=b:1:2;3", "1", None, 0x10),
        DataResponse(b"version=11", STAT).encode(),
        (b"version=11", STAT),
    ),
    "reconfigure, all members": (
        lambda client: client.reconfigure(members="server.2=b:1:2;3"),
        Opcode.RECONFIG,
        ReconfigRequest(None, None, "server.2=b:1:2;3", -1),
        DataResponse(None, STAT).encode(),
        (None, STAT),
    ),
    "ephemerals": (
        lambda client: client.ephemerals("/e"),
        Opcode.GET_EPHEMERALS,
        PathRequest(b"/app/e"),
        ChildrenResponse((b"/app/e2", b"/app/e1")).encode(),
        ["/e1", "/e2"],
    ),
    "descendant_count": (
        lambda client: client.descendant_count("/a"),
        Opcode.GET_ALL_CHILDREN_NUMBER,
        PathRequest(b"/app/a"),
        NumberResponse(4).encode(),
        4,
    ),
    "sync": (lambda client: client.sync("/a"), Opcode.SYNC, PathRequest(b"/app/a"), jute.buffer(b"/app/a"), None),
    "who_am_i": (
        lambda client: client.who_am_i(),
        Opcode.WHO_AM_I,
        None,
        WhoAmIResponse((ClientInfo("ip", "127.0.0.1"),)).encode(),
        [ClientInfo("ip", "127.0.0.1")],
    ),
}


@pytest.fixture
async def client_and_server(server: Any, connect: Callable[..., Client], nursery: trio.Nursery) -> Any:
    """A client below /app, and the server's end of its connection."""
    connections: list[Any] = []

    async def welcome() -> None:
        connections.append(await server.welcome())

    nursery.start_soon(welcome)
    async with connect("one:1/app") as client:
        yield client, connections[0]
        nursery.start_soon(connections[0].until_closed)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_an_operation_is_asked_and_answered(client_and_server: Any, operation: Any) -> None:
    client, connection = client_and_server
    call, opcode, request, answer, result = operation
    asked: list[Any] = []

    async def serve() -> None:
        asked.append(await connection.answer(answer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        assert await call(client) == result
    ((asked_opcode, body),) = asked
    assert asked_opcode == opcode
    if request is not None:
        assert type(request).decode(body) == request


async def failing(connection: Any, code: int, call: Callable[[], Awaitable[Any]]) -> Any:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: connection.answer(code=code))
        try:
            return await call()
        except (ClientError, NoNodeError, BadVersionError, NodeExistsError) as error:
            return error


@pytest.mark.parametrize(
    ("code", "kind"), [(-101, NoNodeError), (-103, BadVersionError), (-110, NodeExistsError), (-99, ClientError)]
)
async def test_a_code_becomes_its_exception_with_the_user_s_path(client_and_server: Any, code: int, kind: Any) -> None:
    client, connection = client_and_server
    error = await failing(connection, code, lambda: client.get("/a"))
    assert type(error) is kind
    assert str(error).endswith(" for /a")


async def test_what_does_not_exist_is_none_and_can_be_waited_for(client_and_server: Any) -> None:
    client, connection = client_and_server
    watch = Watch()
    assert await failing(connection, -101, lambda: client.exists("/a", watch=watch)) is None
    await connection.event(1, b"/app/a", zxid=12)
    assert await watch.receive() == (EventType.NODE_CREATED, "/a", 12)


async def test_a_failed_read_leaves_no_watch(client_and_server: Any) -> None:
    client, connection = client_and_server
    await failing(connection, -101, lambda: client.get("/a", watch=Watch()))
    assert list(client._session.watches.set_watches(0)) == []


async def test_an_event_that_comes_before_the_answer_of_a_later_read_is_there_first(client_and_server: Any) -> None:
    client, connection = client_and_server
    watch = Watch()

    async def serve() -> None:
        await connection.answer(DataResponse(b"1", STAT).encode())
        await connection.event(3, b"/app/a")
        await connection.answer(DataResponse(b"2", STAT).encode())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await client.get("/a", watch=watch)
        assert (await client.get("/a"))[0] == b"2"
    assert watch.receive_nowait().type is EventType.NODE_DATA_CHANGED


async def test_a_persistent_watch_is_added_heard_and_removed(client_and_server: Any) -> None:
    client, connection = client_and_server
    asked: list[Any] = []

    async def serve() -> None:
        asked.append(await connection.answer(NumberResponse(0).encode()))
        await connection.event(1, b"/app/a/b")
        asked.append(await connection.answer())
        asked.append(await connection.answer(code=-121))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        watch = await client.add_watch("/a", AddWatchMode.PERSISTENT_RECURSIVE)
        assert (await watch.receive()).path == "/a/b"
        await client.remove_watches("/a", WatchKind.PERSISTENT_RECURSIVE)
        assert (await watch.receive()).type is EventType.PERSISTENT_WATCH_REMOVED
        with pytest.raises(NoWatcherError):
            await client.remove_watches("/a")
    assert AddWatchRequest.decode(asked[0][1]) == (b"/app/a", AddWatchMode.PERSISTENT_RECURSIVE)
    assert RemoveWatchesRequest.decode(asked[1][1]) == (b"/app/a", WatchKind.PERSISTENT_RECURSIVE)


async def test_a_transaction_gives_one_result_per_write(client_and_server: Any) -> None:
    client, connection = client_and_server
    results = (
        Result(Opcode.CREATE, 0, PathResponse(b"/app/a")),
        Result(Opcode.CREATE2, 0, CreatedResponse(b"/app/c", STAT)),
        Result(Opcode.SET_DATA, 0, StatResponse(STAT)),
        Result(Opcode.CHECK, 0, None),
        Result(Opcode.DELETE, 0, None),
    )
    asked: list[Any] = []

    async def serve() -> None:
        asked.append(await connection.answer(MultiResponse(results).encode()))

    transaction = client.transaction().create("/a", b"").create("/c", container=True).set("/b", b"x", version=1)
    transaction.check("/b", version=2).delete("/b")
    assert len(transaction) == 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        assert await transaction.commit() == ["/a", "/c", STAT, None, None]
    ops = MultiRequest.decode(asked[0][1]).ops
    assert [op.opcode for op in ops] == [
        Opcode.CREATE,
        Opcode.CREATE_CONTAINER,
        Opcode.SET_DATA,
        Opcode.CHECK,
        Opcode.DELETE,
    ]
    assert {op.request.path for op in ops} == {b"/app/a", b"/app/b", b"/app/c"}


async def test_a_failed_transaction_raises_for_the_write_that_failed(client_and_server: Any) -> None:
    client, connection = client_and_server
    results = MultiResponse(tuple(Result(Opcode.ERROR, code, None) for code in (0, -101, -2))).encode()
    transaction = client.transaction().create("/a").delete("/b").delete("/c")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: connection.answer(results))
        with pytest.raises(NoNodeError) as caught:
            await transaction.commit()
    assert caught.value.path == "/b"
    assert caught.value.__notes__ == ["write 2 of 3 in a transaction; none of them was done"]


@pytest.mark.parametrize(
    "kinds",
    [{"ephemeral": True, "container": True}, {"ephemeral": True, "ttl_ms": 1}, {"container": True, "sequential": True}],
)
async def test_kinds_of_znodes_that_exclude_each_other_are_refused(client_and_server: Any, kinds: Any) -> None:
    client, _ = client_and_server
    with pytest.raises(BadArgumentsError):
        await client.create("/a", **kinds)
