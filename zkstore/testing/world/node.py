"""One server of the world: a machine with a disk and a clock, and on it a process that lives, stands still and dies.

A `Node` hands every event to its host and carries out the effects; it tells the observer what is sent and what is on
disk. Each start is a new life, and what was meant for an earlier one comes to nothing.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final, get_args

from zkstore.errors import DamageError, PeerMessageError
from zkstore.limits import PEER_VOTES_PER_SECOND_MAX
from zkstore.testing.plans.faults import AFTER, BEFORE, DISK_EFFECTS, CrashAt
from zkstore.testing.world.clock import Clock
from zkstore.testing.world.disk import Disk, Image
from zkstore.testing.world.network import Wire
from zkstore.testing.world.trace import show
from zkstore.wire import messages
from zkstore.wire.messages import LEADING, Join, LinkMessage, SnapshotBegin, SnapshotEnd, SnapshotRows, Vote
from zkstore.wire.segment import Segment
from zkstore.zab.effects import (
    Adopt,
    Append,
    Dial,
    DiskEffect,
    Effect,
    Follow,
    Gossip,
    HangUp,
    Lead,
    Look,
    Note,
    Send,
    SendSnapshot,
    Stop,
)

if TYPE_CHECKING:
    from zkstore.testing.world.hosts import Host
    from zkstore.testing.world.world import World

BROKEN: Final = (AssertionError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)
"""What comes out of code that is wrong."""

(_HEARD, _SAID, _DISK, _ROLE, _LIFE) = range(5)
_ON_DISK: Final = {kind: f"disk {kind.__name__}" for kind in DISK_EFFECTS.values()}
_SENT: Final = {kind: f"sent {kind.__name__}" for kind in get_args(LinkMessage)}
_CHOKED_BYTES: Final = 64 << 10
_PUMP_BYTES: Final = 32 << 10
_QUEUE_SLACK_BYTES: Final = 8 << 20
"""Beside the window: the last segment that went in, a snapshot's rows, heartbeats, and what is forwarded."""

_PUMP_US: Final = 2_000
_CHUNK_ROWS: Final = 8


