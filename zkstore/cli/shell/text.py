"""What the shell prints, as text in zkCli's form and as values for --json."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator, Mapping
from typing import Final

from zkstore.client import EventType, SessionState, WatchEvent
from zkstore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConnectionLossError,
    InvalidAclError,
    NewConfigNoQuorumError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NotReadOnlyError,
    QuotaExceededError,
    ReconfigInProgressError,
    RequestError,
    SessionLostError,
    ZkStoreError,
)
from zkstore.model.acl import Acl
from zkstore.model.stat import Stat

Tree = Mapping[str, "Tree"]
"""A znode's children by name."""

_ERRORS: Final[dict[type[ZkStoreError], str]] = {
    NoNodeError: "Node does not exist: {}",
    NodeExistsError: "Node already exists: {}",
    NotEmptyError: "Node not empty: {}",
    NoChildrenForEphemeralsError: "Ephemerals cannot have children: {}",
    BadVersionError: "version No is not valid : {}",
    NoAuthError: "Insufficient permission : {}",
    InvalidAclError: "Acl is not valid : {}",
    BadArgumentsError: "Arguments are not valid : {}",
    NotReadOnlyError: "Not a read-only call: {}",
    QuotaExceededError: "Quota has exceeded : {}",
    ReconfigInProgressError: "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)",
    NewConfigNoQuorumError: (
        "No quorum of new config is connected and up-to-date with the leader of last committed config - try invoking "
        "reconfiguration after new servers are connected and synced"
    ),
}

_EVENTS: Final = {
    EventType.NODE_CREATED: "NodeCreated",
    EventType.NODE_DELETED: "NodeDeleted",
    EventType.NODE_DATA_CHANGED: "NodeDataChanged",
    EventType.NODE_CHILDREN_CHANGED: "NodeChildrenChanged",
    EventType.DATA_WATCH_REMOVED: "DataWatchRemoved",
    EventType.CHILD_WATCH_REMOVED: "ChildWatchRemoved",
    EventType.PERSISTENT_WATCH_REMOVED: "PersistentWatchRemoved",
}

_STATES: Final = {
    SessionState.CONNECTED: "SyncConnected",
    SessionState.CONNECTED_READ_ONLY: "ConnectedReadOnly",
    SessionState.SUSPENDED: "Disconnected",
    SessionState.EXPIRED: "Expired",
    SessionState.AUTH_FAILED: "AuthFailed",
    SessionState.CLOSED: "Closed",
}

_PERM_LETTERS: Final = (("c", 4), ("d", 8), ("r", 1), ("w", 2), ("a", 16))


# --- errors ---------------------------------------------------------------------------------------------


def error_line(error: ZkStoreError) -> str:
    """One line for stderr."""
    if type(error) in _ERRORS and isinstance(error, RequestError):
        return _ERRORS[type(error)].format(error.path or "null")
    if isinstance(error, RequestError):
        return f"KeeperErrorCode = {error}"
    if isinstance(error, ConnectionLossError):
        return f"KeeperErrorCode = ConnectionLoss: {error}"
    if isinstance(error, SessionLostError):
        return f"KeeperErrorCode = Session expired: {error}"
    return str(error)


# --- a znode's Stat, ACL and data -------------------------------------------------------------------------


def java_date(time_ms: int) -> str:
    """A time as Java's Date prints it, in the local time zone: Tue Mar 26 16:50:58 UTC 2019."""
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).astimezone()
    return moment.strftime("%a %b %d %H:%M:%S %Z %Y")


def stat_block(stat: Stat) -> str:
    """The eleven fields, one a line."""
    return "\n".join(
        (
            f"cZxid = {_hex(stat.czxid)}",
            f"ctime = {java_date(stat.ctime_ms)}",
            f"mZxid = {_hex(stat.mzxid)}",
            f"mtime = {java_date(stat.mtime_ms)}",
            f"pZxid = {_hex(stat.pzxid)}",
            f"cversion = {stat.cversion}",
            f"dataVersion = {stat.version}",
            f"aclVersion = {stat.aversion}",
            f"ephemeralOwner = {_hex(stat.ephemeral_owner)}",
            f"dataLength = {stat.data_length}",
            f"numChildren = {stat.num_children}",
        )
    )


