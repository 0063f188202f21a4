"""The subject of a client's certificate as text: the id that scheme x509 compares.

It has to be the text that Java's `X500Principal.getName()` gives, letter by letter, because ACLs hold it: RFC 2253 with
the nine keywords of its table, every other attribute by its dotted number and the hexadecimal of its bytes, and some
more characters escaped than the RFC asks for. That form needs the bytes of the certificate, so they are walked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from zkstore.errors import ProtocolError

_INTEGER: Final = 0x02
_EXPLICIT_VERSION: Final = 0xA0
_STRING_TAGS: Final = frozenset({0x0C, 0x13, 0x14, 0x16, 0x1B, 0x1C, 0x1E})  # UTF8, Printable, T61, IA5 and their like
_ESCAPED: Final = frozenset(',=+<>#;"\\')

_KEYWORDS: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}


def subject_of(certificate: bytes) -> str:
    """The subject of an X.509 certificate in DER. Raises ProtocolError if it is none."""
    try:
        (outer,) = _elements(certificate)
        signed, *_ = _elements(outer.content)
        fields = list(_elements(signed.content))
        if fields[0].tag == _EXPLICIT_VERSION:
            del fields[0]
        serial, _, _, _, subject = fields[:5]  # with the signature's algorithm, issuer and validity between them
        if serial.tag != _INTEGER:
            raise ValueError
        names = [_relative_name(name) for name in _elements(subject.content)]
    except (ValueError, IndexError):
        raise ProtocolError("a certificate whose subject cannot be read") from None
    return ",".join(reversed(names))


class _Element(NamedTuple):
    """One DER value: tag, contents, and all of its bytes."""

    tag: int
    content: bytes
    whole: bytes


def _elements(der: bytes) -> Iterator[_Element]:
    at = 0
    while at < len(der):
        length, start = der[at + 1], at + 2
        if length >= 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[at + 2 : start], "big")
        if start + length > len(der):
            raise ValueError
        yield _Element(der[at], der[start : start + length], der[at : start + length])
        at = start + length


def _relative_name(name: _Element) -> str:
    parts = []
    for attribute in _elements(name.content):
        kind, value = _elements(attribute.content)
        oid = _dotted(kind.content)
        keyword = _KEYWORDS.get(oid)
        if keyword is None or value.tag not in _STRING_TAGS:
            parts.append(f"{keyword or oid}=#{value.whole.hex()}")
        else:
            parts.append(f"{keyword}={_escape(value.content.decode('utf-8', 'replace'))}")
    return "+".join(parts)


def _dotted(content: bytes) -> str:
    numbers, number = [], 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


def _escape(text: str) -> str:
    escaped = "".join(f"\\{char}" if char in _ESCAPED else char for char in text).replace("\0", "\\00")
    bare = escaped.strip(" \r")
    if not bare:
        return "".join(f"\\{char}" for char in escaped)
    before, _, after = escaped.partition(bare)
    return "".join(f"\\{char}" for char in before) + bare + "".join(f"\\{char}" for char in after)
