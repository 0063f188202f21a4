"""From Apache's tree to ours: records with the Stats that clients see, passwords, and what every tree has.

Apache stores how many children a znode ever had and shows 2 x created - present; we store what is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from zkstore.errors import DamageError
from zkstore.exchange.apache.tree import OPEN_ACL_KEY, RAW_TAIL_BYTES, ApacheTree
from zkstore.limits import PASSWORD_BYTES
from zkstore.model import quotas
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.apply import is_stored_only
from zkstore.model.paths import CONFIG, ROOT
from zkstore.model.quotas import LIMITS_NAME, QUOTA_ROOT, STATS_NAME
from zkstore.model.stat import Stat, wrap32
from zkstore.model.tree import READ_ONLY_ACL, SessionRecord

_RAW_FIELDS: Final = Struct(">q32siiiqq")
_STAT: Final = Struct(">32siiiqiiq")
_LENGTH: Final = Struct(">i")
_PROGRESS_ZNODES: Final = 100_000

_PASSWORD_SEED: Final = 0xB3415C00
_RANDOM_FACTOR: Final = 0x5DEECE66D
_RANDOM_MASK: Final = (1 << 48) - 1


class Settled(NamedTuple):
    """What was done to the tree to make it one that a server would serve.

    Attributes:
        orphans: ephemerals of sessions that are gone; they were dropped, as a ZooKeeper leader drops them at its start.
        old_members: the data of /zookeeper/config, which was dropped: the members of the old ensemble.
    """

    orphans: list[bytes]
    old_members: bytes


def settle(tree: ApacheTree, zxid: int) -> Settled:
    """What Apache does at a start behind the replay: drop ephemerals without a session, count below quotas anew, and
    make the znodes that every tree has where an old server had none. The members of the old ensemble go, because the
    new one is told its own by its configuration."""
    orphans = tree.orphans()
    for path in orphans:
        tree.delete(zxid, path)
    for path in (b"/zookeeper", QUOTA_ROOT):
        if path not in tree.nodes:
            tree.load(path, bytes(4) + _RAW_FIELDS.pack(OPEN_ACL_KEY, bytes(32), 0, 0, 0, 0, 0))
    old_members = tree.nodes.get(CONFIG, b"")[4:-RAW_TAIL_BYTES]
    if old_members or CONFIG not in tree.nodes:
        fields = (tree.acl_key(READ_ONLY_ACL), bytes(32), 0, 0, -1, 0, 0)
        tree.nodes[CONFIG] = bytes(4) + _RAW_FIELDS.pack(*fields)
    _count_quotas(tree)
    return Settled(orphans, old_members)


def _count_quotas(tree: ApacheTree) -> None:
    """A snapshot's figures are those of some moment; nothing in the log changes them."""
    nodes = tree.nodes
    governed = {
        path[len(QUOTA_ROOT) : -len(LIMITS_NAME)]
        for path in nodes
        if path.startswith(QUOTA_ROOT) and path.endswith(LIMITS_NAME)
    }
    used = {path: [0, 0] for path in governed if path and QUOTA_ROOT + path + STATS_NAME in nodes}
    if not used:
        return
    for path, raw in nodes.items():
        above = path
        while above:
            usage = used.get(above)
            if usage is not None:
                usage[0] += 1
                usage[1] += len(raw) - RAW_TAIL_BYTES - 4
            above = _parent(above)
    for path, (count, data_bytes) in used.items():
        stats_path, text = QUOTA_ROOT + path + STATS_NAME, quotas.usage_text(count, data_bytes)
        nodes[stats_path] = _LENGTH.pack(len(text)) + text + nodes[stats_path][-RAW_TAIL_BYTES:]


def records(tree: ApacheTree, progress: Callable[[str], None]) -> Iterator[tuple[bytes, bytes]]:
    """Every znode as (path, record), in the order of paths. The tree is used up: its memory goes as records are made.

    Raises DamageError for a znode without parent, or with an ACL that the files do not hold.
    """
    nodes = tree.nodes
    counts = Counter(map(_parent, nodes))
    counts[b""] -= 1  # the root is not its own child
    missing = next((parent for parent in counts if parent not in nodes), None)
    if missing is not None:
        raise DamageError(f"there are children of {missing[:80]!r}, which does not exist")
    every_extras: dict[int, bytes] = {OPEN_ACL_KEY: b""}
    for number, path in enumerate(sorted(nodes), 1):
        raw = nodes.pop(path)
        at = len(raw) - RAW_TAIL_BYTES
        key, fixed, version, cversion, aversion, owner, pzxid = _RAW_FIELDS.unpack_from(raw, at)
        count = counts.get(path, 0)
        shown_owner = owner if owner and not is_stored_only(owner) else 0
        shown_cversion = wrap32(2 * cversion - count)
        stat = _STAT.pack(fixed, version, shown_cversion, aversion, shown_owner, at - 4, count, pzxid)
        extras = every_extras.get(key)
        if extras is None or owner:
            extras = _extras(tree, path, key, owner, shown_owner)
            if not owner:
                every_extras[key] = extras
        yield path or ROOT, raw[:at] + stat + extras
        if number % _PROGRESS_ZNODES == 0:
            progress(f"{number:,} znodes written")


def _extras(tree: ApacheTree, path: bytes, key: int, owner: int, shown_owner: int) -> bytes:
    acl = tree.acls.get(key)
    if acl is None:
        raise DamageError(f"the ACL of {path[:80]!r} is number {key}, which the files do not hold")
    return extras_of(acl, owner, shown_owner)


def extras_of(acl: tuple[Acl, ...], owner: int, shown_owner: int) -> bytes:
    """What a record has behind its image."""
    if acl == OPEN_ACL and owner == shown_owner:
        return b""
    stat = Stat(0, 0, 0, 0, 0, 0, 0, shown_owner, 0, 0, 0)
    return records_.make(None, stat, acl, owner)[records_.IMAGE_OVERHEAD :]


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def sessions(tree: ApacheTree) -> dict[int, SessionRecord]:
    """All sessions with the passwords that their clients have."""
    return {
        session_id: SessionRecord(timeout_ms, password_of(session_id))
        for session_id, timeout_ms in tree.sessions.items()
    }


def password_of(session_id: int) -> bytes:
    """The password that an Apache server derives from a session's id: bytes of java.util.Random, seeded with it.

    So a client of the old server comes back to the new one with its session, which looks like any other here.
    """
    state = (session_id ^ _PASSWORD_SEED ^ _RANDOM_FACTOR) & _RANDOM_MASK
    password = b""
    while len(password) < PASSWORD_BYTES:
        state = state * _RANDOM_FACTOR + 0xB & _RANDOM_MASK
        password += (state >> 16).to_bytes(4, "little")
    return password
