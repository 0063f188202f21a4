"""`get`, `stat` and `acl`: one znode."""

from __future__ import annotations

import argparse

from zkstore.cli.inspect.arguments import path_of, record_of, view_of
from zkstore.cli.inspect.screen import Screen, data_value, hex_lines, is_text, path_text, table, time_text
from zkstore.inspection.source import Source
from zkstore.model import record as records_
from zkstore.model import zxid as zxids
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import Stat

_PERMS = (("c", 4), ("d", 8), ("r", 1), ("w", 2), ("a", 16))


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What they take."""
    parser.add_argument("znode", metavar="ZNODE", help="the znode's path")
    if name == "get":
        parser.add_argument("--raw", action="store_true", help="the bytes as they are, nothing else")


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """The answer for one znode."""
    path = path_of(options.znode)
    record = record_of(view_of(source, options), path)
    if name == "get":
        _get(path, records_.data_of(record), options, screen)
    elif name == "stat":
        _stat(path, record, screen)
    else:
        _acl(path, record, screen)
    return 0


def _get(path: bytes, data: bytes | None, options: argparse.Namespace, screen: Screen) -> None:
    if options.raw:
        screen.raw(data or b"")
    elif screen.is_json:
        screen.value({"path": path_text(path), **data_value(data)})
    elif data is None:
        screen.line("null")
    elif is_text(data):
        screen.line(data.decode())
    else:
        for line in hex_lines(data):
            screen.line(line)
        screen.line(screen.colour(f"{len(data)} bytes; --raw gives them as they are", "dim"))


def _stat(path: bytes, record: bytes, screen: Screen) -> None:
    stat = records_.stat_of(record)
    kind = kind_of(record, stat)
    if screen.is_json:
        screen.value({"path": path_text(path), "kind": kind, **stat._asdict()})
        return
    rows = [
        ("path", path_text(path)),
        ("kind", kind),
        ("czxid", f"{zxids.text(stat.czxid)}  created {time_text(stat.ctime_ms)}"),
        ("mzxid", f"{zxids.text(stat.mzxid)}  data set {time_text(stat.mtime_ms)}"),
        ("pzxid", f"{zxids.text(stat.pzxid)}  a child created or deleted"),
        ("version", str(stat.version)),
        ("cversion", str(stat.cversion)),
        ("aversion", str(stat.aversion)),
        ("ephemeralOwner", session_text(stat.ephemeral_owner) if stat.ephemeral_owner else "-"),
        ("dataLength", str(stat.data_length)),
        ("numChildren", str(stat.num_children)),
    ]
    for line in table(rows):
        screen.line(line)


def kind_of(record: bytes, stat: Stat) -> str:
    """persistent, ephemeral, container or TTL."""
    extras = records_.extras_of(record)
    if extras is not None and extras.owner == records_.CONTAINER_OWNER:
        return "container"
    ttl_ms = None if extras is None else records_.ttl_ms_of(extras.owner)
    if ttl_ms is not None:
        return f"persistent with a TTL of {ttl_ms} ms"
    return "ephemeral" if stat.ephemeral_owner else "persistent"


def session_text(session_id: int) -> str:
    """A session's id as ZooKeeper prints it."""
    return f"{session_id & 0xFFFFFFFFFFFFFFFF:#x}"


def _acl(path: bytes, record: bytes, screen: Screen) -> None:
    extras = records_.extras_of(record)
    acl = OPEN_ACL if extras is None else extras.acl
    if screen.is_json:
        entries = [{"scheme": entry.scheme, "id": entry.id, "perms": _perms(entry)} for entry in acl]
        screen.value({"path": path_text(path), "acl": entries})
        return
    for line in table([(entry.scheme, entry.id, _perms(entry)) for entry in acl]):
        screen.line(line)


def _perms(entry: Acl) -> str:
    return "".join(letter for letter, bit in _PERMS if entry.perms & bit)
