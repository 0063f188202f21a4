"""The tree of a live server as records, read through the client, so many znodes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import trio

from zkstore.client.client import Client
from zkstore.errors import ClientError, NoNodeError, ProtocolError, RequestError
from zkstore.model import record as records_

_AT_ONCE_MAX: Final = 32
_ZOOKEEPERS: Final = "/zookeeper"
_FAILURES: Final = (RequestError, ClientError, ProtocolError)


async def read(client: Client, top: str) -> dict[bytes, bytes]:
    """A znode and all below it, by path; ZooKeeper's own znodes are left out, and what goes meanwhile.

    Containers and TTLs look like ordinary znodes here: no request tells them. Raises RequestError for what may not be
    read.
    """
    found: dict[bytes, bytes] = {}
    waiting = [top]
    while waiting:
        paths, waiting = waiting[-_AT_ONCE_MAX:], waiting[:-_AT_ONCE_MAX]
        below: list[list[str]] = [[] for _ in paths]
        errors: list[Exception] = []
        async with trio.open_nursery() as nursery:
            for number, path in enumerate(paths):
                nursery.start_soon(_read_one, client, path, found, below[number], errors)
        if errors:
            raise errors[0]
        waiting += [path for names in below for path in names if path != _ZOOKEEPERS]
    return found


async def _read_one(
    client: Client, path: str, found: dict[bytes, bytes], below: list[str], errors: list[Exception]
) -> None:
    try:
        data, stat = await client.get(path)
        acl, _ = await client.get_acl(path)
        names = await client.children(path) if stat.num_children else []
    except NoNodeError:
        return  # gone meanwhile
    except _FAILURES as error:
        errors.append(error)
        return
    found[path.encode()] = records_.make(data, stat, acl, stat.ephemeral_owner)
    below += [("" if path == "/" else path) + "/" + name for name in names]


def slices(found: dict[bytes, bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
    """It as a view gives it, in the order of paths."""
    rows = sorted(found.items())
    for first in range(0, len(rows), 1000):
        yield rows[first : first + 1000]
