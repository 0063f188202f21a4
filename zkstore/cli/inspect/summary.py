"""`summary`: what there is, at a glance."""

from __future__ import annotations

import argparse
from typing import Any, Final

from zkstore.cli.inspect.arguments import view_of
from zkstore.cli.inspect.screen import Screen, duration_text, size_text, table, time_text
from zkstore.errors import StorageError
from zkstore.inspection.facts import Facts, ImageFacts
from zkstore.inspection.source import Source
from zkstore.inspection.view import View
from zkstore.model import zxid as zxids
from zkstore.storage.image import Counts

_TXNS_QUICK: Final = 20_000
"""Txns behind the checkpoint that a summary follows; more take longer than one waits for it."""


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What it takes."""
    parser.add_argument("--full", action="store_true", help="exact counts, even if everything must be read for them")


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """The table, or one object."""
    facts = source.facts
    view = _view(source, options)
    counts = None
    if view is not None:
        counts = view.counts
        if counts is None and options.full:
            counts = view.count()
    if screen.is_json:
        screen.value(_value(facts, view, counts))
    else:
        for line in _lines(facts, view, counts, screen):
            screen.line(line)
    return 1 if facts.troubles or view is None else 0


def _view(source: Source, options: argparse.Namespace) -> View | None:
    """The newest tree; the checkpoint's where many txns came behind it."""
    facts = source.facts
    if options.at is not None or options.full:
        return view_of(source, options)
    known = [image for image in (facts.checkpoint, *facts.snapshots) if image is not None]
    newest = max(known, key=lambda image: image.zxid, default=None)
    try:
        if newest is not None and _txns_behind(facts, newest) > _TXNS_QUICK:
            return source.view(newest.zxid)
        return source.view()
    except StorageError as error:
        facts.troubles.append(str(error))
        return None


def _txns_behind(facts: Facts, image: ImageFacts) -> int:
    """Txns in the log behind an image, at least."""
    if zxids.epoch_of(facts.end.zxid) == zxids.epoch_of(image.zxid):
        return facts.end.zxid - image.zxid
    return zxids.counter_of(facts.end.zxid)


def _lines(facts: Facts, view: View | None, counts: Counts | None, screen: Screen) -> list[str]:
    rows = [(facts.kind, str(facts.path))]
    if view is not None:
        rows += _tree_rows(facts, view, counts)
    rows += _history_rows(facts)
    rows += [("disk", _disk_text(facts)), ("formats", _formats_text(facts))]
    rows += [("store id", facts.store_id)] if facts.store_id else []
    rows += [("ensemble id", facts.ensemble_id)] if facts.ensemble_id else []
    lines = table(rows)
    lines = [
        screen.colour(line[: len(row[0])], "bold") + line[len(row[0]) :] for line, row in zip(lines, rows, strict=True)
    ]
    return lines + [screen.colour(f"! {trouble}", "red") for trouble in facts.troubles]


def _tree_rows(facts: Facts, view: View, counts: Counts | None) -> list[tuple[str, str]]:
    znodes = counts.znodes if counts is not None else _znodes(facts, view)
    rows = [("znodes", "unknown; --full counts" if znodes is None else f"{znodes:,}")]
    if counts is not None:
        exact = f" ({counts.data_bytes:,} bytes)" if counts.data_bytes >= 1024 else ""
        rows.append(("paths and data", size_text(counts.data_bytes) + exact))
        rows.append(("ephemerals", f"{counts.ephemerals:,}"))
    else:
        rows.append(("paths and data", "not noted in this checkpoint; --full counts, ephemerals, too"))
    rows.append(("sessions", f"{len(view.sessions):,}"))
    as_of = "" if view.zxid == facts.end.zxid else f" (all of this as of {zxids.text(view.zxid)}; --full is exact)"
    rows.append(("digest", f"{view.digest:016x}{as_of}"))
    return rows


def _znodes(facts: Facts, view: View) -> int | None:
    """Znodes, where the image tells no more than LMDB counts, and nothing lies over it."""
    if facts.checkpoint is None and not facts.snapshots:
        return None
    for image in (facts.checkpoint, *facts.snapshots):
        if image is not None and image.zxid == view.base.mark.zxid:
            return image.znodes + view.overlay.change.znodes
    return None


