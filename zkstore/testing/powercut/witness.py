"""Marks in a recording: what the storage was asked for, and when it said that it was done.

begin      the recording goes on where another one's disk was cut off: what that disk held
<what>     the storage was asked for `what`: append, promise, belong, cut, drop, install, remove
done       it returned; the value is `what`
refused    it said that nothing of it has happened
failed     it said that it does not know
taken      there is a snapshot of that zxid
told       somebody outside was told of a zxid that is on this disk
promised   somebody outside was told of an epoch that is
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from zkstore.errors import DiskFullError, StorageError
from zkstore.storage.checkpoint import Checkpoint
from zkstore.storage.log import Epochs, Log
from zkstore.storage.snapshots import Snapshots
from zkstore.storage.store import Store
from zkstore.testing.powercut.recorder import Recorder
from zkstore.wire.messages import ENROLLED

_INCOMING: Final = "tree.incoming"


def _promises(log: Log, epochs: Epochs, *, enrols: bool = False) -> tuple[int, int, int | None]:
    return *epochs, ENROLLED if enrols else log.enrolment


@contextmanager
def witnessed(recorder: Recorder) -> Iterator[None]:
    """Everything that is asked of any store of this process is marked in the recording meanwhile."""
    arrivals: dict[Checkpoint, tuple[list[Any], Any]] = {}
    saved: list[tuple[type[Any], str, Any]] = []

    def replace(owner: type[Any], name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        saved.append((owner, name, original))
        setattr(owner, name, make(original))

    def marked(what: str, value: Callable[..., Any]) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
                recorder.mark(what, value(self, *arguments, **keywords))
                try:
                    result = original(self, *arguments, **keywords)
                except DiskFullError:
                    recorder.mark("refused", what)
                    raise
                except StorageError:
                    recorder.mark("failed", what)
                    raise
                recorder.mark("done", what)
                return result

            return call

        return make

    def collecting(original: Any) -> Any:
        def put(self: Checkpoint, znodes: Any) -> None:
            if self.path.name == _INCOMING:
                arrivals.setdefault(self, ([], None))[0].extend(znodes)
            original(self, znodes)

        return put

    def finishing(original: Any) -> Any:
        def finish(self: Checkpoint, mark: Any, sessions: Any, *rest: Any) -> None:
            if self.path.name == _INCOMING:
                rows, _ = arrivals.setdefault(self, ([], None))
                arrivals[self] = rows, (mark, sessions)
            original(self, mark, sessions, *rest)

        return finish

    def taking(original: Any) -> Any:
        def take(self: Snapshots, checkpoint: Checkpoint, zxid: int) -> Any:
            taken = original(self, checkpoint, zxid)
            recorder.mark("taken", zxid)
            return taken

        return take

    def arrived(_: Store, incoming: Checkpoint) -> Any:
        rows, (mark, sessions) = arrivals.pop(incoming)
        return mark.zxid, mark.digest, mark.crc, rows, [(number, *one) for number, one in sessions.items()]

    replace(Log, "append", marked("append", lambda _, segments: [segment.data for segment in segments]))
    replace(Log, "set_epochs", marked("promise", _promises))
    replace(Log, "set_enrolment", marked("promise", lambda self, enrolment: (*self.epochs, enrolment)))
    replace(Log, "set_ensemble_id", marked("belong", lambda _, ensemble_id: ensemble_id))
    replace(Log, "truncate_after", marked("cut", lambda _, zxid: zxid))
    replace(Log, "drop_before", marked("drop", lambda _, zxid, *__, **___: zxid))
    replace(Snapshots, "take", taking)
    replace(Snapshots, "remove", marked("remove", lambda _, zxid: zxid))
    replace(Store, "install", marked("install", arrived))
    replace(Checkpoint, "put", collecting)
    replace(Checkpoint, "finish", finishing)
    try:
        yield
    finally:
        for owner, name, original in saved:
            setattr(owner, name, original)
