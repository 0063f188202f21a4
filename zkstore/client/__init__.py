"""A ZooKeeper client for trio programs; works with zkstore and with Apache's server.

    async with zkstore.client.connect("127.0.0.1:2181") as client:
        await client.create("/jobs", b"")
        watch = zkstore.client.Watch()
        print(await client.children("/jobs", watch=watch))
        async for event in watch:
            ...

Belongs here: whatever a program on the other side of the network needs. Does not: anything of the server; only
errors, limits, model and wire are shared with it.

Read in this order: `client`, what users call; `session`, which keeps it connected; `watching`; then `connection`,
`transaction`, `chroot` and `hosts`.
"""

from zkstore.client.client import Client, connect
from zkstore.client.connection import dial_tcp, dial_tls
from zkstore.client.history import History, PastEvent
from zkstore.client.hosts import Address
from zkstore.client.session import SessionState
from zkstore.client.transaction import Transaction
from zkstore.client.watching import EventType, Watch, WatchEvent
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import Stat
from zkstore.model.watches import WatchKind
from zkstore.wire.opcodes import AddWatchMode

__all__ = [
    "OPEN_ACL",
    "Acl",
    "AddWatchMode",
    "Address",
    "Client",
    "EventType",
    "History",
    "PastEvent",
    "SessionState",
    "Stat",
    "Transaction",
    "Watch",
    "WatchEvent",
    "WatchKind",
    "connect",
    "dial_tcp",
    "dial_tls",
]
