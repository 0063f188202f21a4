"""What clients use a coordination server for, each as a generator: it yields what to ask and gets the answers.

A recipe must cope with any answer: others work on the same znodes, and nobody promises that a znode exists. It is
simply dropped when the connection is lost. Paths come from a few small sets, so that clients get into each other's way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from typing import Final, NamedTuple

from zkstore.model import acl as acls
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import STAT, STAT_BYTES, Stat
from zkstore.model.watches import WatchKind
from zkstore.testing.checkers.history import Call, Record
from zkstore.wire.jute import AclList, Reader
from zkstore.wire.multi import MultiRequest, Op
from zkstore.wire.opcodes import AddWatchMode, CreateMode, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    CheckVersionRequest,
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


class Ask(NamedTuple):
    """One request."""

    opcode: int
    record: Record | None


class Pause(NamedTuple):
    """Nothing for so long."""

    us: int


class Await(NamedTuple):
    """Nothing until a watch event comes, at most for so long."""

    us: int


Step = tuple[Ask, ...] | Pause | Await
Recipe = Generator[Step, list[Call], None]
"""Yields requests, which are sent at once, and gets the answers to all of them; or waits, and gets an empty list."""

CREDENTIALS: Final = (None, b"alice:a", b"bob:b")

ROOTS: Final = (b"/config", b"/locks", b"/election", b"/queue", b"/counters", b"/members", b"/tree", b"/big", b"/vault")
_KEYS: Final = 4
_LOCKS: Final = (b"/locks", b"/election")
_BIG_BYTES: Final = (20_000, 150_000, 900_000)
_SECOND_US: Final = 1_000_000


# --- requests -------------------------------------------------------------------------------------


def create(path: bytes, data: bytes = b"", flags: int = 0, acl: AclList = OPEN_ACL, opcode: int = Opcode.CREATE) -> Ask:
    """create, create2 or createContainer."""
    return Ask(opcode, CreateRequest(path, data, acl, flags))


def delete(path: bytes, version: int = -1) -> Ask:
    """delete."""
    return Ask(Opcode.DELETE, DeleteRequest(path, version))


def set_data(path: bytes, data: bytes, version: int = -1) -> Ask:
    """setData."""
    return Ask(Opcode.SET_DATA, SetDataRequest(path, data, version))


def get(opcode: int, path: bytes, watch: bool = False) -> Ask:
    """exists, getData, getChildren, getChildren2."""
    return Ask(opcode, PathWatchRequest(path, watch))


def ask_path(opcode: int, path: bytes) -> Ask:
    """sync, getACL, getEphemerals, getAllChildrenNumber."""
    return Ask(opcode, PathRequest(path))


def multi(*asks: Ask) -> Ask:
    """All of them or none."""
    return Ask(Opcode.MULTI, MultiRequest(tuple([Op(opcode, record) for opcode, record in asks])))  # type: ignore[arg-type]


def check(path: bytes, version: int) -> Ask:
    """check, inside a multi."""
    return Ask(Opcode.CHECK, CheckVersionRequest(path, version))


# --- answers --------------------------------------------------------------------------------------


def stat_of(call: Call) -> Stat:
    """The Stat that an answer ends with."""
    return Stat._make(STAT.unpack(call.body[-STAT_BYTES:]))


def _names(call: Call) -> list[bytes]:
    names = Reader(call.body).vector(Reader.buffer) or ()
    return sorted(name for name in names if name is not None)


def _number(call: Call) -> int:
    data = Reader(call.body).buffer() or b""
    return int(data) if data.isdigit() else 0


# --- recipes --------------------------------------------------------------------------------------


def _key(random: Random, root: bytes) -> bytes:
    return b"%s/%d" % (root, random.randrange(_KEYS))


def shared_configuration(random: Random) -> Recipe:
    """Read, change, write back under the version that was read."""
    path = _key(random, b"/config")
    (found,) = yield (get(Opcode.GET_DATA, path, random.random() < 0.3),)
    if found.code:
        yield (create(path, b"0", opcode=Opcode.CREATE2),)
    else:
        yield (set_data(path, b"%d" % (_number(found) + 1), stat_of(found).version),)


def counter(random: Random) -> Recipe:
    """Count up under the guard of a check; a failure is tried again."""
    path = _key(random, b"/counters")
    for _ in range(3):
        (found,) = yield (get(Opcode.GET_DATA, path),)
        if found.code:
            yield (create(path, b"0"),)
            continue
        version = stat_of(found).version
        bump = set_data(path, b"%d" % (_number(found) + 1), -1)
        (done,) = yield (multi(check(path, version), bump),)
        if done.body[:4] != b"\xff\xff\xff\xff":
            return


def lock(random: Random) -> Recipe:
    """A lock or an election: the lowest sequence number has it, everybody else watches the one before."""
    root = random.choice(_LOCKS)
    (made,) = yield (create(root + b"/n-", b"", CreateMode.EPHEMERAL_SEQUENTIAL),)
    if made.code:
        return
    path = Reader(made.body).buffer() or b""
    for _ in range(6):
        (listed,) = yield (get(Opcode.GET_CHILDREN, root),)
        names = [root + b"/" + name for name in _names(listed)] if not listed.code else []
        if path not in names:
            return
        place = names.index(path)
        if place == 0:
            yield (set_data(root, path),)
            yield Pause(random.randrange(_SECOND_US // 10))
            break
        (before,) = yield (get(Opcode.EXISTS, names[place - 1], True),)
        if not before.code:
            yield Await(_SECOND_US // 2)
    yield (delete(path),)


def queue(random: Random) -> Recipe:
    """Producers put several in at once, consumers take the first one."""
    if random.random() < 0.5:
        item = create(b"/queue/i-", random.randbytes(20), CreateMode.PERSISTENT_SEQUENTIAL)
        yield (item,) * random.randrange(1, 6)
        return
    (listed,) = yield (get(Opcode.GET_CHILDREN2, b"/queue", random.random() < 0.3),)
    if listed.code or not _names(listed):
        return
    for name in _names(listed)[:3]:
        path = b"/queue/" + name
        (found,) = yield (get(Opcode.GET_DATA, path),)
        if not found.code:
            yield (delete(path, 0),)


def membership(random: Random) -> Recipe:
    """Be there, see who else is."""
    path = b"/members/%d" % random.randrange(3 * _KEYS)
    yield (
        create(path, b"here", CreateMode.EPHEMERAL, opcode=Opcode.CREATE2),
        ask_path(Opcode.GET_EPHEMERALS, b"/members"),
        get(Opcode.GET_CHILDREN, b"/members", True),
    )
    yield Pause(random.randrange(_SECOND_US // 5))
    (_,) = yield (create(path + b"/child"),)
    if random.random() < 0.5:
        yield (delete(path),)


def churn(random: Random) -> Recipe:
    """Some ephemerals, and the session's end."""
    yield tuple(
        create(b"/members/s%d" % random.randrange(100), b"", CreateMode.EPHEMERAL) for _ in range(random.randrange(4))
    )
    yield (Ask(Opcode.CLOSE_SESSION, None),)


