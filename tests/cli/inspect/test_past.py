"""`zkstore inspect DIR history` and `blame` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.inspection.directories import EPOCH, Made, make
from tests.inspection.test_damage import run
from zkstore.cli.inspect.past import data_difference


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("past") / "data")


def lines(made: Made, *arguments: str) -> list[str]:
    code, out, errors = run([str(made.root), *arguments])
    assert (code, errors) == (0, "")
    return out.splitlines()


def test_history_shows_who_when_and_what_changed(made: Made) -> None:
    text = "\n".join(lines(made, "history", "/app/a"))
    assert text.startswith(f"{EPOCH + 5:#x}  2023-11-")
    for words in (
        "created        session 0x1000000000001  version 0\n    + text",
        "    - v4\n    + m",
        "    - world:anyone:cdrwa\n    + digest:u:p:cdrwa",
        "part 2 of 2 of a multi",
    ):
        assert words in text
    assert "because its session ended" in "\n".join(lines(made, "history", "/app/other"))
    assert lines(made, "history", "/app/a", "--at", str(EPOCH + 5)) == lines(made, "history", "/app/a")[:2]


def test_pages_of_history_put_together_are_the_whole(made: Made) -> None:
    whole = lines(made, "history", "/many", "--children", "--json")
    pages: list[str] = []
    after: list[str] = []
    while True:
        page = lines(made, "history", "/many", "--children", "--json", "--limit", "30", *after)
        last = json.loads(page[-1])
        if set(last) != {"after"}:
            break
        pages += page[:-1]
        after = ["--after", last["after"]]
    assert pages + page == whole
    assert len(whole) > 100


def test_history_as_json_has_the_data(made: Made) -> None:
    values = [json.loads(line) for line in lines(made, "history", "/app/a", "--json")]
    assert [value["data"] for value in values] == ["text", "v1", "v2", "v3", "v4", "v4", "m"]
    assert [value["was"] for value in values] == [None, "text", "v1", "v2", "v3", "v4", "v4"]
    assert (values[-1]["part"], values[-1]["parts"]) == (2, 2)


def test_blame_names_sessions_and_their_lives(made: Made) -> None:
    found = lines(made, "blame", "/app/other")
    assert [line.split()[0] for line in found[1:-2]] == ["created", "data", "deleted"]
    assert "session 0xfffffffffffffff9 of server 255: opened at 0x100000002, " in "\n".join(found)
    assert "; ended at 0x2000000" in "\n".join(found)
    values = [json.loads(line) for line in lines(made, "blame", "/app/a", "--json")]
    assert {value["aspect"] for value in values} == {"created", "data", "acl", "children"}
    assert all(value["life"]["is_alive"] for value in values)


@pytest.mark.parametrize("command", ["history", "blame"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/app/never"], "/app/never was never there from 0x0 to 0x2000000"),
        (["/nowhere/at/all"], "there is /, which has "),
        (["app"], "it begins with a slash"),
        (["/app", "--at", "2001-01-01"], "lies before history"),
    ],
)
def test_what_was_never_there_is_told_in_one_line(made: Made, command: str, arguments: list[str], words: str) -> None:
    code, out, errors = run([str(made.root), command, *arguments])
    assert (code, out) == (1, "")
    assert words in errors
    assert errors.count("\n") == 1


def test_a_cursor_that_is_none_is_told(made: Made) -> None:
    code, _, errors = run([str(made.root), "history", "/app", "--after", "x"])
    assert code == 1
    assert "is no cursor" in errors


def test_without_a_log_only_the_znode_itself_is_known(made: Made) -> None:
    snapshot: Path = sorted((made.root / "snapshots").iterdir())[0]
    code, out, errors = run([str(snapshot), "history", "/app/a"])
    assert (code, errors) == (0, "")
    assert "found" in out
    assert "before history begins" in out


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        (b"a", b"b", ["- a", "+ b"]),
        (None, b"b", ["- null", "+ b"]),
        (b"a", b"a", ["  the same data again"]),
        (b"\0\1", b"\xff", ["- 2 bytes  0x0001", "+ 1 bytes  0xff"]),
        (b"x\na\ny\nz\n", b"x\nb\ny\nz\n", ["@@ -1,3 +1,3 @@", " x", "-a", "+b", " y"]),
        (b"a\r\n", b"a\n", ["  only line ends differ"]),
    ],
)
def test_data_differences_are_short(was: bytes | None, now: bytes | None, expected: list[str]) -> None:
    assert list(data_difference(was, now)) == expected
