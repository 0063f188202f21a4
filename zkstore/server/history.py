"""Requests for history, between the loop that serves clients and the thread that reads the data directory.

One is read for at a time. However long that takes, the loop goes on, and the client hears that its server lives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgpack
import trio

from zkstore.errors import MarshallingError, NoAuthError, TruncatedRecordError
from zkstore.model import acl as acls
from zkstore.model.paths import ROOT
from zkstore.replica.recall import Recall
from zkstore.replica.replica import Replica
from zkstore.server.past import ANSWER_BYTES, Past, Question
from zkstore.wire.history import HistoryRequest, Kind
from zkstore.wire.jute import Reader

_IDLE_S: Final = 30.0
_REASSURE_S: Final = 1.0


class History:
    """Answers one replica's clients from its data directory. `settle` sends what has become ready."""

    def __init__(
        self, replica: Replica, data_dir: Path, log_directory: Path | None, settle: Callable[[], object]
    ) -> None:
        self._replica = replica
        self._past = Past(data_dir, log_directory)
        self._settle = settle
        # Not bounded, but each connection has one at most.
        self._sender, self._receiver = trio.open_memory_channel[tuple[Recall, Question]](math.inf)
        replica.remember = self.begin

    def begin(self, recall: Recall) -> None:
        """A request's turn has come; it is answered here if that takes no reading."""
        replica = self._replica
        try:
            request = HistoryRequest.decode(Reader(recall.body))
        except TruncatedRecordError:
            recall.answer(MarshallingError.code, b"")
            return
        path = request.path or ROOT
        is_watching = request.kind == Kind.EVENTS and path in replica.tree.records
        if is_watching and not replica.allows(replica.tree.acl(path), acls.READ, recall.identities):
            recall.answer(NoAuthError.code, msgpack.packb(path.decode("utf-8", "replace")))
            return
        sees_all = replica.settings.skip_acl or any(identity.scheme == "super" for identity in recall.identities)
        answer_bytes = min(ANSWER_BYTES, replica.frame_bytes_max // 2)
        question = Question(request, recall.identities, sees_all, replica.tree.zxid, answer_bytes)
        self._sender.send_nowait((recall, question))

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            with trio.move_on_after(_IDLE_S) as waiting:
                recall, question = await self._receiver.receive()
            if waiting.cancelled_caught:
                self._past.close()
            elif recall.is_wanted:
                await self._answer(recall, question)

    async def _answer(self, recall: Recall, question: Question) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reassure, recall)
            code, body = await trio.to_thread.run_sync(self._past.answer, question, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()
        recall.answer(code, body)
        self._settle()

    async def _reassure(self, recall: Recall) -> None:
        while True:
            await trio.sleep(_REASSURE_S)
            recall.reassure()
            self._settle()
