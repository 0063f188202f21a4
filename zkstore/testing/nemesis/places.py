"""Where the servers of a run live: their network and their disks, as far as this user may make some that can fail.

Without the right to make network namespaces no packet is lost, without the right to mount no disk gets full and no
power fails, without strace no disk is slow. Who asks for such a kind all the same is told why it cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from zkstore.errors import ConfigError
from zkstore.testing.nemesis.case import Case, refuse_unknown
from zkstore.testing.nemesis.disk import PoweredDisk, SmallDisk, refuse_tracing
from zkstore.testing.nemesis.faults import KINDS, OF_SEVERAL, OF_THE_NETWORK
from zkstore.testing.nemesis.network import Loopback, Namespaces, Network

_ONLY_AS_ROOT: Final = "run as root, or leave this kind away"


class Places:
    """Network and disks; `stack` takes them down.

    Attributes:
        kinds: of faults that can come.
        network: of the servers.
        small_disk: the last server's, if disks can get full here.
        powered: disks whose power can fail, by server.
        directories: of the servers' data.
    """

    def __init__(self, case: Case, ids: Sequence[int], root: Path, stack: ExitStack) -> None:
        refuse_unknown(case.kinds)
        self._case = case
        self._ids = ids
        self._root = root
        self._stack = stack
        self._lacking: dict[str, str] = {}  # kinds, and why
        self.network: Network = Loopback(ids)
        self.small_disk: SmallDisk | None = None
        self.powered: dict[int, PoweredDisk] = {}
        self.directories = {server_id: root / str(server_id) for server_id in ids}
        if case.servers == 1:
            for kind in sorted(OF_SEVERAL):
                self._lacking[kind] = "this takes several servers"
                if kind in case.kinds:
                    raise ConfigError(f"{kind}: {self._lacking[kind]}; leave this kind away")
        self._try(OF_THE_NETWORK, self._make_network)
        self._try({"full-disk"}, self._make_small_disk)
        self._try({"power"}, self._make_powered_disks)
        self._try({"slow-disk"}, refuse_tracing)
        self.kinds = tuple(kind for kind in case.kinds or KINDS if kind not in self._lacking)

    def _try(self, kinds: set[str] | frozenset[str], make: Callable[[], None]) -> None:
        """Make what these kinds need, if they are wanted. Raises ConfigError if they were asked for by name."""
        wanted = {kind for kind in self._case.kinds or KINDS if kind in kinds and kind not in self._lacking}
        if not wanted:
            return
        try:
            make()
        except OSError as error:
            if self._case.kinds:
                raise ConfigError(f"{min(wanted)}: it cannot be had here ({error}); {_ONLY_AS_ROOT}") from None
            self._lacking.update(dict.fromkeys(kinds, str(error)))

    def _make_network(self) -> None:
        self.network = Namespaces(self._ids)
        self._stack.callback(self.network.close)

    def _make_small_disk(self) -> None:
        last = self._case.servers
        self.small_disk = SmallDisk(self._root / "small-disk")
        self._stack.callback(self.small_disk.close)
        self.directories[last] = self.small_disk.path / str(last)

    def _make_powered_disks(self) -> None:
        """For every server but the one whose disk gets full: what lies in memory survives any cut."""
        for server_id in self._ids:
            if self.small_disk is None or server_id != self._case.servers or self._case.servers == 1:
                disk = PoweredDisk(self._root / f"disk-{server_id}")
                self._stack.callback(disk.close)
                self.powered[server_id] = disk
                self.directories[server_id] = disk.path / str(server_id)
