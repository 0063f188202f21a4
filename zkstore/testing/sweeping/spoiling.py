"""What is done to the files of a server that does not run, so that its next start has something to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from struct import Struct
from typing import Final

from zkstore.storage.directory import locate
from zkstore.storage.log import Log
from zkstore.wire import segment as segments

_PAGE_BYTES: Final = 4096
_META: Final = slice(16, 152)  # behind the page's header, to the end of the txn id
_TXN: Final = Struct("<Q")
_TXN_AT: Final = 16 + 8 + 8 + 8 + 2 * 48 + 8


def lose_newest_meta(directory: Path) -> None:
    """What a loss of power may do to a log: its newest commit is whole in the file, and nothing refers to it."""
    file = locate(directory).log / "data.mdb"
    content = bytearray(file.read_bytes())
    pages = [content[at : at + _PAGE_BYTES] for at in (0, _PAGE_BYTES)]
    newest = max((0, 1), key=lambda number: int(_TXN.unpack_from(pages[number], _TXN_AT)[0]))
    at = newest * _PAGE_BYTES
    content[at + _META.start : at + _META.stop] = pages[1 - newest][_META]
    file.write_bytes(content)


def spoil_checkpoint(directory: Path) -> None:
    """The checkpoint is not what was written any more."""
    shutil.copyfile(locate(directory).log / "data.mdb", locate(directory).tree / "data.mdb")


def add_tail(directory: Path) -> None:
    """The log ends with a segment that nobody else has: its leader went before it had sent it to anybody."""
    log = Log(locate(directory).log)
    try:
        last = log.last()
        assert last is not None, "there is no log to be continued"
        tail = segments.encode(
            segments.txns(last)[:1],
            prev_zxid=last.last_zxid,
            first_zxid=last.last_zxid + 1,
            digest_zxid=last.digest_zxid,
            digest=last.digest,
            prev_crc=last.crc,
        )
        log.append([tail])
    finally:
        log.close()