def _history_rows(facts: Facts) -> list[tuple[str, str]]:
    rows = []
    last = "" if facts.last_time_ms is None else f"  {time_text(facts.last_time_ms)}"
    rows.append(("newest zxid", f"{zxids.text(facts.end.zxid)}{last}"))
    if facts.ensemble_id and facts.committed_zxid < facts.end.zxid:
        known = zxids.text(facts.committed_zxid)
        rows.append(("committed", f"at least up to {known}; the ensemble may yet give up what lies behind"))
    first = "" if facts.first_time_ms is None else f"  {time_text(facts.first_time_ms)}"
    for reach in facts.reach:
        at = zxids.text(reach.first_zxid)
        if reach.first_zxid != reach.last_zxid:
            span = _span(facts) if reach is facts.reach[-1] else ""
            rows.append(("can be seen from", f"{at}{first if reach.first_zxid <= facts.start.zxid else ''}{span}"))
        elif len(facts.reach) > 1:
            rows.append(("can be seen at", at))
    if facts.segments:
        waiting = f", of which {facts.awaiting} will be put in their place by the next start" if facts.awaiting else ""
        rows.append(
            (
                "log",
                f"from behind {zxids.text(facts.start.zxid)}: {facts.segments:,} segments{waiting},"
                f" {size_text(facts.log_used_bytes)}",
            )
        )
    if facts.epochs is not None:
        rows.append(("epochs", f"accepted {facts.epochs.accepted}, current {facts.epochs.current}"))
    if facts.checkpoint is not None:
        rows.append(("checkpoint", _image_text(facts.checkpoint)))
    rows += [("snapshot", _image_text(snapshot)) for snapshot in facts.snapshots]
    if facts.kind == "data directory":
        rows.append(("last stop", _stop_text(facts)))
    return rows


def _span(facts: Facts) -> str:
    if facts.first_time_ms is None or facts.last_time_ms is None:
        return ""
    return f"  (history of {duration_text(facts.last_time_ms - facts.first_time_ms)})"


def _image_text(image: ImageFacts) -> str:
    return f"{zxids.text(image.zxid)}  {image.znodes:,} znodes, {size_text(image.size_bytes)}"


def _stop_text(facts: Facts) -> str:
    if facts.holder:
        return f"none: it runs, in use by {facts.holder}"
    if facts.clean is None:
        return "not in order: the server crashed or was killed, or the directory was copied from a running one"
    return f"in order, {time_text(facts.clean.time_ms)}, at {zxids.text(facts.clean.zxid)}"


def _disk_text(facts: Facts) -> str:
    snapshots = sum(snapshot.size_bytes for snapshot in facts.snapshots)
    parts = [f"log {size_text(facts.log_file_bytes)}"] if facts.log_file_bytes else []
    if facts.checkpoint is not None:
        parts.append(f"checkpoint {size_text(facts.checkpoint.size_bytes)}")
    parts += [f"snapshots {size_text(snapshots)}"] if facts.snapshots else []
    return f"{size_text(facts.total_bytes)} ({', '.join(parts)})" if parts else size_text(facts.total_bytes)


def _formats_text(facts: Facts) -> str:
    return ", ".join(f"{what} {version}" for what, version in sorted(facts.formats.items()))


def _value(facts: Facts, view: View | None, counts: Counts | None) -> dict[str, Any]:
    value: dict[str, Any] = {
        "path": str(facts.path),
        "kind": facts.kind,
        "zxid": zxids.text(facts.end.zxid),
        "formats": facts.formats,
        "store_id": facts.store_id or None,
        "ensemble_id": facts.ensemble_id or None,
        "epochs": None if facts.epochs is None else facts.epochs._asdict(),
        "reach": [[zxids.text(zxid) for zxid in reach] for reach in facts.reach],
        "log": {
            "start": zxids.text(facts.start.zxid),
            "end": zxids.text(facts.end.zxid),
            "segments": facts.segments,
            "awaiting": facts.awaiting,
            "used_bytes": facts.log_used_bytes,
            "file_bytes": facts.log_file_bytes,
            "committed": zxids.text(facts.committed_zxid),
            "first_time_ms": facts.first_time_ms,
            "last_time_ms": facts.last_time_ms,
        },
        "checkpoint": None if facts.checkpoint is None else _image_value(facts.checkpoint),
        "snapshots": list(map(_image_value, facts.snapshots)),
        "clean": None if facts.clean is None else facts.clean._asdict(),
        "in_use_by": facts.holder or None,
        "total_bytes": facts.total_bytes,
        "troubles": facts.troubles,
    }
    if view is not None:
        value["tree"] = {
            "zxid": zxids.text(view.zxid),
            "digest": f"{view.digest:016x}",
            "znodes": _znodes(facts, view) if counts is None else counts.znodes,
            "data_bytes": None if counts is None else counts.data_bytes,
            "ephemerals": None if counts is None else counts.ephemerals,
            "sessions": len(view.sessions),
        }
    return value


def _image_value(image: ImageFacts) -> dict[str, Any]:
    return {
        **image._asdict(),
        "path": str(image.path),
        "zxid": zxids.text(image.zxid),
        "digest": f"{image.digest:016x}",
        "crc": f"{image.crc:08x}",
    }
