"""The version of zkstore, and the ZooKeeper release whose behaviour clients may expect of it."""

from typing import Final

VERSION: Final = "0.1.0"

# Tools parse `MAJOR.MINOR.MICRO-<build>, built on <date>` from srvr, stat, mntr and envi, and decide
# by the number which features they use: it names the protocol level served, the suffix names us.
ZOOKEEPER_VERSION: Final = f"3.9.4-zkstore-{VERSION}, built on 2026-11-22 00:00 UTC"
