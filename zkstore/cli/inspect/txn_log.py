"""`log`: the txns, decoded."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from zkstore.cli.inspect.arguments import path_of
from zkstore.cli.inspect.program import more
from zkstore.cli.inspect.screen import Screen, data_value, path_text, preview
from zkstore.cli.inspect.znode import session_text
from zkstore.errors import RequestError, StorageError
from zkstore.inspection import moments, txn_listing
from zkstore.inspection.source import Source
from zkstore.model import zxid as zxids
from zkstore.model.txns import CreateTxn, SetDataTxn, Txn


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What it takes."""
    parser.add_argument("--from", dest="since", metavar="ZXID|TIME", help="from here on")
    parser.add_argument("--to", dest="until", metavar="ZXID|TIME", help="up to here, included (as --at)")
    parser.add_argument("--path", metavar="ZNODE", help="only what changes this znode, or one below it")
    parser.add_argument("--session", metavar="ID", help="only what this session asked for")


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """One txn a line, oldest first."""
    after_zxid = 0 if options.since is None else _before(source, options.since)
    if options.after is not None:
        after_zxid = max(after_zxid, moments.zxid_of(options.after) or 0)
    until = options.until if options.until is not None else options.at
    up_to_zxid = source.facts.end.zxid if until is None else source.resolve(until)
    limit, count, last = screen.limit(options.limit), 0, 0
    lines = _Lines(screen)
    for zxid, txn in txn_listing.listed(
        source,
        after_zxid,
        up_to_zxid,
        path=None if options.path is None else path_of(options.path),
        session_id=None if options.session is None else _session(options.session),
        progress=screen.progress("txns"),
    ):
        if count == limit:
            more(options, zxids.text(last), screen)
            return 0
        count, last = count + 1, zxid
        if screen.is_json:
            screen.value(_value(zxid, txn))
        else:
            screen.line(lines.text(zxid, txn))
    if not count and not screen.is_json:
        screen.note("no txns" if source.facts.first_time_ms is not None else "there is no log here")
    return 0


def _before(source: Source, text: str) -> int:
    """The zxid before the first one to be shown."""
    zxid = moments.zxid_of(text)
    if zxid is not None:
        return zxid - 1
    time_ms = moments.time_ms_of(text, moments.now_ms())
    return source.zxid_at(time_ms - 1) or 0


def _session(text: str) -> int:
    try:
        number = int(text, 16 if text[:2].lower() == "0x" or not text.lstrip("-").isdecimal() else 10)
    except ValueError as error:
        raise StorageError(f"{text!r} is no session id; write it as 0x100000000000001") from error
    return number - (1 << 64) if number >> 63 > 0 else number


class _Lines:
    """Txns as lines. Most share their second and their session with the one before."""

    def __init__(self, screen: Screen) -> None:
        self._names = {kind: screen.colour(f"{name:<13}", "cyan") for kind, name in txn_listing.NAMES.items()}
        self._second = -1
        self._time = ""
        self._session_id = 0
        self._session = f"{session_text(0):>18}"

    def text(self, zxid: int, txn: Txn) -> str:
        """One line."""
        second, rest = divmod(txn.time_ms, 1000)
        if second != self._second:
            self._second, self._time = second, _time_text(second)
        if txn.session_id != self._session_id:
            self._session_id, self._session = txn.session_id, f"{session_text(txn.session_id):>18}"
        if type(txn) is SetDataTxn:  # nearly all are one of these two
            said = f"{path_text(txn.path)}  {preview(txn.data)}  version {txn.version}"
        elif type(txn) is CreateTxn and txn.acl is None and not txn.owner:
            said = f"{path_text(txn.path)}  {preview(txn.data)}"
        else:
            said = _said(txn_listing.fields_of(txn))
        line = f"{zxid:#x}  {self._time}.{rest:03d}  {self._session}  {self._names[txn.kind]} {said}"
        return line if said else line.rstrip()


def _time_text(second: int) -> str:
    try:
        return datetime.fromtimestamp(second).isoformat(" ")
    except (ValueError, OverflowError, OSError):
        return f"{second} s"


def _said(fields: dict[str, Any]) -> str:
    """What a txn says, on a line."""
    words = []
    if "path" in fields:
        words.append(path_text(fields["path"]))
    if "data" in fields:
        words.append(preview(fields["data"]))
    if "version" in fields:
        words.append(f"version {fields['version']}")
    if fields.get("acl") is not None:
        words.append("acl " + ",".join(f"{scheme}:{id_}:{perms}" for perms, scheme, id_ in fields["acl"]))
    if fields.get("owner"):
        words.append(f"owner {session_text(fields['owner'])}")
    if "changes" in fields:
        words.append("; ".join(f"{change['type']} {_said(change)}" for change in fields["changes"]))
    if "timeout_ms" in fields:
        words.append(f"timeout {fields['timeout_ms']} ms")
    if "paths" in fields:
        paths = fields["paths"]
        words.append(" ".join(map(path_text, paths[:5])) + (f" and {len(paths) - 5} more" if len(paths) > 5 else ""))
    if "code" in fields:
        known = RequestError.by_code.get(fields["code"])
        words.append(f"{fields['code']}" + ("" if known is None else f" {known.name}"))
    return "  ".join(words)


def _value(zxid: int, txn: Txn) -> dict[str, Any]:
    return {
        "zxid": zxids.text(zxid),
        "time_ms": txn.time_ms,
        "session": session_text(txn.session_id),
        "cxid": txn.cxid,
        "type": txn_listing.NAMES[txn.kind],
        **_plain(txn_listing.fields_of(txn)),
    }


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it."""
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "data":
            plain |= data_value(value)
        elif name == "path":
            plain[name] = path_text(value)
        elif name == "paths":
            plain[name] = list(map(path_text, value))
        elif name == "owner":
            plain[name] = session_text(value)
        elif name == "changes":
            plain[name] = list(map(_plain, value))
        elif name == "acl" and value is not None:
            plain[name] = [{"perms": perms, "scheme": scheme, "id": id_} for perms, scheme, id_ in value]
        else:
            plain[name] = value
    return plain
