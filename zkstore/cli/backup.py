"""`zkstore backup`: one file that holds a tree as of one exact zxid, and its history if that is wanted."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from zkstore.cli.import_ import progress_to_stderr
from zkstore.cli.shell import encryption
from zkstore.errors import ConfigError, DirectoryUnusableError, StorageError
from zkstore.exchange import backup
from zkstore.exchange.backup import Written
from zkstore.exchange.drafts import draft
from zkstore.inspection.source import open_source

_EPILOG: Final = """\
SOURCE is a data directory, also that of a running server, which is read beside it and not disturbed; or one folder
below its snapshots/, or another backup; or the HOST:PORT of a running server that was started with --history-enabled:
then all comes over the network, as far as the ACLs let you read, and sessions' passwords only if you pass every ACL.
Everything is checked on the way: a backup that was completed holds what it says. The file is compressed, and each of
its parts has a checksum. `zkstore inspect FILE` looks into it, `zkstore restore FILE ...` brings it back.

Exit code 0: the backup is complete and on disk; 1: it could not be made, and there is no file; 2: wrong usage.

examples:
  zkstore backup /var/lib/zkstore monday.zkb
  zkstore backup --at "yesterday 14:00" /var/lib/zkstore before.zkb
  zkstore backup --history /var/lib/zkstore all.zkb
  zkstore backup --auth digest:super:secret zk1:2181,zk2:2181 now.zkb
  zkstore backup /var/lib/zkstore - | ssh vault 'cat > monday.zkb'
"""

_ADDRESSES: Final = re.compile(
    r"(?:[^/,:\s]+|\[[0-9A-Fa-f:.%\w]+\]):[0-9]+(?:,(?:[^/,:\s]+|\[[0-9A-Fa-f:.%\w]+\]):[0-9]+)*"
)
"""One server's address or several, without a chroot."""


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    progress = progress_to_stderr("zkstore backup")
    try:
        if str(options.file) == "-":
            written = _write(options, sys.stdout.buffer, progress)
            print(_as_text(_found("-", written)), file=sys.stderr)
            return 0
        if options.file.exists() and not options.force:
            raise DirectoryUnusableError(
                "there is a file already", where=options.file, advice="Name another one, or say --force to replace it"
            )
        with draft(options.file) as file:
            written = _write(options, file, progress)
    except (StorageError, ConfigError) as error:
        print(f"zkstore backup: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # whoever reads our stdout has had enough
        return 1
    except KeyboardInterrupt:
        print("zkstore backup: stopped; nothing was written", file=sys.stderr)
        return 1
    found = _found(str(options.file), written)
    print(json.dumps(found, indent=2) if options.json else _as_text(found))
    return 0


def _write(options: argparse.Namespace, file: Any, progress: Callable[[str], None]) -> Written:
    if not options.source.exists() and _ADDRESSES.fullmatch(str(options.source)):
        return _write_remote(options, file, progress)
    if options.auth or encryption.from_arguments(options).is_on:
        raise StorageError("--auth and TLS are for a running server, HOST:PORT", where=options.source)
    with open_source(options.source, log_directory=options.log_directory) as source:
        zxid = None if options.at is None else source.resolve(options.at)
        return backup.write(source, file, zxid=zxid, with_history=options.history, progress=progress)


def _write_remote(options: argparse.Namespace, file: Any, progress: Callable[[str], None]) -> Written:
    from zkstore.cli import remote  # the client; a directory needs none

    if options.log_directory is not None:
        raise StorageError("--log-directory is for a data directory, not for a running server", advice="Leave it out")
    tls = encryption.make_context(encryption.from_arguments(options))
    servers, with_history = str(options.source), options.history
    ordered = remote.Ordered(servers, at=options.at, with_history=with_history, auth=options.auth, tls=tls)
    written, has_passwords = remote.write(ordered, file, progress)
    if not has_passwords and written.sessions:
        print(
            "zkstore backup: sessions have other passwords in it, for theirs are shown only to who passes every ACL"
            " (--auth): nobody can come back to one, and their ephemerals go when they expire",
            file=sys.stderr,
        )
    return written


def _found(out: str, written: Written) -> dict[str, Any]:
    return {
        "out": out,
        "zxid": f"{written.zxid:#x}",
        "digest": f"{written.digest:016x}",
        "znodes": written.znodes,
        "sessions": written.sessions,
        "first_zxid": f"{written.first_zxid:#x}",
        "segments": written.segments,
        "bytes": written.size_bytes,
    }


def _as_text(found: dict[str, Any]) -> str:
    history = f", with its history since {found['first_zxid']}" if found["segments"] else ""
    return (
        f"backed up to {found['out']}: {found['znodes']:,} znodes, {found['sessions']:,} sessions,"
        f" as of zxid {found['zxid']}{history}; {found['bytes']:,} bytes"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore backup",
        description="Write a tree as of one exact zxid into one file, while a server goes on.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", type=Path, metavar="SOURCE", help="a data directory, a snapshot folder, a backup, or HOST:PORT"
    )
    parser.add_argument(
        "--auth", metavar="SCHEME:CREDENTIAL", action="append", default=[], help="with HOST:PORT: who we are"
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the new file, or - for standard output")
    parser.add_argument("--at", metavar="ZXID|TIME", help="the tree as it was then, as far as history reaches back")
    parser.add_argument("--history", action="store_true", help="with all txns that lead there, as far as known")
    parser.add_argument("--force", action="store_true", help="replace FILE, once the new one is complete")
    parser.add_argument(
        "--log-directory", type=Path, metavar="DIR", help="where the log lies, if elsewhere (dataLogDir)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    encryption.add_arguments(parser)
    return parser
