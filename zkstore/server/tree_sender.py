"""Whole trees for learners that are too far behind: the newest snapshot, made now where there is none that serves."""

from __future__ import annotations

import logging

import trio

from zkstore import failpoints
from zkstore.errors import StorageError
from zkstore.net.peer_links import PeerLinks
from zkstore.net.snapshot_pump import send_snapshot
from zkstore.server.checkpoints import Checkpoints
from zkstore.storage.outgoing import Outgoing
from zkstore.storage.store import Store
from zkstore.wire.messages import SNAPSHOT_BEGIN, SnapshotBegin

logger = logging.getLogger(__name__)


class TreeSender:
    """Sends snapshots of one store, to several learners at a time if need be."""

    def __init__(self, store: Store, checkpoints: Checkpoints, links: PeerLinks) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._links = links
        self._opening = trio.Lock()  # What is being sent is shared, and kept by one thread at a time.

    async def send(self, link: int) -> tuple[int, int] | None:
        """Send at the link's own pace; the zxid and CRC that the tree is of, None if the link broke meanwhile.

        Raises StorageError if there is no sound tree to be sent; the link stands then.
        """
        outgoing = await self._open()
        if outgoing is None and await self._checkpoints.write(with_snapshot=True):
            outgoing = await self._open()
        if outgoing is None:
            raise StorageError("no snapshot could be made for a learner", where=self._store.directory.root)
        mark, began_s = outgoing.mark, trio.current_time()
        sessions = [(number, one.timeout_ms, one.password) for number, one in outgoing.sessions.items()]
        failpoints.hit("sync.tree.begin")
        begin = SnapshotBegin(SNAPSHOT_BEGIN, mark.zxid, mark.crc, mark.digest)
        try:
            is_sent = await send_snapshot(self._links, link, begin, outgoing.rows(), sessions)
        finally:
            outgoing.close()
        if not is_sent:
            return None
        logger.info("sent the tree as of zxid %#x in %.1f s", mark.zxid, trio.current_time() - began_s)
        return mark.zxid, mark.crc

    async def _open(self) -> Outgoing | None:
        async with self._opening:
            return await trio.to_thread.run_sync(self._store.open_outgoing)
