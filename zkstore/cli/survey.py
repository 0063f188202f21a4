"""Asking the servers of an ensemble how they are, by four-letter words, and comparing what they say.

Only `srvr` is answered by every server. Where `mntr`, `hash` and `dirs` are not among 4lw.commands.whitelist there is
less to show, and nothing is made up.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from zkstore.client.hosts import Address
from zkstore.model import zxid as zxids

NOT_SERVING: Final = "not serving: it has no leader"

_WORDS: Final = ("srvr", "mntr", "hash", "dirs")
_ANSWER_BYTES_MAX: Final = 16 << 20
_RECEIVE_BYTES: Final = 1 << 16


@dataclass(slots=True)
class Server:
    """What one server said; None where it did not.

    Attributes:
        trouble: why it said nothing; all else is empty then.
        mode: leader, follower, observer, standalone or read-only.
        zxid: the last one that it has applied.
        lag: txns that the leader had applied and it had not when they were asked; None where they cannot be counted.
        digests: of its tree, by zxid.
        agrees: whether its tree was the leader's at the last zxid that both know; None where there is none.
    """

    address: str
    trouble: str | None = None
    mode: str | None = None
    epoch: int | None = None
    zxid: int | None = None
    lag: int | None = None
    agrees: bool | None = None
    sessions: int | None = None
    connections: int | None = None
    disk_bytes: int | None = None
    digests: dict[int, str] = field(default_factory=dict, repr=False)


class Survey(NamedTuple):
    """All servers, and what is wrong with them together, a line each."""

    servers: list[Server]
    findings: list[str]


async def survey(addresses: Sequence[Address], tls: ssl.SSLContext | None, timeout_s: float) -> Survey:
    """Ask all servers at the same time."""
    answers: dict[Address, Server] = {}

    async def ask(address: Address) -> None:
        answers[address] = await _ask(address, tls, timeout_s)

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(ask, address)
    servers = [answers[address] for address in addresses]
    return Survey(servers, compare(servers))


async def _ask(address: Address, tls: ssl.SSLContext | None, timeout_s: float) -> Server:
    words: dict[str, str] = {}
    try:
        with trio.fail_after(timeout_s):
            for word in _WORDS:
                words[word] = await _answer(address, tls, word)
    except trio.TooSlowError:
        return Server(str(address), f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Server(str(address), _why(error))
    except trio.BrokenResourceError as error:
        reason = getattr(error.__cause__, "reason", None) or "it hung up"
        return Server(str(address), f"TLS: {reason.replace('_', ' ').lower()}" if tls is not None else reason)
    return read(str(address), words)


def _why(error: BaseException) -> str:
    """The system's words; a dial has an error of each of a name's addresses, which mostly say the same."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(map(_why, cause.exceptions)))
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error)


async def _answer(address: Address, tls: ssl.SSLContext | None, word: str) -> str:
    """Each word has a connection of its own, which the server closes behind the answer. Raises OSError."""
    stream: trio.abc.Stream = await trio.open_tcp_stream(*address)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=address.host, https_compatible=True)
    answer = bytearray()
    try:
        await stream.send_all(word.encode())
        while chunk := await stream.receive_some(_RECEIVE_BYTES):
            answer += chunk
            if len(answer) > _ANSWER_BYTES_MAX:
                raise OSError(f"its answer to {word} does not end; is it a ZooKeeper server?")
    finally:
        await trio.aclose_forcefully(stream)
    return answer.decode("utf-8", "replace")


# --- what the answers say -------------------------------------------------------------------------


def read(address: str, words: Mapping[str, str]) -> Server:
    """One server's answers, by word."""
    srvr = dict(line.split(": ", 1) for line in words["srvr"].splitlines() if ": " in line)
    if "Mode" not in srvr:
        said = " ".join(words["srvr"].split())
        is_idle = "not currently serving" in said
        return Server(address, NOT_SERVING if is_idle else f"no ZooKeeper server: it said {said[:40]!r}")
    mntr = dict(line.split("\t", 1) for line in words["mntr"].splitlines() if "\t" in line)
    dirs = dict(line.split(": ", 1) for line in words["dirs"].splitlines() if ": " in line)
    sizes = [_number(dirs.get(name)) for name in ("datadir_size", "logdir_size")]
    zxid = _number(srvr.get("Zxid"), 16)
    epoch = _number(mntr.get("zk_epoch"))
    if epoch is None and zxid is not None and srvr["Mode"] != "standalone":
        epoch = zxids.epoch_of(zxid)
    return Server(
        address=address,
        mode=srvr["Mode"].strip(),
        epoch=epoch,
        zxid=zxid,
        sessions=_number(mntr.get("zk_global_sessions")),
        connections=_number(srvr.get("Connections")),
        disk_bytes=None if None in sizes else sum(size or 0 for size in sizes),
        digests=_digests(words["hash"]),
    )


def _number(text: str | None, base: int = 10) -> int | None:
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def _digests(text: str) -> dict[int, str]:
    found = {}
    for line in text.splitlines():
        at, colon, digest = line.partition(": ")
        zxid = _number(at, 16)
        if colon and zxid is not None and digest.isdecimal():
            found[zxid] = digest
    return found


def compare(servers: Sequence[Server]) -> list[str]:
    """Fill in what only the comparison shows; what is wrong, a line each."""
    findings = [f"{server.address}: {server.trouble}" for server in servers if server.trouble]
    serving = [server for server in servers if server.trouble is None]
    leaders = [server for server in serving if server.mode == "leader"]
    if len(leaders) > 1:
        findings.append(
            "several servers lead: " + ", ".join(f"{each.address} (epoch {each.epoch})" for each in leaders)
        )
    alone = [server for server in serving if server.mode == "standalone"]
    if not leaders and (not alone or len(servers) > 1):
        findings.append("none of these servers leads")
    if alone and len(servers) > 1:
        findings.append("no ensemble: " + ", ".join(server.address for server in alone) + " stands alone")
    if serving:
        reference = max(leaders, key=lambda leader: leader.epoch or 0) if leaders else serving[0]
        for server in serving:
            _compare(server, reference)
        findings += [
            f"{server.address}: its tree differs from that of {reference.address}"
            for server in serving
            if server.agrees is False
        ]
    return findings


def _compare(server: Server, reference: Server) -> None:
    common = server.digests.keys() & reference.digests.keys()
    if common:
        server.agrees = server.digests[max(common)] == reference.digests[max(common)]
    if server.zxid is None or reference.zxid is None or reference.mode == "standalone":
        return
    if server.zxid == reference.zxid:
        server.lag = 0
    elif zxids.epoch_of(server.zxid) == zxids.epoch_of(reference.zxid):
        server.lag = max(0, reference.zxid - server.zxid)
