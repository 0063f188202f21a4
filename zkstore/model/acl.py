"""Access control: ACL entries, identities, and what may be stored and who may do what.

Each scheme is one row of `_PROVIDERS`: which ids an ACL may hold, and which identities they match. `world`, `auth`
and `super` have no row; `fix_up` and `allows` say what they mean. How identities get onto a connection by an auth
packet is `authenticate`; TLS and SASL add theirs elsewhere.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import ipaddress
import re
import struct
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from zkstore.errors import AuthFailedError, InvalidAclError, MarshallingError

READ: Final = 1
WRITE: Final = 2
CREATE: Final = 4
DELETE: Final = 8
ADMIN: Final = 16
ALL: Final = 31


class Acl(NamedTuple):
    """One entry of an ACL: whom it concerns and what they may do. `perms` is stored as given, unknown bits included."""

    perms: int
    scheme: str
    id: str


class Identity(NamedTuple):
    """Somebody that a connection has proved to be."""

    scheme: str
    id: str


OPEN_ACL: Final = (Acl(ALL, "world", "anyone"),)
READ_ACL: Final = (Acl(READ, "world", "anyone"),)
SUPER: Final = Identity("super", "")

DEFAULT_SCHEMES: Final = frozenset({"digest", "ip"})
"""Schemes that an ACL may name on every server, besides `world` and `auth`. A secure port adds x509, SASL adds sasl."""


class _Provider(NamedTuple):
    accepts: Callable[[str], bool]  # may this id stand in an ACL?
    matches: Callable[[str, str], bool]  # (an identity's id, an ACL's id)
    is_authenticated: bool  # does an identity prove a user, so that the scheme `auth` may stand for it?


# --- may they? ------------------------------------------------------------------------------------


def allows(acl: tuple[Acl, ...], perm: int, identities: Collection[Identity]) -> bool:
    """Whether `acl` gives any of the bits in `perm` to any of `identities`. An empty ACL allows everything.

    The identity `super` passes always. There is no inheritance: the caller names the one znode that decides.
    """
    if acl is OPEN_ACL or not acl:
        return True
    for entry in acl:
        if entry.perms & perm and _concerns(entry, identities):
            return True
    return any(identity.scheme == "super" for identity in identities)


def _concerns(entry: Acl, identities: Collection[Identity]) -> bool:
    if entry.scheme == "world":
        return entry.id == "anyone"
    provider = _PROVIDERS.get(entry.scheme)
    if provider is None:
        return False
    return any(identity.scheme == entry.scheme and provider.matches(identity.id, entry.id) for identity in identities)


# --- what is stored and shown ---------------------------------------------------------------------


def fix_up(
    entries: Iterable[tuple[int, str | None, str | None]] | None,
    identities: Collection[Identity],
    *,
    schemes: Collection[str] = DEFAULT_SCHEMES,
) -> tuple[Acl, ...]:
    """The ACL to store for the (perms, scheme, id) triples of a create or setACL.

    Duplicates go; `auth` becomes one entry for each identity that proves a user, and its id may be null. The open ACL
    is always the object `OPEN_ACL`. Raises InvalidAclError for an empty list, a scheme that is not in `schemes`, an id
    that its scheme refuses, or `auth` with nobody to stand for. Any other null id is a MarshallingError.
    """
    if entries == OPEN_ACL:
        return OPEN_ACL
    fixed: list[Acl] = []
    for perms, scheme, acl_id in dict.fromkeys(entries or ()):
        if scheme == "auth":
            users = [identity for identity in identities if _proves_a_user(identity)]
            if not users:
                raise InvalidAclError
            fixed += [Acl(perms, user.scheme, user.id) for user in users]
        else:
            fixed.append(_checked(perms, scheme, acl_id, schemes))
    if not fixed:
        raise InvalidAclError
    acl = tuple(fixed)
    return OPEN_ACL if acl == OPEN_ACL else acl


def _proves_a_user(identity: Identity) -> bool:
    provider = _PROVIDERS.get(identity.scheme)
    return provider is not None and provider.is_authenticated


def _checked(perms: int, scheme: str | None, acl_id: str | None, schemes: Collection[str]) -> Acl:
    provider = _PROVIDERS.get(scheme) if scheme is not None and scheme in schemes else None
    if scheme is None or (provider is None and scheme != "world"):
        raise InvalidAclError
    if acl_id is None:
        raise MarshallingError
    if not (acl_id == "anyone" if provider is None else provider.accepts(acl_id)):
        raise InvalidAclError
    return Acl(perms, scheme, acl_id)


def redact(acl: tuple[Acl, ...]) -> tuple[Acl, ...]:
    """`acl` as shown to a caller who may read the znode but not administer it: digests are replaced by `x`."""
    return tuple(
        entry._replace(id=entry.id.partition(":")[0] + ":x") if entry.scheme == "digest" else entry for entry in acl
    )


# --- identities -----------------------------------------------------------------------------------


def authenticate(scheme: str, credential: bytes | None, peer: Identity, super_digest: str | None) -> list[Identity]:
    """The identities that an auth packet adds to the connection from `peer`; they accumulate there.

    `super_digest` is the configured digest of the super user, `name:base64`, or None. Raises AuthFailedError for a
    digest without credential and for every scheme but digest and ip.
    """
    if scheme == "ip":
        return [peer]
    if scheme != "digest" or credential is None:
        raise AuthFailedError
    digest = digest_id(credential)
    user = Identity("digest", digest)
    return [SUPER, user] if digest == super_digest else [user]


def x509_identities(subject: str, super_user: str | None) -> list[Identity]:
    """The identities of a client whose certificate is for `subject`; `super_user` is one that passes every ACL."""
    user = Identity("x509", subject)
    return [Identity("super", subject), user] if subject == super_user else [user]


def sasl_identities(user: str, super_users: Collection[str]) -> list[Identity]:
    """The identities of a client that has logged in as `user`; `super_users` pass every ACL."""
    identity = Identity("sasl", user)
    return [identity, SUPER] if user in super_users else [identity]


def digest_id(credential: bytes) -> str:
    """The id of scheme digest for `user:password`: `user:` and the base64 of the SHA-1 of the whole credential.

    The user ends at the first colon; without one the credential is all user. Malformed UTF-8 is replaced, as in Java.
    """
    text = credential.decode("utf-8", "replace")
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return f"{text.partition(':')[0]}:{base64.b64encode(digest).decode()}"


def ip_identity(address: str) -> Identity:
    """The identity of a connection from `address`, in Java's text form, so that ACLs written for Apache's server match.

    IPv6 has eight unabbreviated groups and keeps its `%scope`; an IPv4 address mapped into IPv6 becomes plain IPv4.
    Raises ValueError if `address` is no IP address.
    """
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return Identity("ip", str(parsed))
    if parsed.ipv4_mapped is not None:
        return Identity("ip", str(parsed.ipv4_mapped))
    groups = ":".join(f"{group:x}" for group in struct.unpack(">8H", parsed.packed))
    return Identity("ip", f"{groups}%{parsed.scope_id}" if parsed.scope_id else groups)


def user_name(identity: Identity) -> str:
    """What whoAmI shows of an identity: for digest the part before the colon, "" for a scheme without provider."""
    if identity.scheme == "digest":
        return identity.id.partition(":")[0]
    return identity.id if identity.scheme in _PROVIDERS else ""


# --- the schemes ----------------------------------------------------------------------------------


def _is_digest(acl_id: str) -> bool:
    # Java's split: exactly two parts once trailing empty ones are dropped.
    return acl_id.rstrip(":").count(":") == 1


class _Network(NamedTuple):
    bits: int  # of the whole address: 32 or 128
    host_bits: int
    prefix: int  # the address without its host bits


_DECIMAL: Final = re.compile(r"\+?[0-9]{1,9}")  # As Java reads numbers: a sign in front is fine.
_IP_TEXTS_CACHED: Final = 1024  # distinct ACL ids and peers' addresses; a miss costs microseconds


@functools.lru_cache(maxsize=_IP_TEXTS_CACHED)
def _network(text: str) -> _Network | None:
    """Read `address` or `address/bits`; None if it is neither."""
    address, slash, length = text.partition("/")
    number, bits = _ipv6_number(address), 128
    if ":" not in address:
        number, bits = _ipv4_number(address), 32
    if slash and not _DECIMAL.fullmatch(length):
        return None
    host_bits = bits - int(length) if slash else 0
    if number is None or host_bits < 0:
        return None
    return _Network(bits, host_bits, number >> host_bits)


def _ipv4_number(address: str) -> int | None:
    # Not by `ipaddress`, which refuses leading zeros: Apache's server reads them as decimal, and data may hold them.
    parts = address.split(".")
    if len(parts) != 4 or not all(_DECIMAL.fullmatch(part) and int(part) <= 255 for part in parts):
        return None
    return int.from_bytes(bytes(map(int, parts)), "big")


def _ipv6_number(address: str) -> int | None:
    if "." in address or "%" in address:
        return None
    try:
        return int(ipaddress.IPv6Address(address))
    except ValueError:
        return None


def _is_network(acl_id: str) -> bool:
    return _network(acl_id) is not None


def _is_in_network(identity_id: str, acl_id: str) -> bool:
    network = _network(acl_id)
    peer = _network(identity_id.partition("%")[0])
    if network is None or peer is None or peer.bits != network.bits:
        return False
    return peer.prefix >> network.host_bits == network.prefix


# Distinguished names by shape only (`CN=a, O=b`); which attribute types exist is left to whoever issues certificates.
_VALUE = r'(?:"(?:[^"\\]|\\.)*+"|(?:[^,;+"\\<>]|\\.)*+)'
_ATTRIBUTE = rf"\s*+(?:[A-Za-z][A-Za-z0-9-]*+|(?:OID\.)?[0-9]++(?:\.[0-9]++)*+)\s*+=\s*+{_VALUE}\s*+"
_DISTINGUISHED_NAME: Final = re.compile(rf"{_ATTRIBUTE}(?:[,;+]{_ATTRIBUTE})*+")

_KERBEROS_NAME: Final = re.compile(r"[^/@]*+(?:/[^/@]*+)?@[^/@]*+")


def _is_distinguished_name(acl_id: str) -> bool:
    return _DISTINGUISHED_NAME.fullmatch(acl_id) is not None


def _is_kerberos_name(acl_id: str) -> bool:
    return "@" not in acl_id or _KERBEROS_NAME.fullmatch(acl_id) is not None


def _is_equal(identity_id: str, acl_id: str) -> bool:
    return identity_id == acl_id


def _is_sasl_user(identity_id: str, acl_id: str) -> bool:
    # SASL's user `super` matches every sasl entry, and no entry of another scheme.
    return identity_id in (acl_id, "super")


_PROVIDERS: Final = {
    "digest": _Provider(_is_digest, _is_equal, is_authenticated=True),
    "ip": _Provider(_is_network, _is_in_network, is_authenticated=False),
    "x509": _Provider(_is_distinguished_name, _is_equal, is_authenticated=True),
    "sasl": _Provider(_is_kerberos_name, _is_sasl_user, is_authenticated=True),
}
