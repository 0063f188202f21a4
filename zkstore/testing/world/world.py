"""The world: servers on simulated machines, the faults of a plan, and an observer who sees all. One case, one run.

First there is work and there are faults; then all is well again, and within a bounded time the ensemble must serve and
all its members must be alike. Everything follows from the case, down to the last bit of the trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from zkstore.testing.checkers.invariants import Observer
from zkstore.testing.clients.operating import spec
from zkstore.testing.plans.faults import LEADER, ClientsBlocked, ClientsCut, CrashAt, Fault
from zkstore.testing.plans.plan import Ask, Case
from zkstore.testing.world import execution
from zkstore.testing.world.clock import Agenda, Clock
from zkstore.testing.world.disk import Disk, Image, Images, Pace, Row, Sessions
from zkstore.testing.world.hosts import BareImages, Host, PeerHost
from zkstore.testing.world.network import Network, Route
from zkstore.testing.world.node import Node
from zkstore.testing.world.trace import Trace
from zkstore.wire.messages import Ack, Commit, Ping, Pong, Propose
from zkstore.zab import membership as memberships
from zkstore.zab.effects import Append, Follow, Lead, Look
from zkstore.zab.membership import Membership
from zkstore.zab.settings import PeerSettings

SERVE_US_MAX: Final = 30_000_000
"""How long it may take, once all is well, until the ensemble serves and all are alike."""

_PROBE_US: Final = 100_000
_QUIET_US: Final = 1_000_000
_GROUPS: Final = 3


class HostImages(Images, Protocol):
    """What checkpoints look like for the kind of hosts in a world."""

    def blank(self, config: Membership) -> Image:
        """Before the first transaction."""

    def rows(self, image: Image) -> list[Row]:
        """What is sent of an image."""

    def sessions(self, image: Image) -> Sessions:
        """And its sessions."""


class World:
    """See the module.

    Attributes:
        nodes: by server id.
        served_us: how long it took to serve, once all was well; -1 while it does not.
        counts: faults that came to pass, by kind; roles taken; requests.
    """

    images: HostImages

    def __init__(self, case: Case, *, with_trace: bool = False) -> None:
        self.case = case
        self.agenda = Agenda()
        self.trace = Trace(is_on=with_trace)
        self.config = _membership(case, case.observers)
        self.observer = Observer(self.config)
        self.images = self.make_images()
        self.network = Network(self.agenda, Random(f"network {case.seed}"), 2_000 * case.tick_ms * case.sync_limit)
        self.nodes: dict[int, Node] = {}
        self.counts: Counter[str] = Counter()
        self.served_us = -1
        self.is_calm = False
        self.ghosts = 0
        self._probed_from = -1
        for server_id, drift_ppm in zip(case.servers, case.drifts_ppm, strict=True):
            self._add(server_id, drift_ppm)

    def _add(self, server_id: int, drift_ppm: int) -> None:
        case = self.case
        random = Random(f"server {case.seed} {server_id}")
        node = self.make_node(server_id, Clock(self.agenda, drift_ppm, random.randrange(10**6)), random)
        pace = Pace(case.disk_us, case.disk_us)
        node.disk = Disk(self.agenda, Random(f"disk {case.seed} {server_id}"), pace, self.images, node)
        there, back = ({other: Route(case.latency_us, case.jitter_us) for other in self.nodes} for _ in range(2))
        self.network.join(node, there, back)
        self.observer.watch(server_id, node.disk)
        self.nodes[server_id] = node
        self.agenda.call_at(random.randrange(50_000), node.boot)
        if case.checkpoint_ms:
            self.agenda.call_at(random.randrange(case.checkpoint_ms * 1000), self._checkpoint, node)

    def make_images(self) -> HostImages:
        """What checkpoints look like; called before there is any node."""
        return BareImages()

    def make_node(self, server_id: int, clock: Clock, random: Random) -> Node:
        """A machine."""
        return Node(self, server_id, clock, random)

    def make_host(self, node: Node) -> Host:
        """A new life."""
        settings = self.settings_of(node)
        return PeerHost(settings, self.config_of(node), node.disk, self.observer, node.life, node.clock.now_ms)

    def settings_of(self, node: Node) -> PeerSettings:
        """What its peer is told."""
        case = self.case
        return PeerSettings(
            server_id=node.server_id,
            fresh_ensemble_id=Random(f"id {case.seed} {node.server_id} {node.life}").randbytes(16),
            tick_ms=case.tick_ms,
            init_limit=case.init_limit,
            sync_limit=case.sync_limit,
            window_bytes=case.window_bytes,
            in_flight_segments_max=case.in_flight_max,
            epoch_counter_max=case.epoch_counter_max,
        )

    def config_of(self, node: Node) -> Membership:
        """A spare's configuration file has it as an observer."""
        if node.server_id in self.case.spares:
            return _membership(self.case, (*self.case.observers, node.server_id))
        return self.config

    # --- one run ----------------------------------------------------------------------------------

    def run(self) -> None:
        """All of it."""
        case, agenda = self.case, self.agenda
        for fault in case.faults:
            agenda.call_at(fault.at_ms * 1000, self._strike, fault)
        for ask in case.asks:
            agenda.call_at(ask.at_ms * 1000, self._ask, ask)
        agenda.call_at(case.calm_ms * 1000, self._calm_down)
        agenda.run(case.calm_ms * 1000 + SERVE_US_MAX, self._is_done)
        if not self.observer.violations:
            self.observer.counts["I21"] += 1
            if self.served_us < 0:
                self.observer.violate(
                    "I21", 0, self.observer.committed[-1][0], f"after {SERVE_US_MAX // 1_000_000} s: {self._state()}"
                )

    def _is_done(self) -> bool:
        return self.served_us >= 0 or bool(self.observer.violations)

    def _strike(self, fault: Fault) -> None:
        if not self.is_calm and execution.strike(self, fault) and not isinstance(fault, CrashAt):
            self.counted(fault)

    def counted(self, fault: Fault) -> None:
        """A fault has come to pass."""
        self.counts[type(fault).__name__] += 1
        if self.trace.is_on:
            self.trace.line(self.agenda.now_us, 0, f"FAULT {fault}")

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """The end of a fault, unless all is well before."""

        def act() -> None:
            if not self.is_calm:
                action()

        self.agenda.call_in(delay_ms * 1000, act)

    def _checkpoint(self, node: Node) -> None:
        execution.take_checkpoint(node, self.case.checkpoint_kept)
        self.agenda.call_in(self.case.checkpoint_ms * 1000, self._checkpoint, node)

    def _ask(self, ask: Ask) -> None:
        """Everybody who believes to lead is asked: one that was deposed and does not know it yet, too."""
        for node in [node for node in self.nodes.values() if node.leads]:
            if ask.txns == 0:
                self.counts["syncs"] += node.do(lambda host: host.sync())
            else:
                self.counts["writes"] += node.do(lambda host: host.write(ask.txns, ask.size))

    # --- the end ----------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        """All is well again, and stays so."""
        self.is_calm = True
        if self.trace.is_on:
            self.trace.line(self.agenda.now_us, 0, "ALL IS WELL AGAIN")
        self.network.heal()
        for node in self.nodes.values():
            pace = node.disk.pace
            pace.factor, pace.stalled_until_us, pace.is_full, pace.is_failing = 1, 0, False, False
            node.traps.clear()
            node.disk.log.rotten.clear()
            node.resume()
            if node.host is not None and not node.disk.trusted:
                node.crash(0)
            node.boot()
            node.do(_trust_disk)
        self._probe()

    def _probe(self) -> None:
        """Ask for writes, and see whether one of those is everywhere."""
        observer = self.observer
        members = [self.nodes[member] for member in sorted(observer.config.by_id) if member in self.nodes]
        if 0 <= self._probed_from < len(observer.committed):
            ends = {(node.host.applied, node.host.digest) if node.host else None for node in members}
            if len(ends) == 1 and {end[0] for end in ends if end} == {observer.committed[-1]}:
                self.served_us = self.agenda.now_us - self.case.calm_ms * 1000
                return
        node = self.find(LEADER)
        if node is not None and node.do(lambda host: host.write(1, 20)) and self._probed_from < 0:
            self._probed_from = len(observer.committed)
        self.agenda.call_in(_PROBE_US, self._probe)

    def _state(self) -> str:
        texts = []
        for server_id, node in self.nodes.items():
            if node.host is None:
                texts.append(f"s{server_id} is down")
            else:
                peer = node.host.peer
                texts.append(
                    f"s{server_id} role {peer.role} leader {peer.leader_id} epoch {peer.epoch}"
                    f" promised {peer.promised_epoch} logged {peer.logged_zxid:#x} applied {node.host.applied[0]:#x}"
                )
        return "; ".join(texts)

    # --- for nodes and faults ---------------------------------------------------------------------

    def find(self, server: int) -> Node | None:
        """The node that a fault names; None if there is no such one now."""
        if server > 0:
            return self.nodes.get(server)
        leading = [node for node in self.nodes.values() if node.leads]
        leader = max(leading, key=lambda node: node.host.peer.epoch if node.host else 0, default=None)
        if server == LEADER:
            return leader
        others = [node for node in self.nodes.values() if node is not leader]
        return others[-server - 1] if -server <= len(others) else None

    def role_changed(self, node: Node, effect: Lead | Follow | Look) -> None:
        """A server leads, follows or looks."""
        self.counts[f"role {type(effect).__name__}"] += 1

    def lost_life(self, node: Node) -> None:
        """A server has crashed."""

    def strike_clients(self, node: Node, fault: ClientsCut | ClientsBlocked) -> bool:
        """A server's clients are struck; here it has none."""
        return False

    def is_told(self, message: object) -> bool:
        """Whether a trace shows it: heartbeats say little, and what everybody does all the time, once all is well."""
        if self.is_calm and self.agenda.now_us - self.case.calm_ms * 1000 > _QUIET_US:
            return not isinstance(message, Ping | Pong | Commit | Propose | Ack | Append)
        return not isinstance(message, Ping | Pong | Commit)


def _trust_disk(host: Host) -> bool:
    host.disk_ok()
    return True


def _membership(case: Case, observers: tuple[int, ...]) -> Membership:
    lines = [f"server.{server_id}={spec(server_id, is_voter=True)}" for server_id in case.voters]
    lines += [f"server.{server_id}={spec(server_id, is_voter=False)}" for server_id in observers]
    if case.is_grouped:
        groups = [case.voters[group::_GROUPS] for group in range(_GROUPS)]
        lines += [f"group.{number}={':'.join(map(str, group))}" for number, group in enumerate(groups, 1) if group]
        weights = [(voter, weight) for voter, weight in case.weights if voter in case.voters]
        if any(weight for _, weight in weights) or len(weights) < len(case.voters):
            lines += [f"weight.{voter}={weight}" for voter, weight in weights]
    return memberships.parse("\n".join(lines))
