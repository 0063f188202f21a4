"""Apache's transaction records: the bodies of log entries, and what each does to the tree.

A body is a TxnHeader, a record by its type, which some types lack, and since 3.6 mostly a TxnDigest: the tree's digest
behind this txn. Nothing says where the record ends but its own fields.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Final, NamedTuple

from zkstore.errors import DamageError
from zkstore.exchange.apache.tree import ApacheTree
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.record import CONTAINER_OWNER, ttl_owner
from zkstore.wire.jute import Reader

ERROR: Final = -1
CREATE: Final = 1
DELETE: Final = 2
SET_DATA: Final = 5
SET_ACL: Final = 7
CHECK: Final = 13
MULTI: Final = 14
CREATE2: Final = 15
RECONFIG: Final = 16
CREATE_CONTAINER: Final = 19
DELETE_CONTAINER: Final = 20
CREATE_TTL: Final = 21
CREATE_SESSION: Final = -10
CLOSE_SESSION: Final = -11

_HEADER: Final = Struct(">qiqqi")
HEADER_BYTES: Final = _HEADER.size
_DIGEST: Final = Struct(">iQ")
DIGEST_VERSION: Final = 2
"""Of a digest. It also tells one from a list of paths, which in as many bytes could not have two elements."""


class Header(NamedTuple):
    """TxnHeader: who asked, when, and what for."""

    session_id: int
    cxid: int
    zxid: int
    time_ms: int
    kind: int


def header_of(body: bytes) -> Header:
    """The header of a log entry. Raises DamageError for a body that is too short."""
    if len(body) < HEADER_BYTES:
        raise DamageError(f"an entry of {len(body)} bytes is shorter than its header")
    return Header(*_HEADER.unpack_from(body))


def apply(tree: ApacheTree, header: Header, body: bytes) -> int | None:
    """Do to the tree what the entry says; returns the digest that it names, if any.

    Raises DamageError for a type that nobody knows, and ProtocolError where the record ends before its last field.
    """
    reader = Reader(body, HEADER_BYTES)
    step = _STEPS.get(header.kind)
    if step is None:
        raise DamageError(f"a txn of type {header.kind} is not known; a newer ZooKeeper may have written it")
    step(tree, header, reader)
    if reader.remaining == _DIGEST.size:
        version, digest = _DIGEST.unpack_from(body, reader.offset)
        return int(digest) if version == DIGEST_VERSION else None
    return None


# --- by type --------------------------------------------------------------------------------------


def _create(tree: ApacheTree, header: Header, reader: Reader) -> None:
    path, data, acl = _path(reader), reader.buffer(), _acl(reader)
    owner = header.session_id if reader.boolean() else 0
    parent_cversion = reader.int32() if reader.remaining else -1  # before 3.4 there was none
    tree.create(header.zxid, header.time_ms, path, data, acl, owner, parent_cversion)


def _create_container(tree: ApacheTree, header: Header, reader: Reader) -> None:
    path, data, acl = _path(reader), reader.buffer(), _acl(reader)
    tree.create(header.zxid, header.time_ms, path, data, acl, CONTAINER_OWNER, reader.int32())


def _create_ttl(tree: ApacheTree, header: Header, reader: Reader) -> None:
    path, data, acl = _path(reader), reader.buffer(), _acl(reader)
    parent_cversion, ttl_ms = reader.int32(), reader.int64()
    tree.create(header.zxid, header.time_ms, path, data, acl, ttl_owner(ttl_ms), parent_cversion)


def _delete(tree: ApacheTree, header: Header, reader: Reader) -> None:
    tree.delete(header.zxid, _path(reader))


def _set_data(tree: ApacheTree, header: Header, reader: Reader) -> None:
    path, data = _path(reader), reader.buffer()
    tree.set_data(header.zxid, header.time_ms, path, data, reader.int32())


def _set_acl(tree: ApacheTree, header: Header, reader: Reader) -> None:
    path, acl = _path(reader), _acl(reader)
    tree.set_acl(path, acl, reader.int32())


def _check(tree: ApacheTree, header: Header, reader: Reader) -> None:
    _path(reader), reader.int32()


def _error(tree: ApacheTree, header: Header, reader: Reader) -> None:
    reader.int32()


def _multi(tree: ApacheTree, header: Header, reader: Reader) -> None:
    """All of its elements happen, or with one that failed among them none."""
    parts = reader.vector(lambda each: (each.int32(), each.buffer())) or ()
    if any(kind == ERROR for kind, _ in parts):
        return
    for kind, content in parts:
        step = _ELEMENTS.get(kind)
        if step is None:
            raise DamageError(
                f"an element of type {kind} in a multi is not known; a newer ZooKeeper may have written it"
            )
        step(tree, header._replace(kind=kind), Reader(content or b""))


def _create_session(tree: ApacheTree, header: Header, reader: Reader) -> None:
    tree.sessions[header.session_id] = reader.int32()


def _close_session(tree: ApacheTree, header: Header, reader: Reader) -> None:
    """Before 3.6 no paths are listed, and later where that was switched off; a digest may follow all the same."""
    paths: tuple[bytes | None, ...] = ()
    if reader.remaining and not _is_digest(reader):
        paths = reader.vector(Reader.buffer) or ()
    tree.close_session(header.zxid, header.session_id, [path for path in paths if path is not None])


_ELEMENTS: Final[dict[int, Callable[[ApacheTree, Header, Reader], None]]] = {
    CREATE: _create,
    CREATE2: _create,
    CREATE_CONTAINER: _create_container,
    CREATE_TTL: _create_ttl,
    DELETE: _delete,
    DELETE_CONTAINER: _delete,
    SET_DATA: _set_data,
    SET_ACL: _set_acl,
    CHECK: _check,
}

_STEPS: Final = {
    **_ELEMENTS,
    ERROR: _error,
    MULTI: _multi,
    RECONFIG: _set_data,
    CREATE_SESSION: _create_session,
    CLOSE_SESSION: _close_session,
}


# --- fields ---------------------------------------------------------------------------------------


def _is_digest(reader: Reader) -> bool:
    return reader.remaining == _DIGEST.size and _DIGEST.unpack_from(reader.data, reader.offset)[0] == DIGEST_VERSION


def _path(reader: Reader) -> bytes:
    path = reader.buffer() or b""
    return b"" if path == b"/" else path


def _acl(reader: Reader) -> tuple[Acl, ...]:
    return acl_of(reader.vector(lambda each: (each.int32(), each.buffer(), each.buffer())))


def acl_of(entries: tuple[tuple[int, bytes | None, bytes | None], ...] | None) -> tuple[Acl, ...]:
    """An ACL as it stands in the files; null is the open one."""
    if entries is None:
        return OPEN_ACL
    acl = tuple([Acl(perms, java_text(scheme), java_text(id_)) for perms, scheme, id_ in entries])
    return OPEN_ACL if acl == OPEN_ACL else acl


def java_text(raw: bytes | None) -> str:
    """A string of Apache's files, where characters beyond U+FFFF may be two surrogates of three bytes each."""
    if raw is None:
        return ""
    for errors in ("strict", "surrogatepass", "replace"):
        with suppress(UnicodeDecodeError):
            return raw.decode("utf-8", errors).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    raise AssertionError("replacing cannot fail")
