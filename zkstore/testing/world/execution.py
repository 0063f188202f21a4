"""How each planned fault is brought about in a world, and how it ends."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from zkstore.testing.clients.operating import regrouped, spec
from zkstore.testing.plans import faults as fx
from zkstore.testing.plans.faults import CrashAt, Fault
from zkstore.testing.world.ghost import Ghost
from zkstore.testing.world.hosts import Host
from zkstore.wire.messages import ENROLLED

if TYPE_CHECKING:
    from zkstore.testing.world.node import Node
    from zkstore.testing.world.world import World

_CHECKPOINT_US: Final = 10_000


def strike(world: World, fault: Fault) -> bool:
    """Bring the fault about; False if there is nobody whom it could strike."""
    if isinstance(fault, fx.Partition):
        return _partition(world, fault)
    if isinstance(fault, fx.OneWay):
        pair = (fault.sender, fault.receiver)
        if pair not in world.network.routes:
            return False
        _block(world, [pair], fault.for_ms)
        return True
    if isinstance(fault, fx.LossyGossip):
        return _lossy(world, fault)
    node = world.find(fx.LEADER if isinstance(fault, fx.HandOver) else fault.server)
    if node is None:
        return False
    if isinstance(fault, fx.Crash | fx.CrashAt | fx.Pause | fx.ClockJump | fx.WipeDisk):
        return _strike_process(world, node, fault)
    if isinstance(fault, fx.DiskSlow | fx.DiskStall | fx.DiskFull | fx.DiskFails | fx.BitRot | fx.TakeCheckpoint):
        return _strike_disk(world, node, fault)
    if isinstance(fault, fx.Mute | fx.Flap | fx.Reset | fx.SlowLinks | fx.Ghost):
        return _strike_links(world, node, fault)
    if isinstance(fault, fx.HandOver):
        return node.do(_hand_over)
    if isinstance(fault, fx.ClientsCut | fx.ClientsBlocked):
        return world.strike_clients(node, fault)
    assert isinstance(fault, fx.Reconfigure), f"{fault!r} is no fault"
    return _reconfigure(world, node, fault)


def _strike_process(
    world: World, node: Node, fault: fx.Crash | CrashAt | fx.Pause | fx.ClockJump | fx.WipeDisk
) -> bool:
    if isinstance(fault, fx.WipeDisk):
        if not _can_spare(world, node):
            return False
        node.wipe()
        world.later(fault.down_ms, node.boot)
        return True
    if isinstance(fault, fx.ClockJump):
        node.clock.jump(fault.by_ms)
        return True
    if isinstance(fault, CrashAt):
        node.set_trap(fault)
        return True
    if node.host is None:
        return False
    if isinstance(fault, fx.Pause):
        life = node.life
        node.pause()
        world.later(fault.for_ms, lambda: node.resume() if node.life == life else None)
        return True
    node.crash(fault.part_permille, is_power=fault.is_power)
    world.later(fault.down_ms, node.boot)
    return True


def _can_spare(world: World, node: Node) -> bool:
    """Whether what a server has promised and acknowledged can be forgotten: a quorum of others has a vote."""
    others = {
        other.server_id for other in world.nodes.values() if other is not node and other.disk.enrolment == ENROLLED
    }
    configs = [world.observer.config]
    for host in [other.host for other in world.nodes.values() if other.host is not None]:
        configs.append(host.peer.config)
        if host.peer.pending_config is not None:
            configs.append(host.peer.pending_config)
    return all(config.has_quorum(others) for config in configs)


def _strike_disk(
    world: World,
    node: Node,
    fault: fx.DiskSlow | fx.DiskStall | fx.DiskFull | fx.DiskFails | fx.BitRot | fx.TakeCheckpoint,
) -> bool:
    pace = node.disk.pace
    if isinstance(fault, fx.BitRot):
        return node.disk.log.rot(fault.place_permille / 1000, fault.bit)
    if isinstance(fault, fx.TakeCheckpoint):
        return take_checkpoint(node, fault.kept)
    if isinstance(fault, fx.DiskSlow):
        pace.factor = fault.factor

        def speed_up() -> None:
            pace.factor = 1

        world.later(fault.for_ms, speed_up)
    elif isinstance(fault, fx.DiskStall):
        pace.stalled_until_us = max(pace.stalled_until_us, world.agenda.now_us + fault.for_ms * 1000)
    elif isinstance(fault, fx.DiskFull):
        pace.is_full = True

        def empty() -> None:
            pace.is_full = False
            if node.host is not None and node.disk.trusted:
                node.post(node.life, node.host.disk_ok)

        world.later(fault.for_ms, empty)
    else:
        pace.is_failing = True

        def repair() -> None:
            pace.is_failing = False
            if not node.disk.trusted:
                node.crash(0)
                node.boot()

        world.later(fault.for_ms, repair)
    return True


def take_checkpoint(node: Node, kept: int) -> bool:
    """Bring a server's checkpoint up to date, if it runs."""
    host = node.host
    if host is None or node.is_paused:
        return False
    image = host.image()
    if image.zxid == 0:
        return False
    node.disk.take_checkpoint(image, kept, _CHECKPOINT_US)
    return True


