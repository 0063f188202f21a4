"""`zkstore undo`: take back a txn, or all that happened to a subtree; shown for review, or applied to a live server."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import trio

from zkstore.cli import credentials
from zkstore.cli.inspect.arguments import path_of
from zkstore.cli.inspect.past import acl_text
from zkstore.cli.inspect.screen import path_text, preview
from zkstore.cli.subtrees import Step, Verb
from zkstore.client.client import Client, connect
from zkstore.errors import ClientError, ConfigError, ProtocolError, RequestError, StorageError
from zkstore.inspection import diff, moments, undo
from zkstore.inspection.diff import Aspect, Difference
from zkstore.inspection.source import open_source
from zkstore.inspection.undo import Undoing
from zkstore.model import record as records_
from zkstore.model import zxid as zxids

_EPILOG: Final = """\
SOURCE is what has the history: a data directory (also of the running server) or a backup made with --history.

Without --apply the writes are shown, and nothing is done. With --apply they go to the server as one transaction, each
with the version that it expects: if anybody has changed one of these znodes since, nothing is done at all. (A
transaction cannot change an ACL: those follow behind it, each by itself, with its version.) Ephemeral znodes are their
sessions', and are left as they are.

Exit code 0: shown, or done; 1: it cannot be done, or somebody changed a znode meanwhile; 2: wrong usage.

examples:
  zkstore undo /var/lib/zkstore --txn 0x100000042
  zkstore undo /var/lib/zkstore --subtree /app --since "1h ago"
  zkstore undo /var/lib/zkstore --subtree /app --since "1h ago" --to 127.0.0.1:2181 --apply
"""


class _ChangedError(StorageError):
    """Somebody has changed a znode since."""


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.txn is None) == (options.since is None) or (options.since is None) != (options.subtree is None):
        parser.error("say what to take back: --txn ZXID, or --subtree PATH with --since ZXID|TIME")
    if options.apply and options.to is None:
        parser.error("--apply needs a live server: --to HOST:PORT")
    try:
        with open_source(options.source, log_directory=options.log_directory) as source:
            if options.txn is not None:
                found = undo.of_txn(source, _zxid(options.txn))
            else:
                found = undo.since(source, path_of(options.subtree), source.resolve(options.since))
            if source.damage:
                raise source.damage[0]
        steps = steps_of(found.differences)
        if options.to is not None:
            trio.run(_against, options, found, steps)
        _print(options, found, steps)
        return 0
    except (StorageError, ConfigError, RequestError, ClientError, ProtocolError) as error:
        print("\n".join([f"zkstore undo: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("zkstore undo: stopped", file=sys.stderr)
        return 1


def _zxid(text: str) -> int:
    zxid = moments.zxid_of(text)
    if zxid is None:
        raise StorageError(f"{text!r} is no zxid; `zkstore inspect SOURCE log` lists them, also of a time (--from)")
    return zxid


def steps_of(differences: list[Difference]) -> list[Step]:
    """The writes: deletes from below, creates from above, then new data, then ACLs."""
    deletes, creates, sets, acls = [], [], [], []
    for each in differences:
        path = each.path.decode()
        if each.after is None:
            deletes.append(Step(Verb.DELETE, path, was=records_.data_of(each.before or b"")))
            continue
        data, acl, owner = records_.data_of(each.after), diff.acl_of(each.after), diff.owner_of(each.after)
        if each.before is None:
            is_container = owner == records_.CONTAINER_OWNER
            creates.append(Step(Verb.CREATE, path, data, acl, is_container, records_.ttl_ms_of(owner)))
            continue
        if Aspect.DATA in each.aspects:
            sets.append(Step(Verb.SET, path, data, was=records_.data_of(each.before)))
        if Aspect.ACL in each.aspects:
            acls.append(Step(Verb.SET_ACL, path, acl=acl))
    return [*reversed(deletes), *creates, *sets, *acls]


async def _against(options: argparse.Namespace, found: Undoing, steps: list[Step]) -> None:
    """Look whether the server has all as it is expected; and apply it, where that is wished."""
    async with connect(options.to, auth=options.auth) as client:
        await client.sync()
        for each in found.differences:
            await _check(client, each)
        if options.apply and steps:
            await _apply(client, steps, {each.path.decode(): each.before for each in found.differences})


async def _check(client: Client, each: Difference) -> None:
    """Raises _ChangedError for a znode that is not as the source's history left it."""
    stat = await client.exists(each.path.decode())
    expected = None if each.before is None else records_.stat_of(each.before)
    if expected is None and stat is not None:
        why = f"was created anew at {zxids.text(stat.czxid)}"
    elif expected is not None and stat is None:
        why = "was deleted"
    elif expected is None or stat is None or stat.czxid == expected.czxid:
        if expected is None or stat is None or (stat.version, stat.aversion) == (expected.version, expected.aversion):
            return
        why = (
            f"was changed: version {stat.version}, not {expected.version}; ACL {stat.aversion}, not {expected.aversion}"
        )
    else:
        why = f"is another one: created at {zxids.text(stat.czxid)}, not {zxids.text(expected.czxid)}"
    raise _ChangedError(
        f"{path_text(each.path)} {why}; somebody has changed it since, and nothing was done",
        advice="See `zkstore inspect SOURCE history`; a newer --since, or --txn, may still be taken back",
    )


