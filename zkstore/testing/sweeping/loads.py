"""What servers and clients go through, so that each failpoint is reached: one function for each kind of life.

A load is told what it works with, a `Scene`, and asks it for one step after the other; the scene raises `StruckError`
as soon as the failpoint has struck, wherever the load is then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from zkstore.testing.sweeping import spoiling
from zkstore.testing.sweeping.servers import Server

SMALL_MAP: Final = "zkstore.testing.sweeping.small_map"


class StruckError(Exception):
    """The failpoint has struck: the load has done what it is for."""


class Scene(Protocol):
    """What a load can ask for; every step ends the load where the failpoint has struck."""

    servers: dict[int, Server]

    def start(self, *ids: int, armed: bool = True) -> None:
        """Start servers."""

    def serve(self, *ids: int) -> None:
        """Wait until these serve, or enough servers for clients to be served."""

    def work(self, for_s: float, answers: int = 0) -> None:
        """Let the clients work for so long, and on until so many requests more are answered."""

    def stop(self, *ids: int) -> None:
        """SIGTERM, and wait for the end."""

    def kill(self, *ids: int) -> None:
        """kill -9."""

    def leader(self) -> int:
        """Who leads."""


Load = Callable[[Scene], None]


def life(scene: Scene) -> None:
    """A server alone: a new directory, some work, an orderly stop, a start, work, a crash, a start, work."""
    scene.start(1)
    scene.serve()
    scene.work(1.2)
    scene.stop(1)
    scene.start(1)
    scene.serve()
    scene.work(0.8)
    scene.kill(1)
    scene.start(1)
    scene.serve()
    scene.work(1.0)
    scene.stop(1)


def later_life(scene: Scene) -> None:
    """A server alone that has worked already when it is armed."""
    scene.start(1, armed=False)
    scene.serve()
    scene.work(0.8)
    scene.kill(1)
    scene.start(1)
    scene.serve()
    scene.work(1.0)
    scene.stop(1)


def history(scene: Scene) -> None:
    """A server alone that has more history than it may keep. What it drops must have been read for the verdict: that
    is done whenever it has ended."""
    scene.start(1, armed=False)
    scene.serve()
    for _ in range(16):
        scene.work(0.5, answers=100)
        scene.stop(1)
        scene.start(1)
        scene.serve()
    scene.work(1.0)


def small_map(scene: Scene) -> None:
    """A server alone whose maps have to grow."""
    scene.servers[1].program = SMALL_MAP
    life(scene)


def power_cut(scene: Scene) -> None:
    """A server alone whose last commit has no reference when it starts."""
    scene.start(1, armed=False)
    scene.serve()
    scene.work(0.6)
    scene.kill(1)
    spoiling.lose_newest_meta(scene.servers[1].directory)
    scene.start(1)
    scene.serve()
    scene.work(0.6)


def spoilt_checkpoint(scene: Scene) -> None:
    """A server alone that finds its checkpoint damaged, and has a snapshot."""
    scene.start(1, armed=False)
    scene.serve()
    scene.work(1.2, answers=200)
    scene.stop(1)
    spoiling.spoil_checkpoint(scene.servers[1].directory)
    scene.start(1)
    scene.serve()
    scene.work(0.6)


def ensemble(scene: Scene) -> None:
    """Three servers: they find together, work, and lose their leader."""
    scene.start(1, 2, 3)
    scene.serve()
    scene.work(1.5, answers=50)
    leader = scene.leader()
    scene.kill(leader)
    scene.work(2.0, answers=50)
    scene.start(leader)
    scene.serve(leader)
    scene.work(1.5)


def later_ensemble(scene: Scene) -> None:
    """Three servers that have worked already; then one after the other starts anew, armed."""
    scene.start(1, 2, 3, armed=False)
    scene.serve(1, 2, 3)
    scene.work(1.0, answers=50)
    for server_id in (3, 2, 1):
        scene.kill(server_id)
        scene.work(0.5, answers=20)
        scene.start(server_id)
        scene.serve(server_id)
        scene.work(1.0, answers=20)


def far_behind(scene: Scene) -> None:
    """Three servers, of which one was away for longer than the one that leads then keeps history."""
    scene.start(1, 2, 3, armed=False)
    scene.serve(1, 2, 3)
    scene.work(0.5, answers=50)
    scene.stop(3)
    scene.work(3.0, answers=1_500)
    scene.stop(1)  # Only server 2, which keeps little, can lead with server 3.
    scene.start(3)
    scene.serve(2, 3)
    scene.work(1.0)
    scene.start(1)
    scene.serve(1)


def tail(scene: Scene) -> None:
    """Three servers, of which one has what was never agreed on."""
    scene.start(1, 2, 3, armed=False)
    scene.serve(1, 2, 3)
    scene.work(0.5, answers=50)
    scene.stop(1, 2, 3)
    spoiling.add_tail(scene.servers[3].directory)
    scene.start(1, 2, armed=False)
    scene.serve(1, 2)
    scene.work(0.5, answers=20)
    scene.start(3)
    scene.serve(3)
    scene.work(2.0)


LOADS: Final[dict[str, tuple[Load, ...]]] = {
    "environment.grow": (small_map,),
    "log.append.after_failure": (later_life,),
    "log.salvage.": (power_cut,),
    "log.drop.": (history,),
    "snapshot.remove.": (history,),
    "snapshot.check": (history,),
    "log.cut.": (tail,),
    "sync.cut.": (tail,),
    "log.restart.": (far_behind,),
    "checkpoint.replace.": (far_behind,),
    "checkpoint.aside.": (spoilt_checkpoint,),
    "recovery.adopt.": (spoilt_checkpoint,),
    "incoming.": (far_behind,),
    "sync.tree.": (far_behind,),
    "sync.history_read": (later_ensemble,),
    "ensemble.": (ensemble, later_ensemble),
    "sealing.": (ensemble, later_ensemble),
    "election.": (ensemble, later_ensemble),
    "discovery.belong": (ensemble,),
    "discovery.": (ensemble, later_ensemble),
    "log.epochs.": (ensemble, later_ensemble),
    "peer.": (ensemble, later_ensemble),
    "log.append.": (life, later_life, ensemble),
    "log.generation.": (life, later_life),
    "log.facts.": (life, ensemble),
    "environment.sync.": (life, later_life, ensemble),
    "": (life,),
}
"""The loads for names that begin so; the first that fits counts."""


def loads_of(name: str) -> tuple[Load, ...]:
    """The lives in which a failpoint is tried; each has to reach it."""
    return next(loads for prefix, loads in LOADS.items() if name.startswith(prefix))


def servers_of(load: Load) -> int:
    """How many servers live it."""
    return 3 if load in (ensemble, later_ensemble, far_behind, tail) else 1
