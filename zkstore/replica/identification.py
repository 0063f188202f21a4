"""How a client proves who it is: auth packets, SASL exchanges, certificates; and whether that is enough to be served.

Each of these adds identities to the conversation, which keeps them to its end; reads, writes and watches ask for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zkstore.errors import AuthFailedError, AuthRequiredError, ProtocolError
from zkstore.model import acl as acls
from zkstore.model import distinguished_name
from zkstore.replica.sasl import Exchange
from zkstore.wire.jute import Reader
from zkstore.wire.records import AuthPacket, SaslPacket

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.replica import Replica


def authenticate(replica: Replica, conversation: Conversation, xid: int, body: Reader) -> None:
    """An auth packet; one that fails is the last of its connection."""
    packet = AuthPacket.decode(body)
    if packet.scheme == "x509" and any(identity.scheme == "x509" for identity in conversation.identities):
        conversation.answer(xid, 0, 0, b"")  # The certificate has proved it; what the packet says plays no part.
        return
    try:
        found = acls.authenticate(
            packet.scheme or "", packet.credential, conversation.identities[0], replica.super_digest
        )
    except AuthFailedError as error:
        conversation.answer(xid, 0, error.code, b"")
        conversation.end(f"authentication by scheme {packet.scheme!r} failed")
        return
    conversation.identify(found)
    conversation.answer(xid, 0, 0, b"")


def negotiate_sasl(replica: Replica, conversation: Conversation, xid: int, body: Reader) -> None:
    """One step of a SASL exchange. A null token tells the client that it is not logged in."""
    token = SaslPacket.decode(body).token
    if token is None:
        raise ProtocolError("a sasl packet without a token")
    settings = replica.settings.sasl
    if settings is None:  # The connection goes on without an identity.
        if conversation.sasl is not None:  # kazoo would answer each null token with the next request, for ever.
            raise ProtocolError("a sasl exchange goes on that was declined: nobody can log in by sasl here")
        conversation.sasl = Exchange({}, replica.make_nonce())
        conversation.answer(xid, 0, 0, SaslPacket(None).encode())
        return
    if conversation.sasl is None:
        conversation.sasl = Exchange(settings.passwords, replica.make_nonce())
    exchange = conversation.sasl
    try:
        answer = exchange.step(token)
    except AuthFailedError as error:
        conversation.sasl = None
        is_demanded = "sasl" in replica.settings.demanded_schemes
        if settings.admits_failed and not is_demanded:
            conversation.answer(xid, 0, 0, SaslPacket(None).encode())
            return
        code = AuthRequiredError.code if is_demanded else error.code
        conversation.answer(xid, 0, code, SaslPacket(None).encode())
        conversation.end("authentication by sasl failed")
        return
    if exchange.user is not None:
        conversation.identify(acls.sasl_identities(exchange.user, settings.super_users))
    conversation.answer(xid, 0, 0, SaslPacket(answer).encode())


def recognise(replica: Replica, conversation: Conversation, certificate: bytes) -> None:
    """The client has shown a certificate (DER) that is trusted. Raises ProtocolError if it is unreadable."""
    subject = distinguished_name.subject_of(certificate)
    conversation.identify(acls.x509_identities(subject, replica.settings.x509_super_user))


def has_proved_enough(replica: Replica, conversation: Conversation) -> bool:
    """Whether the client is somebody that the server demands it to be."""
    demanded = replica.settings.demanded_schemes
    return not demanded or any(identity.scheme in demanded for identity in conversation.identities)
