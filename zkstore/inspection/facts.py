"""What is known of a source before its znodes or txns are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from zkstore.storage.log import Epochs, Link
from zkstore.storage.store import CleanNote

_BEGINNING: Final = Link(0, 0)


class ImageFacts(NamedTuple):
    """A checkpoint or snapshot. `data_bytes` and `ephemerals` are None where only reading all of it tells."""

    kind: str
    path: Path
    zxid: int
    digest: int
    crc: int
    znodes: int
    data_bytes: int | None
    ephemerals: int | None
    size_bytes: int


class Reach(NamedTuple):
    """Zxids at which the tree can be seen, both included."""

    first_zxid: int
    last_zxid: int


@dataclass(slots=True)
class Facts:
    """What there is.

    Attributes:
        path: what was opened.
        kind: "data directory", "checkpoint", "snapshot" or "backup".
        log_path: of the log's directory; None where there is no log.
        formats: format version by what has it.
        store_id, ensemble_id: hex; "" where there is none.
        start, end: of the log; of the one image where there is no log.
        checkpoint: None where there is none, or it cannot be read.
        snapshots: oldest first.
        reach: where the tree can be seen, oldest first.
        clean: the note of an orderly stop.
        holder: who says that the directory is theirs, a server most likely; "" for nobody.
        committed_zxid: up to there the log is known to be committed; what lies behind it, a member of an ensemble has
            written, but a quorum may not have.
        first_time_ms, last_time_ms: of the log's first and last txn.
        segments, log_used_bytes, log_file_bytes, total_bytes: how much it is; used is without what waits for reuse.
        awaiting: segments that the next start will put in their place.
        made_ms: when a backup was made; None of anything else.
        unfinished: what is said of a checkpoint that was begun and not finished; "" where there is none.
        troubles: sentences about what is damaged or missing.
    """

    path: Path
    kind: str
    log_path: Path | None = None
    formats: dict[str, int] = field(default_factory=dict)
    store_id: str = ""
    ensemble_id: str = ""
    epochs: Epochs | None = None
    start: Link = _BEGINNING
    end: Link = _BEGINNING
    checkpoint: ImageFacts | None = None
    snapshots: list[ImageFacts] = field(default_factory=list)
    reach: list[Reach] = field(default_factory=list)
    clean: CleanNote | None = None
    holder: str = ""
    committed_zxid: int = 0
    first_time_ms: int | None = None
    last_time_ms: int | None = None
    segments: int = 0
    awaiting: int = 0
    log_used_bytes: int = 0
    log_file_bytes: int = 0
    total_bytes: int = 0
    made_ms: int | None = None
    unfinished: str = ""
    troubles: list[str] = field(default_factory=list)
