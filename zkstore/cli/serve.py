"""`zkstore serve`: run a server until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio

from zkstore.admin.four_letter_words import WORDS, FourLetterWords
from zkstore.errors import ConfigError, ZkStoreError
from zkstore.replica.conversation import Conversation, Word
from zkstore.server import config as configuration
from zkstore.server import logs
from zkstore.server.config import Config
from zkstore.server.service import serve
from zkstore.server.settings import SETTINGS
from zkstore.server.view import View

logger = logging.getLogger(__name__)

_TRACE_MASK_BYTES = 8
_INTERRUPTED = 128 + signal.SIGINT  # as shells count a command that Ctrl-C has ended

_EPILOG = """\
Settings come from flags, ZKSTORE_* variables (ZKSTORE_CLIENT_PORT=2181), the ZOO_* variables of the ZooKeeper container
image, CONFIG, and defaults, in this order.

example:
  zkstore serve --data-dir /var/lib/zkstore --client-port 2181
  zkstore serve /etc/zookeeper/zoo.cfg
  zkstore serve --secure-client-port 2281 --tls-certificate-file server.pem --tls-ca-file ca.pem

TLS files and the file of SASL users that change are read again, and on SIGHUP; open connections keep what they have.
"""


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 after an orderly stop, 1 if the server had to stop, 2 if a setting makes no sense."""
    options = vars(_parser().parse_args(arguments))
    config_path = options.pop("config")
    flags = {name: value for name, value in options.items() if value is not None}
    logs.configure(sys.stderr, "info", os.environ)
    try:
        config, warnings = configuration.load(config_path, flags, os.environ)
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
    except* KeyboardInterrupt:
        logger.info("interrupted while it started")
        code = _INTERRUPTED
    return code


def words_of(config: Config, view: View) -> Mapping[bytes, Word]:
    """The four-letter words of one server, in the form that conversations ask them."""
    words = FourLetterWords(view, config.four_letter_words)

    def answer(word: bytes, _: Conversation, following: bytes) -> bytes | None:
        if word == b"stmk" and len(following) < _TRACE_MASK_BYTES:
            return None
        return words.answer(word, following)

    return {word: partial(answer, word) for word in WORDS}


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
    for setting in SETTINGS:
        names = [f"--{setting.field.replace('_', '-')}"]
        if setting.field == "client_host":
            names.append("--host")
        parser.add_argument(*names, dest=setting.field, metavar="VALUE", help=f"{setting.help} ({setting.key})")
    return parser
