"""Finding: patterns mean what a shell's user expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inspection.directories import make
from zkstore.errors import StorageError
from zkstore.inspection.searching import data_matcher, find, grep, path_matcher
from zkstore.inspection.source import open_source


@pytest.mark.parametrize(
    ("pattern", "path", "is_match"),
    [
        ("node-*7", b"/a/node-007", True),
        ("node-*7", b"/node-007/x", False),
        ("/a/*/x", b"/a/b/c/x", True),
        ("/a/*/x", b"/b/a/b/x", False),
        ("serv", b"/my/services/x", True),
        ("/my/s", b"/my/services", True),
        ("n?", b"/x/n1", True),
        ("n[12]", b"/x/n3", False),
        ("a.b", b"/axb", False),
        ("*\u00e9", "/caf\u00e9".encode(), True),
    ],
)
def test_a_path_pattern(pattern: str, path: bytes, is_match: bool) -> None:
    assert bool(path_matcher(pattern)(path)) is is_match


def test_regular_expressions_case_and_plain_text() -> None:
    assert path_matcher("A$", is_regex=True, ignores_case=True)(b"/x/a")
    assert not path_matcher("A", ignores_case=False)(b"/x/a")
    assert data_matcher("^b", ignores_case=True)(b"a\nB")
    assert data_matcher("a.c", is_fixed=True)(b"xa.cx")
    assert not data_matcher("a.c", is_fixed=True)(b"abc")
    for make_matcher in (lambda: path_matcher("(", is_regex=True), lambda: data_matcher("(")):
        with pytest.raises(StorageError, match="is no regular expression"):
            make_matcher()


def test_found_are_all_that_match_and_what_lies_behind_a_cursor(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    counts: list[int] = []
    with open_source(made.root) as source:
        view = source.view()
        expected = sorted(path for path in made.states[made.end] if b"/many/1" in path)
        assert [path for path, _ in find(view, b"/", None, path_matcher("/many/1*"), counts.append)] == expected
        cursor = expected[3]
        assert [path for path, _ in find(view, b"/many", cursor, path_matcher("1*"), counts.append)] == expected[4:]
        again = [path for path, _ in grep(view, b"/", None, data_matcher("again [0-9]5$"), counts.append)]
        assert again == [
            b"/many/025",
            b"/many/035",
            b"/many/045",
            b"/many/055",
            b"/many/065",
            b"/many/075",
            b"/many/095",
        ]
        assert list(grep(view, b"/app/null", None, data_matcher(""), counts.append)) == []
    assert sum(counts) > len(made.states[made.end])
