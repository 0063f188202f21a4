"""Connect strings and the chroot."""

from __future__ import annotations

import pytest

from zkstore.client.chroot import Chroot
from zkstore.client.hosts import Address, ConnectString, parse
from zkstore.errors import BadArgumentsError, ConfigError


@pytest.mark.parametrize(
    ("text", "addresses", "chroot"),
    [
        ("localhost", [("localhost", 2181)], ""),
        ("a:1,b:2", [("a", 1), ("b", 2)], ""),
        (" a:1 , b ,", [("a", 1), ("b", 2181)], ""),
        ("a:1,b:2/app/x", [("a", 1), ("b", 2)], "/app/x"),
        ("a:1/", [("a", 1)], ""),
        ("[::1]:2182,[fe80::1%eth0]", [("::1", 2182), ("fe80::1%eth0", 2181)], ""),
    ],
)
def test_a_connect_string_names_servers_and_a_chroot(text: str, addresses: list[tuple[str, int]], chroot: str) -> None:
    assert parse(text) == ConnectString(tuple(Address(*address) for address in addresses), chroot)


@pytest.mark.parametrize("text", ["", ",", "/app", "a:x", "a:0", "a:65536", "::1", "a:1//b"])
def test_a_connect_string_that_makes_no_sense_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


def test_an_address_is_written_as_it_is_read() -> None:
    assert str(Address("a", 1)) == "a:1"
    assert str(Address("::1", 2)) == "[::1]:2"


@pytest.mark.parametrize(("user", "server"), [("/", "/app"), ("/a", "/app/a"), ("/a/b", "/app/a/b"), ("/ä", "/app/ä")])
def test_a_chroot_stands_in_front_of_every_path(user: str, server: str) -> None:
    chroot = Chroot("/app")
    assert chroot.to_server(user) == server.encode()
    assert chroot.to_user(server.encode()) == user


def test_without_a_chroot_paths_stay_as_they_are() -> None:
    assert Chroot("").to_server("/") == b"/"
    assert Chroot("").to_user(b"/a") == "/a"


def test_a_path_beside_the_chroot_stays_whole() -> None:
    assert Chroot("/app").to_user(b"/apple") == "/apple"


def test_a_path_has_to_be_absolute() -> None:
    with pytest.raises(BadArgumentsError):
        Chroot("/app").to_server("a")
