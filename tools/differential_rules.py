"""The deliberate differences: where zkstore does not answer as Apache ZooKeeper 3.8.0 does, why, and what the tester
makes of it. Whatever is not in this table and differs is a fault of zkstore's.

A rule either changes what was seen of both servers until they agree, or says what a script never asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tools.differential_play import Log
from tools.differential_script import Send, Step
from tools.differential_seen import CLOSED, Bytes, Event, Reply, Seen, results_of
from zkstore.errors import MarshallingError, NoAuthError, NoWatcherError
from zkstore.model.watches import WatchKind
from zkstore.wire.multi import MultiResponse, Result
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import RemoveWatchesRequest
from zkstore.wire.responses import AclResponse, CreatedResponse, PathResponse

GUARDED = b"/g"
"""How the names of those znodes begin that some may not read; all others' ACLs let everybody read."""

_KINDS_SINCE_39 = frozenset({WatchKind.PERSISTENT, WatchKind.PERSISTENT_RECURSIVE})

_LOGINS = (Opcode.AUTH, Opcode.SASL)
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")

Masking = Callable[[Seen, Send | None], Seen | None]
"""What is compared instead of something seen, which answered that request if any; None: nothing is."""


class Deliberate(NamedTuple):
    """One difference, as a reader of the list wants it; `mask` is None where scripts stay away from it."""

    what: str
    why: str
    handling: str
    mask: Masking | None = None


def _without_event_zxid(seen: Seen, request: Send | None) -> Seen:
    return seen._replace(zxid="") if isinstance(seen, Event) else seen


def _without_guarded_watches(seen: Seen, request: Send | None) -> Seen | None:
    if isinstance(seen, Event) and GUARDED in (seen.path or b""):
        return None
    if not isinstance(seen, Reply) or request is None or GUARDED not in _path_of(request):
        return seen
    if seen.opcode == Opcode.EXISTS and seen.code in (0, NoAuthError.code):
        return seen._replace(code=0, body=None)
    if seen.opcode in (Opcode.CHECK_WATCHES, Opcode.REMOVE_WATCHES) and seen.code in (0, NoWatcherError.code):
        return seen._replace(code=0)
    return seen


def _without_new_watch_kinds(seen: Seen, request: Send | None) -> Seen:
    if isinstance(seen, Reply) and request is not None and isinstance(request.body, RemoveWatchesRequest):
        known = (0, NoWatcherError.code, MarshallingError.code)
        if request.body.type in _KINDS_SINCE_39 and seen.code in known:
            return seen._replace(code=0)
    return seen


def _without_others_watches(seen: Seen, request: Send | None) -> Seen:
    if isinstance(seen, Reply) and seen.opcode == Opcode.CHECK_WATCHES and seen.code in (0, NoWatcherError.code):
        return seen._replace(code=0)
    return seen


def _without_failed_body(seen: Seen, request: Send | None) -> Seen:
    return seen._replace(body=None) if isinstance(seen, Reply) and seen.code else seen


def _with_old_created_results(seen: Seen, request: Send | None) -> Seen:
    if not isinstance(seen, Reply) or not results_of(seen):
        return seen
    results = [
        Result(Opcode.CREATE, 0, PathResponse(result.response.path))
        if isinstance(result.response, CreatedResponse)
        else result
        for result in results_of(seen)
    ]
    return seen._replace(body=MultiResponse(tuple(results)))


def _with_sorted_acls(seen: Seen, request: Send | None) -> Seen:
    if isinstance(seen, Reply) and isinstance(seen.body, AclResponse):
        return seen._replace(body=seen.body._replace(acl=tuple(sorted(seen.body.acl or (), key=repr))))
    return seen


def _with_plain_paths(seen: Seen, request: Send | None) -> Seen:
    if isinstance(seen, Event):
        return seen._replace(path=_plain(seen.path))
    if isinstance(seen, Reply) and isinstance(seen.body, PathResponse):
        return seen._replace(body=PathResponse(_plain(seen.body.path)))
    return seen


