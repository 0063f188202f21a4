"""What a configuration means for one server's doors: whom it dials, who it says it is, where it listens."""

from __future__ import annotations

import logging

from zkstore.errors import ConfigError
from zkstore.net.peer_links import PeerLinks
from zkstore.server import boot
from zkstore.server.ensemble_config import EnsembleConfig
from zkstore.zab.membership import Member, Membership
from zkstore.zab.peer import Peer

logger = logging.getLogger(__name__)


class Roster:
    """Keeps a server's links as its peer's configuration wants them; `follow` it once in a while."""

    def __init__(self, peer: Peer, links: PeerLinks, config: EnsembleConfig) -> None:
        self._peer = peer
        self._links = links
        self._config = config
        self._memberships: tuple[Membership | None, ...] = ()
        self._me: Member | None = None

    def follow(self) -> None:
        """Dial those who belong to the ensemble now, or will if the change that is under way is agreed on."""
        peer, greeting = self._peer, self._links.greeting
        # An id of before the first epoch was adopted may come from a leader that got nowhere; it must keep nobody out.
        if peer.ensemble_id is not None and (peer.adopted_epoch > 0 or peer.has_lost_data):
            greeting.ensemble_id = peer.ensemble_id
        memberships = (peer.config, peer.pending_config)
        if memberships == self._memberships:
            return
        self._memberships = memberships
        self._links.set_members(
            {
                server_id: [(address.host, address.peer_port) for address in named.addresses]
                for members in memberships
                if members is not None
                for server_id, named in members.by_id.items()
            }
        )
        before, self._me = self._me, peer.config.by_id.get(self._config.server_id)
        if self._me is not None:
            greeting.addresses = tuple((address.host, address.peer_port) for address in self._me.addresses)
        if before is not None and before != self._me:
            self._move(before, self._me)

    def _move(self, before: Member, now: Member | None) -> None:
        """This server's own line has changed."""
        if now is None:
            logger.warning(
                "this server is no member of the ensemble any more. It goes on as one that only learns and does not "
                "count, until it is stopped or added again"
            )
            return
        if before.addresses != now.addresses:
            try:
                self._links.listen_on(boot.open_peer_port(self._config, now))
            except ConfigError as error:
                logger.error("this server's peer port has moved, and is to be restarted to listen there. %s", error)
            else:
                logger.info("this server listens for other servers at %s now", " and ".join(map(str, now.addresses)))
        if (before.client, before.secure_client) != (now.client, now.secure_client):
            logger.warning(
                "this server's client port has moved from %s to %s: restart it to listen there",
                before.client or before.secure_client,
                now.client or now.secure_client,
            )
