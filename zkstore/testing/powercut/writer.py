"""Makes what a leader would have a store write: segments that continue each other, and the tree they lead to."""

from __future__ import annotations

from copy import deepcopy
from random import Random
from typing import Final

from zkstore.model.apply import apply_segment
from zkstore.model.stat import Stat
from zkstore.model.tree import Tree
from zkstore.model.txns import (
    CLOSE_SESSION,
    CREATE,
    CREATE_SESSION,
    DELETE,
    MULTI,
    SET_DATA,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    SetDataTxn,
    Txn,
)
from zkstore.model.zxid import epoch_of
from zkstore.wire import segment as segments_
from zkstore.wire.segment import Segment

_TIME_MS: Final = 1_700_000_000_000
_NAMES_MAX: Final = 60
_BYTES: Final = (0, 10, 10, 100, 900, 3_000, 9_000)
_BIG_BYTES: Final = 150_000


class Writer:
    """One history, from an empty tree or from where another one has come to.

    Attributes:
        tree: after all segments made so far.
        crc: of the last one.
    """

    def __init__(self, random: Random, tree: Tree | None = None, crc: int = 0) -> None:
        self.tree = Tree.new() if tree is None else tree
        self.crc = crc
        self._random = random
        self._epoch = max(1, epoch_of(self.tree.zxid))
        self._committed: tuple[int, int] | None = None

    def fork(self) -> Writer:
        """Another one at the same place."""
        other = Writer(self._random, deepcopy(self.tree), self.crc)
        other._epoch, other._committed = self._epoch, self._committed
        return other

    def uncommitted(self) -> Writer:
        """Another one at the same place, whose segments say of nothing but this place that it is committed: as those
        do that may be cut off."""
        other = self.fork()
        other._committed = self.tree.zxid, self.tree.digest
        return other

    def arrived(self) -> Writer:
        """Another one whose tree came here whole, so that a checkpoint has it all already."""
        tree = Tree.load(self.tree.records.items(), dict(self.tree.sessions), self.tree.zxid, self.tree.digest)
        other = Writer(self._random, tree, self.crc)
        other._epoch = self._epoch
        return other

    def next_epoch(self) -> int:
        """All that follows is of a new epoch: its number."""
        self._epoch += 1
        return self._epoch

    def group(self, count: int, *, big: bool = False) -> list[Segment]:
        """Several segments of one or a few drawn txns each; the last one is `big`."""
        return [self._segment(big=big and index == count - 1) for index in range(count)]

    # --- inside -----------------------------------------------------------------------------------

    def _segment(self, *, big: bool) -> Segment:
        tree, random = self.tree, self._random
        prev_zxid = tree.zxid
        first_zxid = max(prev_zxid, self._epoch << 32) + 1
        committed_zxid, digest = self._committed or (tree.zxid, tree.digest)
        txns: list[Txn] = []
        for number in range(random.choice((1, 1, 2, 5))):
            txn = self._txn(_BIG_BYTES if big and not txns else random.choice(_BYTES))
            apply_segment(tree, first_zxid + number, (txn,))
            txns.append(txn)
        segment = segments_.encode(
            txns,
            prev_zxid=prev_zxid,
            first_zxid=first_zxid,
            digest_zxid=committed_zxid,
            digest=digest,
            prev_crc=self.crc,
        )
        self.crc = segment.crc
        return segment

    def _txn(self, size: int) -> Txn:
        kind = self._random.choice(("change", "change", "change", "multi", "session"))
        if kind == "session":
            return self._session()
        if kind == "change":
            return self._change(self._random.randrange(_NAMES_MAX), size)
        names = self._random.sample(range(_NAMES_MAX), 3)
        return MultiTxn(MULTI, 1, 1, _TIME_MS, tuple(self._change(name, size // 3) for name in names))

    def _change(self, number: int, size: int) -> CreateTxn | SetDataTxn | DeleteTxn:
        path = b"/n%02d" % number if number % 9 else b"/n%02d-%s" % (number, b"long" * 130)
        data = self._random.randbytes(size)
        if path not in self.tree.records:
            return CreateTxn(CREATE, 1, 1, _TIME_MS, path, data, None, 0)
        if self._random.random() < 0.3:
            return DeleteTxn(DELETE, 1, 1, _TIME_MS, path)
        stat: Stat = self.tree.stat(path)
        return SetDataTxn(SET_DATA, 1, 1, _TIME_MS, path, data, stat.version + 1)

    def _session(self) -> Txn:
        sessions = list(self.tree.sessions)
        if sessions and self._random.random() < 0.5:
            return CloseSessionTxn(CLOSE_SESSION, self._random.choice(sessions), 0, _TIME_MS, ())
        number = self._random.getrandbits(40)
        return CreateSessionTxn(CREATE_SESSION, number, 0, _TIME_MS, 30_000, self._random.randbytes(16))
