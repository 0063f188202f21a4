"""The connect string: which servers, and below which znode. `host:port,host:port/chroot`, as every client takes it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from zkstore.errors import ConfigError

PORT: Final = 2181

_HOST: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>\d+))?")


class Address(NamedTuple):
    """One server's client address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ConnectString(NamedTuple):
    """`chroot` is "" or an absolute path without a slash at its end; it stands in front of every path."""

    addresses: tuple[Address, ...]
    chroot: str


def parse(text: str) -> ConnectString:
    """Read a connect string; a host without port means 2181. Raises ConfigError and says what is wrong."""
    hosts, slash, rest = text.strip().partition("/")
    chroot = (slash + rest).rstrip("/")
    if "//" in chroot:
        raise ConfigError(f"{text!r}: the path behind the servers has an empty element")
    addresses = tuple(_address(part.strip(), text) for part in hosts.split(",") if part.strip())
    if not addresses:
        raise ConfigError(f"{text!r} names no server; give HOST:PORT, for example 127.0.0.1:2181")
    return ConnectString(addresses, chroot)


def _address(part: str, text: str) -> Address:
    match = _HOST.fullmatch(part)
    if match is None:
        raise ConfigError(f"{text!r}: {part!r} is not HOST:PORT (an IPv6 address stands in brackets)")
    port = int(match["port"] or PORT)
    if not 0 < port < 65536:
        raise ConfigError(f"{text!r}: {port} is not a port; use 1 to 65535")
    return Address(match["ipv6"] or match["host"], port)
