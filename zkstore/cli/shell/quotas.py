"""Commands on quotas: limits kept as text in znodes below /zookeeper/quota, where the servers look for them.

The text, as servers and other shells write it: `count=2,bytes=3=;byteHardLimit=-1;countHardLimit=-1`; -1 is no limit.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple

from zkstore.cli.shell import text
from zkstore.cli.shell.shell import Shell
from zkstore.cli.shell.syntax import Command, CommandLine, Result, UsageError, check_path
from zkstore.cli.shell.znodes import subtree
from zkstore.client import Client
from zkstore.errors import ClientError, NodeExistsError, NoNodeError, NotEmptyError

_ROOT: Final = "/zookeeper/quota"
_LIMITS: Final = "zookeeper_limits"
_STATS: Final = "zookeeper_stats"

_NO_LIMIT: Final = -1


class Quota(NamedTuple):
    """The four limits of a subtree; soft ones only make the server warn."""

    soft_count: int = _NO_LIMIT
    soft_bytes: int = _NO_LIMIT
    hard_bytes: int = _NO_LIMIT
    hard_count: int = _NO_LIMIT

    @classmethod
    def parse(cls, data: bytes | None) -> Quota:
        """Read the text form; what is missing or no number means no limit."""
        numbers = _numbers(data)
        names = ("count", "bytes", "byteHardLimit", "countHardLimit")
        return cls(*(numbers.get(name, _NO_LIMIT) for name in names))

    def encode(self) -> bytes:
        """The text form."""
        soft = f"count={self.soft_count},bytes={self.soft_bytes}"
        return f"{soft}=;byteHardLimit={self.hard_bytes};countHardLimit={self.hard_count}".encode()


def _numbers(data: bytes | None) -> dict[str, int]:
    """The numbers in a znode of limits or of statistics (`count=3,bytes=5`), by name."""
    numbers = {}
    for part in (data or b"").decode("utf-8", "replace").replace(";", ",").split(","):
        name, _, number = part.strip("=").partition("=")
        with suppress(ValueError):
            numbers[name] = int(number)
    return numbers


_OPTIONS: Final = {"-n": "soft_count", "-b": "soft_bytes", "-N": "hard_count", "-B": "hard_bytes"}


def _znode(path: str) -> str:
    return _ROOT if path == "/" else _ROOT + path


async def _listquota(shell: Shell, line: CommandLine) -> Result:
    path = check_path(line.word(0))
    limits_path = f"{_znode(path)}/{_LIMITS}"
    notice = f"absolute path is {limits_path}"
    try:
        limits, _ = await shell.client.get(limits_path)
        stats, _ = await shell.client.get(f"{_znode(path)}/{_STATS}")
    except NoNodeError:
        raise ClientError(f"{notice}\nquota for {path} does not exist.") from None
    shown = f"Output quota for {path} {text.data_text(limits)}\nOutput stat for {path} {text.data_text(stats)}"
    return Result(shown, {"limits": Quota.parse(limits)._asdict(), "used": _numbers(stats)}, notice)


async def _setquota(shell: Shell, line: CommandLine) -> Result:
    path = check_path(line.word(0))
    option, limit = _one_limit(line)
    client = shell.client
    if await client.exists(path) is None:
        raise ClientError(f"{path} does not exist.")
    await _refuse_nesting(client, path)
    limits_path, stats_path = f"{_znode(path)}/{_LIMITS}", f"{_znode(path)}/{_STATS}"
    quota = Quota(**{_OPTIONS[option]: limit})
    await _create_parents(client, _znode(path))
    try:
        await client.create(limits_path, quota.encode())
        await client.create(stats_path, b"count=0,bytes=0")
    except NodeExistsError:
        data, stat = await client.get(limits_path)
        quota = Quota.parse(data)._replace(**{_OPTIONS[option]: limit})
        await client.set(limits_path, quota.encode(), version=stat.version)
    stats, _ = await client.get(stats_path)
    return Result(value=quota._asdict(), notice=_warnings(quota, _numbers(stats)))


def _one_limit(line: CommandLine) -> tuple[str, int]:
    if len(line.values) != 1:
        raise UsageError("setquota takes one of -n, -b, -N, -B with its value")
    (option,) = line.values
    limit = line.number(option, 0)
    if limit <= 0:
        raise UsageError(f"the {'num' if option in ('-n', '-N') else 'bytes'} quota must be greater than zero")
    return option, limit


async def _refuse_nesting(client: Client, path: str) -> None:
    """A quota stands alone between the root and the leaves."""
    parent = path
    while parent.count("/") > 1:
        parent = parent.rpartition("/")[0]
        if await client.exists(f"{_znode(parent)}/{_LIMITS}"):
            raise ClientError(f"{path} has a parent {parent} which has a quota")
    with suppress(NoNodeError):
        for below in await subtree(client, _znode(path)):
            owner = below.removeprefix(_ROOT).removesuffix(f"/{_LIMITS}")
            if below.endswith(f"/{_LIMITS}") and owner != path.rstrip("/"):
                raise ClientError(f"{path} has a child {owner} which has a quota")


async def _create_parents(client: Client, path: str) -> None:
    parts = path.split("/")
    for length in range(3, len(parts) + 1):
        with suppress(NodeExistsError):
            await client.create("/".join(parts[:length]), None)


def _warnings(quota: Quota, used: dict[str, int]) -> str:
    lines = []
    for what, limits in (
        ("count", (quota.soft_count, quota.hard_count)),
        ("bytes", (quota.soft_bytes, quota.hard_bytes)),
    ):
        now = used.get(what, 0)
        if any(0 <= limit < now for limit in limits):
            lines.append(f"[Warning]: the {what} quota you create is less than the existing {what}:{now}")
    return "\n".join(lines)


async def _delquota(shell: Shell, line: CommandLine) -> Result:
    path = check_path(line.word(0))
    limits_path = f"{_znode(path)}/{_LIMITS}"
    try:
        data, stat = await shell.client.get(limits_path)
    except NoNodeError:
        raise ClientError(f"Quota does not exist for {path}") from None
    if line.flags:
        kept = Quota.parse(data)._replace(**{_OPTIONS[flag]: _NO_LIMIT for flag in line.flags})
        await shell.client.set(limits_path, kept.encode(), version=stat.version)
        return Result(value=kept._asdict())
    for name in (limits_path, f"{_znode(path)}/{_STATS}"):
        with suppress(NoNodeError):
            await shell.client.delete(name)
    await _delete_empty_parents(shell.client, _znode(path))
    return Result()


async def _delete_empty_parents(client: Client, path: str) -> None:
    while path != _ROOT:
        try:
            await client.delete(path)
        except (NotEmptyError, NoNodeError):
            return
        path = path.rpartition("/")[0]


COMMANDS = (
    Command("listquota", "path", _listquota, least=1, most=1),
    Command("setquota", "-n|-b|-N|-B val path", _setquota, valued=tuple(_OPTIONS), least=1, most=1),
    Command("delquota", "[-n|-b|-N|-B] path", _delquota, flags=tuple(_OPTIONS), least=1, most=1),
)
