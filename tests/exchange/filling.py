"""Something of everything on a server, and all that a client can see of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError
from kazoo.security import make_acl, make_digest_acl

from tests.interop.raw import RawClient, request
from tools.differential_play import SUPER_CREDENTIAL
from zkstore.model.acl import OPEN_ACL
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import CreateRequest, CreateTtlRequest


class Seen(NamedTuple):
    """A znode as clients see it."""

    data: bytes
    stat: Any
    acl: Any


def fill(client: KazooClient, raw: RawClient) -> None:
    """Znodes of every kind, with a past; sessions and their ephemerals stay."""
    client.create("/app", b"one")
    client.set("/app", b"two")
    client.create("/app/grüße/tief", "ähm".encode(), makepath=True)
    client.create("/app/binary", bytes(range(256)))
    client.create("/app/empty", b"")
    client.create("/app/mine", b"1", ephemeral=True)
    for _ in range(5):
        client.create("/app/job-", b"", sequence=True)
    client.create("/app/turn-", b"", sequence=True, ephemeral=True)
    client.delete("/app/job-0000000004")
    client.create(
        "/secret", b"s", acl=[make_digest_acl("user", "word", all=True), make_acl("ip", "10.0.0.0/8", read=True)]
    )
    client.create("/open/then/shut", b"", makepath=True)
    client.set_acls("/open/then/shut", [make_acl("world", "anyone", read=True, admin=True)])
    client.set_acls("/open", [make_acl("world", "anyone", all=True)])
    for count in range(20):
        client.create(f"/gone-{count}")
        client.delete(f"/gone-{count}")
    transaction = client.transaction()
    transaction.create("/multi", b"")
    transaction.create("/multi/a", b"1")
    transaction.set_data("/app/empty", b"full")
    transaction.check("/app/empty", 1)
    transaction.delete("/app/job-0000000005")
    assert not [each for each in transaction.commit() if isinstance(each, Exception)]
    transaction = client.transaction()
    transaction.create("/never", b"")
    transaction.create("/app", b"")
    transaction.commit()
    with suppress(NodeExistsError):
        client.create("/app")
    client.create("/zookeeper/quota/app/zookeeper_limits", b"count=100,bytes=-1", makepath=True)
    client.create("/zookeeper/quota/app/zookeeper_stats", b"count=0,bytes=0")
    client.create("/app/counted", b"12345")
    null = CreateRequest(b"/null", None, OPEN_ACL, CreateMode.PERSISTENT)
    container = CreateRequest(b"/container", b"c", OPEN_ACL, CreateMode.CONTAINER)
    ttl = CreateTtlRequest(b"/ttl", b"t", OPEN_ACL, CreateMode.TTL, 3_600_000)
    raw_mine = CreateRequest(b"/raw-mine", b"", OPEN_ACL, CreateMode.EPHEMERAL)
    for number, (opcode, body) in enumerate(
        (
            (Opcode.CREATE, null.encode()),
            (Opcode.CREATE_CONTAINER, container.encode()),
            (Opcode.CREATE_TTL, ttl.encode()),
            (Opcode.CREATE, raw_mine.encode()),
        ),
        1,
    ):
        assert raw.ask(request(number, opcode, body)).code == 0
    client.create("/container/child", b"")


def everything(hosts: str) -> dict[str, Seen]:
    """All znodes of a server, seen by its super user."""
    client = KazooClient(hosts, timeout=20)
    client.start(timeout=20)
    try:
        client.add_auth("digest", SUPER_CREDENTIAL.decode())
        found: dict[str, Seen] = {}
        paths = ["/"]
        while paths:
            path = paths.pop()
            data, stat = client.get(path)
            found[path] = Seen(data, stat, client.get_acls(path)[0])
            paths += [f"{path.rstrip('/')}/{name}" for name in client.get_children(path)]
        return found
    finally:
        client.stop()
        client.close()
