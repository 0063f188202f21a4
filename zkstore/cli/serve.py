"""`zkstore serve`: run a server until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path

import trio

from zkstore import failpoints
from zkstore.admin.asking import words_of
from zkstore.errors import ConfigError, ZkStoreError
from zkstore.server import config as configuration
from zkstore.server import logs, settings
from zkstore.server.config import Config
from zkstore.server.service import serve

logger = logging.getLogger(__name__)

_OF_ONE_SERVER = frozenset(
    {"my_id", "data_log_dir", "secure_client_port", "dynamic_config_file", "standalone_enabled", "peer_type"}
)
_INTERRUPTED = 128 + signal.SIGINT  # as shells count a command that Ctrl-C has ended

_EPILOG = """\
Settings come from flags, ZKSTORE_* variables (ZKSTORE_CLIENT_PORT=2181), the ZOO_* variables of the ZooKeeper container
image, CONFIG, and defaults, in this order.

example:
  zkstore serve --data-dir /var/lib/zkstore --client-port 2181
  zkstore serve /etc/zookeeper/zoo.cfg
  zkstore serve --ensemble 3 --data-dir /tmp/three
  zkstore serve --secure-client-port 2281 --tls-certificate-file server.pem --tls-ca-file ca.pem

TLS files and the file of SASL users that change are read again, and on SIGHUP; open connections keep what they have.
"""


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 after an orderly stop, 1 if the server had to stop, 2 if a setting makes no sense."""
    options = vars(_parser().parse_args(arguments))
    config_path = options.pop("config")
    count = options.pop("ensemble")
    flags = {name: value for name, value in options.items() if value is not None}
    logs.configure(sys.stderr, "info", os.environ)
    if count is not None:
        return _run_laptop(count, config_path, flags)
    try:
        config, warnings = configuration.load(config_path, flags, os.environ)
        failpoints.arm_from(os.environ)
    except ConfigError as error:
        print(f"zkstore serve: {error}", file=sys.stderr)
        return 2
    logs.configure(sys.stderr, config.log_level, os.environ)
    for warning in warnings:
        logger.warning("%s", warning)
    return run(config)


def run(config: Config) -> int:
    """Serve; whatever ends the server other than a signal is told in one line each."""
    code = 0
    try:
        trio.run(serve, config, partial(words_of, config), _announce)
    except* ZkStoreError as errors:
        code = _tell(errors)
    except* MemoryError:
        code = 1
        logger.critical(
            "no memory is left: the server stops at once, and what was acknowledged is on disk. Give it more (the "
            "container's limit, ulimit -v), or set --memory-bytes-max lower, at which writes are refused"
        )
    except* KeyboardInterrupt:
        logger.info("interrupted while it started")
        code = _INTERRUPTED
    return code


def _run_laptop(count: int, config_path: Path | None, flags: dict[str, str]) -> int:
    """Several servers on this machine; what is said of all of them goes to each."""
    # One server, which is what nearly everybody runs, does not wait for the import.
    from zkstore.cli.laptop import CLIENT_PORT, Laptop, prepare

    try:
        if config_path is not None:
            raise ConfigError(f"{config_path}: with --ensemble each server has a file of its own, below --data-dir")
        for name in sorted(flags.keys() & _OF_ONE_SERVER):
            raise ConfigError(f"--{name.replace('_', '-')} is for one server, not for an ensemble")
        directory = settings.directory(flags.pop("data_dir", os.environ.get("ZKSTORE_DATA_DIR", "ensemble")))
        port = settings.whole_number(1, 65535)(flags.pop("client_port", str(CLIENT_PORT)))
        servers = prepare(directory, count, port)
    except (ConfigError, ValueError) as error:
        reason = error if isinstance(error, ConfigError) else f"--data-dir and --client-port: give {error}"
        print(f"zkstore serve: {reason}", file=sys.stderr)
        return 2
    return trio.run(Laptop(servers, flags, _announce).run)


def _announce(line: str) -> None:
    print(line, flush=True)


def _tell(errors: BaseExceptionGroup[ZkStoreError]) -> int:
    code = 1
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            code = _tell(error)
        else:
            logger.critical("%s", error)
            code = 2 if isinstance(error, ConfigError) else 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore serve",
        description="Run a server. It prints one line when clients may come; its log goes to stderr.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG", help="a zoo.cfg, or a TOML file by its suffix"
    )
    parser.add_argument(
        "--ensemble",
        type=int,
        choices=range(1, 10),
        metavar="N",
        help="run N servers on this machine that make an ensemble, to try things; they live below --data-dir",
    )
    for setting in settings.SETTINGS:
        names = [f"--{setting.field.replace('_', '-')}"]
        if setting.field == "client_host":
            names.append("--host")
        parser.add_argument(*names, dest=setting.field, metavar="VALUE", help=f"{setting.help} ({setting.key})")
    return parser
