"""The server's side of SASL DIGEST-MD5 (RFC 2831), by which clients of ZooKeeper prove a user by password.

One exchange has two steps: the first token asks for the challenge, then the client's response proves that it knows the
password, and what it is answered proves that we do. No library in good repair has the server's side.

Not served: protection of what follows (qop auth-int and auth-conf, which no client of ZooKeeper asks for) and
re-authentication (a nonce is good for one response). The id to act as (authzid) is hashed and otherwise left aside, as
in Apache's server: who proves a user is that user.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from zkstore.errors import AuthFailedError

REALM: Final = "zk-sasl-md5"
"""Realm and server name, the same for all servers, so that clients need not know which one they talk to."""

_DIGEST_URI: Final = f"zookeeper/{REALM}".encode()
_DIRECTIVE: Final = re.compile(rb'[\s,]*([a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?=,|$)', re.DOTALL)
_BLANKS: Final = re.compile(rb"[\s,]*")
_RESPONSE_BYTES_MAX: Final = 4096  # RFC 2831: a response must be shorter
_NOBODYS_PASSWORD: Final = "nobody"


@dataclass(frozen=True, slots=True)
class SaslSettings:
    """Who can log in by SASL, and what that makes of them.

    Attributes:
        passwords: by user.
        super_users: those who pass every ACL.
        admits_failed: one who fails may go on without an identity.
    """

    passwords: Mapping[str, str] = field(repr=False)
    super_users: frozenset[str] = frozenset()
    admits_failed: bool = False


class Exchange:
    """One attempt to log in.

    Attributes:
        user: who has proved to be; None as long as nobody has.
    """

    __slots__ = ("_asked", "_nonce", "_passwords", "user")

    def __init__(self, passwords: Mapping[str, str], nonce: str) -> None:
        """`nonce` is fresh randomness, in letters and digits."""
        self._passwords = passwords
        self._nonce = nonce
        self._asked = False
        self.user: str | None = None

    def step(self, token: bytes) -> bytes:
        """What to answer to the client's token. Raises AuthFailedError, after which the exchange is of no more use."""
        if not self._asked:  # What the first token says plays no part, as in Apache's server.
            self._asked = True
            return f'realm="{REALM}",nonce="{self._nonce}",charset=utf-8,algorithm=md5-sess'.encode()
        if self.user is not None or len(token) >= _RESPONSE_BYTES_MAX:
            raise AuthFailedError
        return b"rspauth=" + self._verify(_directives(token))

    def _verify(self, said: Mapping[bytes, bytes]) -> bytes:
        """Compare with what the user's password gives; the proof that we know it, too."""
        user = _text(said.get(b"username", b""))
        fits = (
            said.get(b"realm") == REALM.encode()
            and said.get(b"nonce") == self._nonce.encode()
            and said.get(b"nc") == b"00000001"
            and said.get(b"qop", b"auth") == b"auth"
            and said.get(b"digest-uri", b"").lower() == _DIGEST_URI
            and b"cnonce" in said
        )
        if not fits:
            raise AuthFailedError
        # An unknown user costs as much time as a known one.
        password = self._passwords.get(user, _NOBODYS_PASSWORD)
        for secret in _secrets(user, password):
            proof = _proof(secret, b"AUTHENTICATE:", said)
            if hmac.compare_digest(proof, said.get(b"response", b"")) and user in self._passwords:
                self.user = user
                return _proof(secret, b":", said)
        raise AuthFailedError


def _directives(token: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 0
    while match := _DIRECTIVE.match(token, at):
        name, quoted, bare = match.groups()
        if name in found:
            raise AuthFailedError
        found[name] = re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL) if bare is None else bare
        at = match.end()
    blanks = _BLANKS.match(token, at)
    if blanks is None or blanks.end() != len(token):
        raise AuthFailedError
    return found


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise AuthFailedError from None


def _secrets(user: str, password: str) -> list[bytes]:
    """The hashed user, realm and password: as the RFC says, which means Latin-1 where that does, and as some clients
    take it, which is UTF-8 always."""
    parts = (user, REALM, password)
    forms = (b":".join(map(_latin_if_it_can_be, parts)), ":".join(parts).encode())
    return [_md5(form) for form in dict.fromkeys(forms)]


def _latin_if_it_can_be(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _proof(secret: bytes, purpose: bytes, said: Mapping[bytes, bytes]) -> bytes:
    start = [secret, said[b"nonce"], said[b"cnonce"]]
    if b"authzid" in said:
        start.append(said[b"authzid"])
    first = _md5(b":".join(start)).hex().encode()
    second = _md5(purpose + said[b"digest-uri"]).hex().encode()
    parts = [first, said[b"nonce"], said[b"nc"], said[b"cnonce"], b"auth", second]
    return _md5(b":".join(parts)).hex().encode()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