def stat_value(stat: Stat) -> dict[str, int]:
    """The eleven fields under their wire names; times in ms since 1970 UTC."""
    return {
        "czxid": stat.czxid,
        "mzxid": stat.mzxid,
        "ctime": stat.ctime_ms,
        "mtime": stat.mtime_ms,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeralOwner": stat.ephemeral_owner,
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
        "pzxid": stat.pzxid,
    }


def _hex(number: int) -> str:
    return f"{number & 0xFFFFFFFFFFFFFFFF:#x}"  # as unsigned, like Java's Long.toHexString


def perm_letters(perms: int) -> str:
    """Permissions as letters, in zkCli's order."""
    return "".join(letter for letter, bit in _PERM_LETTERS if perms & bit)


def acl_lines(acl: tuple[Acl, ...]) -> str:
    """Two lines for each entry."""
    return "\n".join(f"'{entry.scheme},'{entry.id}\n: {perm_letters(entry.perms)}" for entry in acl)


def acl_value(acl: tuple[Acl, ...]) -> list[dict[str, str]]:
    """Entries as objects."""
    return [{"scheme": entry.scheme, "id": entry.id, "perms": perm_letters(entry.perms)} for entry in acl]


def data_text(data: bytes | None) -> str:
    """Data as text; null is the word null."""
    return "null" if data is None else data.decode("utf-8", "replace")


def data_value(data: bytes | None) -> dict[str, str | None]:
    """Data as text where it is text, else as base64."""
    if data is None:
        return {"data": None}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def hex_table(data: bytes) -> str:
    """Sixteen bytes a line between rulers, with the printable characters beside them; "" for no data."""
    if not data:
        return ""
    ruler = f"+--------+{'-' * 49}+{'-' * 16}+"
    columns = "".join(f"  {digit:x}" for digit in range(16))
    lines = [f"         +{'-' * 49}+", f"         |{columns} |", ruler]
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        digits = "".join(f" {byte:02x}" for byte in row).ljust(48)
        shown = "".join(chr(byte) if 31 < byte < 127 else "." for byte in row).ljust(16)
        lines.append(f"|{offset:08x}|{digits} |{shown}|")
    return "\n".join([*lines, ruler])


# --- events -------------------------------------------------------------------------------------------------


def event_text(event: WatchEvent) -> str:
    """A watch event as a block: empty line, heading, empty line, the event."""
    return _block("SyncConnected", _EVENTS[event.type], event.path, event.zxid)


def event_value(event: WatchEvent) -> dict[str, object]:
    """A watch event as an object."""
    return {"type": _EVENTS[event.type], "path": event.path, "zxid": event.zxid}


def state_text(state: SessionState) -> str:
    """A session's change of state as a block; "" for states that zkCli has no event for."""
    return _block(_STATES[state], "None", "null", -1) if state in _STATES else ""


def state_name(state: SessionState) -> str:
    """A session's state as the prompt shows it."""
    if state is SessionState.CONNECTED_READ_ONLY:
        return "CONNECTEDREADONLY"
    return "CONNECTING" if state is SessionState.SUSPENDED else state.name


def _block(state: str, kind: str, path: str, zxid: int) -> str:
    return f"\nWATCHER::\n\nWatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}"


# --- a subtree ----------------------------------------------------------------------------------------------


def tree_lines(name: str, tree: Tree) -> Iterator[str]:
    """A subtree drawn with lines, one znode each."""
    yield name
    yield from _branches(tree, "")


def _branches(tree: Tree, indent: str) -> Iterator[str]:
    for number, (name, below) in enumerate(tree.items(), 1):
        last = number == len(tree)
        yield f"{indent}{'└── ' if last else '├── '}{name}"
        yield from _branches(below, indent + ("    " if last else "│   "))