class Node:
    """See the module.

    Attributes:
        host: the process; None while there is none.
        life: counts the starts.
        has_power: whether the machine answers.
        traps: crashes that wait for a disk effect, with how many of them are still to come.
    """

    def __init__(self, world: World, server_id: int, clock: Clock, random: Random) -> None:
        self.world = world
        self.server_id = server_id
        self.clock = clock
        self.disk: Disk
        self.host: Host | None = None
        self.life = 0
        self.has_power = True
        self.is_paused = False
        self.is_damaged = False
        self.traps: list[tuple[CrashAt, int]] = []
        self.join: tuple[int, bytes] | None = None
        self._random = random
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._dials: dict[int, int] = {}
        self._next_link = 1

    # --- life and death ---------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """See `Station`."""
        return self.host is not None and self.has_power

    def boot(self) -> None:
        """Start the process, unless it runs, or its disk is damaged."""
        if self.host is not None:
            return
        self.life += 1
        self.has_power = True
        self.is_paused = False
        self._next_link = 1
        self._say(_LIFE, f"starts, life {self.life}")
        try:
            host = self.world.make_host(self)
        except DamageError as error:
            self.is_damaged = True
            self._say(_LIFE, f"refuses to start: {error}")
            if not self.disk.log.rotten:
                self.world.observer.violate("code", self.server_id, 0, f"refuses a sound disk: {error}")
            return
        except BROKEN as error:
            self._broke_down(error)
            return
        self.host = host
        self._step(host.start, ())
        self._tick(self.life)

    def crash(self, part_permille: int, *, is_power: bool = False) -> None:
        """The process dies."""
        if self.host is None:
            return
        self._say(_LIFE, "loses its power" if is_power else "crashes")
        self.host = None
        self.has_power = not is_power
        self.is_paused = False
        self._inbox.clear()
        self._dials.clear()
        self.world.network.end_life(self.server_id, self.life, is_power=is_power)
        self.world.lost_life(self)
        self.life += 1
        self.disk.crash(part_permille / 1000)

    def wipe(self) -> None:
        """The process dies, and its disk is empty."""
        self.crash(0)
        self.disk.wipe()
        self.is_damaged = False
        self.world.observer.wiped(self.server_id)

    def pause(self) -> None:
        """The process stands still."""
        self.is_paused = True
        self._say(_LIFE, "stands still")

    def resume(self) -> None:
        """It goes on; what came meanwhile comes now, its timer first or last."""
        if not self.is_paused:
            return
        self.is_paused = False
        self._say(_LIFE, "goes on")
        inbox, self._inbox = self._inbox, []
        host = self.host
        if host is None:
            return
        if self._random.random() < 0.5:
            inbox.insert(0, (host.tick, ()))
        else:
            inbox.append((host.tick, ()))
        for event, arguments in inbox:
            if self.host is host:
                self._step(event, arguments)

    def _tick(self, life: int) -> None:
        host = self.host
        if host is not None and self.life == life:
            self.world.agenda.call_in(self.world.case.tick_ms * 100, self._tick, life)
            if not self.is_paused:
                self._step(host.tick, ())

    # --- events -----------------------------------------------------------------------------------

    def post(self, life: int, event: Callable[..., None], *arguments: Any) -> None:
        """Something happens to the process, now, or once it goes on."""
        if life != self.life or self.host is None:
            return
        if self.is_paused:
            self._inbox.append((event, arguments))
        else:
            self._step(event, arguments)

    def do(self, action: Callable[[Host], bool]) -> bool:
        """Ask something of the host at once; False if it does not, or cannot."""
        host = self.host
        if host is None or self.is_paused:
            return False
        answer: list[bool] = []
        self._step(lambda: answer.append(action(host)), ())
        return answer == [True]

    def _step(self, event: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        host = self.host
        assert host is not None, "only a process has events"
        try:
            host.set_time(self.clock.now_ms, self.clock.time_ms)
            event(*arguments)
            effects = host.take_effects()
        except DamageError as error:
            self._say(_LIFE, f"finds damage: {error}")
            if not self.disk.log.rotten:
                self.world.observer.violate("code", self.server_id, 0, f"finds damage on a sound disk: {error}")
            self.is_damaged = True
            self.crash(0)
            return
        except BROKEN as error:
            self._broke_down(error)
            return
        for effect in effects:
            if self.host is not host:
                return
            self._carry_out(effect)

    def _broke_down(self, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(
            f"{frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})" for frame in frames[::-1]
        )
        self.world.observer.violate("code", self.server_id, 0, f"{type(error).__name__}: {error} in {where}")

    # --- what the network says --------------------------------------------------------------------

    @property
    def is_choked(self) -> bool:
        """See `Station`."""
        return self.host is not None and self.host.peer.backlog_bytes > _CHOKED_BYTES

    def gossip_came(self, life: int, data: bytes) -> None:
        """See `Station`."""
        vote = messages.decode(data)
        assert isinstance(vote, Vote), "gossip is votes"
        self._hear(vote, data)
        if self.host is not None:
            self.post(life, self.host.heard, vote)

    def link_accepted(self, life: int, wire: Wire) -> int:
        """See `Station`."""
        link = self._next_link
        self._next_link += 1
        if self.host is not None:
            self.post(life, self.host.accepted, link)
        return link

    def link_dialled(self, life: int, link: int, server_id: int) -> None:
        """See `Station`."""
        if self.host is not None:
            self.post(life, self.host.dialled, link, server_id)

    def link_came(self, life: int, link: int, data: bytes) -> None:
        """See `Station`."""
        try:
            message = messages.decode(data)
        except PeerMessageError as error:
            self.world.observer.violate("code", self.server_id, 0, f"was sent what it cannot read: {error}")
            return
        assert not isinstance(message, Vote), "votes are gossip"
        self._hear(message, data, link)
        if self.host is not None:
            self.post(life, self.host.received, link, message)

    def link_broke(self, life: int, link: int) -> None:
        """See `Station`."""
        if self.host is not None:
            self.post(life, self.host.broke, link)

    def _hear(self, message: Any, data: bytes, link: int = 0) -> None:
        trace = self.world.trace
        trace.event(self.world.agenda.now_us, _HEARD, self.server_id, data)
        if trace.is_on and self.world.is_told(message):
            trace.line(self.world.agenda.now_us, self.server_id, f"<- {f'({link}) ' if link else ''}{show(message)}")

    # --- what the disk says -----------------------------------------------------------------------

    def disk_changed(self, effect: DiskEffect, removed: list[Segment]) -> None:
        """See `DiskOwner`."""
        observer = self.world.observer
        self.world.counts[_ON_DISK[type(effect)]] += 1
        if isinstance(effect, Append):
            observer.appended(self.server_id, effect.segment)
        elif isinstance(effect, Adopt) and effect.enrols:
            observer.enrolled(self.server_id)
        observer.disk_changed(self.server_id, removed)
        self._say(_DISK, f"on disk: {show(effect)}" if self.world.trace.is_on and self.world.is_told(effect) else "")
        self._spring(effect, AFTER)

    def disk_done(self, effects: list[DiskEffect]) -> None:
        """See `DiskOwner`."""
        if self.host is not None:
            self.post(self.life, self.host.disk_done, effects)

    def disk_failed(self, effect: DiskEffect, is_full: bool, text: str) -> None:
        """See `DiskOwner`."""
        self._say(_DISK, f"not on disk: {show(effect)}: {text}" if self.world.trace.is_on else "")
        if self.host is not None:
            self.post(self.life, self.host.disk_failed, effect, is_full, text)

    def set_trap(self, trap: CrashAt) -> None:
        """Crash when that effect comes."""
        self.traps.append((trap, trap.nth))

    def _spring(self, effect: DiskEffect, moment: str) -> bool:
        """Whether this effect is what a planned crash waited for; it happens then."""
        for index, (trap, left) in enumerate(self.traps):
            if trap.moment == moment and isinstance(effect, DISK_EFFECTS[trap.effect]):
                self.traps[index] = (trap, left - 1)
                if left == 1:
                    del self.traps[index]
                    # The disk is at work: the end comes right behind this step.
                    self.world.agenda.call_in(0, self._trapped, trap, self.life)
                    return moment == BEFORE
        return False

    def _trapped(self, trap: CrashAt, life: int) -> None:
        if self.life == life and self.host is not None:
            self.world.counted(trap)
            self.crash(0)
            self.world.agenda.call_in(trap.down_ms * 1000, self.boot)

    # --- effects ----------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        world = self.world
        if isinstance(effect, Send):
            self._send(effect.link, effect.message)
        elif isinstance(effect, DiskEffect):
            if self._spring(effect, BEFORE):
                self.is_paused = True  # Nothing happens between this effect and the crash.
            self.disk.ask(effect)
        elif isinstance(effect, Gossip):
            world.observer.said(self.server_id, effect.vote)
            sent = world.network.gossip(self.server_id, effect.to, messages.encode(effect.vote))
            if sent > PEER_VOTES_PER_SECOND_MAX:
                world.observer.violate("code", self.server_id, 0, f"a flood of {sent} votes to server {effect.to}")
        elif isinstance(effect, Dial):
            self._dials[effect.link] = effect.server_id
            world.network.dial(self, effect.link, effect.server_id)
        elif isinstance(effect, HangUp):
            self._say(_SAID, f"hangs up ({effect.link}): {effect.reason}")
            world.network.hang_up(self.server_id, self.life, effect.link)
        elif isinstance(effect, SendSnapshot):
            image = self.disk.checkpoint or world.images.blank(world.config)
            self._say(_SAID, f"sends a snapshot of {image.zxid:#x} ({effect.link})")
            self._send(effect.link, SnapshotBegin(messages.SNAPSHOT_BEGIN, image.zxid, image.crc, image.digest))
            self._pump(self.life, effect.link, image, world.images.rows(image))
        elif isinstance(effect, Lead | Follow | Look):
            self._say(_ROLE, show(effect))
            world.role_changed(self, effect)
        elif isinstance(effect, Note):
            self._say(_ROLE, f"notes: {effect.text}")
        elif isinstance(effect, Stop):
            self._say(_ROLE, show(effect))
            world.observer.violate(
                "code", self.server_id, effect.zxid, f"stops itself: {effect.invariant}: {effect.text}"
            )
        else:
            raise AssertionError(f"{effect!r:.80} is nothing that a world can do")

    def _send(self, link: int, message: LinkMessage) -> None:
        world = self.world
        world.observer.said(self.server_id, message)
        data = messages.encode(message)
        world.counts[_SENT[type(message)]] += 1
        if isinstance(message, Join) and link in self._dials:
            self.join = (self._dials[link], data)
        if world.trace.is_on and world.is_told(message):
            world.trace.line(world.agenda.now_us, self.server_id, f"-> ({link}) {show(message)}")
        queued = world.network.send(self.server_id, self.life, link, data)
        if queued > world.case.window_bytes + _QUEUE_SLACK_BYTES:
            world.observer.violate(
                "code", self.server_id, 0, f"{queued} bytes wait on link {link}, after {show(message)}"
            )

    def _pump(self, life: int, link: int, image: Image, rows: list[tuple[bytes, bytes]]) -> None:
        """A snapshot goes out at the connection's pace."""
        world = self.world
        if life != self.life or self.host is None:
            return
        queued = world.network.queued_bytes(self.server_id, life, link)
        if queued is None:
            return
        if queued < _PUMP_BYTES and not self.is_paused:
            chunk, rows = rows[:_CHUNK_ROWS], rows[_CHUNK_ROWS:]
            self._send(link, SnapshotRows(messages.SNAPSHOT_ROWS, tuple(chunk)))
            if not rows:
                self._send(link, SnapshotEnd(messages.SNAPSHOT_END, world.images.sessions(image)))
                self.post(life, self.host.snapshot_sent, link, image.zxid, image.crc)
                return
        world.agenda.call_in(_PUMP_US, self._pump, life, link, image, rows)

    def _say(self, kind: int, text: str) -> None:
        trace, now_us = self.world.trace, self.world.agenda.now_us
        trace.event(now_us, kind, self.server_id, b"")
        if trace.is_on and text:
            trace.line(now_us, self.server_id, text)

    # --- for others -------------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether it believes that it leads."""
        return self.host is not None and self.host.peer.role == LEADING
