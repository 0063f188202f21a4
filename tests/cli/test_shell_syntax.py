"""Lines, options, paths and ACLs as zkCli takes them."""

from __future__ import annotations

import pytest

from zkstore.cli.shell.commands import COMMANDS
from zkstore.cli.shell.syntax import CommandLine, UsageError, check_path, parse_acl, split
from zkstore.model.acl import Acl


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("get /a", ["get", "/a"]),
        ("  create   /a\t'two words' \n", ["create", "/a", "two words"]),
        ('create /a "it\'s" ""', ["create", "/a", "it's", ""]),
        ('create /a say"hi" it\'s', ["create", "/a", 'say"hi"', "it's"]),
        ("", []),
        ("   ", []),
    ],
)
def test_quotes_at_the_beginning_of_a_word_keep_spaces_together(line: str, words: list[str]) -> None:
    assert split(line) == words


def test_options_may_stand_anywhere() -> None:
    for line in (["-s", "-v", "3", "/a", "x"], ["/a", "x", "-v", "3", "-s"], ["/a", "-s", "x", "-v", "3"]):
        parsed = COMMANDS["set"].parse(line)
        assert parsed == CommandLine(frozenset({"-s"}), {"-v": "3"}, ("/a", "x"))


def test_a_negative_number_is_a_word_and_behind_two_dashes_everything_is() -> None:
    assert COMMANDS["create"].parse(["/a", "-5"]).words == ("/a", "-5")
    assert COMMANDS["create"].parse(["/a", "--", "-s"]).words == ("/a", "-s")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("get", ["-q", "/a"], "Unrecognized option: -q"),
        ("set", ["/a", "x", "-v"], "Missing argument for option: -v"),
        ("get", [], r"get \[-s\] \[-w\] \[-b\] \[-x\] path"),
        ("create", ["/a", "b", "c", "d"], r"create \[-s\]"),
    ],
)
def test_a_line_that_makes_no_sense_says_why(name: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        COMMANDS[name].parse(arguments)


def test_a_number_that_is_none_names_its_option() -> None:
    line = COMMANDS["set"].parse(["/a", "x", "-v", "new"])
    with pytest.raises(UsageError, match="-v takes a number, not 'new'"):
        line.number("-v", -1)


def test_paths_are_absolute_and_do_not_end_in_a_slash() -> None:
    assert check_path("/") == "/"
    assert check_path("/a/b") == "/a/b"
    with pytest.raises(UsageError, match="Path must start with / character"):
        check_path("a")
    with pytest.raises(UsageError, match="Path must not end with / character"):
        check_path("/a/")


def test_an_acl_is_scheme_id_and_letters_and_the_id_may_hold_colons() -> None:
    assert parse_acl("world:anyone:r,digest:u:a=bc=:cdrwa, auth::a") == (
        Acl(1, "world", "anyone"),
        Acl(31, "digest", "u:a=bc="),
        Acl(16, "auth", ""),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "foo does not have the form scheme:id:perm"),
        ("world:anyone", "world:anyone does not have the form scheme:id:perm"),
        ("world:anyone:rx", "Unknown perm type: x"),
    ],
)
def test_an_acl_that_makes_no_sense_says_why(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_acl(text)


def test_every_command_shows_its_options_in_its_usage() -> None:
    for command in COMMANDS.values():
        shown = command.usage.replace("|", " ").replace("[", " ").replace("]", " ").split()
        assert {*command.flags, *command.valued} <= set(shown), command.name
