"""Apache's files, written by hand from the description of their formats: nothing of the package is used for it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from zlib import adler32

OPEN = ((31, "world", "anyone"),)
NOW_MS = 1_700_000_000_000

CREATE, DELETE, SET_DATA, SET_ACL, CHECK, MULTI, CREATE2, RECONFIG = 1, 2, 5, 7, 13, 14, 15, 16
CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, CREATE_SESSION, CLOSE_SESSION, ERROR = 19, 20, 21, -10, -11, -1

Acl = Sequence[tuple[int, str, str]]


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def i64(value: int) -> bytes:
    return struct.pack(">q", value)


def buffer(value: bytes | None) -> bytes:
    return i32(-1) if value is None else i32(len(value)) + value


def acl(entries: Acl) -> bytes:
    return i32(len(entries)) + b"".join(
        i32(perms) + buffer(scheme.encode()) + buffer(id_.encode()) for perms, scheme, id_ in entries
    )


# --- logs -----------------------------------------------------------------------------------------


def create(path: str, data: bytes | None, acls: Acl, parent_cversion: int, *, ephemeral: bool = False) -> bytes:
    return buffer(path.encode()) + buffer(data) + acl(acls) + bytes([ephemeral]) + i32(parent_cversion)


def create_old(path: str, data: bytes | None, acls: Acl, *, ephemeral: bool = False) -> bytes:
    return buffer(path.encode()) + buffer(data) + acl(acls) + bytes([ephemeral])


def create_container(path: str, data: bytes | None, acls: Acl, parent_cversion: int) -> bytes:
    return buffer(path.encode()) + buffer(data) + acl(acls) + i32(parent_cversion)


def create_ttl(path: str, data: bytes | None, acls: Acl, parent_cversion: int, ttl_ms: int) -> bytes:
    return create_container(path, data, acls, parent_cversion) + i64(ttl_ms)


def delete(path: str) -> bytes:
    return buffer(path.encode())


def set_data(path: str, data: bytes | None, version: int) -> bytes:
    return buffer(path.encode()) + buffer(data) + i32(version)


def set_acl(path: str, acls: Acl, version: int) -> bytes:
    return buffer(path.encode()) + acl(acls) + i32(version)


def multi(*parts: tuple[int, bytes]) -> bytes:
    return i32(len(parts)) + b"".join(i32(kind) + buffer(record) for kind, record in parts)


def close_session(paths: Iterable[str]) -> bytes:
    listed = list(paths)
    return i32(len(listed)) + b"".join(buffer(path.encode()) for path in listed)


def body(
    zxid: int, kind: int, record: bytes, *, session_id: int = 7, digest: int | None = None, time_ms: int = NOW_MS
) -> bytes:
    """TxnHeader, record, TxnDigest."""
    tail = b"" if digest is None else struct.pack(">iQ", 2, digest)
    return struct.pack(">qiqqi", session_id, 1, zxid, time_ms, kind) + record + tail


def entry(content: bytes) -> bytes:
    return i64(adler32(content)) + buffer(content) + b"B"


def log(bodies: Iterable[bytes], *, padding: int = 512) -> bytes:
    """A whole file."""
    return struct.pack(">4siq", b"ZKLG", 2, 0) + b"".join(map(entry, bodies)) + bytes(padding)


# --- snapshots ------------------------------------------------------------------------------------


def stat(
    zxid: int = 0, *, version: int = 0, cversion: int = 0, aversion: int = 0, owner: int = 0, pzxid: int | None = None
) -> bytes:
    """StatPersisted."""
    time_ms = NOW_MS if zxid else 0
    fixed = struct.pack(">qqqqiii", zxid, zxid, time_ms, time_ms, version, cversion, aversion)
    return fixed + i64(owner) + i64(zxid if pzxid is None else pzxid)


def node(path: str, data: bytes | None = b"", key: int = -1, persisted: bytes | None = None) -> bytes:
    return buffer(path.encode()) + buffer(data) + i64(key) + (stat() if persisted is None else persisted)


RESERVED = (node(""), node("/zookeeper"), node("/zookeeper/quota"))


def snapshot(
    nodes: Iterable[bytes] = RESERVED,
    *,
    sessions: Mapping[int, int] | None = None,
    acls: Mapping[int, Acl] | None = None,
    digest: tuple[int, int] | None = None,
    last_zxid: int | None = None,
) -> bytes:
    """A whole file; `digest` is (zxid, digest)."""
    parts = [struct.pack(">4siq", b"ZKSN", 2, -1), i32(len(sessions or {}))]
    parts += [i64(number) + i32(timeout_ms) for number, timeout_ms in (sessions or {}).items()]
    parts.append(i32(len(acls or {})))
    parts += [i64(key) + acl(entries) for key, entries in (acls or {}).items()]
    parts += [*nodes, buffer(b"/")]
    content = sealed(b"".join(parts))
    if digest is not None:
        content = sealed(content + struct.pack(">qiQ", digest[0], 2, digest[1]))
    if last_zxid is not None:
        content = sealed(content + i64(last_zxid))
    return content


def sealed(content: bytes) -> bytes:
    return content + i64(adler32(content)) + buffer(b"/")


def place(root: Path, files: Mapping[str, bytes]) -> Path:
    """A dataDir with these files in its version-2."""
    home = root / "version-2"
    home.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (home / name).write_bytes(content)
    return root
