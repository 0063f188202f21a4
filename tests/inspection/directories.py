"""A small data directory with a bit of everything, and what its tree was at each zxid."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from tests.storage.histories import SESSION, History, create, delete, open_session, set_data
from zkstore.model.apply import apply
from zkstore.model.tree import Tree
from zkstore.model.txns import (
    CLOSE_SESSION,
    ERROR,
    MULTI,
    SET_ACL,
    CloseSessionTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    Txn,
)
from zkstore.storage.store import CleanNote, Store

EPOCH = 1 << 32
START_MS = 1_700_000_000_000
LONG = b"/app/" + b"l" * 600
OTHER_SESSION = -7


class Made(NamedTuple):
    """A directory, the leader's side of it, and the records at each zxid."""

    root: Path
    history: History
    states: dict[int, dict[bytes, bytes]]

    @property
    def end(self) -> int:
        """The last zxid."""
        return self.history.tree.zxid


def make(root: Path, *, purges: bool = False, closes: bool = True) -> Made:
    """Segments in two epochs; snapshots after the first and second third, a checkpoint in the last; then a tail."""
    history, store = History(), Store.open(root)
    store.recover()
    for number, (epoch, txns) in enumerate(_story()):
        store.append([history.add(*(txn._replace(time_ms=START_MS + 1000 * number) for txn in txns), epoch=epoch)])
        if number in (8, 16, 20):
            history.checkpoint(store)
            if number < 20:
                store.take_snapshot()
    if purges:
        store.log.drop_before(store.snapshots.all()[0].zxid, at_most=100)
    tree = history.tree
    if closes:
        store.close(CleanNote(tree.zxid, tree.digest, START_MS + 60_000))
    else:
        store.close()
    return Made(root, history, states_of(history))


def states_of(history: History) -> dict[int, dict[bytes, bytes]]:
    """The records after each txn, by its zxid."""
    from zkstore.wire import segment as segments_

    tree = Tree.new()
    states = {0: dict(tree.records)}
    for segment in history.segments:
        for zxid, txn in enumerate(segments_.txns(segment), segment.first_zxid):
            apply(tree, zxid, txn)
            states[zxid] = dict(tree.records)
        tree.seal()
    return states


def _story() -> list[tuple[int, list[Txn]]]:
    story: list[tuple[int, list[Txn]]] = [
        (1, [open_session(), open_session(OTHER_SESSION), create(b"/app", b"")]),
        (1, [create(b"/app-b", b"beside"), create(b"/app/a", b"text"), create(b"/app/null", None)]),
        (1, [create(LONG, b"long"), create(b"/app/eph", b"e", owner=SESSION)]),
        (
            1,
            [
                create(b"/zookeeper/quota/app", b""),
                create(b"/zookeeper/quota/app/zookeeper_limits", b"count=99,bytes=-1"),
            ],
        ),
        (1, [create(b"/zookeeper/quota/app/zookeeper_stats", b"count=0,bytes=0")]),
    ]
    story += [(1, [create(b"/app/a/n%02d" % each, b"x" * (each * 9)) for each in range(20)])]
    story += [(1, [set_data(b"/app/a", b"v%d" % each, each)]) for each in range(1, 5)]
    story += [(2, [create(b"/app/big", random.Random(1).randbytes(9000))])]
    story += [(2, [delete(b"/app/a/n%02d" % each), ErrorTxn(ERROR, SESSION, 1, 0, -101)]) for each in range(0, 8, 2)]
    story += [
        (2, [create(b"/many", b"")]),
        (2, [create(b"/many/%03d" % each, b"content %d" % each) for each in range(120)]),
        (2, [SetAclTxn(SET_ACL, SESSION, 1, 0, b"/app/a", ((31, "digest", "u:p"),), 1)]),
        (2, [set_data(LONG, b"longer", 1), delete(b"/app/null")]),
        (2, [create(b"/app/other", b"o", owner=OTHER_SESSION)]),
        (2, [CloseSessionTxn(CLOSE_SESSION, OTHER_SESSION, 0, 0, (b"/app/other",))]),
        (2, [set_data(b"/many/%03d" % each, b"again %d" % each, 1) for each in range(0, 120, 5)]),
        (2, [delete(b"/many/%03d" % each) for each in range(1, 120, 7)]),
        (2, [MultiTxn(MULTI, SESSION, 1, 0, (create(b"/new", b"n"), set_data(b"/app/a", b"m", 5)))]),
        (2, [create(b"/new/deep", b"d"), create(b"/new/deep/er", b"er")]),
    ]
    return story
