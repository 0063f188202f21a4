"""Who may do what, which ACLs are accepted, and who somebody is."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import AuthFailedError, InvalidAclError, MarshallingError
from zkstore.model import acl as acls
from zkstore.model.acl import ADMIN, ALL, CREATE, DELETE, OPEN_ACL, READ, SUPER, WRITE, Acl, Identity

PEER = Identity("ip", "10.1.2.3")
USER = Identity("digest", "user1:+owfoSBn/am19roBPzR1/MfCblE=")
OTHER = Identity("digest", "user2:cmFuZG9t")
EVERY_SCHEME = {"digest", "ip", "x509", "sasl"}


# --- allows ---------------------------------------------------------------------------------------


def test_the_open_acl_allows_everything_to_anybody() -> None:
    for perm in (READ, WRITE, CREATE, DELETE, ADMIN):
        assert acls.allows(OPEN_ACL, perm, [])


def test_an_empty_acl_allows_everything() -> None:
    assert acls.allows((), ADMIN, [])


def test_an_entry_gives_only_its_own_permissions() -> None:
    acl = (Acl(READ, "world", "anyone"),)
    assert acls.allows(acl, READ, [PEER])
    assert not acls.allows(acl, WRITE, [PEER])


def test_one_of_several_wanted_permissions_is_enough() -> None:
    assert acls.allows((Acl(ADMIN, "world", "anyone"),), READ | ADMIN, [])


def test_an_entry_without_permissions_gives_nothing() -> None:
    assert not acls.allows((Acl(0, "world", "anyone"),), READ, [PEER])


def test_entries_add_up() -> None:
    acl = (Acl(READ, "world", "anyone"), Acl(WRITE, *USER))
    assert acls.allows(acl, WRITE, [PEER, USER])
    assert not acls.allows(acl, WRITE, [PEER, OTHER])


def test_a_digest_must_be_equal_and_of_the_same_scheme() -> None:
    acl = (Acl(ALL, *USER),)
    assert acls.allows(acl, READ, [OTHER, USER])
    assert not acls.allows(acl, READ, [PEER, OTHER])
    assert not acls.allows(acl, READ, [Identity("sasl", USER.id)])


def test_super_passes_everywhere() -> None:
    assert acls.allows((Acl(READ, *USER),), ADMIN, [PEER, SUPER])
    assert acls.allows((Acl(0, *USER),), ADMIN, [Identity("super", "CN=admin")])


def test_sasl_and_x509_identities_match_by_equality() -> None:
    assert acls.allows((Acl(ALL, "sasl", "joe"),), READ, [Identity("sasl", "joe")])
    assert not acls.allows((Acl(ALL, "sasl", "joe"),), READ, [Identity("sasl", "jim")])
    assert acls.allows((Acl(ALL, "x509", "CN=a"),), READ, [Identity("x509", "CN=a")])
    assert not acls.allows((Acl(ALL, "x509", "CN=a"),), READ, [Identity("x509", "CN=b")])


def test_the_sasl_user_super_matches_sasl_entries_only() -> None:
    super_user = Identity("sasl", "super")
    assert acls.allows((Acl(ALL, "sasl", "joe"),), READ, [super_user])
    assert not acls.allows((Acl(ALL, *USER),), READ, [super_user])


def test_an_entry_of_an_unknown_scheme_matches_nobody() -> None:
    assert not acls.allows((Acl(ALL, "martian", "zork"),), READ, [Identity("martian", "zork")])


@pytest.mark.parametrize(
    ("address", "acl_id", "matches"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.1.2.3", "10.1.255.255/16", True),  # host bits of the ACL do not count
        ("10.1.2.3", "010.001.002.003", True),
        ("10.2.2.3", "10.1.0.0/16", False),
        ("10.1.2.3", "0.0.0.0/0", True),
        ("10.1.2.3", "::/0", False),
        ("10.1.2.3", "not an address", False),
        ("::1", "::1", True),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("2001:db8::5", "2001:DB8::/32", True),
        ("2001:db9::5", "2001:db8::/32", False),
        ("fe80::1%eth0", "fe80::/10", True),
        ("::1", "0.0.0.0/0", False),
        ("::ffff:10.1.2.3", "10.1.2.0/24", True),
    ],
)
def test_an_address_matches_its_network(address: str, acl_id: str, matches: bool) -> None:
    assert acls.allows((Acl(ALL, "ip", acl_id),), READ, [acls.ip_identity(address)]) is matches


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_masks_of_ipv4_agree_with_the_standard_library(
    peer: ipaddress.IPv4Address, network: ipaddress.IPv4Address, bits: int
) -> None:
    expected = peer in ipaddress.ip_network(f"{network}/{bits}", strict=False)
    assert acls.allows((Acl(ALL, "ip", f"{network}/{bits}"),), READ, [acls.ip_identity(str(peer))]) is expected


# --- fix_up ---------------------------------------------------------------------------------------


def test_the_open_acl_stays_one_shared_object() -> None:
    assert acls.fix_up([(31, "world", "anyone")], [PEER]) is OPEN_ACL


def test_duplicates_are_dropped_and_the_order_is_kept() -> None:
    entries = [(1, "world", "anyone"), (31, *USER), (1, "world", "anyone"), (2, *USER)]
    assert acls.fix_up(entries, []) == (Acl(1, "world", "anyone"), Acl(31, *USER), Acl(2, *USER))


@pytest.mark.parametrize("acl_id", [None, "", "ignored"])
def test_auth_stands_for_every_user_of_the_connection(acl_id: str | None) -> None:
    fixed = acls.fix_up([(7, "auth", acl_id)], [PEER, SUPER, USER, OTHER])
    assert fixed == (Acl(7, *USER), Acl(7, *OTHER))


def test_auth_without_a_user_is_invalid() -> None:
    with pytest.raises(InvalidAclError):
        acls.fix_up([(7, "auth", None), (1, "world", "anyone")], [PEER, SUPER])


@pytest.mark.parametrize("entries", [None, []])
def test_an_acl_without_entries_is_invalid(entries: list[tuple[int, str | None, str | None]] | None) -> None:
    with pytest.raises(InvalidAclError):
        acls.fix_up(entries, [USER])


@pytest.mark.parametrize(
    ("scheme", "acl_id"),
    [
        ("digest", "user:hash"),
        ("digest", ":hash"),
        ("digest", "user:hash::"),
        ("ip", "127.0.0.1"),
        ("ip", "10.0.0.0/8"),
        ("ip", "10.0.0.0/0"),
        ("ip", "10.0.0.0/+8"),
        ("ip", "::1"),
        ("ip", "2001:db8::/128"),
        ("x509", "CN=Duke, OU=Java, O=Sun, C=US"),
        ("x509", 'CN="a, b"+UID=c\\,d,O='),
        ("x509", "2.5.4.3=Duke"),
        ("sasl", "joe"),
        ("sasl", "joe@REALM"),
        ("sasl", "joe/host@REALM"),
        ("sasl", "a/b/c"),
    ],
)
def test_a_valid_id_is_stored_as_given(scheme: str, acl_id: str) -> None:
    assert acls.fix_up([(5, scheme, acl_id)], [], schemes=EVERY_SCHEME) == (Acl(5, scheme, acl_id),)


@pytest.mark.parametrize(
    ("scheme", "acl_id"),
    [
        (None, "anyone"),
        (None, None),
        ("", ""),
        ("world", "somebody"),
        ("world", ""),
        ("martian", "zork"),
        ("martian", None),
        ("super", "admin:hash"),
        ("digest", ""),
        ("digest", ":"),
        ("digest", "user"),
        ("digest", "user:"),
        ("digest", "a:b:c"),
        ("ip", ""),
        ("ip", "localhost"),
        ("ip", "10.0.0"),
        ("ip", "10.0.0.256"),
        ("ip", "10.0.0.1_0"),
        ("ip", "10.0.0.0/33"),
        ("ip", "10.0.0.0/-1"),
        ("ip", "10.0.0.0/"),
        ("ip", "10.0.0.0/8/8"),
        ("ip", "::1/129"),
        ("ip", "::ffff:10.0.0.1"),
        ("ip", "fe80::1%eth0"),
        ("x509", "Duke"),
        ("x509", "CN=Duke,"),
        ("sasl", "joe@a@b"),
        ("sasl", "a/b/c@REALM"),
    ],
)
def test_an_id_that_its_scheme_refuses_is_invalid(scheme: str | None, acl_id: str | None) -> None:
    with pytest.raises(InvalidAclError):
        acls.fix_up([(31, scheme, acl_id)], [USER], schemes=EVERY_SCHEME)


@pytest.mark.parametrize("scheme", ["world", "digest", "ip"])
def test_a_null_id_does_not_parse(scheme: str) -> None:
    with pytest.raises(MarshallingError):
        acls.fix_up([(31, scheme, None)], [USER])


@pytest.mark.parametrize("scheme", ["x509", "sasl"])
def test_a_scheme_that_is_not_set_up_is_invalid(scheme: str) -> None:
    with pytest.raises(InvalidAclError):
        acls.fix_up([(31, scheme, "CN=joe")], [USER])


def test_permissions_are_not_judged() -> None:
    assert acls.fix_up([(0, "world", "anyone")], []) == (Acl(0, "world", "anyone"),)
    assert acls.fix_up([(0x7FFF, "world", "anyone")], []) == (Acl(0x7FFF, "world", "anyone"),)


# --- redact ---------------------------------------------------------------------------------------


def test_redaction_hides_digests_and_nothing_else() -> None:
    acl = (Acl(31, *USER), Acl(1, "world", "anyone"), Acl(1, "ip", "::1"))
    assert acls.redact(acl) == (Acl(31, "digest", "user1:x"), Acl(1, "world", "anyone"), Acl(1, "ip", "::1"))


# --- identities -----------------------------------------------------------------------------------


def test_the_digest_of_a_credential_is_zookeepers() -> None:
    assert acls.digest_id(b"user1:12345") == USER.id


@pytest.mark.parametrize(
    ("credential", "user"), [(b"user:a:b", "user"), (b"alone", "alone"), (b"", ""), (b":x", ""), (b"\xff:x", "\ufffd")]
)
def test_the_user_of_a_credential_ends_at_the_first_colon(credential: bytes, user: str) -> None:
    assert acls.digest_id(credential).rpartition(":")[0] == user


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("2001:0db8::00ff:0", "2001:db8:0:0:0:0:ff:0"),
        ("fe80::1%eth0", "fe80:0:0:0:0:0:0:1%eth0"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_an_address_is_written_as_java_writes_it(address: str, text: str) -> None:
    assert acls.ip_identity(address) == Identity("ip", text)


def test_a_digest_credential_gives_its_identity() -> None:
    assert acls.authenticate("digest", b"user1:12345", PEER, None) == [USER]


def test_the_super_digest_gives_super_and_the_ordinary_identity() -> None:
    assert acls.authenticate("digest", b"user1:12345", PEER, USER.id) == [SUPER, USER]
    assert acls.authenticate("digest", b"user1:wrong", PEER, USER.id) != [SUPER, USER]


def test_authentication_by_address_repeats_what_the_connection_has() -> None:
    assert acls.authenticate("ip", b"1.2.3.4", PEER, None) == [PEER]


@pytest.mark.parametrize(
    ("scheme", "credential"),
    [("digest", None), ("world", b"anyone"), ("auth", b""), ("super", b"x"), ("sasl", b"joe"), ("martian", b"zork")],
)
def test_what_nobody_accepts_fails(scheme: str, credential: bytes | None) -> None:
    with pytest.raises(AuthFailedError):
        acls.authenticate(scheme, credential, PEER, "super:x")


def test_whoami_shows_names_and_no_digests() -> None:
    assert acls.user_name(USER) == "user1"
    assert acls.user_name(PEER) == "10.1.2.3"
    assert acls.user_name(SUPER) == ""
