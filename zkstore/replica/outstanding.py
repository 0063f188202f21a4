"""The tree as it will be: what the proposed and not yet applied txns make of it.

A request is checked against this view, so that many writes may be under way at once. For each znode that an
outstanding txn touches there is one `Prospect`, which names the last such txn; once that one has been applied, the
tree says it itself and the prospect is retired. If proposals are lost (the disk is full, another leader), the whole
view is cleared and the tree is the truth again.
"""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import Final, NamedTuple

from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.apply import is_stored_only
from zkstore.model.record import image_end
from zkstore.model.stat import STAT_BYTES, children_created
from zkstore.model.tree import Tree


class Prospect(NamedTuple):
    """What a znode will be after the txn `zxid` (0: what the tree says now).

    `created` counts the children it ever had; `owner` is the stored one; `exists` is False where it will be deleted.
    """

    zxid: int
    exists: bool
    version: int
    aversion: int
    created: int
    num_children: int
    owner: int
    acl: tuple[Acl, ...]

    @property
    def is_ephemeral(self) -> bool:
        """Whether a session owns it: no container, no TTL znode."""
        return self.owner != 0 and not is_stored_only(self.owner)


make_prospect: Final = partial(tuple.__new__, Prospect)
"""A Prospect from a tuple of its fields; every write makes one or two, and this is a third of the cost."""

_COUNTS: Final = Struct(">iiiq4xi")  # of a Stat: version, cversion, aversion, owner, number of children
_COUNTS_FROM_END: Final = STAT_BYTES - 32


class Outstanding:
    """Prospects by path, over one tree.

    Attributes:
        prospects: to be used directly by the inner loops, outside of a multi.
    """

    __slots__ = ("_births", "_tree", "_undo", "prospects")

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.prospects: dict[bytes, Prospect] = {}
        self._births: dict[int, dict[bytes, int]] = {}
        self._undo: dict[bytes, Prospect | None] | None = None

    def __len__(self) -> int:
        return len(self.prospects)

    def look(self, path: bytes) -> Prospect | None:
        """What a znode will be, or None if it will not exist."""
        prospect = self.prospects.get(path)
        if prospect is not None:
            return prospect if prospect.exists else None
        record = self._tree.records.get(path)
        if record is None:
            return None
        acl: tuple[Acl, ...] = OPEN_ACL
        if path in self._tree.special:
            version, cversion, aversion, _, num_children = _COUNTS.unpack_from(
                record, image_end(record) - _COUNTS_FROM_END
            )
            owner, acl = self._tree.special[path]
        else:
            version, cversion, aversion, owner, num_children = _COUNTS.unpack_from(
                record, len(record) - _COUNTS_FROM_END
            )
        created = children_created(cversion, num_children) if cversion or num_children else 0
        return make_prospect((0, True, version, aversion, created, num_children, owner, acl))

    def expect(self, path: bytes, prospect: Prospect) -> None:
        """Txn `prospect.zxid`, proposed just now, makes this of a znode."""
        if self._undo is not None and path not in self._undo:
            self._undo[path] = self.prospects.get(path)
        self.prospects[path] = prospect

    def retire(self, path: bytes, zxid: int) -> None:
        """Txn `zxid` has been applied; what a later one makes of the znode stays."""
        prospect = self.prospects.get(path)
        if prospect is not None and prospect.zxid == zxid:
            del self.prospects[path]

    def clear(self) -> None:
        """All proposals are lost, or all are applied."""
        self.prospects.clear()
        self._births.clear()

    # --- ephemerals under way ---------------------------------------------------------------------

    def note_birth(self, session_id: int, path: bytes) -> None:
        """An ephemeral has been proposed."""
        births = self._births.setdefault(session_id, {})
        births[path] = births.get(path, 0) + 1

    def retire_birth(self, session_id: int, path: bytes) -> None:
        """A proposed ephemeral is in the tree, or was taken back."""
        births = self._births.get(session_id)
        if births is not None and path in births:
            births[path] -= 1
            if not births[path]:
                del births[path]
                if not births:
                    del self._births[session_id]

    def ephemerals(self, session_id: int) -> list[bytes]:
        """All that this session will own, in the tree or proposed; what is about to be deleted is not among them."""
        candidates = dict.fromkeys(self._tree.ephemerals.get(session_id, ()))
        candidates.update(dict.fromkeys(self._births.get(session_id, ())))
        owned = []
        for path in candidates:
            prospect = self.look(path)
            if prospect is not None and prospect.owner == session_id:
                owned.append(path)
        return owned

    # --- multi: all or nothing --------------------------------------------------------------------

    def begin(self) -> None:
        """Remember what follows, so that it can be taken back."""
        self._undo = {}

    def keep(self) -> None:
        """What followed `begin` stands."""
        self._undo = None

    def take_back(self) -> None:
        """What followed `begin` has not been."""
        assert self._undo is not None, "nothing was begun"
        for path, prospect in self._undo.items():
            if prospect is None:
                del self.prospects[path]
            else:
                self.prospects[path] = prospect
        self._undo = None