async def _apply(client: Client, steps: list[Step], before: dict[str, bytes | None]) -> None:
    transaction = client.transaction()
    versions = {path: records_.stat_of(record) for path, record in before.items() if record is not None}
    for step in steps:
        if step.verb is Verb.CREATE:
            transaction.create(step.path, step.data, acl=step.acl, container=step.is_container, ttl_ms=step.ttl_ms)
        elif step.verb is Verb.SET:
            transaction.set(step.path, step.data, version=versions[step.path].version)
        elif step.verb is Verb.DELETE:
            transaction.delete(step.path, version=versions[step.path].version)
    if len(transaction):
        await transaction.commit()
    for step in steps:
        if step.verb is Verb.SET_ACL:
            await client.set_acl(step.path, step.acl, version=versions[step.path].aversion)


def _print(options: argparse.Namespace, found: Undoing, steps: list[Step]) -> None:
    versions = {each.path.decode(): records_.stat_of(each.before) for each in found.differences if each.before}
    if options.json:
        rows: list[dict[str, Any]] = []
        for step in steps:
            stat = versions.get(step.path)
            version = None if stat is None else stat.aversion if step.verb is Verb.SET_ACL else stat.version
            row: dict[str, Any] = {"do": step.verb.value, "path": step.path, "version": version}
            if step.verb in (Verb.CREATE, Verb.SET):
                row["data"] = None if step.data is None else step.data.decode("utf-8", "backslashreplace")
            if step.verb in (Verb.CREATE, Verb.SET_ACL):
                row["acl"] = acl_text(step.acl)
            rows.append(row)
        value = {"back_to": zxids.text(found.back_to_zxid), "steps": rows, "ephemerals_left_out": found.ephemerals}
        print(json.dumps({**value, "is_applied": options.apply}, indent=2))
        return
    for step in steps:
        stat = versions.get(step.path)
        if step.verb is Verb.CREATE:
            print(f"create {step.path} {preview(step.data)}")
        elif stat is not None and step.verb is Verb.SET:
            print(f"set {step.path} {preview(step.data)}  (is {preview(step.was)}, version {stat.version})")
        elif stat is not None and step.verb is Verb.DELETE:
            print(f"delete {step.path}  (is {preview(step.was)}, version {stat.version})")
        elif stat is not None:
            print(f"setAcl {step.path} {acl_text(step.acl)}  (aversion {stat.aversion})")
    done = "done" if options.apply else "nothing was done; --to HOST:PORT --apply does it" if steps else "nothing to do"
    print(f"back to {zxids.text(found.back_to_zxid)}: {len(steps)} writes: {done}")
    if found.ephemerals:
        print(f"note: {found.ephemerals:,} ephemerals were left out; they are their sessions'")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore undo",
        description="Take back a txn, or all that happened to a subtree since some moment.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a data directory, or a backup with its history")
    parser.add_argument("--txn", metavar="ZXID", help="take back this one")
    parser.add_argument("--subtree", metavar="PATH", help="take back what happened here ...")
    parser.add_argument("--since", metavar="ZXID|TIME", help="... behind this moment")
    parser.add_argument("--to", metavar="HOST:PORT,...", help="the live server; without --apply it is only compared")
    parser.add_argument("--apply", action="store_true", help="do it")
    credentials.add_argument(parser)
    parser.add_argument(
        "--log-directory", type=Path, metavar="DIR", help="where the log lies, if elsewhere (dataLogDir)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser
