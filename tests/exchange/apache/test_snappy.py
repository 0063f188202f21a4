from __future__ import annotations

import io
from pathlib import Path

import pytest

from zkstore.errors import DamageError
from zkstore.exchange.apache import snappy

HEADER = snappy.MAGIC + (1).to_bytes(4, "big") * 2


def framed(*blocks: bytes) -> io.BytesIO:
    return io.BytesIO(HEADER + b"".join(len(block).to_bytes(4, "big") + block for block in blocks))


def test_literals_and_copies_of_every_form_are_read() -> None:
    literal = bytes([0x05, 0x10]) + b"hello"
    assert snappy.decompress(literal) == b"hello"
    assert snappy.decompress(bytes([60, 60 << 2, 59]) + b"x" * 60) == b"x" * 60
    assert snappy.decompress(bytes([0x80, 0x02, 61 << 2, 0xFF, 0x00]) + b"y" * 256) == b"y" * 256
    near = bytes([0x09, 0x10]) + b"hello" + bytes([0b00000001, 0x05])
    assert snappy.decompress(near) == b"hellohell"
    far = bytes([0x0A, 0x10]) + b"hello" + bytes([4 << 2 | 2, 0x05, 0x00])
    assert snappy.decompress(far) == b"hellohello"
    farthest = bytes([0x08, 0x10]) + b"hello" + bytes([2 << 2 | 3, 0x02, 0, 0, 0])
    assert snappy.decompress(farthest) == b"hellolol"


def test_a_copy_may_repeat_itself() -> None:
    assert snappy.decompress(bytes([0x0C, 0x04]) + b"ab" + bytes([9 << 2 | 2, 0x02, 0x00])) == b"ab" * 6


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xff\xff\xff\xff\xff\x01",
        bytes([0x05, 0x10]) + b"hell",
        bytes([0x06, 0x10]) + b"hello",
        bytes([0x09, 0x10]) + b"hello" + bytes([0b00000001, 0x06]),
        bytes([0x09, 0x10]) + b"hello" + bytes([0b00000001, 0x00]),
        bytes([0x09, 0x10]) + b"hello" + bytes([0b00000001]),
    ],
)
def test_a_damaged_block_is_refused(block: bytes) -> None:
    with pytest.raises(DamageError, match=r"file: a compressed block"):
        list(snappy.blocks(framed(block), Path("file")))


def test_a_cut_file_is_refused() -> None:
    whole = framed(bytes([0x05, 0x10]) + b"hello").getvalue()
    assert b"".join(snappy.blocks(io.BytesIO(whole), Path("file"))) == b"hello"
    for end in range(len(HEADER) + 1, len(whole)):
        with pytest.raises(DamageError):
            list(snappy.blocks(io.BytesIO(whole[:end]), Path("file")))
    with pytest.raises(DamageError, match="does not begin"):
        list(snappy.blocks(io.BytesIO(b"no snappy"), Path("file")))
