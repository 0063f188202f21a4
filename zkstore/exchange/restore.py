"""A tree as of some moment becomes the data directory of a new server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zkstore.exchange import landing
from zkstore.exchange.content import checked
from zkstore.exchange.landing import Landed
from zkstore.inspection.source import Source
from zkstore.storage.log import Epochs


def restore(
    source: Source, root: Path, zxid: int | None = None, progress: Callable[[str], None] = lambda _: None
) -> Landed:
    """Make `root`, which must be empty, hold the tree as it was at `zxid`, or last.

    The epochs are the source's, however old the tree: so no zxid is ever given twice by an ensemble that is restored.

    Raises DirectoryUnusableError, DamageError where the source is not sound, and StorageError where it does not reach
    to that zxid. Nothing is left then.
    """
    landing.refuse_unless_empty(root)
    view = source.view(zxid)
    if source.damage:
        raise source.damage[0]
    epochs = source.facts.epochs or Epochs(0, 0)
    landed = landing.land(root, checked(view), view.sessions, view.zxid, epochs, progress)
    if source.damage:
        raise source.damage[0]
    return landed
