"""Subjects of certificates as Java writes them. The expected texts are from Java 17's X500Principal.getName()."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID as Oid
from hypothesis import given
from hypothesis import strategies as st

from zkstore.errors import ProtocolError
from zkstore.model.distinguished_name import subject_of

_KEY = ec.generate_private_key(ec.SECP256R1())
_START = datetime.datetime(2024, 1, 1)


def certificate(*names: x509.RelativeDistinguishedName) -> bytes:
    builder = (
        x509.CertificateBuilder(subject_name=x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(Oid.COMMON_NAME, "issuer")]))
        .public_key(_KEY.public_key())
        .serial_number(5)
        .not_valid_before(_START)
        .not_valid_after(_START + datetime.timedelta(days=1))
    )
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def name(*attributes: x509.NameAttribute) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName(attributes)


def of(oid: x509.ObjectIdentifier, value: str) -> x509.RelativeDistinguishedName:
    return name(x509.NameAttribute(oid, value))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (
            [of(Oid.COUNTRY_NAME, "DE"), of(Oid.ORGANIZATION_NAME, "A, B+C"), of(Oid.COMMON_NAME, "zk")],
            r"CN=zk,O=A\, B\+C,C=DE",
        ),
        ([of(Oid.COMMON_NAME, " lead and trail ")], r"CN=\ lead and trail\ "),
        ([of(Oid.COMMON_NAME, "  ")], r"CN=\ \ "),
        ([of(Oid.COMMON_NAME, '#x=y;<z>"q\\')], r"CN=\#x\=y\;\<z\>\"q\\"),
        ([of(Oid.COMMON_NAME, "é ü 漢")], "CN=é ü 漢"),
        ([of(Oid.COMMON_NAME, "a\0b\rc\r\n \r")], "CN=a\\00b\rc\r\n\\ \\\r"),
        (
            [of(Oid.EMAIL_ADDRESS, "a@b.c"), of(Oid.SERIAL_NUMBER, "77")],
            "2.5.4.5=#13023737,1.2.840.113549.1.9.1=#16056140622e63",
        ),
        (
            [
                of(Oid.STREET_ADDRESS, "s"),
                of(Oid.STATE_OR_PROVINCE_NAME, "st"),
                of(Oid.LOCALITY_NAME, "l"),
                of(Oid.ORGANIZATIONAL_UNIT_NAME, "ou"),
                of(Oid.TITLE, "t"),
                of(x509.ObjectIdentifier("2.999.3"), "big"),
            ],
            "2.999.3=#0c03626967,2.5.4.12=#0c0174,OU=ou,L=l,ST=st,STREET=s",
        ),
        (
            [
                name(x509.NameAttribute(Oid.COMMON_NAME, "a"), x509.NameAttribute(Oid.USER_ID, "u")),
                of(Oid.DOMAIN_COMPONENT, "com"),
            ],
            "DC=com,CN=a+UID=u",
        ),
        ([name(x509.NameAttribute(Oid.COMMON_NAME, "bmp", _ASN1Type.BMPString))], r"CN=\00b\00m\00p"),
    ],
)
def test_a_subject_reads_as_in_java(names: list[x509.RelativeDistinguishedName], text: str) -> None:
    assert subject_of(certificate(*names)) == text


@given(at=st.integers(0, 400), byte=st.integers(0, 255))
def test_what_is_no_certificate_is_refused_and_nothing_worse(at: int, byte: int) -> None:
    damaged = bytearray(_SAMPLE)
    damaged[at % len(damaged)] = byte
    try:
        assert isinstance(subject_of(bytes(damaged)), str)
    except ProtocolError as error:
        assert "subject cannot be read" in str(error)


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        subject_of(data)


_SAMPLE = certificate(of(Oid.COMMON_NAME, "zk"), of(Oid.ORGANIZATION_NAME, "o" * 60))
