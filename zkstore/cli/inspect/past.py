"""`history` and `blame`: what happened to one znode, and who did it."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator
from typing import Any, Final

from zkstore.cli.inspect.arguments import path_of
from zkstore.cli.inspect.program import more
from zkstore.cli.inspect.screen import Screen, data_value, duration_text, is_text, path_text, preview, table, time_text
from zkstore.cli.inspect.znode import session_text
from zkstore.errors import StorageError
from zkstore.inspection import history
from zkstore.inspection.blame import blame
from zkstore.inspection.history import Life, Version, What
from zkstore.inspection.source import Source
from zkstore.model import zxid as zxids
from zkstore.model.acl import Acl

_DIFF_LINES_MAX: Final = 12
_DIFF_BYTES_MAX: Final = 20_000


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What they take."""
    parser.add_argument("znode", metavar="ZNODE", help="the znode's path; it may be gone by now")
    if name == "history":
        parser.add_argument("--children", action="store_true", help="also children that came and went")


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """All versions, or the last of each aspect."""
    path = path_of(options.znode)
    up_to_zxid = source.facts.end.zxid if options.at is None else source.resolve(options.at)
    if name == "blame":
        return _blame(source, path, up_to_zxid, screen)
    return _history(source, path, up_to_zxid, options, screen)


def _history(source: Source, path: bytes, up_to_zxid: int, options: argparse.Namespace, screen: Screen) -> int:
    after = _cursor(options.after)
    limit, count, place, last = screen.limit(options.limit), 0, (-1, 0), (0, 0)
    is_any = False
    for version in history.versions(source, path, up_to_zxid, has_children=options.children):
        is_any = True
        place = (version.zxid, place[1] + 1 if version.zxid == place[0] else 0)
        if after is not None and place <= after:
            continue
        if count == limit:
            more(options, f"{zxids.text(last[0])}.{last[1]}", screen)
            return 0
        count, last = count + 1, place
        if screen.is_json:
            screen.value(_value(version))
        else:
            _print(version, screen)
    if not is_any:
        raise _never(source, path, up_to_zxid)
    return 0


def _blame(source: Source, path: bytes, up_to_zxid: int, screen: Screen) -> int:
    found = blame(history.versions(source, path, up_to_zxid, has_children=True))
    if not found:
        raise _never(source, path, up_to_zxid)
    lives = history.lives(source, {version.session_id for version in found.values()})
    if screen.is_json:
        for aspect, version in found.items():
            life = lives.get(version.session_id)
            screen.value({"aspect": aspect, **_value(version), "life": None if life is None else _life_value(life)})
        return 0
    rows = [("WHAT", "ZXID", "TIME", "WHO")]
    for aspect, version in sorted(found.items(), key=lambda item: item[1].zxid):
        word = f"children ({version.what.value.split()[1]} {path_text(version.child)})" if version.child else aspect
        rows.append((word, zxids.text(version.zxid), _time(version.time_ms), _who(version)))
    for line in table(rows):
        screen.line(line)
    for life in lives.values():
        screen.line(screen.colour(_life_text(life), "dim"))
    return 0


def _cursor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    zxid, _, number = text.partition(".")
    try:
        return int(zxid, 0), int(number or "0")
    except ValueError as error:
        raise StorageError(f"{text!r} is no cursor; take the one that the last line named") from error


def _never(source: Source, path: bytes, up_to_zxid: int) -> StorageError:
    """What is said of a znode that was never there: how far down its path there is something."""
    view = source.view(up_to_zxid)
    parent = path
    while parent != b"/" and view.get(parent) is None:
        parent = parent.rsplit(b"/", 1)[0] or b"/"
    begin = zxids.text(history.begin_of(source))
    names = [path_text(name) for name, _ in zip((name for name, _ in view.children(parent)), range(5), strict=False)]
    below = f", which has {', '.join(names)}{', ...' if len(names) == 5 else ''}" if names else ""
    return StorageError(
        f"{path_text(path)} was never there from {begin} to {zxids.text(up_to_zxid)}, as far as history reaches here;"
        f" there is {path_text(parent)}{below}"
    )


def _print(version: Version, screen: Screen) -> None:
    look = {What.CREATED: "green", What.DELETED: "red"}.get(version.what, "cyan")
    what = screen.colour(f"{version.what.value:<13}", look)
    words = [zxids.text(version.zxid), _time(version.time_ms), what, _who(version)]
    if version.child:
        words.append(path_text(version.child))
    elif version.what not in (What.DELETED, What.ACL):
        words.append(f"version {version.version}")
    if version.owner and version.what in (What.CREATED, What.FOUND):
        words.append(f"ephemeral of {session_text(version.owner)}")
    if version.what in (What.FOUND, What.DELETED):
        words.append(f"czxid {zxids.text(version.czxid)}")
    if version.ends_session:
        words.append("because its session ended")
    if version.parts:
        words.append(f"part {version.part} of {version.parts} of a multi")
    screen.line("  ".join(words))
    for line in _detail(version):
        colour = {"+": ("green",), "-": ("red",)}.get(line[:1], ("dim",))
        screen.line("    " + screen.colour(line, *colour))


