"""TLS between two servers, as bytes in and bytes out: both show a certificate, and both check the other's.

What a certificate proves is that the ensemble's authority (ssl.quorum.trustStore.location) vouches for its owner. Which
server it is says the introduction behind it, which is compared with the list of members. No name is looked up for an
address: whoever answers for addresses would otherwise decide who is let in.
"""

from __future__ import annotations

import ssl
from typing import Final

from zkstore import limits
from zkstore.errors import ProtocolError

_COMPLAINTS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the other server shows no certificate (ssl.quorum.keyStore.location there)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the other server wants a certificate (ssl.quorum.keyStore.location)",
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS; here it must (sslQuorum=true on all servers)",
    "HTTP_REQUEST": "the other side speaks HTTP",
    "UNSUPPORTED_PROTOCOL": "the other side's version of TLS is too old (ssl.quorum.enabledProtocols)",
    "NO_SHARED_CIPHER": "the other side has no cipher in common with us (ssl.quorum.ciphersuites)",
    "TLSV1_ALERT_UNKNOWN_CA": "the other server does not trust our certificate (ssl.quorum.trustStore.location there)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the other server does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired (ssl.quorum.keyStore.location)",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "our certificate was revoked (ssl.quorum.keyStore.location)",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the other server does not accept our certificate",
}


class PeerTls:
    """One connection's TLS; `name` is the host that was dialled, None at the side that was dialled.

    Attributes:
        is_established: both have proved themselves; `seal` may be called.
        is_closed: the other side has said that nothing more comes.
    """

    __slots__ = ("_from_peer", "_tls", "_to_peer", "is_closed", "is_established")

    def __init__(self, context: ssl.SSLContext, name: str | None) -> None:
        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._from_peer, self._to_peer, server_side=name is None, server_hostname=name or None
        )
        self.is_established = False
        self.is_closed = False

    def start(self) -> None:
        """Whoever dialled speaks first; then see `outgoing`."""
        self.unseal(b"")

    def unseal(self, data: bytes) -> bytes:
        """What the other side said, in plain; b"" if it takes more bytes to know. Raises ProtocolError."""
        self._from_peer.write(data)
        plain: list[bytes] = []
        try:
            if not self.is_established:
                self._tls.do_handshake()
                self.is_established = True
            while chunk := self._tls.read(limits.RECEIVE_BYTES):
                plain.append(chunk)
            self.is_closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_closed = True
        except ssl.SSLError as error:
            raise ProtocolError(f"TLS: {_complaint(error)}") from None
        return b"".join(plain)

    def seal(self, data: bytes) -> bytes:
        """`data` for the socket, behind what TLS itself has to say."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        return self._to_peer.read()

    def outgoing(self) -> bytes:
        """What TLS itself has to say."""
        return self._to_peer.read()


def _complaint(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the other server's certificate is not accepted: {error.verify_message}"
    reason = error.reason or str(error)
    return _COMPLAINTS.get(reason, reason.replace("_", " ").lower())
