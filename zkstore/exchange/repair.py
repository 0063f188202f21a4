"""What is right in a damaged data directory becomes a new one; the damaged one is only read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from zkstore.errors import DamageError, StorageError
from zkstore.exchange import landing
from zkstore.exchange.content import checked
from zkstore.exchange.landing import Landed
from zkstore.inspection import salvaging
from zkstore.inspection.salvaging import LeftOut
from zkstore.inspection.source import Source
from zkstore.storage.log import Epochs


class Repaired(NamedTuple):
    """What was saved, and what was not."""

    landed: Landed
    left_out: LeftOut


def repair(source: Source, root: Path, progress: Callable[[str], None] = lambda _: None) -> Repaired:
    """Make `root`, which must be empty, hold the newest tree of the source that is provably right.

    Raises DirectoryUnusableError, and StorageError where no tree is sound; nothing is left then.
    """
    landing.refuse_unless_empty(root)
    epochs = source.facts.epochs or Epochs(0, 0)
    for view in salvaging.views(source):
        try:
            landed = landing.land(root, checked(view), view.sessions, view.zxid, epochs, progress)
        except DamageError as error:
            progress(f"the tree at {view.zxid:#x} is not sound: {error}")
            continue
        return Repaired(landed, salvaging.left_out(source, landed.zxid))
    raise StorageError(
        "no tree in here is sound, neither checkpoint nor snapshot, and the log does not reach back to the beginning",
        where=source.facts.path,
        advice="Start on a backup (`zkstore restore`), or give an ensemble's server an empty directory: it is sent all"
        " by the others",
    )