def _plain(path: bytes | None) -> bytes | None:
    """A path that no znode can have, with one question mark for characters that are not ASCII."""
    text = (path or b"").decode("utf-8", "replace")
    return path if all(char < "\ufffd" for char in text) else _NOT_ASCII.sub(b"?", path or b"")


def _path_of(request: Send) -> bytes:
    return getattr(request.body, "path", b"") or b""


DELIBERATE: tuple[Deliberate, ...] = (
    Deliberate(
        "A watch event's header tells the zxid of the txn that fired it; Apache's says -1.",
        "Apache ZooKeeper 3.9 does it, too, and clients need it to order events and reads.",
        "not compared",
        _without_event_zxid,
    ),
    Deliberate(
        "exists needs READ, and events go only to connections that may read the znode.",
        "Apache ZooKeeper 3.8.4 and 3.9.2 closed this hole (CVE-2024-23944).",
        "for names that begin with g, the only ones that some may not read: exists may answer 0 or -102, and neither"
        " events nor whether a watch is there are compared",
        _without_guarded_watches,
    ),
    Deliberate(
        "checkWatches and removeWatches know the kinds 4 and 5; Apache's answer -5.",
        "Apache ZooKeeper 3.9 does; its clients send them.",
        "0, -121 and -5 count as equal; removeWatches is not asked for them",
        _without_new_watch_kinds,
    ),
    Deliberate(
        "create2, createContainer and createTTL in a multi answer with a Stat; Apache's answer as create does.",
        "Apache ZooKeeper 3.8.2 and 3.9 do; a client that asks for the Stat reads it.",
        "the Stat is not compared",
        _with_old_created_results,
    ),
    Deliberate(
        "A path that is not UTF-8, or has characters above U+FFFF, comes back as it was sent; from Apache's mangled by"
        " Java's strings.",
        "No znode can have such a name, and a client looks for the words that it used.",
        "whatever is not ASCII in such a path is not compared",
        _with_plain_paths,
    ),
    Deliberate(
        "An unknown opcode is answered by -6 and the connection goes on; Apache's closes it.",
        "The request has been understood to its end, so nothing is out of step; a newer client loses one feature"
        " instead of its connection.",
        "the tester hangs up after the answer",
    ),
    Deliberate(
        "Several watch modes at one path of one connection coexist; in Apache's the last one replaces the others.",
        "Apache ZooKeeper 3.9 keeps all; before, a getData with a watch made a persistent watch fire only once.",
        "each connection uses one mode per path",
    ),
    Deliberate(
        "check outside of a multi, deleteContainer and createSession are unknown opcodes.",
        "Apache's takes them from anybody without a permission; the first can damage its log.",
        "not asked",
    ),
    Deliberate(
        "A create in a multi with flags that do not exist, or that ask for a time that it does not bring, fails the"
        " whole multi by -5 before anything is tried; createContainer makes a container whatever its flags.",
        "Apache ZooKeeper 3.9 does so; before, the first two failed when it was their turn, and the last made a plain"
        " znode.",
        "not asked",
    ),
    Deliberate(
        "A write behind a setACL is checked against the new ACL, even before that is committed.",
        "Apache's checks against the old one until then, so that the disk's speed decides who may do what; corrected"
        " there after 3.9.",
        "nothing is pipelined behind a setACL",
    ),
    Deliberate(
        "checkWatches asks for the connection's own watches.",
        "Apache's finds those of others at the same path, too; corrected in Apache ZooKeeper 3.9.",
        "0 and -121 count as equal",
        _without_others_watches,
    ),
    Deliberate(
        "removeWatches of the kinds 1 and 2 takes one-shot watches only; Apache's takes persistent ones, too.",
        "Apache ZooKeeper 3.9 tells them apart.",
        "not asked where persistent watches may be",
    ),
    Deliberate(
        "The answer to a request that failed ends behind its code; Apache's multiRead may add what it had by then.",
        "Clients do not read it.",
        "not compared",
        _without_failed_body,
    ),
    Deliberate(
        "createContainer with a flag for an ephemeral znode makes a container that stays when the session ends;"
        " Apache's deletes it if that happens while the create is under way.",
        "A container has no owner.",
        "not asked",
    ),
    Deliberate(
        "createTTL without a flag for a TTL znode and with the time -1 is refused by -8.",
        "Apache's server logs a txn that it cannot apply.",
        "not asked",
    ),
    Deliberate(
        "getAllChildrenNumber counts as many for the empty path as for the root; Apache's counts one more.",
        "It is the same znode.",
        "not asked",
    ),
    Deliberate(
        "checkWatches finds nothing at a path without a slash, or at null, and addWatch refuses null by -5; Apache's"
        " answers -5 and 0.",
        "Since Apache ZooKeeper 3.9 the first is as here; nobody can watch null.",
        "not asked",
    ),
    Deliberate(
        "A multi with a null path takes a zxid, as every other write that fails; Apache's takes it unseen.",
        "One rule is simpler than two, and nothing is lost by a gap.",
        "not asked",
    ),
    Deliberate(
        "The ephemerals of a session that ends are deleted in the order of their creation; Apache's in any.",
        "The order is unspecified.",
        "a step that ends a session: its events are compared without their order",
    ),
    Deliberate(
        "In an ACL the scheme auth becomes the connection's identities in the order in which they came; in Apache's in"
        " any.",
        "The order is unspecified and means nothing.",
        "the entries of getACL are compared without their order",
        _with_sorted_acls,
    ),
    Deliberate(
        "Usage in a quota's stats znode that is null or cannot be read counts as none; Apache's server ends.",
        "Nothing that a client sends may end the server.",
        "not asked",
    ),
    Deliberate(
        "A watch at the empty path is one at the root; Apache's never fires.",
        "Reads find the root under that name, so a watch that they leave should be the root's.",
        "not asked",
    ),
    Deliberate(
        "A reconfig that cannot be read takes a zxid, as every other write that fails.",
        "One rule is simpler than two, and nothing is lost by a gap.",
        "not asked",
    ),
    Deliberate(
        "An ACL may name IPv6 addresses.",
        "Apache ZooKeeper 3.9.4 does.",
        "not asked",
    ),
    Deliberate(
        "A sasl packet behind one that was declined ends the connection; Apache's declines every one.",
        "kazoo answers each refusal with its next packet, for ever.",
        "each connection asks once",
    ),
    Deliberate(
        "A ping is answered at once, in front of what is still under way.",
        "Clients take a late answer to a ping for the server's death; a slow disk is none.",
        "in a burst, answers to ping, auth and sasl are compared without their place, and pings' without zxid",
    ),
)


