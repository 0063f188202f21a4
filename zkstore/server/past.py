"""What requests for history are answered with: the data directory is read beside the server that owns it.

Runs in a thread, one request at a time. Sources and views stay open between the requests of a client that goes through
a tree. Nothing behind `end_zxid` is shown: the log of an ensemble's member may hold more than what is committed.

Whoever passes every ACL sees everything. Others see a znode where its ACL of that time lets them; of a whole tree only
what they could have read one by one, and never a session's password, nor a digest that one could be guessed from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgpack

from zkstore.errors import (
    BadArgumentsError,
    DamageError,
    MovedOnError,
    NoAuthError,
    NoNodeError,
    RequestError,
    StorageError,
    SystemFailureError,
)
from zkstore.inspection import moments
from zkstore.inspection.source import Source, open_source
from zkstore.inspection.view import View
from zkstore.model import acl as acls
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl, Identity
from zkstore.model.paths import ROOT
from zkstore.model.tree import session_digest
from zkstore.server import past_events
from zkstore.wire.history import NEWEST, HistoryRequest, Kind
from zkstore.wire.segment import Segment

ANSWER_BYTES: Final = 512 << 10
_VIEWS_MAX: Final = 4
_ATTEMPTS: Final = 5
_SOURCE_S_MAX: Final = 5.0
_MASK: Final = 0xFFFFFFFFFFFFFFFF


class Question(NamedTuple):
    """A request, who asks it, and what was committed when its turn came. `answer_bytes`: about, at most."""

    request: HistoryRequest
    identities: tuple[Identity, ...]
    sees_all: bool
    end_zxid: int
    answer_bytes: int = ANSWER_BYTES


class Past:
    """The data directory's history, as clients may see it."""

    def __init__(self, data_dir: Path, log_directory: Path | None) -> None:
        self._data_dir = data_dir
        self._log_directory = log_directory
        self._source: Source | None = None
        self._opened_s = 0.0
        self._views: dict[int, tuple[Source, View]] = {}
        self._kinds: dict[int, Callable[[Question], Any]] = {
            Kind.FACTS: self._facts,
            Kind.RESOLVE: self._resolve,
            Kind.GET: self._get,
            Kind.CHILDREN: self._children,
            Kind.SLICE: self._slice,
            Kind.SEGMENTS: self._segments,
            Kind.EVENTS: self._events,
        }

    def answer(self, question: Question) -> tuple[int, bytes]:
        """The answer's code, 0 or an error's, and its body."""
        found: Any
        try:
            kind = self._kinds.get(question.request.kind)
            if kind is None:
                raise StorageError("this server does not know this kind of request for history")
            code, found = 0, self._found(kind, question)
        except RequestError as error:
            code, found = error.code, error.path or ""
        except (DamageError, OSError, MemoryError) as error:
            code, found = SystemFailureError.code, f"history cannot be read here: {error}"
            self.close()
        except StorageError as error:
            code, found = BadArgumentsError.code, str(error)
        return code, msgpack.packb(found)

    def _found(self, kind: Callable[[Question], Any], question: Question) -> Any:
        try:
            return kind(question)
        except (DamageError, MovedOnError):
            self.close()  # what was open may be of a checkpoint that the server has replaced
            return kind(question)

    def close(self) -> None:
        """Let go of all files; the next question opens them again."""
        for source, _ in self._views.values():
            source.close()
        self._views.clear()
        if self._source is not None:
            self._source.close()
            self._source = None

    # --- what is open -----------------------------------------------------------------------------

    def _newest(self, end_zxid: int) -> Source:
        """A source that reaches to `end_zxid` at least."""
        source, now_s = self._source, time.monotonic()
        if source is not None and (source.facts.end.zxid < end_zxid or now_s - self._opened_s > _SOURCE_S_MAX):
            source.close()
            source = self._source = None
        if source is None:
            source = self._source = self._opened(end_zxid)
            self._opened_s = now_s
        return source

    def _opened(self, zxid: int) -> Source:
        """A source that reaches to `zxid`, which is on disk: but what is read beside a writer may be a moment older."""
        for _ in range(_ATTEMPTS):
            source = open_source(self._data_dir, log_directory=self._log_directory)
            if source.facts.end.zxid >= zxid:
                return source
            source.close()
        raise DamageError(f"the log cannot be read up to {zxid:#x}")

    def _view(self, question: Question) -> tuple[Source, View]:
        zxid = self._zxid(question)
        found = self._views.pop(zxid, None)
        if found is None:
            source = self._opened(zxid)
            try:
                found = source, source.view(zxid)
            except BaseException:
                source.close()
                raise
        self._views[zxid] = found  # the last is the one used last
        while len(self._views) > _VIEWS_MAX:
            self._views.pop(next(iter(self._views)))[0].close()
        _demand_sound(found[0])
        if found[1].zxid != zxid:
            raise DamageError(f"the log leads to {found[1].zxid:#x} only")
        return found

    def _zxid(self, question: Question) -> int:
        zxid, end = question.request.zxid, question.end_zxid
        if zxid == NEWEST:
            return end
        if not 0 <= zxid <= end:
            raise StorageError(f"there is no {zxid:#x} yet: history ends at {end:#x}")
        return zxid

    # --- the kinds --------------------------------------------------------------------------------

    def _facts(self, question: Question) -> dict[str, Any]:
        facts = self._newest(question.end_zxid).facts
        return {
            "end_zxid": question.end_zxid,
            "first_zxid": facts.reach[-1].first_zxid if facts.reach else question.end_zxid,
            "log_zxid": facts.start.zxid,
            "first_time_ms": facts.first_time_ms,
            "last_time_ms": facts.last_time_ms,
            "store_id": facts.store_id,
            "ensemble_id": facts.ensemble_id,
            "epochs": (0, 0) if facts.epochs is None else (facts.epochs.accepted, facts.epochs.current),
            "sees_all": question.sees_all,
        }

    def _resolve(self, question: Question) -> int:
        text = question.request.text or ""
        zxid = moments.zxid_of(text)
        if zxid is None:
            return min(self._newest(question.end_zxid).resolve(text), question.end_zxid)
        return self._zxid(question._replace(request=question.request._replace(zxid=zxid)))

    def _get(self, question: Question) -> bytes:
        return self._image(question, self._view(question)[1])

    def _image(self, question: Question, view: View) -> bytes:
        path = question.request.path or ROOT
        record = view.get(path)
        if record is None:
            raise NoNodeError(path)
        if not may_read(question, _acl_of(record)):
            raise NoAuthError(path)
        return record[: records_.image_end(record)]

    def _children(self, question: Question) -> tuple[bytes, list[bytes], bool]:
        _, view = self._view(question)
        image = self._image(question, view)
        names: list[bytes] = []
        size = len(image)
        for name, _ in view.children(question.request.path or ROOT, question.request.after):
            if size > question.answer_bytes:
                return image, names, True
            names.append(name)
            size += len(name) + 5
        return image, names, False

    def _slice(self, question: Question) -> dict[str, Any]:
        source, view = self._view(question)
        rows: list[tuple[bytes, bytes]] = []
        size, is_last = 0, True
        for path, record in view.znodes(after=question.request.after):
            if size > question.answer_bytes:
                is_last = False
                break
            if not may_copy(question, _acl_of(record)):
                raise NoAuthError(path)
            rows.append((path, record))
            size += len(path) + len(record) + 10
        _demand_sound(source)
        found: dict[str, Any] = {"zxid": view.zxid, "rows": rows, "is_last": is_last}
        if question.request.after is None:
            found |= _head(question, source, view)
        return found

    def _segments(self, question: Question) -> tuple[list[bytes], bool]:
        if not question.sees_all:
            raise NoAuthError(ROOT)  # sessions' passwords are in nearly every one
        found: list[bytes] = []
        size = 0
        for segment in self._chain(question):
            if size > question.answer_bytes:
                return found, False
            found.append(segment.data)
            size += len(segment.data)
        return found, True

    def _events(self, question: Question) -> past_events.Found:
        def acl_at(path: bytes) -> tuple[Acl, ...]:
            record = self._view(question)[1].get(path)
            return OPEN_ACL if record is None else _acl_of(record)

        return past_events.find(
            self._chain(question),
            question.request.zxid,
            question.end_zxid,
            question.request.path or ROOT,
            None if question.sees_all else (lambda acl: may_read(question, acl), acl_at),
            question.answer_bytes,
        )

    def _chain(self, question: Question) -> Iterator[Segment]:
        """The segments behind a zxid, none missing. Raises StorageError where history does not reach back so far."""
        after, end = question.request.zxid, question.end_zxid
        if after >= end:
            return
        source = self._newest(end)
        if after < source.facts.start.zxid:
            start = source.facts.start.zxid
            raise StorageError(f"what came behind {after:#x} is not kept: history begins at {start:#x}")
        previous: int | None = None
        for segment in source.segments(after, end):
            if segment.prev_zxid != previous and (previous is not None or segment.prev_zxid > after):
                _demand_sound(source)
                raise StorageError(f"what came behind {after:#x} is not kept any more")
            previous = segment.last_zxid
            yield segment
        _demand_sound(source)


