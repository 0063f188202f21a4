"""A script from a seed: everything a client may send, right and wrong, with what matters most sent most."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from tools import differential_values as values
from tools.differential_bodies import Bodies
from tools.differential_script import Body, Connect, Frame, HangUp, Send, Step
from zkstore.wire.opcodes import XID_AUTH, XID_PING, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    CreateRequest,
    PathRequest,
    PathWatchRequest,
    RemoveWatchesRequest,
    SaslPacket,
    SetWatches,
    SetWatches2,
)

LINKS = "abc"
_QUOTAS_EVERY = 4
"""Each so many seeds have quotas. They are checked against what has been committed: no bursts there."""

_BURST_SHARE = 0.25

_NOT_FOR_NOISE = (Opcode.GET_ALL_CHILDREN_NUMBER, Opcode.CHECK_WATCHES, Opcode.ADD_WATCH, Opcode.RECONFIG)
"""What Apache's makes of nonsense there is on the list of differences."""

_MANGLED = sorted(
    set(Opcode)
    - {op for op in Opcode if op <= 0}
    - {Opcode.CHECK, Opcode.DELETE_CONTAINER}
    - {Opcode.AUTH, Opcode.SASL}
)

_STANDARD, _PERSISTENT, _RECURSIVE = range(3)


class Generator:
    """Makes one script. What it believes of the servers only steers its choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._has_quotas = seed % _QUOTAS_EVERY == 0
        self._burst_share = 0 if self._has_quotas else _BURST_SHARE
        self._steps: list[Step] = []
        self._sessions: list[str] = []
        self._open: dict[str, str] = {}
        self._declined: set[str] = set()
        self._bodies = Bodies(self._random)

    def script(self, count: int) -> list[Step]:
        """`count` steps, and two connections in front of them."""
        self._connect("a", is_new=True)
        self._connect("b", is_new=True)
        for path in self._random.sample(values.PARENTS, 2):
            self._request(Opcode.CREATE, CreateRequest(path, b"", values.OPEN, 0))
        weights, makers = zip(*self._kinds(), strict=True)
        for make in self._random.choices(makers, weights, k=count):
            make()
        return self._steps

    def _kinds(self) -> list[tuple[float, Callable[[], None]]]:
        """What a step may be, each with how often it should come."""
        request, bodies = self._request, self._bodies
        writes = {
            Opcode.CREATE: 14,
            Opcode.CREATE2: 7,
            Opcode.CREATE_CONTAINER: 3,
            Opcode.CREATE_TTL: 3,
            Opcode.DELETE: 12,
            Opcode.SET_DATA: 12,
        }
        reads = {Opcode.EXISTS: 8, Opcode.GET_DATA: 8, Opcode.GET_CHILDREN: 5, Opcode.GET_CHILDREN2: 5}
        path_reads = {Opcode.GET_ACL: 4, Opcode.SYNC: 2, Opcode.GET_EPHEMERALS: 2}
        return [
            *((weight, partial(self._write, opcode)) for opcode, weight in writes.items()),
            *((weight, partial(self._watching, opcode)) for opcode, weight in reads.items()),
            *((weight, partial(self._read, opcode)) for opcode, weight in path_reads.items()),
            (6, self._set_acl),
            (10, lambda: request(Opcode.MULTI, bodies.multi())),
            (2, lambda: request(Opcode.GET_ALL_CHILDREN_NUMBER, PathRequest(bodies.path() or b"~"))),
            (2, lambda: request(Opcode.WHO_AM_I, b"")),
            (2, lambda: request(Opcode.PING, b"", xid=XID_PING)),
            (3, lambda: request(Opcode.MULTI_READ, bodies.multi_read())),
            (5, self._add_watch),
            (4, self._check_watches),
            (4, self._remove_watches),
            (3, self._set_watches),
            (3, self._set_watches2),
            (3, self._auth),
            (1, self._bad_auth),
            (1, lambda: request(Opcode.RECONFIG, bodies.reconfig())),
            (1, self._sasl),
            (5, self._reconnect),
            (1, self._hang_up),
            (1.5, lambda: request(Opcode.CLOSE_SESSION, b"", is_last=True)),
            (1, self._unknown),
            (5, self._mangled),
            (0.5, self._garbage),
            *([(15.0, lambda: request(*bodies.quota()))] if self._has_quotas else []),
        ]

    # --- connections ------------------------------------------------------------------------------

    def _link(self) -> str:
        if not self._open:
            self._connect(self._random.choice(LINKS), is_new=True)
        return self._random.choice(sorted(self._open))

    def _connect(self, link: str, *, is_new: bool, **details: Any) -> None:
        self._break_burst()
        choose = self._random
        session = f"s{len(self._sessions) + 1}" if is_new else choose.choice(self._sessions)
        can_succeed = not details
        details["timeout_ms"] = choose.choice((30_000, 30_000, 30_000, 4_000_000, 1, 0, -1))
        details["read_only"] = choose.choice((False, False, False, True, None))
        details["is_pipelined"] = can_succeed and choose.random() < self._burst_share
        self._steps.append(Connect(link, session, is_new, **details))
        if is_new:
            self._sessions.append(session)
        for other in [label for label, held in self._open.items() if held == session]:
            del self._open[other]
        self._open[link] = session
        self._declined.discard(link)

    def _reconnect(self) -> None:
        choose = self._random
        details: dict[str, Any] = {}
        if choose.random() < 0.15:
            details["password_is_right"] = False
        if choose.random() < 0.1:
            details["is_ahead"] = True
        self._connect(choose.choice(LINKS), is_new=choose.random() < 0.4, **details)

    def _hang_up(self) -> None:
        link = self._link()
        self._break_burst()
        self._steps.append(HangUp(link))
        self._open.pop(link, None)

    def _break_burst(self) -> None:
        last = self._steps[-1] if self._steps else None
        if isinstance(last, Connect | Send):
            self._steps[-1] = last._replace(is_pipelined=False)

    # --- requests ---------------------------------------------------------------------------------

    def _request(
        self,
        opcode: int,
        body: Body,
        *,
        link: str | None = None,
        xid: int | None = None,
        is_last: bool = False,
        **details: Any,
    ) -> None:
        last = self._steps[-1]
        if isinstance(last, Connect | Send) and last.is_pipelined:
            link = last.link if link is None else link
            if link != last.link:
                self._break_burst()
        link = self._link() if link is None else link
        if xid is None:
            xid = len(self._steps) + 1
        is_pipelined = not is_last and self._random.random() < self._burst_share
        self._steps.append(Send(link, xid, int(opcode), body, is_pipelined=is_pipelined, **details))
        if is_last:
            self._open.pop(link, None)

    def _watching(self, opcode: int) -> None:
        link = self._burst_link()
        path = self._bodies.path()
        watch = self._random.random() < 0.8 and bool(path) and self._mode(link, path) == _STANDARD
        self._request(opcode, PathWatchRequest(path, watch), link=link)

    def _burst_link(self) -> str:
        last = self._steps[-1]
        return last.link if isinstance(last, Connect | Send) and last.is_pipelined else self._link()

    def _mode(self, link: str, path: bytes | None) -> int:
        """The one watch mode of that connection at that path."""
        number = zlib.crc32(b"%d %b %b" % (self._seed, link.encode(), path or b""))
        return (_STANDARD, _STANDARD, _PERSISTENT, _RECURSIVE)[number % 4]

    def _add_watch(self) -> None:
        link = self._burst_link()
        path = self._path_of_mode(link, (_PERSISTENT, _RECURSIVE))
        mode = 0 if self._mode(link, path) == _PERSISTENT else 1
        if self._random.random() < 0.05:
            mode = self._random.choice((-1, 2, 7))
        self._request(Opcode.ADD_WATCH, AddWatchRequest(path, mode), link=link)

    def _path_of_mode(self, link: str, modes: tuple[int, ...]) -> bytes:
        while True:
            path = self._bodies.path()
            if path and self._mode(link, path) in modes:
                return path

    def _paths_of_mode(self, link: str, mode: int) -> tuple[bytes, ...]:
        return tuple([self._path_of_mode(link, (mode,)) for _ in range(self._random.choice((0, 1, 1, 2, 3)))])

    def _check_watches(self) -> None:
        path = self._bodies.path() or b"~"
        kind = self._random.choice((0, 1, 2, 2, 3, 3, 3, 4, 5, 6))
        self._request(Opcode.CHECK_WATCHES, RemoveWatchesRequest(path if b"/" in path else b"~", kind))

    def _remove_watches(self) -> None:
        link = self._burst_link()
        path = self._bodies.path()
        kinds = (1, 2, 3, 3) if self._mode(link, path) == _STANDARD else (3,)
        kind = self._random.choice((*kinds, *kinds, 0, 6))
        self._request(Opcode.REMOVE_WATCHES, RemoveWatchesRequest(path, kind), link=link)

    def _set_watches(self) -> None:
        link = self._burst_link()
        lists = [self._paths_of_mode(link, _STANDARD) for _ in range(3)]
        self._request(Opcode.SET_WATCHES, SetWatches(self._relative_zxid(), *lists), link=link, xid=self._odd_xid())

    def _set_watches2(self) -> None:
        link = self._burst_link()
        lists = [self._paths_of_mode(link, mode) for mode in (0, 0, 0, _PERSISTENT, _RECURSIVE)]
        self._request(Opcode.SET_WATCHES2, SetWatches2(self._relative_zxid(), *lists), link=link)

    def _relative_zxid(self) -> int:
        return self._random.randrange(-2, len(self._steps) + 5)

    def _odd_xid(self) -> int | None:
        return self._random.choice((None, None, -8, 0))

    def _write(self, opcode: int) -> None:
        self._request(opcode, self._bodies.write(opcode))

    def _read(self, opcode: int) -> None:
        self._request(opcode, PathRequest(self._bodies.path()))

    def _set_acl(self) -> None:
        self._request(Opcode.SET_ACL, self._bodies.set_acl())
        self._break_burst()

    # --- identities, and what goes wrong ----------------------------------------------------------

    def _auth(self) -> None:
        xid = self._random.choice((XID_AUTH, XID_AUTH, len(self._steps) + 1))
        self._request(Opcode.AUTH, self._bodies.auth(), xid=xid)

    def _bad_auth(self) -> None:
        self._break_burst()
        self._request(Opcode.AUTH, self._bodies.bad_auth(), xid=XID_AUTH, is_last=True)

    def _sasl(self) -> None:
        link = self._burst_link()
        if link not in self._declined:
            self._declined.add(link)
            self._request(Opcode.SASL, SaslPacket(b""), link=link)

    def _unknown(self) -> None:
        opcode = self._random.choice(values.UNKNOWN_OPCODES)
        self._break_burst()
        self._request(opcode, PathRequest(b"~"), is_last=True, hangs_up=True)

    def _mangled(self) -> None:
        """A request that is cut short, or goes on behind its end, or is noise."""
        choose = self._random.choice
        opcode = choose(_MANGLED)
        self._request(opcode, self._bodies.sample(opcode), xid=XID_PING if opcode == Opcode.PING else None)
        step = self._steps[-1]
        assert isinstance(step, Send)
        kind = self._random.randrange(3) if opcode != Opcode.RECONFIG else 1
        if kind == 0:
            step = step._replace(cut=choose((1, 2, 4, 5, 8, 9, 12)))
        elif kind == 1:
            step = step._replace(tail=self._random.randbytes(choose((1, 4, 9))))
        elif opcode not in _NOT_FOR_NOISE:
            step = step._replace(body=self._bodies.noise())
        self._steps[-1] = step
        if opcode == Opcode.SET_ACL:
            self._break_burst()

    def _garbage(self) -> None:
        """A frame that is no request: the connection does not survive it."""
        link = self._link()
        self._break_burst()
        payload = self._random.choice((b"", b"\0", b"\0\0\0\1", b"\0\0\0\1\0\0\0"))
        length = self._random.choice((len(payload), len(payload), -1, -2, 1 << 20, 1 << 24, 2**31 - 1))
        self._steps.append(Frame(link, payload, length))
        self._open.pop(link, None)
