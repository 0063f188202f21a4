"""How values look: data that may be anything, sizes, bars and columns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkstore.cli.inspect.screen import bar, duration_text, hex_lines, is_text, path_text, preview, size_text, table


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (None, "null"),
        (b"", "empty"),
        (b"text", "text"),
        (b"two\nlines\t", "two\\nlines\\t"),
        ("größe".encode(), "größe"),
        (b"\x00\x01", "0x0001"),
        (b"\x1b[31mred", "0x1b5b33316d726564"),
        (b"x" * 100, "x" * 59 + "… (100 bytes)"),
        (b"\xff" * 100, "0x" + "ff" * 30 + "… (100 bytes)"),
        ("é".encode() * 300, "é" * 59 + "… (600 bytes)"),
    ],
)
def test_data_on_a_line(data: bytes | None, shown: str) -> None:
    assert preview(data) == shown


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_no_data_disturbs_a_terminal(data: bytes) -> None:
    assert preview(data).isprintable()
    assert path_text(data).isprintable() or not path_text(data).isascii()
    assert all(line.isprintable() for line in hex_lines(data))


def test_text_is_what_lays_out_and_prints() -> None:
    assert is_text(b'{"a":\n\t1}\r\n')
    assert not is_text(b"\x07")
    assert not is_text(b"\xff")


def test_sizes_and_spans() -> None:
    assert [size_text(count) for count in (0, 1023, 1024, 5 << 30)] == ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]
    assert [duration_text(ms) for ms in (500, 90_000, 7_200_000, 200_000_000)] == [
        "0.5 s",
        "90.0 s",
        "2.0 hours",
        "2.3 days",
    ]


def test_bars_are_as_long_as_their_part() -> None:
    assert bar(0, 4) == "    "
    assert bar(0.5, 4) == "██  "
    assert bar(1, 4) == "████"
    assert bar(7, 4) == "████"
    assert bar(0.3125, 4) == "█▎  "


def test_columns_stand_under_each_other() -> None:
    assert table([("a", "1", "x"), ("long", "22", "")], right=(1,)) == ["a      1  x", "long  22"]
    coloured = table([("\x1b[1mab\x1b[0m", "1"), ("abc", "22")], right=(1,))
    assert coloured == ["\x1b[1mab\x1b[0m    1", "abc  22"]