def _detail(version: Version) -> Iterator[str]:
    """What it was made, or what changed in it."""
    if version.what in (What.CREATED, What.FOUND):
        if version.data:
            yield f"+ {preview(version.data)}"
    elif version.what is What.DATA:
        yield from data_difference(version.was, version.data)
    elif version.what is What.ACL:
        yield f"- {acl_text(version.acl_was)}"
        yield f"+ {acl_text(version.acl)}"
    elif version.what is What.DELETED and version.was:
        yield f"- {preview(version.was)}"


def data_difference(was: bytes | None, now: bytes | None) -> Iterator[str]:
    """Lines that show it: a short unified diff of text of several lines, else old and new."""
    if was == now:
        yield "  the same data again"
    elif was and now and b"\n" in was + now and len(was) + len(now) < _DIFF_BYTES_MAX and is_text(was) and is_text(now):
        lines = list(difflib.unified_diff(was.decode().splitlines(), now.decode().splitlines(), lineterm="", n=1))[2:]
        if not lines:
            yield "  only line ends differ"
        yield from (line.replace("\r", "\\r") for line in lines[:_DIFF_LINES_MAX])
        if len(lines) > _DIFF_LINES_MAX:
            yield f"  and {len(lines) - _DIFF_LINES_MAX} lines more"
    elif (was and not is_text(was)) or (now and not is_text(now)):
        yield f"- {len(was or b'')} bytes  {preview(was, 40)}"
        yield f"+ {len(now or b'')} bytes  {preview(now, 40)}"
    else:
        yield f"- {preview(was)}"
        yield f"+ {preview(now)}"


def acl_text(acl: tuple[Acl, ...]) -> str:
    """An ACL on one line."""
    return ", ".join(f"{entry.scheme}:{entry.id}:{_perms(entry.perms)}" for entry in acl)


def acl_value(acl: tuple[Acl, ...]) -> list[dict[str, str]]:
    """An ACL for programs."""
    return [{"scheme": entry.scheme, "id": entry.id, "perms": _perms(entry.perms)} for entry in acl]


def _perms(perms: int) -> str:
    return "".join(letter for letter, bit in zip("cdrwa", (4, 8, 1, 2, 16), strict=True) if perms & bit)


def _time(time_ms: int | None) -> str:
    return "-" if time_ms is None else time_text(time_ms)


def _who(version: Version) -> str:
    if version.what is What.FOUND:
        return "before history begins"
    return f"session {session_text(version.session_id)}" if version.session_id else "the server itself"


def _life_text(life: Life) -> str:
    server = life.session_id >> 56 & 0xFF  # whose server gave it out; 0 for one alone
    words = [f"session {session_text(life.session_id)}{f' of server {server}' if server else ''}:"]
    words.append(
        f"opened at {zxids.text(life.opened_zxid)}, {_time(life.opened_ms)};"
        if life.opened_zxid
        else "opened before the log begins;"
    )
    if life.closed_zxid:
        words.append(f"ended at {zxids.text(life.closed_zxid)}, {_time(life.closed_ms)};")
        if life.opened_ms is not None and life.closed_ms is not None:
            words.append(f"it lived for {duration_text(life.closed_ms - life.opened_ms)};")
    else:
        words.append("it lives;" if life.is_alive else "its end is not in the log;")
    words.append("timeout not known" if life.timeout_ms is None else f"timeout {life.timeout_ms / 1000:g} s")
    return " ".join(words)


def _life_value(life: Life) -> dict[str, Any]:
    return {
        **life._asdict(),
        "session_id": session_text(life.session_id),
        "opened_zxid": zxids.text(life.opened_zxid) if life.opened_zxid else None,
        "closed_zxid": zxids.text(life.closed_zxid) if life.closed_zxid else None,
    }


def _value(version: Version) -> dict[str, Any]:
    value: dict[str, Any] = {
        "zxid": zxids.text(version.zxid),
        "time_ms": version.time_ms,
        "session": session_text(version.session_id),
        "what": version.what.value,
        "czxid": zxids.text(version.czxid),
        "version": version.version,
        "ephemeral_owner": session_text(version.owner) if version.owner else None,
        "part": version.part or None,
        "parts": version.parts or None,
        "ends_session": version.ends_session,
    }
    if version.child:
        return {**value, "child": path_text(version.child)}
    was = {name.replace("data", "was"): data for name, data in data_value(version.was).items()}
    return {
        **value, **data_value(version.data), **was, "acl": acl_value(version.acl), "acl_was": acl_value(version.acl_was)
    }  # fmt: skip