def masked(log: Log, steps: Sequence[Step]) -> Log:
    """What is left to compare of one step on one server."""
    requests = {step.xid: step for step in steps if isinstance(step, Send)}
    return {label: _masked_link(seen, requests if label == steps[0].link else {}, steps) for label, seen in log.items()}


def _masked_link(log: Sequence[Seen], requests: dict[int, Send], steps: Sequence[Step]) -> list[Seen]:
    kept = []
    for seen in log:
        request = requests.get(seen.xid) if isinstance(seen, Reply) else None
        result: Seen | None = seen
        for rule in DELIBERATE:
            if rule.mask is not None and result is not None:
                result = rule.mask(result, request)
        if result is not None:
            kept.append(result)
    if requests and any(isinstance(step, Send) and step.hangs_up for step in steps):
        kept = [seen for seen in kept if seen != CLOSED]
    if any(isinstance(step, Send) and step.opcode == Opcode.CLOSE_SESSION for step in steps):
        events = sorted(repr(seen) for seen in kept if isinstance(seen, Event))
        kept = [*(seen for seen in kept if not isinstance(seen, Event)), *map(Bytes, events)]
    return _out_of_band_last(kept) if len(steps) > 1 else kept


def _out_of_band_last(log: list[Seen]) -> list[Seen]:
    """Answers that do not wait for others have no place among them."""
    pings = [seen._replace(zxid="") for seen in log if isinstance(seen, Reply) and seen.opcode == Opcode.PING]
    logins = [seen for seen in log if isinstance(seen, Reply) and seen.opcode in _LOGINS]
    others = [seen for seen in log if not isinstance(seen, Reply) or seen.opcode not in (Opcode.PING, *_LOGINS)]
    return [*others, *pings, *logins]
