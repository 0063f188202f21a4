"""Java's forms; every expectation was printed by a Java 17."""

import time
from collections.abc import Iterator

import pytest

from zkstore.admin import java_text


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0"),
        (0.25, "0.25"),
        (3.75, "3.75"),
        (100, "100.0"),
        (1 / 6, "0.1667"),
        (0.001, "0.001"),
        (0.0005, "5.0E-4"),
        (0.00001, "0.0"),
        (9_999_999.9999, "9999999.9999"),
        (1e7, "1.0E7"),
        (123_456_789.1234, "1.234567891234E8"),
        (1e21, "1.0E21"),
    ],
)
def test_doubles(value: float, text: str) -> None:
    assert java_text.double(value) == text


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (1_553_619_058_000, "Tue Mar 26 16:50:58 UTC 2019"),
        (1_795_352_694_190, "Sun Nov 22 13:04:54 UTC 2026"),
        (1_767_571_445_000, "Mon Jan 05 00:04:05 UTC 2026"),
    ],
)
@pytest.mark.usefixtures("utc")
def test_dates(time_ms: int, text: str) -> None:
    assert java_text.date(time_ms) == text


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1", "/127.0.0.1:80"),
        ("::1", "/[0:0:0:0:0:0:0:1]:80"),
        ("2001:db8::a:0:1", "/[2001:db8:0:0:0:a:0:1]:80"),
        ("::ffff:1.2.3.4", "/1.2.3.4:80"),
        ("fe80::1%eth0", "/[fe80:0:0:0:0:0:0:1%eth0]:80"),
        ("zk1.example", "/zk1.example:80"),
    ],
)
def test_addresses(host: str, text: str) -> None:
    assert java_text.socket_address(host, 80) == text


def test_ids_have_no_sign() -> None:
    assert java_text.hexadecimal(0x100000B5AB00001) == "0x100000b5ab00001"
    assert java_text.hexadecimal(-1) == "0xffffffffffffffff"
    assert java_text.hexadecimal(-(2**63)) == "0x8000000000000000"
