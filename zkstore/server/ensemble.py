"""The host of a member of an ensemble: carries what it asks for to the network, the disk and the log, and reports back.

    clients        fed by the client port; what they ask for becomes segments here (`gather`, `before_wait`)
    other servers  `net.peer_links`, in the client port's own loop
    the disk       `server.disk`, by its thread; a segment leaves for the followers before this server's disk gets it

To the service it is what `pipeline.Pipeline` is for a server alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import trio

from zkstore import failpoints
from zkstore.errors import DiskFullError, InvariantError, StorageError
from zkstore.net.certificates import Certificates
from zkstore.net.listeners import Listener
from zkstore.net.peer_events import PeerLinksSettings
from zkstore.net.peer_links import PeerLinks
from zkstore.replica.member import Member
from zkstore.server.checkpoints import Checkpoints
from zkstore.server.disk import Disk, Probe, Report
from zkstore.server.ensemble_config import EnsembleConfig
from zkstore.server.pipeline import Summary
from zkstore.server.roster import Roster
from zkstore.server.sealing import Sealing
from zkstore.server.tally import Tally
from zkstore.server.tree_sender import TreeSender
from zkstore.storage.store import Store
from zkstore.wire.messages import (
    FOLLOWING,
    LEADING,
    LOOKING,
    OBSERVING,
    LinkMessage,
    Vote,
)
from zkstore.zab.effects import (
    Adopt,
    Append,
    Belong,
    Cut,
    Dial,
    DiskEffect,
    Follow,
    Gossip,
    HangUp,
    Install,
    InstallBegin,
    InstallRows,
    Lead,
    Look,
    Note,
    Promise,
    Send,
    SendSnapshot,
    Stop,
)

logger = logging.getLogger(__name__)

_MODES: Final = {LOOKING: "looking", LEADING: "leader", FOLLOWING: "follower", OBSERVING: "observer"}
_TICK_MS_MIN: Final = 10
_PROBE_EVERY_MS: Final = 2_000
_BACKLOG_BYTES_MAX: Final = 32 << 20  # two of a leader's windows; only a snapshot brings more than the disk takes
_RESIGN_S_MAX: Final = 2.0
_RESIGN_LOOK_S: Final = 0.005
_PATIENT_WITH_OTHERS_MS: Final = 3_000


class EnsembleHost:
    """Runs one member of an ensemble of several.

    Attributes:
        sync_ms, segments: what the disk took, and how many segments it has.
        links: the connections with the other servers.
        serving: set once this server leads or follows.
        tally: counts the roles.
        gather, before_wait, hand_over: when to propose; see `sealing`.
    """

    def __init__(
        self,
        member: Member,
        store: Store,
        checkpoints: Checkpoints,
        config: EnsembleConfig,
        listeners: Sequence[Listener],
        *,
        certificates: Certificates | None = None,
        admits_guests: bool = False,
    ) -> None:
        """`admits_guests`: servers that are no members yet may come to be in step with this ensemble."""
        settings = member.peer.settings
        self.sync_ms = Summary()
        self.segments = 0
        self.serving = trio.Event()
        self.tally = Tally(member.replica.now_ms)
        self.links = PeerLinks(
            PeerLinksSettings(config.server_id, config.dials_tls, silence_timeout_ms=settings.sync_ms),
            listeners,
            self,
            certificates=certificates,
        )
        if admits_guests:
            self.links.greeting.admits = lambda server_id: True
        self._config = config
        self._member = member
        self._peer = member.peer
        self._replica = member.replica
        self._store = store
        self._checkpoints = checkpoints
        self._disk = Disk(store, checkpoints.lock)
        self._nursery: trio.Nursery | None = None
        self._settle: Callable[[], None] = self._carry_out
        self._read_clocks: Callable[[], None] = lambda: None
        self._trees = TreeSender(store, checkpoints, self.links)
        self._asked_of_disk: list[DiskEffect] = []
        self._roster = Roster(self._peer, self.links, config)
        self._leader_link = 0
        self._is_paused = False
        self._sealing = sealing = Sealing(member, self._carry_out)
        self.gather, self.before_wait, self.hand_over = sealing.gather, sealing.before_wait, sealing.hand_over
        self._probe_at_ms: int | None = None
        self._complain_at_ms: int | None = self._replica.now_ms + _PATIENT_WITH_OTHERS_MS
        on_disk: dict[type[Any], Callable[[Any], None]] = dict.fromkeys(
            (Append, Promise, Adopt, Belong, Cut, InstallBegin, InstallRows), self._asked_of_disk.append
        )
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            **on_disk,
            Install: self._install,
            Gossip: self._gossip,
            Dial: self._dial,
            Send: lambda effect: self.links.send(effect.link, effect.message),
            HangUp: lambda effect: self.links.hang_up(effect.link, effect.reason),
            SendSnapshot: self._begin_snapshot,
            Note: lambda effect: logger.info("%s", effect.text),
            Lead: self._lead,
            Follow: self._follow,
            Look: self._look,
            Stop: self._stop,
        }
        self._roster.follow()

    # --- the service's ----------------------------------------------------------------------------

    @property
    def descriptor(self) -> int:
        """Readable when `collect` has something to do."""
        return self._disk.descriptor

    @property
    def mode(self) -> str:
        """What this server is, by ZooKeeper's names; "looking" while it serves nobody."""
        return _MODES[self._peer.role]

    @property
    def is_writing(self) -> bool:
        """Whether the disk is at work: `collect` will have something to do."""
        return self._disk.is_busy

    async def run(
        self,
        read_clocks: Callable[[], None],
        settle: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Talk to the other servers, until cancelled. `settle` is called for what comes outside of the port's loop."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(self.links.run, has_own_loop=False))
                self._nursery, self._read_clocks, self._settle = nursery, read_clocks, settle
                read_clocks()
                self._member.start()
                settle()
                task_status.started()
        finally:
            self._nursery = None

    def turn(self) -> None:
        """Take what other servers have sent."""
        self.links.turn()

    def tick(self) -> None:
        """Some time has passed, and the member knows of it."""
        now_ms = self._replica.now_ms
        self._roster.follow()
        if self._probe_at_ms is not None and now_ms >= self._probe_at_ms:
            self._probe_at_ms = None
            self._disk.submit([Probe()])
        if self._complain_at_ms is not None and now_ms >= self._complain_at_ms:
            self._complain_at_ms = None
            if self._peer.role == LOOKING:
                logger.warning("%s yet: %s", self._who_is_not_served, self._whom_it_waits_for())

    def next_tick_s(self, longest_s: float) -> float:
        """How long to sleep until the member's next tick."""
        due_ms = self._peer.next_due_ms
        if due_ms is None:
            return longest_s
        return min(longest_s, max(due_ms - time.monotonic_ns() // 1_000_000, _TICK_MS_MIN) / 1000)

    async def resign(self) -> None:
        """Where others can lead: have one of them do it, and tell all that this server goes. Takes 3 s at most."""
        if self._peer.config.voters != {self._config.server_id}:
            self._read_clocks()
            self._member.hand_over(retires=True)
            self._settle()
            with trio.move_on_after(_RESIGN_S_MAX):
                while self._peer.role == LEADING:
                    await trio.sleep(_RESIGN_LOOK_S)
        await self.links.finish()

    def close(self) -> None:
        """Let go of the network, and of the disk when it has done what it was asked for."""
        self.links.close()
        self._disk.close()

    # --- what the member asks for -----------------------------------------------------------------

    def _take_effects(self) -> None:
        """Do what the member asks for, or note it; `_carry_out` sends it off."""
        member, handlers = self._member, self._handlers
        while member.effects:
            effects, member.effects = member.effects, []
            for effect in effects:
                handlers[type(effect)](effect)

    def _carry_out(self) -> None:
        """Do what the member asks for. Its segments leave for the followers first, and then for the disk."""
        self._take_effects()
        if self._asked_of_disk:
            failpoints.hit("ensemble.before_send")
        self.links.flush()
        asked = self._asked_of_disk
        if asked:
            if type(asked[-1]) is Append and self._peer.role == LEADING:
                segment = asked[-1].segment
                self.tally.proposed(len(segment.data))
                self._sealing.proposed(segment)
            failpoints.hit("ensemble.before_disk")
            self._disk.submit(asked)
            asked.clear()
            if not self._is_paused and self._peer.backlog_bytes > _BACKLOG_BYTES_MAX:
                self._pause(True)

    def _install(self, effect: Install) -> None:
        self._checkpoints.hold()
        self._asked_of_disk.append(effect)

    def _gossip(self, effect: Gossip) -> None:
        failpoints.hit("election.vote")
        self.links.gossip(effect.to, effect.vote)

    def _dial(self, effect: Dial) -> None:
        failpoints.hit("discovery.dial")
        if self._nursery is not None:
            self._leader_link, self._is_paused = effect.link, False
            self.links.dial(effect.link, effect.server_id)

    def _begin_snapshot(self, effect: SendSnapshot) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._send_tree, effect.link)

    def _lead(self, effect: Lead) -> None:
        failpoints.hit("election.lead")
        self._serve(f"this server leads epoch {effect.epoch}", leads=True)

    def _follow(self, effect: Follow) -> None:
        failpoints.hit("election.follow")
        how = "follows" if effect.votes else "observes"
        self._serve(f"this server {how} server {effect.leader}, which leads epoch {effect.epoch}", leads=False)

    def _serve(self, text: str, *, leads: bool) -> None:
        logger.info("%s; clients are served", text)
        self._complain_at_ms = None
        self.tally.serves(self._replica.now_ms, leads=leads)
        self.serving.set()

    def _look(self, effect: Look) -> None:
        failpoints.hit("election.look")
        logger.info("%s until there is a leader: %s", self._who_is_not_served, effect.reason)
        self._complain_at_ms = self._replica.now_ms + _PATIENT_WITH_OTHERS_MS
        self.tally.looks(self._replica.now_ms)

    def _stop(self, effect: Stop) -> None:
        text = f"{effect.text}. This server stops; the evidence is in {self._store.directory.root}"
        raise InvariantError(effect.invariant, effect.zxid, text)

    def _pause(self, is_paused: bool) -> None:
        self._is_paused = is_paused
        self.links.pause(self._leader_link, is_paused)

    @property
    def _who_is_not_served(self) -> str:
        if self._replica.settings.read_only_mode:
            return "only clients that ask for read-only service are served"
        return "no clients are served"

    def _whom_it_waits_for(self) -> str:
        others = sorted(self._peer.config.voters - {self._config.server_id})
        missing = [str(server_id) for server_id in others if not self.links.reaches(server_id)]
        if missing:
            return f"no quorum; servers that are not reached: {', '.join(missing)}"
        return "all voters are reached, and no leader is agreed on"

    # --- what the disk reports --------------------------------------------------------------------

    def collect(self) -> None:
        """Take what the disk has finished.

        Raises StorageError if the log cannot be trusted any more: the server stops.
        """
        for report in self._disk.take():
            effect = report.effect
            if report.error is not None:
                self._failed(report, report.error)
                break
            if isinstance(effect, Probe):
                logger.warning("the disk takes writes again: this server takes part again")
                self._member.disk_ok()
            elif isinstance(effect, Install):
                self._installed(effect, report)
            else:
                if isinstance(effect, Append):
                    self.segments += 1
                    self.sync_ms.add(report.took_ms)
                failpoints.hit("ensemble.before_ack")
                self._member.done(effect)
        if self._is_paused and self._peer.backlog_bytes < _BACKLOG_BYTES_MAX // 2:
            self._pause(False)
        self._carry_out()

    def _installed(self, effect: Install, report: Report) -> None:
        recovered = report.recovered
        assert recovered is not None, "an installed tree is a recovered one"
        self._member.installed(effect, recovered.tree, self._store.log.start.crc)
        self._checkpoints.go_on(recovered.tree)

    def _failed(self, report: Report, error: StorageError) -> None:
        if report.is_fatal:
            raise error
        self._carry_out()  # What was asked for before the member knows is lost, too.
        self._disk.forget()
        self._probe_at_ms = self._replica.now_ms + _PROBE_EVERY_MS
        if isinstance(report.effect, Probe):
            return
        failpoints.hit("ensemble.disk_failed")
        logger.error("this server takes no part until its disk takes writes. %s", error)
        self._checkpoints.go_on(self._replica.tree)
        self._member.failed(report.effect, isinstance(error, DiskFullError), str(error))

    # --- what other servers say: `net.peer_events.PeerEvents` ---------------------------------------

    def heard(self, vote: Vote) -> None:
        """A vote."""
        self._member.heard(vote)
        self._take_effects()

    def dialled(self, link: int, server_id: int) -> None:
        """A link that was asked for stands."""
        self._member.dialled(link, server_id)
        self._take_effects()

    def accepted(self, link: int, server_id: int) -> None:
        """Another server has opened a link."""
        self._member.accepted(link)
        self._take_effects()

    def received(self, link: int, message: LinkMessage) -> None:
        """The next message on a link."""
        self._member.received(link, message)
        self._take_effects()

    def broke(self, link: int) -> None:
        """A link is gone."""
        self._member.broke(link)
        self._take_effects()

    # --- whole trees for learners -------------------------------------------------------------------

    async def _send_tree(self, link: int) -> None:
        """Send the whole tree, and say so."""
        try:
            sent = await self._trees.send(link)
        except StorageError as error:
            logger.error("a learner needs the whole tree, and it cannot be sent. %s", error)
            self.links.hang_up(link, "the tree cannot be sent")
            self._read_clocks()
            self._member.broke(link)
        else:
            if sent is None:
                return
            self.tally.snapshot_sent()
            self._read_clocks()
            self._member.snapshot_sent(link, *sent)
        self._settle()
