"""Paths: which bytes name a znode, and how a path splits and joins.

A path is `bytes`, the UTF-8 form it has on the wire. The rules are those of ZooKeeper's own validator, which looks
at UTF-16 units: whatever needs a surrogate there, or arrives as malformed UTF-8, is illegal here. Only writes check
a path; a read of an illegal one simply finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from zkstore.errors import BadArgumentsError

ROOT: Final = b"/"

CONFIG: Final = b"/zookeeper/config"
"""Its data names the members of the ensemble."""

PROTECTED: Final = frozenset({ROOT, b"/zookeeper", b"/zookeeper/quota", CONFIG})
"""Znodes that every tree has and that cannot be deleted."""

# One element after another, none empty, none `.` or `..`. Possessive, so that a refusal costs one pass, too.
_LEGAL_ASCII: Final = re.compile(rb"/|(?:/(?!\.\.?(?:/|\Z))[ -.0-~]++)++")

_PLAIN_NAME: Final = re.compile(rb"[-0-9A-Za-z_:]++")

# The same over characters. Strict UTF-8 decoding has refused lone surrogates before this looks at them.
_LEGAL_TEXT: Final = re.compile(
    r"(?:/(?!\.\.?(?:/|\Z))[^/\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]++)++"
)


def check(path: bytes) -> None:
    """Raise BadArgumentsError unless `path` is absolute and every element of it may name a znode."""
    if _LEGAL_ASCII.fullmatch(path):
        return
    if path.isascii():
        raise BadArgumentsError(path)
    try:
        text = path.decode()
    except UnicodeDecodeError:
        # Apache's server would read U+FFFD here, which no path may contain.
        raise BadArgumentsError(path) from None
    if not _LEGAL_TEXT.fullmatch(text):
        raise BadArgumentsError(path)


def is_plain_name(path: bytes, at: int) -> bool:
    """Whether what stands from `at` on is the name of a znode, without a character that only some may have.

    A quick yes for nearly all names; no means that `check` must tell.
    """
    return _PLAIN_NAME.fullmatch(path, at) is not None


def requested_parent(path: bytes) -> bytes:
    """The parent of a path that a create or a delete names, before the rest of it has been checked.

    A sequential create may ask for `/a/`, and a missing parent is reported before an illegal name: so this asks only
    for what splitting needs. Raises BadArgumentsError if there is no slash, or a NUL anywhere.
    """
    if b"/" not in path or b"\0" in path:
        raise BadArgumentsError(path)
    return parent_of(path)


def parent_of(path: bytes) -> bytes:
    """The text before the last slash, b"/" for a top-level path. The root is its own parent."""
    slash = path.rfind(b"/")
    return path[:slash] if slash > 0 else ROOT


def name_of(path: bytes) -> bytes:
    """The text after the last slash; b"" for the root."""
    return path[path.rfind(b"/") + 1 :]


def join(parent: bytes, name: bytes) -> bytes:
    """The path of the child `name` under `parent`."""
    return b"/" + name if parent == ROOT else parent + b"/" + name


def ancestors(path: bytes) -> Iterator[bytes]:
    """All proper ancestors, the nearest first and the root last; none for the root itself."""
    while path != ROOT:
        path = parent_of(path)
        yield path


def sequential(path: bytes, counter: int) -> bytes:
    """`path` with the parent's counter of creations appended, at least ten ASCII digits wide."""
    return b"%b%010d" % (path, counter)
