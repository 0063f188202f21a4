"""Which bytes are a path, and how paths split and join."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zkstore.errors import BadArgumentsError
from zkstore.model import paths

LEGAL_PATHS = [
    "/",
    "/a",
    "/a/b/c",
    "/...",
    "/.a",
    "/a.",
    "/..b",
    "/a/.../b",
    '/ ~!@#$%^&*()_+{}|:<>?"\\',
    "/\u00a0",
    "/müller",
    "/\u0100\u2028\ud7ff",
    "/\uf900\uffef",
    "/\ufeff",
]

ILLEGAL_PATHS = [
    b"",
    b"a",
    b"a/b",
    b"/a/",
    b"//",
    b"//a",
    b"/a//b",
    b"/.",
    b"/..",
    b"/./a",
    b"/a/./b",
    b"/a/../b",
    b"/a/.",
    b"/a/..",
    b"/a\0",
    b"/\x01",
    b"/a\x1f",
    b"/a\n",
    b"/\x7f",
    "/ü/".encode(),
    "/ü/..".encode(),
    "/ü//a".encode(),
    "ü".encode(),
    "/\x80".encode(),
    "/\x9f".encode(),
    "/\ue000".encode(),
    "/\uf8ff".encode(),
    "/\ufff0".encode(),
    "/\ufffd".encode(),
    "/\uffff".encode(),
    "/\U0001f600".encode(),
    b"/\xed\xa0\xbd\xed\xb8\x80",  # the same character as two surrogates
    b"/\xff",
    b"/a\xc3",
    b"/\xc0\xaf",  # an overlong slash
]


def utf16_validator(path: bytes) -> bool:
    """The rules as ZooKeeper states them, one UTF-16 unit after the other."""
    text = path.decode("utf-8", "replace")
    units = text.encode("utf-16-be")
    chars = [chr(int.from_bytes(units[i : i + 2], "big")) for i in range(0, len(units), 2)]
    if not chars or chars[0] != "/":
        return False
    if len(chars) == 1:
        return True
    elements = text.split("/")[1:]
    if any(element in ("", ".", "..") for element in elements):
        return False
    return not any(
        c <= "\x1f" or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\uf8ff" or "\ufff0" <= c <= "\uffff" for c in chars
    )


@pytest.mark.parametrize("path", LEGAL_PATHS)
def test_a_legal_path_is_accepted(path: str) -> None:
    paths.check(path.encode())


@pytest.mark.parametrize("path", ILLEGAL_PATHS)
def test_an_illegal_path_is_refused(path: bytes) -> None:
    with pytest.raises(BadArgumentsError):
        paths.check(path)


@given(
    st.one_of(
        st.binary(max_size=12).map(lambda tail: b"/" + tail),
        st.text("/.ab\0\x1f\x7f\x9f ü\u07ff\ud7ff\ue000\uf900\ufff0\U00010000", max_size=12).map(str.encode),
        st.text("/.a", max_size=12).map(lambda tail: b"/" + tail.encode()),
    )
)
@example("/\U0010ffff".encode())
def test_both_ways_of_checking_agree_with_the_rules_as_stated(path: bytes) -> None:
    try:
        paths.check(path)
    except BadArgumentsError:
        accepted = False
    else:
        accepted = True
    assert accepted == utf16_validator(path)


def test_a_long_illegal_path_is_refused_without_backtracking() -> None:
    with pytest.raises(BadArgumentsError):
        paths.check(b"/a" * 200_000 + b"\0")


@pytest.mark.parametrize(
    ("path", "parent", "name"),
    [
        (b"/", b"/", b""),
        (b"/a", b"/", b"a"),
        (b"/a/b", b"/a", b"b"),
        (b"/a/", b"/a", b""),
        (b"/nope//x", b"/nope/", b"x"),
    ],
)
def test_a_path_splits_at_its_last_slash(path: bytes, parent: bytes, name: bytes) -> None:
    assert paths.parent_of(path) == parent
    assert paths.requested_parent(path) == parent
    assert paths.name_of(path) == name


@pytest.mark.parametrize("path", [b"", b"a", b"/a\0b"])
def test_a_requested_path_that_cannot_be_split_is_refused(path: bytes) -> None:
    with pytest.raises(BadArgumentsError):
        paths.requested_parent(path)


@given(st.lists(st.sampled_from([b"a", b"bc", "ü".encode()]), min_size=1, max_size=5))
def test_joining_undoes_splitting(names: list[bytes]) -> None:
    path = b"".join(b"/" + name for name in names)
    assert paths.join(paths.parent_of(path), paths.name_of(path)) == path


def test_ancestors_come_nearest_first_and_end_with_the_root() -> None:
    assert list(paths.ancestors(b"/a/b/c")) == [b"/a/b", b"/a", b"/"]
    assert list(paths.ancestors(b"/a")) == [b"/"]
    assert list(paths.ancestors(b"/")) == []


def test_a_sequential_name_has_ten_digits_and_grows_when_it_must() -> None:
    assert paths.sequential(b"/q/n-", 7) == b"/q/n-0000000007"
    assert paths.sequential(b"/q/", 0) == b"/q/0000000000"
    assert paths.sequential(b"/q/n-", 2**31 - 1) == b"/q/n-2147483647"
    assert paths.sequential(b"/q/n-", -(2**31)) == b"/q/n--2147483648"
