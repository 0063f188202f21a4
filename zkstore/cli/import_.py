"""`zkstore import`: make a data directory of what an Apache ZooKeeper server, or an export, has left."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from zkstore.errors import ConfigError, StorageError
from zkstore.exchange import jsonlines, landing
from zkstore.exchange.apache import arrival
from zkstore.exchange.apache.arrival import Imported
from zkstore.exchange.landing import Landed
from zkstore.inspection.backup_file import MAGIC
from zkstore.server import properties
from zkstore.storage.directory import translated
from zkstore.storage.image import collector_paused

_EPILOG: Final = """\
SOURCE is the dataDir of an Apache ZooKeeper server of 3.4 to 3.9, which has been stopped (or a copy of it); or its
zoo.cfg; or a file that `zkstore export --format jsonl` has written. The newest snapshot is read, and all transaction
logs since, with every checksum compared. Znodes keep their zxids, Stats and ACLs; sessions keep their passwords, so
that clients come back with their ephemerals if they find the new server within their timeout. Nothing in SOURCE is
changed.

Of an ensemble take the server with the highest zxid, and give what comes out to all of the new servers.

Exit code 0: DIR is a data directory now; 1: it could not be made, and nothing was written; 2: wrong usage.

examples:
  zkstore import /var/lib/zookeeper /var/lib/zkstore
  zkstore import /etc/zookeeper/conf/zoo.cfg /var/lib/zkstore
  zkstore import /data/zookeeper --log-directory /log/zookeeper /var/lib/zkstore
  zkstore import tree.jsonl /var/lib/zkstore
"""

_PROGRESS_EVERY_S: Final = 1.0


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    progress = progress_to_stderr("zkstore import")
    try:
        if options.source.suffix == ".cfg" and options.source.is_file():
            options.source, options.log_directory = _directories_of(options)
        if options.source.is_file():
            found = _import_lines(options, progress)
        else:
            found = _import_apache(options, progress)
    except StorageError as error:
        print(f"zkstore import: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("zkstore import: stopped; nothing was written", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if options.json else _as_text(found))
    return 0


def _directories_of(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """Where a zoo.cfg says that the files are. Raises StorageError."""
    path: Path = options.source
    try:
        values = {each.key: each.value for each in properties.parse(path.read_text(errors="replace"), str(path))}
    except OSError as error:
        raise translated(error, path) from error
    except ConfigError as error:
        raise StorageError(str(error)) from error
    if "dataDir" not in values:
        raise StorageError("this names no dataDir", where=path, advice="Name the directory itself")
    logs = options.log_directory
    if logs is None and "dataLogDir" in values:
        logs = Path(values["dataLogDir"])
    return Path(values["dataDir"]), logs


def progress_to_stderr(name: str) -> Callable[[str], None]:
    """Tells how far it is, once a second at most; a quick one says nothing."""
    told_s = time.monotonic()

    def tell(text: str) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _PROGRESS_EVERY_S:
            told_s = time.monotonic()
            print(f"{name}: {text}", file=sys.stderr, flush=True)

    return tell


def _import_apache(options: argparse.Namespace, progress: Callable[[str], None]) -> dict[str, Any]:
    imported = arrival.import_directory(
        options.source,
        options.directory,
        log_directory=options.log_directory,
        up_to_zxid=options.up_to,
        ignores_digests=options.ignore_digests,
        progress=progress,
    )
    return {**_landed(options, imported.landed), **_origin(imported)}


def _import_lines(options: argparse.Namespace, progress: Callable[[str], None]) -> dict[str, Any]:
    if options.log_directory is not None or options.up_to is not None or options.ignore_digests:
        raise StorageError(
            "--log-directory, --up-to and --ignore-digests are for the directory of an Apache server",
            where=options.source,
            advice="Leave them out",
        )
    _refuse_other_files(options.source)
    landing.refuse_unless_empty(options.directory)
    lines = jsonlines.read(options.source, progress)
    with collector_paused():
        landed = landing.land(
            options.directory, sorted(lines.records.items()), lines.sessions, lines.zxid, lines.epochs, progress
        )
    return {**_landed(options, landed), "from": [options.source.name], "notes": [], "left_out": []}


def _refuse_other_files(path: Path) -> None:
    """Raise StorageError for a file that is something else, and that people may well name here."""
    try:
        with path.open("rb") as file:
            begin = file.read(64)
    except OSError as error:
        raise translated(error, path) from error
    if begin.startswith(MAGIC):
        raise StorageError("this is a backup of zkstore", where=path, advice="Bring it back with `zkstore restore`")
    if begin.startswith((b"ZKSN", b"ZKLG")):
        raise StorageError(
            "this is one file of an Apache ZooKeeper server, and all of them are needed",
            where=path,
            advice="Name its dataDir, the directory with version-2/ in it",
        )


def _landed(options: argparse.Namespace, landed: Landed) -> dict[str, Any]:
    return {
        "directory": str(options.directory),
        "znodes": landed.znodes,
        "sessions": landed.sessions,
        "zxid": f"{landed.zxid:#x}",
        "digest": f"{landed.digest:016x}",
    }


def _origin(imported: Imported) -> dict[str, Any]:
    recovery = imported.recovery
    files = [] if recovery.snapshot is None else [recovery.snapshot]
    notes = list(recovery.notes)
    if not imported.files.logs:
        notes.append("there is no transaction log: if the server had a dataLogDir, import again with --log-directory")
    if imported.files.current_epoch is not None:
        notes.append(
            "the server was a member of an ensemble: its last txns may not have been agreed on; take the member with"
            " the highest zxid"
        )
    return {
        "from": [file.path.name for file in [*files, *recovery.logs]],
        "txns": recovery.txns,
        "notes": notes,
        "left_out": imported.left_out,
    }


def _as_text(found: dict[str, Any]) -> str:
    txns = f", {counted(found['txns'], 'txn')} replayed" if "txns" in found else ""
    lines = [
        f"imported into {found['directory']}: {counted(found['znodes'], 'znode')},"
        f" {counted(found['sessions'], 'session')}, as of zxid {found['zxid']}",
        f"from {', '.join(found['from'])}{txns}",
        *(f"note: {note}" for note in found["notes"]),
        *(f"left out: {what}" for what in found["left_out"]),
        f"start it with: zkstore serve --data-dir {found['directory']}",
    ]
    return "\n".join(lines)


def counted(number: int, what: str) -> str:
    """So many of them, in words."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _zxid(text: str) -> int:
    try:
        value = int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} is no zxid; one looks like 0x10000002a")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore import",
        description="Make a new data directory of an Apache ZooKeeper server's, or of an export.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a dataDir, a zoo.cfg, or a file of JSON lines")
    parser.add_argument("directory", type=Path, metavar="DIR", help="the new data directory; it must be empty")
    parser.add_argument(
        "--log-directory", type=Path, metavar="DIR", help="where Apache's transaction logs are (its dataLogDir)"
    )
    parser.add_argument(
        "--up-to", type=_zxid, metavar="ZXID", help="stop behind this txn: to leave out damage, or a mistake"
    )
    parser.add_argument(
        "--ignore-digests", action="store_true", help="take the tree even if it is not the one that the files name"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser
