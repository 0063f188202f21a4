"""Messages for people and for programs: what the server says on stderr, by the standard `logging`.

On a terminal a line reads like a sentence; anywhere else it is one JSON object, so that nothing that a
log collector would have to guess is left to guessing. Facts go into `extra`, not only into the text:

    logger.info("serving %s clients", n, extra={"address": "127.0.0.1:2181"})
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

_HANDLER_NAME: Final = "zkstore"

_STANDARD_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

_COLOURS: Final = {"DEBUG": "\033[2m", "WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[1;31m"}
_PLAIN: Final = "\033[0m"

# A path or a host name that a client chose must not forge a line or steer a terminal.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(stream: TextIO, level: str | int, environ: Mapping[str, str]) -> None:
    """Send what is logged from now on to `stream`, in the form that suits it.

    A second call replaces what the first one set up. `environ` is asked for NO_COLOR only.
    """
    handler = logging.StreamHandler(stream)
    handler.set_name(_HANDLER_NAME)
    if stream.isatty():
        handler.setFormatter(TerminalFormatter(with_colour=not environ.get("NO_COLOR")))
    else:
        handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if one.get_name() == _HANDLER_NAME]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.upper() if isinstance(level, str) else level)


class TerminalFormatter(logging.Formatter):
    """Local time, level, message, and the extra facts as key=value."""

    def __init__(self, *, with_colour: bool) -> None:
        super().__init__()
        self._with_colour = with_colour

    def format(self, record: logging.LogRecord) -> str:
        """One line; an exception's traceback follows on lines of its own."""
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        level = f"{record.levelname:<7}"
        colour = _COLOURS.get(record.levelname) if self._with_colour else None
        if colour is not None:
            level = f"{colour}{level}{_PLAIN}"
        facts = "".join(f" {name}={value}" for name, value in _extra(record).items())
        line = f"{time} {level} " + _CONTROL.sub(_escape, record.getMessage() + facts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC, ISO 8601), level, logger, message, then the extra facts."""

    def format(self, record: logging.LogRecord) -> str:
        """An extra fact that JSON has no form for is given as its text."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD_FIELDS}


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
