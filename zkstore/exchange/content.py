"""What an export reads: one tree, as of one zxid. A view of `zkstore.inspection` is such, and so is what tests make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol
from zlib import crc32

from zkstore.errors import DamageError
from zkstore.model.tree import SessionRecord, session_digest


class Content(Protocol):
    """A tree that can be gone through more than once."""

    @property
    def zxid(self) -> int:
        """Of the last txn in it."""
        ...

    @property
    def digest(self) -> int:
        """Of all its znodes and sessions."""
        ...

    @property
    def sessions(self) -> Mapping[int, SessionRecord]:
        """By session id."""
        ...

    def znodes(self) -> Iterator[tuple[bytes, bytes]]:
        """Every znode as (path, record), in the order of paths, which puts parents before children."""
        ...


def checked(content: Content) -> Iterator[tuple[bytes, bytes]]:
    """Its znodes; DamageError behind the last one if they are not what the digest says."""
    found = sum(session_digest(number, session) for number, session in content.sessions.items())
    for path, record in content.znodes():
        found += crc32(record, crc32(path))
        yield path, record
    found &= 0xFFFFFFFFFFFFFFFF
    if found != content.digest:
        raise DamageError(
            f"the tree's digest is {found:016x}, and should be {content.digest:016x}",
            zxid=content.zxid,
            advice="Nothing was written; `zkstore verify` lists the damage",
        )
