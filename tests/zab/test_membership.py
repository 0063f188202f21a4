"""The membership's text: as ZooKeeper prints it, whatever its order was, with errors that name the line."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import ConfigError
from zkstore.zab.membership import ClientAddress, Member, Membership, PeerAddress, checked, parse

# Printed by Apache ZooKeeper 3.8.0 for the text on the left.
PRINTED = [
    (
        "server.1=zoo1:2888:3888;2181\nserver.2=zoo2:2888:3888:observer;10.0.0.1:2181\n"
        "server.10=zoo3:2888:3888\nversion=100000000",
        "server.1=zoo1:2888:3888:participant;0.0.0.0:2181\nserver.2=zoo2:2888:3888:observer;10.0.0.1:2181\n"
        "server.10=zoo3:2888:3888:participant\nversion=100000000",
    ),
    (
        "server.3=b:2888:3888|a:2889:3889|a:2888:3888:participant;[::1]:2181\nserver.1=[fe80::1]:1:2;2181\n"
        "server.2=c:1:2",
        "server.1=[fe80:0:0:0:0:0:0:1]:1:2:participant;0.0.0.0:2181\nserver.2=c:1:2:participant\n"
        "server.3=a:2888:3888|a:2889:3889|b:2888:3888:participant;[0:0:0:0:0:0:0:1]:2181\nversion=0",
    ),
    (
        "server.1=a:1:2;2181\nserver.2=b:1:2;2181\nserver.3=c:1:2;2181\nserver.4=d:1:2:observer;2181\n"
        "group.2=3\ngroup.1=2:1\nweight.2=0\nweight.3=5\nversion=a",
        "server.1=a:1:2:participant;0.0.0.0:2181\nserver.2=b:1:2:participant;0.0.0.0:2181\n"
        "server.3=c:1:2:participant;0.0.0.0:2181\nserver.4=d:1:2:observer;0.0.0.0:2181\n"
        "group.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=0\nweight.3=5\nversion=a",
    ),
]


@pytest.mark.parametrize(("text", "printed"), PRINTED)
def test_it_is_printed_as_zookeeper_prints_it(text: str, printed: str) -> None:
    assert parse(text).format() == printed


@pytest.mark.parametrize(("text", "printed"), PRINTED)
def test_the_order_of_lines_is_no_difference(text: str, printed: str) -> None:
    lines = text.split("\n")
    random.Random(7).shuffle(lines)
    other = parse("# a comment\n\n" + "\r\n".join(f"  {line} " for line in lines))
    assert other == parse(text)
    assert hash(other) == hash(parse(text))
    assert other == parse(printed)


def test_secure_client_ports_are_printed_behind_the_plain_one() -> None:
    text = "server.1=a:1:2;2181;2281\nserver.2=b:1:2;;h:2281\nserver.3=c:1:2:participant;10.0.0.1:2181"
    assert parse(text).format() == (
        "server.1=a:1:2:participant;0.0.0.0:2181;0.0.0.0:2281\nserver.2=b:1:2:participant;;h:2281\n"
        "server.3=c:1:2:participant;10.0.0.1:2181\nversion=0"
    )


def test_roles_and_quorums_come_from_the_lines() -> None:
    membership = parse(PRINTED[2][0])
    assert membership.voters == {1, 2, 3}
    assert membership.observers == {4}
    assert membership.version == 10
    assert [membership.weight(server_id) for server_id in (1, 2, 3, 4, 5)] == [1, 0, 5, 0, 0]
    assert membership.has_quorum({1, 3})
    assert not membership.has_quorum({2, 3, 4})
    assert parse(PRINTED[0][0]).has_quorum({1, 10})


def test_an_observer_in_a_group_has_no_say() -> None:
    membership = parse("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\ngroup.1=1:2:3\nweight.3=9")
    assert membership.weight(3) == 0
    assert not membership.has_quorum({1, 3})
    assert membership.has_quorum({1, 2})


def test_text_is_utf_8() -> None:
    text = "server.1=zürich.example:2888:3888:participant;0.0.0.0:2181\nversion=1"
    assert parse(text.encode()) == parse(text)
    assert parse(text).format() == text
    with pytest.raises(ConfigError, match=r"^/zookeeper/config: this is no UTF-8 text .*; write it as UTF-8"):
        parse(text.encode("latin-1"), "/zookeeper/config")


def test_only_the_version_may_differ_between_same_members() -> None:
    one = parse("server.1=a:1:2\nversion=5")
    assert one != parse("server.1=a:1:2\nversion=6")
    assert one.has_same_members(parse("server.1=a:1:2\nversion=6"))
    assert not one.has_same_members(parse("server.1=a:1:3\nversion=5"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "c: no server votes; name at least one participant"),
        ("server.1=a:1:2:observer", "c: no server votes"),
        ("\nserver.1=a:1", "c line 2: 'a:1' does not name a server; give host:peerPort:electionPort"),
        ("server.1=a:1:2:king", "c line 1: the role in 'a:1:2:king' is unknown; write participant or observer"),
        ("server.1=a:1:1", "one port for peers and for elections"),
        ("server.1=a:1:70000", "port 70000 in 'a:1:70000' does not exist"),
        ("server.1=a:0:1", "port 0 in"),
        ("server.1=a:1:2;0", "port 0 in"),
        ("server.1=a:1:2;x:y", "'x:y' in 'a:1:2;x:y' is no address for clients"),
        ("server.1=a:1:2;1;2;3", "'2;3' in"),
        ("server.1=a:1:2|a:1:2", "names an address twice"),
        ("server.1=a:1:2|", "does not name a server"),
        ("server.1=[1::2::3]:1:2", r"\[1::2::3\] in .* is no IPv6 address"),
        ("server.1=a b:1:2", "does not name a server"),
        ("server.256=a:1:2", "needs a number from 0 to 255, not '256'"),
        ("server.x=a:1:2", "line 1: 'server.x' needs a number from 0 to 255, not 'x'"),
        ("server.²=a:1:2", "needs a number"),
        ("server.1=a:1:2\nserver.1=b:1:2", "c line 2: a second server.1; leave one"),
        ("server.1=a:1:2\nserver.01=b:1:2", "a second server.1"),
        ("server.1=a:1:2\nserver.2=A:2:3", "server.1 and server.2 both use a:2; give each its own address"),
        ("server.1=a:1:2;b:1\nserver.2=b:1:2", "both use b:1"),
        ("clientPort=2181", "c line 1: 'clientPort=2181' is none of server.N=, group.N=, weight.N= and version="),
        ("server.1", "'server.1' is none of"),
        ("server.1=a:1:2\nversion=xyz", "c line 2: version=xyz is no version"),
        ("server.1=a:1:2\nversion=ffffffffffffffff", "is no version"),
        ("server.1=a:1:2\nversion.1=1", "version.1=1 is no version"),
        ("server.1=a:1:2\nversion=1\nversion=1", "c line 3: a second version"),
        ("server.1=a:1:2\nweight.1=2", "weights count in groups only"),
        ("server.1=a:1:2\ngroup.1=1\nweight.2=2", "weight.2 weighs a server that is not a member; add server.2"),
        ("server.1=a:1:2\ngroup.1=1\nweight.1=-2", "c line 3: weight '-2' needs a number"),
        ("server.1=a:1:2\ngroup.1=1\nweight.1=0", "every voter has weight 0"),
        ("server.1=a:1:2\ngroup.1=1:2", "c: group.1 names 2, which is no member; add server.2"),
        ("server.1=a:1:2\ngroup.1=1;2", "c line 2: group '1;2' needs a number"),
        ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "server 1 is in several groups"),
        ("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1", "server 2 votes and is in no group"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_line_at_fault(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse(text, "c")


def test_clients_wildcards_clash_with_nobody() -> None:
    assert len(parse("server.1=a:1:2;2181\nserver.2=b:1:2;[::]:2181\nserver.3=c:1:2;2181").members) == 3


hosts = st.sampled_from(["a.example", "10.0.0.7", "fe80:0:0:0:0:0:0:1", "fe80:0:0:0:0:0:0:1%eth0", "bücher", "x_y-z"])
ports = st.integers(1, 65535)


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    ids = sorted(draw(st.sets(st.integers(0, 255), min_size=1, max_size=7)))
    members = []
    for place, server_id in enumerate(ids):
        # Ports of its own keep a server from clashing with the others.
        at = 1000 + 10 * place
        addresses = {PeerAddress(host, at, at + 1) for host in draw(st.sets(hosts, min_size=1, max_size=3))}
        clients = [draw(st.none() | st.builds(ClientAddress, hosts, st.just(at + n))) for n in (2, 3)]
        is_voter = place == 0 or draw(st.booleans())
        members.append(Member(server_id, tuple(sorted(addresses)), is_voter, *clients))
    version = draw(st.integers(0, (1 << 63) - 1))
    voters = [member.server_id for member in members if member.is_voter]
    if draw(st.booleans()):
        return Membership(tuple(members), version=version)
    cut = draw(st.integers(0, len(voters) - 1))
    groups = tuple((n, tuple(part)) for n, part in enumerate((voters[:cut], voters[cut:])) if part)
    weights = tuple((server_id, draw(st.integers(1, 9))) for server_id in voters)
    return Membership(tuple(members), groups, weights, version)


@given(memberships())
def test_what_is_printed_is_read_again(membership: Membership) -> None:
    assert parse(membership.format()) == membership
    assert parse(membership.format().encode()).format() == membership.format()
    assert checked(membership, "c") == membership


@given(st.text() | st.text("server.1=ab:;|2wightop\n [],"))
def test_any_text_is_read_or_refused_as_a_config_error(text: str) -> None:
    try:
        membership = parse(text)
    except ConfigError:
        return
    assert membership.has_quorum(membership.voters)