def _hand_over(host: Host) -> bool:
    host.peer.hand_over()
    return True


def _reconfigure(world: World, node: Node, fault: fx.Reconfigure) -> bool:
    leader = world.find(fx.LEADER)
    if leader is None:
        return False
    server_id = node.server_id
    if fault.role == "leave":
        return leader.do(lambda host: host.reconfigure(None, str(server_id)))
    if fault.role == "regroup":
        new_members = regrouped(world.observer.config, Random(f"groups {fault.at_ms}"))
        return leader.do(lambda host: host.reconfigure(None, None, new_members))
    joining = f"server.{server_id}={spec(server_id, is_voter=fault.role == 'voter')}"
    return leader.do(lambda host: host.reconfigure(joining, None))


# --- the network ----------------------------------------------------------------------------------


def _partition(world: World, fault: fx.Partition) -> bool:
    inside = {node.server_id for node in map(world.find, fault.servers) if node is not None}
    outside = [server_id for server_id in world.nodes if server_id not in inside]
    pairs = [(one, other) for one in sorted(inside) for other in outside]
    _block(world, pairs + [(other, one) for one, other in pairs], fault.for_ms)
    return bool(pairs)


def _block(world: World, pairs: list[tuple[int, int]], for_ms: int) -> None:
    for pair in pairs:
        world.network.block(*pair)

    def unblock() -> None:
        for pair in pairs:
            world.network.unblock(*pair)

    world.later(for_ms, unblock)


def _lossy(world: World, fault: fx.LossyGossip) -> bool:
    def set_all(lossy: float) -> None:
        for route in world.network.routes.values():
            route.lossy = lossy

    set_all(fault.permille / 1000)
    world.later(fault.for_ms, lambda: set_all(0.0))
    return True


def _strike_links(world: World, node: Node, fault: fx.Mute | fx.Flap | fx.Reset | fx.SlowLinks | fx.Ghost) -> bool:
    me = node.server_id
    others = [server_id for server_id in world.nodes if server_id != me]
    if isinstance(fault, fx.Mute):
        _block(world, [(me, other) if fault.hears else (other, me) for other in others], fault.for_ms)
    elif isinstance(fault, fx.Flap):
        pairs = [(me, other) for other in others] + [(other, me) for other in others]
        for start_ms in range(0, fault.for_ms, 2 * fault.period_ms):
            world.later(start_ms, lambda: _block(world, pairs, fault.period_ms))
    elif isinstance(fault, fx.Reset):
        return sum([world.network.reset(me, other) for other in others]) > 0
    elif isinstance(fault, fx.SlowLinks):
        routes = [route for pair, route in world.network.routes.items() if me in pair]

        def set_all(slow: int) -> None:
            for route in routes:
                route.slow = slow

        set_all(fault.factor)
        world.later(fault.for_ms, lambda: set_all(1))
    else:
        if node.join is None:
            return False
        Ghost(world, me, *node.join).haunt(fault.for_ms)
    return True
