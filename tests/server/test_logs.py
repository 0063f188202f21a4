"""What the server says, for people and for programs."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from zkstore.server import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_programs_get_one_json_object_a_line() -> None:
    stream = io.StringIO()
    logs.configure(stream, "info", {})

    logging.getLogger("zkstore.net").info("port %d\nis open", 2181, extra={"address": ("::1", 2181), "zxid": 5})

    [line] = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields == {
        "level": "info",
        "logger": "zkstore.net",
        "message": "port 2181\nis open",
        "address": ["::1", 2181],
        "zxid": 5,
    }


def test_time_is_iso_8601_in_utc() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "created": 1_795_352_694.19})

    assert json.loads(logs.JsonFormatter().format(record))["time"] == "2026-11-22T13:04:54.190Z"


def test_what_json_has_no_form_for_is_given_as_text() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "path": b"/a"})

    assert json.loads(logs.JsonFormatter().format(record))["path"] == "b'/a'"


def test_people_get_time_level_message_and_facts() -> None:
    stream = Terminal()
    logs.configure(stream, "info", {"NO_COLOR": "1"})

    logging.getLogger("zkstore").warning("disk is slow", extra={"sync_ms": 900})

    time, rest = stream.getvalue().split(" ", 1)
    assert len(time) == len("13:04:54.190")
    assert rest == "WARNING disk is slow sync_ms=900\n"


def test_colour_is_for_terminals_that_want_it() -> None:
    for stream, environ, coloured in [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (io.StringIO(), {}, False),
    ]:
        logs.configure(stream, "info", environ)
        logging.getLogger("zkstore").error("no")
        assert ("\033[31m" in stream.getvalue()) is coloured


def test_a_client_cannot_forge_a_line_or_steer_a_terminal() -> None:
    stream = Terminal()
    logs.configure(stream, "info", {"NO_COLOR": "1"})

    logging.getLogger("zkstore").info("bye %s", "a\n13:00 INFO all is well\033[2J")

    assert stream.getvalue().endswith("bye a\\n13:00 INFO all is well\\x1b[2J\n")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_an_exception_comes_with_its_traceback(stream: io.StringIO) -> None:
    logs.configure(stream, "info", {})

    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("zkstore").exception("stopped")

    assert "stopped" in stream.getvalue()
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "ValueError: odd" in stream.getvalue()


def test_configuring_again_replaces_stream_and_level() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure(first, "error", {})
    logs.configure(second, logging.DEBUG, {})

    logging.getLogger("zkstore").debug("now")

    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "now"


def test_below_the_level_nothing_is_said() -> None:
    stream = io.StringIO()
    logs.configure(stream, "warning", {})

    logging.getLogger("zkstore").info("quiet")

    assert stream.getvalue() == ""
