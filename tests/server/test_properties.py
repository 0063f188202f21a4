"""The properties syntax; every expectation here was compared with java.util.Properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import ConfigError
from zkstore.server.properties import Property, parse


def settings_of(text: str) -> dict[str, str]:
    return {key: value for key, value, _ in parse(text, "zoo.cfg")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tickTime=2000", {"tickTime": "2000"}),
        ("tickTime:2000", {"tickTime": "2000"}),
        ("tickTime 2000", {"tickTime": "2000"}),
        ("  tickTime \t = \t 2000  ", {"tickTime": "2000"}),
        ("tickTime==2000", {"tickTime": "=2000"}),
        ("tickTime", {"tickTime": ""}),
        ("=2000", {"": "2000"}),
        ("server.1=zk1:2888:3888;2181", {"server.1": "zk1:2888:3888;2181"}),
        ("a\\ b\\=c\\:d=1", {"a b=c:d": "1"}),
        ("dataDir=C\\:\\\\zk\\data", {"dataDir": "C:\\zkdata"}),
        ("tab=a\\tb\\nc", {"tab": "a\tb\nc"}),
        ("word=\\u0041\\u00e9", {"word": "Aé"}),
        ("dir=/data/é", {"dir": "/data/é"}),
        ("a=1\r\nb=2\rc=3\n", {"a": "1", "b": "2", "c": "3"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=1 # no comment", {"a": "1 # no comment"}),
    ],
)
def test_a_line_is_a_key_and_a_value(text: str, expected: dict[str, str]) -> None:
    assert settings_of(text) == expected


def test_comments_and_empty_lines_count_as_lines_only() -> None:
    text = "# tickTime=1\n\n  ! tickTime=2\n \t\ntickTime=3\n#"

    assert parse(text, "zoo.cfg") == [Property("tickTime", "3", 5)]


def test_a_backslash_continues_a_line_whose_number_stays_the_first_ones() -> None:
    text = "words=srvr,\\\n    # ruok,\\\n    mntr\nnext=1"

    assert parse(text, "zoo.cfg") == [Property("words", "srvr,# ruok,mntr", 1), Property("next", "1", 4)]


def test_two_backslashes_continue_nothing() -> None:
    assert settings_of("a=1\\\\\nb=2") == {"a": "1\\", "b": "2"}


def test_a_comment_cannot_be_continued() -> None:
    assert settings_of("# note \\\na=1") == {"a": "1"}


def test_a_file_may_end_in_a_continuation() -> None:
    assert settings_of("a=1\\") == {"a": "1"}


def test_a_broken_escape_names_its_line() -> None:
    with pytest.raises(ConfigError, match=r"zoo\.cfg:2: \\u stands before four hexadecimal digits"):
        parse("a=1\ndir=C:\\users", "zoo.cfg")


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"zoo\.cfg:1: \\ud83d is half a character"):
        parse("dir=/\\ud83d\\ude00", "zoo.cfg")


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_what_is_written_with_escapes_is_read_back(settings: dict[str, str]) -> None:
    def escaped(text: str) -> str:
        units = text.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

    plain = {key: value.rstrip() for key, value in settings.items() if max(key + value) <= "\uffff"}
    text = "\n".join(f"{escaped(key)}={escaped(value)}" for key, value in plain.items())

    assert settings_of(text) == plain