def may_read(question: Question, acl: tuple[Acl, ...]) -> bool:
    """Whether the asker may read a znode with that ACL."""
    return question.sees_all or acls.allows(acl, acls.READ, question.identities)


def may_copy(question: Question, acl: tuple[Acl, ...]) -> bool:
    """Whether the asker may have it all, the ACL included: digests in it are shown to those who administer it."""
    if not may_read(question, acl):
        return False
    has_digest = any(entry.scheme == "digest" for entry in acl)
    return question.sees_all or not has_digest or acls.allows(acl, acls.ADMIN, question.identities)


def _acl_of(record: bytes) -> tuple[Acl, ...]:
    extras = records_.extras_of(record)
    return OPEN_ACL if extras is None else extras.acl


def _head(question: Question, source: Source, view: View) -> dict[str, Any]:
    """What comes with the first slice: sessions, without passwords for who does not see all; a digest without them."""
    last = next(source.segments(view.zxid - 1, view.zxid), None)
    crc = last.crc if last is not None and last.last_zxid == view.zxid else _known_crc(source, view.zxid)
    sessions = view.sessions
    shown = {
        number: (each.timeout_ms, each.password if question.sees_all else b"") for number, each in sessions.items()
    }
    digest = view.digest - sum(session_digest(number, each) for number, each in sessions.items())
    return {"digest": digest & _MASK, "crc": crc, "sessions": shown}


def _known_crc(source: Source, zxid: int) -> int:
    facts = source.facts
    images = [image for image in (facts.checkpoint, *facts.snapshots) if image is not None]
    known = {image.zxid: image.crc for image in images} | {link.zxid: link.crc for link in (facts.start, facts.end)}
    return known.get(zxid, 0)


def _demand_sound(source: Source) -> None:
    if source.damage:
        raise source.damage[0]
