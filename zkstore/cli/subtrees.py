"""A subtree of a live server made what it was elsewhere: planned first, as steps to be looked at, then carried out.

A step is a write that any client could make. Steps go out in transactions of some hundred, parents before children and
deletes the other way round, so what was reached when a server fails is a part of the subtree that has its parents.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

import trio

from zkstore.client.client import Client
from zkstore.errors import ClientError, NoNodeError, RequestError
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.paths import ROOT

_STEPS_MAX: Final = 500
_BYTES_MAX: Final = 500_000
_AT_ONCE_MAX: Final = 32

_Read: TypeAlias = "tuple[Znode | None, list[str]] | RequestError | ClientError"
"""A znode, None for an ephemeral, and its children's names; or why it could not be read."""


class Verb(Enum):
    """What a step does."""

    CREATE = "create"
    SET = "set"
    SET_ACL = "setAcl"
    DELETE = "delete"


class Step(NamedTuple):
    """One write. `was` is the data before, None where there was none."""

    verb: Verb
    path: str
    data: bytes | None = None
    acl: tuple[Acl, ...] = OPEN_ACL
    is_container: bool = False
    ttl_ms: int | None = None
    was: bytes | None = None


class Znode(NamedTuple):
    """What a subtree is made of. Ephemerals are their sessions', and are no part of it."""

    data: bytes | None
    acl: tuple[Acl, ...]
    is_container: bool = False
    ttl_ms: int | None = None


class Wanted(NamedTuple):
    """A subtree as it is to be, by path on the server; `ephemerals` were left out."""

    znodes: dict[str, Znode]
    ephemerals: int


def wanted(znodes: Iterable[tuple[bytes, bytes]], below: bytes, target: str) -> Wanted:
    """The subtree at `below` out of (path, record), as it is to be at `target`. ZooKeeper's own znodes are left out."""
    found: dict[str, Znode] = {}
    ephemerals = 0
    prefix = "" if target == "/" else target
    for path, record in znodes:
        if _is_zookeepers(path):
            continue
        extras, owner = records_.extras_of(record), records_.stat_of(record).ephemeral_owner
        if owner:
            ephemerals += 1
            continue
        stored = 0 if extras is None else extras.owner
        rest = path if below == ROOT else path[len(below) :]
        found[prefix + rest.decode() if rest != b"/" else target] = Znode(
            records_.data_of(record),
            OPEN_ACL if extras is None else extras.acl,
            stored == records_.CONTAINER_OWNER,
            records_.ttl_ms_of(stored),
        )
    return Wanted(found, ephemerals)


async def plan(client: Client, target: str, znodes: dict[str, Znode], *, deletes: bool = True) -> list[Step]:
    """What makes the subtree at `target` these znodes. Raises RequestError for what may not be read."""
    there = {path: znode async for path, znode in _read(client, target)}
    steps: list[Step] = []
    for path, znode in sorted(znodes.items()):
        now = there.get(path)
        if now is None:
            if path != "/":
                steps.append(Step(Verb.CREATE, path, znode.data, znode.acl, znode.is_container, znode.ttl_ms))
            continue
        if now.data != znode.data:
            steps.append(Step(Verb.SET, path, znode.data, was=now.data))
        if now.acl != znode.acl:
            steps.append(Step(Verb.SET_ACL, path, acl=znode.acl))
    if deletes:
        gone = [path for path in there if path not in znodes and path != "/" and not _is_zookeepers(path.encode())]
        steps += [Step(Verb.DELETE, path, was=there[path].data) for path in sorted(gone, reverse=True)]
    return steps


async def carry_out(client: Client, steps: list[Step]) -> None:
    """Make them. Raises the RequestError of the first that could not be made; what came before it stands."""
    for batch in _batches(steps):
        transaction = client.transaction()
        for step in batch:
            if step.verb is Verb.CREATE:
                transaction.create(step.path, step.data, acl=step.acl, container=step.is_container, ttl_ms=step.ttl_ms)
            elif step.verb is Verb.SET:
                transaction.set(step.path, step.data)
            elif step.verb is Verb.DELETE:
                transaction.delete(step.path)
        if len(transaction):
            await transaction.commit()
        for step in batch:  # a transaction cannot change an ACL
            if step.verb is Verb.SET_ACL:
                await client.set_acl(step.path, step.acl)


def _batches(steps: list[Step]) -> Iterator[list[Step]]:
    batch: list[Step] = []
    size = 0
    for step in steps:
        cost = len(step.path) + len(step.data or b"") + 64
        if batch and (len(batch) >= _STEPS_MAX or size + cost > _BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(step)
        size += cost
    if batch:
        yield batch


async def _read(client: Client, top: str) -> AsyncIterator[tuple[str, Znode]]:
    """The subtree as it is, without ephemerals; nothing where it is not there."""
    level = [top]
    while level:
        below: list[str] = []
        for first in range(0, len(level), _AT_ONCE_MAX):
            paths = level[first : first + _AT_ONCE_MAX]
            found: dict[str, _Read] = {}
            async with trio.open_nursery() as nursery:
                for path in paths:
                    nursery.start_soon(_read_one, client, path, found)
            for path in paths:
                one = found[path]
                if isinstance(one, NoNodeError):
                    continue  # gone meanwhile
                if isinstance(one, Exception):
                    raise one
                znode, names = one
                if znode is not None:
                    yield path, znode
                    below += [("" if path == "/" else path) + "/" + name for name in names]
        level = [path for path in below if not _is_zookeepers(path.encode())]


async def _read_one(client: Client, path: str, found: dict[str, _Read]) -> None:
    try:
        data, stat = await client.get(path)
        if stat.ephemeral_owner:
            found[path] = None, []
            return
        acl, _ = await client.get_acl(path)
        found[path] = Znode(data, acl), await client.children(path)
    except (RequestError, ClientError) as error:
        found[path] = error


def _is_zookeepers(path: bytes) -> bool:
    return path == b"/zookeeper" or path.startswith(b"/zookeeper/")
