"""Changes of the membership: what joins, what leaves, and what is refused."""

from __future__ import annotations

import pytest

from zkstore.errors import ConfigError, MemberIdError
from zkstore.zab.membership import parse
from zkstore.zab.reconfiguration import changed, replaced

THREE = parse("server.1=a:1:2;2181\nserver.2=b:1:2;2181\nserver.3=c:1:2;2181\nversion=100000000")


def test_servers_join_and_leave_and_the_version_is_the_changes_zxid() -> None:
    found = changed(THREE, "server.4=d:1:2:observer;2181, server.5=e:1:2;2181", "1,99", version=0x200000007)
    assert found.format() == (
        "server.2=b:1:2:participant;0.0.0.0:2181\nserver.3=c:1:2:participant;0.0.0.0:2181\n"
        "server.4=d:1:2:observer;0.0.0.0:2181\nserver.5=e:1:2:participant;0.0.0.0:2181\nversion=200000007"
    )


def test_a_joiner_with_a_members_id_replaces_it() -> None:
    found = changed(THREE, "server.3=c:7:8:observer;2181", None, version=5)
    assert found.observers == {3}
    assert found.by_id[3].addresses[0].peer_port == 7


def test_leaving_is_done_before_joining() -> None:
    assert changed(THREE, "server.3=d:1:2;2181", "3", version=5).by_id[3].addresses[0].host == "d"


def test_a_joiner_may_be_named_by_its_bare_id() -> None:
    assert 4 in changed(THREE, "4=d:1:2;2181", "", version=5).voters


def test_an_empty_request_only_renews_the_version() -> None:
    assert changed(THREE, None, None, version=5).has_same_members(THREE)


@pytest.mark.parametrize("leaving", ["x", "1,b", "1;2", "-1", "²"])
def test_an_id_that_is_no_number_is_an_error_of_its_own(leaving: str) -> None:
    with pytest.raises(MemberIdError, match=r"leaving servers: .* is no server id; give numbers such as 3,4"):
        changed(THREE, None, leaving, version=5)


@pytest.mark.parametrize(
    ("joining", "complaint"),
    [
        ("server.4", "'server.4' is no server; give server.N="),
        ("server.4=d:1:2", "server.4=d:1:2 has no client port; add ;clientPort"),
        ("server.4=d:1;2181", "joining servers: server.4: 'd:1;2181' does not name a server"),
        ("server.4=d:1:2;1,server.4=e:1:2;1", "server.4 is named twice"),
        ("server.4=a:2:3;2181", "the change: server.1 and server.4 both use a:2"),
        ("server.999=d:1:2;2181", "server ids go up to 255"),
    ],
)
def test_joiners_that_make_no_sense_are_refused(joining: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        changed(THREE, joining, None, version=5)


def test_a_joiner_without_a_number_is_an_error_of_its_own() -> None:
    with pytest.raises(MemberIdError, match=r"'server.x' does not end in a server id"):
        changed(THREE, "server.x=d:1:2;2181", None, version=5)


def test_a_secure_client_port_alone_will_do() -> None:
    assert changed(THREE, "server.4=d:1:2;;2281", None, version=5).by_id[4].spec == "d:1:2:participant;;0.0.0.0:2281"


def test_enough_voters_must_remain() -> None:
    with pytest.raises(ConfigError, match="the change: 1 participants would be left, at least 2 must be"):
        changed(THREE, None, "1,2", version=5)
    assert changed(THREE, None, "1,2", version=5, voters_min=1).voters == {3}
    with pytest.raises(ConfigError, match="new members: 1 participants would be left"):
        replaced("server.1=a:1:2,server.2=b:1:2:observer", version=5)
    with pytest.raises(ConfigError, match="new members: no server votes"):
        replaced("server.1=a:1:2:observer", version=5)


def test_an_ensemble_with_groups_is_changed_as_a_whole() -> None:
    grouped = parse("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2")
    with pytest.raises(ConfigError, match="this ensemble has groups: give all new members"):
        changed(grouped, None, "2", version=5)


@pytest.mark.parametrize("separator", [",", "\n", " ,\n"])
def test_all_members_are_replaced_at_once(separator: str) -> None:
    lines = ["server.1=a:1:2;2181", "server.7=b:1:2", "group.1=1:7", "weight.7=3", "version=1"]
    found = replaced(separator.join(lines), version=9)
    assert found.version == 9
    assert found.voters == {1, 7}
    assert found.weight(7) == 3


def test_a_bad_line_among_all_members_is_named() -> None:
    with pytest.raises(ConfigError, match=r"new members line 2: 'dataDir=/x' is none of server.N="):
        replaced("server.1=a:1:2,dataDir=/x", version=9)
    with pytest.raises(ConfigError, match=r"new members: server.1 and server.2 both use a:1"):
        replaced("server.1=a:1:2,server.2=a:1:3", version=9)
