"""Bugs of the past, put back into the servers of the simulated world: does the simulator still find them?

A simulator that finds nothing proves nothing. Here stand bugs of ZooKeeper, of etcd and of Raft libraries, and some of
zkstore's own, each as a patch for as long as one run lasts. Every one must be found within the number of seeds that it
states, counted from 0, and on those seeds the servers without it must be clean.
"""

from __future__ import annotations

from typing import Final

from zkstore.testing.museum import broadcasts, clients, epochs, histories
from zkstore.testing.museum.exhibit import Exhibit, Found

__all__ = ["EXHIBITS", "Exhibit", "Found"]

EXHIBITS: Final[tuple[Exhibit, ...]] = (
    *epochs.EXHIBITS,
    *histories.EXHIBITS,
    *broadcasts.EXHIBITS,
    *clients.EXHIBITS,
)