def watching(random: Random) -> Recipe:
    """Leave watches of all kinds, and see what becomes of them."""
    asks = []
    for _ in range(random.randrange(1, 5)):
        path = _tree_path(random)
        asks.append(
            random.choice(
                (
                    get(Opcode.EXISTS, path, True),
                    get(Opcode.GET_DATA, path, True),
                    get(Opcode.GET_CHILDREN, path, True),
                    get(Opcode.GET_CHILDREN2, path, True),
                    Ask(Opcode.ADD_WATCH, AddWatchRequest(path, AddWatchMode.PERSISTENT)),
                    Ask(Opcode.ADD_WATCH, AddWatchRequest(path, AddWatchMode.PERSISTENT_RECURSIVE)),
                    Ask(Opcode.CHECK_WATCHES, RemoveWatchesRequest(path, random.choice(list(WatchKind)))),
                    Ask(Opcode.REMOVE_WATCHES, RemoveWatchesRequest(path, random.choice(list(WatchKind)))),
                )
            )
        )
    yield tuple(asks)
    yield Await(_SECOND_US // 5)


def _tree_path(random: Random) -> bytes:
    depth = random.choice((0, 1, 1, 2, 2, 3))
    return b"/tree" + b"".join([b"/%c" % random.choice(b"ab") for _ in range(depth)])


def _change(random: Random) -> Ask:
    path = _tree_path(random)
    flags = random.choice((0, 0, 0, CreateMode.EPHEMERAL, CreateMode.PERSISTENT_SEQUENTIAL))
    return random.choice(
        (
            create(path, random.randbytes(8), flags),
            create(path, random.randbytes(8), flags, opcode=Opcode.CREATE2),
            set_data(path, random.randbytes(random.randrange(40)), random.choice((-1, -1, -1, 0, 1))),
            delete(path, random.choice((-1, -1, 0))),
        )
    )


def _harmless_change(random: Random) -> Ask:
    return random.choice(
        (
            create(b"/members/m-", b"", CreateMode.EPHEMERAL_SEQUENTIAL, opcode=Opcode.CREATE2),
            create(b"/tree/m-", b"", CreateMode.PERSISTENT_SEQUENTIAL),
            set_data(b"/tree", random.randbytes(8)),
        )
    )


def _look(random: Random) -> Ask:
    path = _tree_path(random)
    return random.choice(
        (
            get(Opcode.EXISTS, path),
            get(Opcode.GET_DATA, path),
            get(Opcode.GET_CHILDREN, path),
            get(Opcode.GET_CHILDREN2, path),
            ask_path(Opcode.GET_ACL, path),
            ask_path(Opcode.GET_ALL_CHILDREN_NUMBER, path),
            Ask(Opcode.MULTI_READ, MultiRequest((Op(Opcode.GET_DATA, PathWatchRequest(path, False)),) * 2)),
        )
    )


def several(random: Random) -> Recipe:
    """Several changes of a small tree, all or nothing; many of them fail."""
    change = random.choice((_change, _harmless_change))
    changes = [change(random) for _ in range(random.randrange(1, 6))]
    if random.random() < 0.3:
        changes.insert(random.randrange(len(changes) + 1), check(_tree_path(random), random.choice((-1, 0))))
    yield (multi(*changes), _look(random))


def clear_away(random: Random) -> Recipe:
    """Delete what is below a znode, and the znode."""
    path = random.choice((b"/tree", b"/tree/a", b"/tree/b", b"/tree/a/a", b"/tree/b/b"))
    (listed,) = yield (get(Opcode.GET_CHILDREN2, path),)
    if not listed.code:
        yield (*(delete(path + b"/" + name) for name in _names(listed)), delete(path))


def pipelined(random: Random) -> Recipe:
    """A burst of everything, without waiting for any of it."""
    yield tuple(_change(random) if random.random() < 0.5 else _look(random) for _ in range(random.randrange(2, 15)))


def sync_then_read(random: Random) -> Recipe:
    """What everybody has been told of must be there."""
    path = _key(random, b"/config")
    yield (ask_path(Opcode.SYNC, path), get(Opcode.GET_DATA, path))


def big_values(random: Random) -> Recipe:
    """Values as large as a frame allows."""
    path = _key(random, b"/big")
    size = random.choice(_BIG_BYTES) if random.random() < 0.2 else 3_000
    value = random.randbytes(16) * (size // 16)
    (done,) = yield (set_data(path, value),)
    if done.code:
        yield (create(path, value),)
    yield (get(Opcode.GET_DATA, path),)


def guarded(random: Random) -> Recipe:
    """Znodes that not everybody may read or write."""
    path = _key(random, b"/vault")
    acl = random.choice(
        (
            OPEN_ACL,
            (Acl(acls.READ, "world", "anyone"), Acl(acls.ALL, "digest", acls.digest_id(b"alice:a"))),
            (Acl(acls.ALL, "digest", acls.digest_id(b"bob:b")),),
            (Acl(acls.READ | acls.ADMIN, "world", "anyone"),),
        )
    )
    yield (
        create(path, b"secret", acl=acl),
        Ask(Opcode.SET_ACL, SetAclRequest(path, acl, random.choice((-1, -1, 0, 1)))),
        ask_path(Opcode.GET_ACL, path),
        get(Opcode.GET_DATA, path, True),
        set_data(path, random.randbytes(4)),
        create(path + b"/below"),
        delete(path + b"/below"),
    )
    if random.random() < 0.3:
        yield (delete(path),)


def short_lived(random: Random) -> Recipe:
    """Containers and TTL znodes, which the leader takes away."""
    container = b"/tree/box%d" % random.randrange(3)
    yield (
        create(container, b"", CreateMode.CONTAINER, opcode=Opcode.CREATE_CONTAINER),
        create(container + b"/c-", b"", CreateMode.PERSISTENT_SEQUENTIAL),
        Ask(Opcode.CREATE_TTL, CreateTtlRequest(b"/tree/ttl-", b"", OPEN_ACL, CreateMode.TTL_SEQUENTIAL, 3_000)),
        get(Opcode.GET_CHILDREN, container),
    )
    (listed,) = yield (get(Opcode.GET_CHILDREN, container),)
    if not listed.code:
        yield tuple(delete(container + b"/" + name) for name in _names(listed)[:4])


def membership_of_servers(random: Random) -> Recipe:
    """Who the servers are; and a change of them that is not this client's to make."""
    yield (
        get(Opcode.GET_DATA, b"/zookeeper/config", random.random() < 0.5),
        Ask(Opcode.RECONFIG, ReconfigRequest(None, "1", None, random.choice((-1, 1)))),
    )


RECIPES: Final[tuple[tuple[Callable[[Random], Recipe], int], ...]] = (
    (shared_configuration, 20),
    (counter, 10),
    (lock, 10),
    (queue, 12),
    (membership, 6),
    (churn, 3),
    (watching, 14),
    (several, 12),
    (clear_away, 5),
    (pipelined, 8),
    (sync_then_read, 14),
    (big_values, 3),
    (guarded, 6),
    (short_lived, 3),
    (membership_of_servers, 1),
)
"""All of them, and how often each is chosen."""
