"""The world with clients: servers as in production, clients that use them, and the history that they make together.

A run has three parts: work under faults; work when all is well again; and rest, until the sessions of all who are gone
have ended, everybody has been told everything, and all servers are alike. Then the history is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from zkstore.model.acl import digest_id
from zkstore.replica.settings import ReplicaSettings
from zkstore.testing.checkers.check import Allowances, check
from zkstore.testing.checkers.history import History
from zkstore.testing.checkers.verdict import Verdict
from zkstore.testing.clients import operating
from zkstore.testing.clients.workloads import Workload
from zkstore.testing.plans.faults import ClientsBlocked, ClientsCut, Fault
from zkstore.testing.plans.plan import DRIFT_PPM_MAX, Ask, Case
from zkstore.testing.world.clock import Clock
from zkstore.testing.world.doors import Doors
from zkstore.testing.world.hosts import Host
from zkstore.testing.world.member_host import OUTSTANDING_MAX, MemberHost, Surroundings, TreeImages
from zkstore.testing.world.node import Node
from zkstore.testing.world.world import SERVE_US_MAX, World
from zkstore.zab.effects import Follow, Lead, Look

TIMEOUTS_MS: Final = (1_000, 2_000, 4_000)
_WORK_ON_US: Final = 2_000_000
_FAREWELL_US: Final = 1_000_000
_QUIET_TICKS: Final = 3
_ASKED_ONE_IN: Final = 8


class ServingNode(Node):
    """A node with clients: a `doors.Porch`."""

    def client_accepted(self, life: int, door: int) -> None:
        """See `Porch`, also for what follows."""
        if isinstance(self.host, MemberHost):
            self.post(life, self.host.client_accepted, door)

    def client_came(self, life: int, door: int, data: bytes) -> None:
        if isinstance(self.host, MemberHost):
            self.post(life, self.host.client_came, door, data)

    def client_broke(self, life: int, door: int) -> None:
        if isinstance(self.host, MemberHost):
            self.post(life, self.host.client_broke, door)


class ServingWorld(World):
    """See the module.

    Attributes:
        doors, history, workload: the clients' side.
        verdict: what the checkers say, once the run is over.
    """

    def __init__(self, case: Case, *, with_trace: bool = False) -> None:
        self.history = History(
            report_us=case.tick_ms * 1000, local_sessions=case.local_sessions, upgrades=case.upgrades_sessions
        )
        self.verdict: Verdict | None = None
        self._asks = 0
        super().__init__(case, with_trace=with_trace)
        random = Random(f"clients {case.seed}")
        self.workload = Workload(
            self.doors,
            self.history,
            random,
            case.servers,
            count=case.clients,
            timeouts_ms=TIMEOUTS_MS,
            think_us=case.think_us,
            are_loyal=case.local_sessions,
            has_operator=case.has_operator,
        )
        self.agenda.call_in(200_000, self.workload.start)

    # --- the servers ------------------------------------------------------------------------------

    def make_images(self) -> TreeImages:
        """See `World`; the first thing that is asked for."""
        self.doors = Doors(self.agenda, Random(f"doors {self.case.seed}"))
        return TreeImages()

    def make_node(self, server_id: int, clock: Clock, random: Random) -> Node:
        """See `World`."""
        node = ServingNode(self, server_id, clock, random)
        self.doors.join(node)
        return node

    def make_host(self, node: Node) -> Host:
        """See `World`."""
        case = self.case
        settings = ReplicaSettings(
            server_id=node.server_id,
            tick_ms=case.tick_ms,
            session_timeout_ms_min=2 * case.tick_ms,
            session_timeout_ms_max=max(TIMEOUTS_MS),
            outstanding_max=OUTSTANDING_MAX,
            reconfig_enabled=True,
            super_digest=digest_id(operating.CREDENTIAL),
            container_check_interval_ms=2_000,
            local_sessions=case.local_sessions,
            local_sessions_upgrading=case.upgrades_sessions,
        )
        return MemberHost(
            self.settings_of(node),
            settings,
            self.config_of(node),
            node.disk,
            Surroundings(self.observer, self.history, self.doors),
            Random(f"passwords {case.seed} {node.server_id} {node.life}"),
            node.life,
            (node.clock.now_ms, node.clock.time_ms),
        )

    def role_changed(self, node: Node, effect: Lead | Follow | Look) -> None:
        """See `World`."""
        super().role_changed(node, effect)
        if not isinstance(effect, Look):
            self.history.serves(node.server_id, self.agenda.now_us)
        if isinstance(effect, Lead):
            self.history.led(self.agenda.now_us)

    def lost_life(self, node: Node) -> None:
        """See `World`."""
        self.history.disturbed(self.agenda.now_us)
        self.history.forgot(node.server_id, self.agenda.now_us)
        self.doors.end_life(node.server_id, node.life, is_power=not node.has_power)

    # --- faults -----------------------------------------------------------------------------------

    def counted(self, fault: Fault) -> None:
        """See `World`."""
        super().counted(fault)
        self.history.disturbed(self.agenda.now_us)

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """See `World`."""

        def act() -> None:
            self.history.disturbed(self.agenda.now_us)
            action()

        super().later(delay_ms, act)

    def _ask(self, ask: Ask) -> None:
        """Clients ask enough; some of the plan's requests are left, for segments that nobody waits for."""
        self._asks += 1
        if self._asks % _ASKED_ONE_IN == 0:
            super()._ask(ask)

    def strike_clients(self, node: Node, fault: ClientsCut | ClientsBlocked) -> bool:
        """See `World`."""
        server_id = node.server_id
        if isinstance(fault, ClientsCut):
            return self.doors.cut(server_id, fault.share_permille / 1000) > 0
        self.doors.block(server_id)
        self.later(fault.for_ms, lambda: self.doors.unblock(server_id))
        return True

    # --- one run ----------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        self.doors.heal()
        self.history.disturbed(self.agenda.now_us)
        super()._calm_down()

    def run(self) -> None:
        """See `World`; then the clients' side, if the servers' is sound."""
        super().run()
        if self.observer.violations:
            return
        self._go_on(_WORK_ON_US)
        self.workload.rest()
        self._go_on(2 * max(TIMEOUTS_MS) * 1000 + 4 * self.case.tick_ms * 1000)
        self.workload.look_once_more()
        self._go_on(_FAREWELL_US)
        for member in sorted(self.observer.config.by_id):
            host = self.nodes[member].host
            if host is not None:
                self.history.final(member, host.applied[0], host.digest)
        for node in self.nodes.values():
            if isinstance(node.host, MemberHost) and node.host.replica.role.is_serving:
                self.history.left_local[node.server_id] = tuple(node.host.replica.local.timeouts())
        self.history.ended(self.agenda.now_us)
        if not self.observer.violations:
            case = self.case
            allowances = Allowances(
                tick_us=case.tick_ms * 1000,
                clock_error=DRIFT_PPM_MAX / 1_000_000,
                settle_us=SERVE_US_MAX // 2,
                quiet_us=(case.sync_limit + _QUIET_TICKS) * case.tick_ms * 1000,
                behind_us=SERVE_US_MAX,
                serve_us=SERVE_US_MAX,
            )
            self.verdict = check(self.history, allowances)

    def _go_on(self, for_us: int) -> None:
        self.agenda.run(self.agenda.now_us + for_us, lambda: bool(self.observer.violations))
