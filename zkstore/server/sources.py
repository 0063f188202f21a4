"""Where settings come from: each source read into plain `Given`s, in its own order, nothing judged yet."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from zkstore import failpoints
from zkstore.errors import ConfigError
from zkstore.server import properties


class Given(NamedTuple):
    """One setting as somebody wrote it; `label` names it and where it stands, for messages ("zoo.cfg:3: tickTime")."""

    key: str
    value: str
    label: str


_CONTAINER_VARIABLES: Final = {
    "ZOO_MY_ID": "zkstore.myId",
    "ZOO_DATA_DIR": "dataDir",
    "ZOO_DATA_LOG_DIR": "dataLogDir",
    "ZOO_TICK_TIME": "tickTime",
    "ZOO_INIT_LIMIT": "initLimit",
    "ZOO_SYNC_LIMIT": "syncLimit",
    "ZOO_MAX_CLIENT_CNXNS": "maxClientCnxns",
    "ZOO_AUTOPURGE_PURGEINTERVAL": "autopurge.purgeInterval",
    "ZOO_AUTOPURGE_SNAPRETAINCOUNT": "autopurge.snapRetainCount",
    "ZOO_STANDALONE_ENABLED": "standaloneEnabled",
    "ZOO_ADMINSERVER_ENABLED": "admin.enableServer",
    "ZOO_4LW_COMMANDS_WHITELIST": "4lw.commands.whitelist",
}
"""The official image's variables that stand for one setting. ZOO_LOG_DIR has nothing to act on here."""

PREFIX: Final = "ZKSTORE_"
"""Of zkstore's own variables; the field's name in capitals follows."""


def container_file(environ: Mapping[str, str]) -> Path | None:
    """`$ZOO_CONF_DIR/zoo.cfg` where there is one."""
    directory = environ.get("ZOO_CONF_DIR")
    if not directory:
        return None
    path = Path(directory, "zoo.cfg")
    try:
        return path if path.exists() else None
    except OSError:
        return path  # it cannot even be looked at: reading it will say why


def from_file(path: Path) -> list[Given]:
    """The settings of a zoo.cfg, or of a TOML file if the name ends in `.toml`.

    Raises:
        ConfigError: the file cannot be read or does not parse.
    """
    text = _read(path)
    if path.suffix == ".toml":
        return list(_from_toml(text, path))
    return [Given(key, value, f"{path}:{line}: {key}") for key, value, line in properties.parse(text, str(path))]


def from_container_environ(environ: Mapping[str, str]) -> list[Given]:
    """The official container image's `ZOO_*` variables; one that is empty counts as not set, as there."""
    given = [
        Given(key, environ[variable], variable)
        for variable, key in _CONTAINER_VARIABLES.items()
        if environ.get(variable)
    ]
    for variable in ("ZOO_SERVERS", "ZOO_CFG_EXTRA"):  # extra lines come last and so win
        for item in environ.get(variable, "").split():
            key, equals, value = item.partition("=")
            if not equals:
                raise ConfigError(f"{variable}: {item} is no setting; give key=value items with blanks between them")
            given.append(Given(key, value, f"{variable}: {key}"))
    return given


def from_environ(environ: Mapping[str, str]) -> list[Given]:
    """`ZKSTORE_CLIENT_PORT=2182` and its like: the field's name in capitals."""
    return [
        Given(name.removeprefix(PREFIX).lower(), value.strip(), name)
        for name, value in environ.items()
        if name.startswith(PREFIX) and name != failpoints.VARIABLE
    ]


def from_flags(flags: Mapping[str, str]) -> list[Given]:
    """`--client-port` and its like, given by the field's name."""
    return [Given(name, value, f"--{name.replace('_', '-')}") for name, value in flags.items()]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a zoo.cfg or a .toml file, or none at all") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a directory, not a file; give the file in it, or --data-dir for the data") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); make it readable for this user") from None


def _from_toml(text: str, path: Path) -> Iterator[Given]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    for key, value in _flatten(table, ""):
        label = f"{path}: {key}"
        match value:
            case bool():
                yield Given(key, str(value).lower(), label)
            case int() | str():
                yield Given(key, str(value), label)
            case list() if all(isinstance(item, str) for item in value):
                yield Given(key, ",".join(value), label)
            case _:
                raise ConfigError(f"{label}: give a string, a whole number, true or false, or a list of strings")


def _flatten(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """`autopurge.snapRetainCount = 3` is a table in a table to TOML; here it is the key it looks like."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
