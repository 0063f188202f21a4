"""The structure of LMDB's files: what is sound passes, and what would lead LMDB astray is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from struct import Struct

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkstore import failpoints
from zkstore.errors import DamageError
from zkstore.storage import pages

PAGE_BYTES = 4096


def made(path: Path, rounds: int = 4) -> Path:
    """A file in which much was written and deleted, with large values, empty databases and lists of free pages."""
    random = Random(rounds)
    with lmdb.open(str(path), max_dbs=3, map_size=64 << 20) as env:
        names = [env.open_db(name) for name in (b"one", b"two", b"empty")]
        for _ in range(rounds):
            with env.begin(write=True) as batch:
                for _ in range(300):
                    key = b"%05d" % random.randrange(2_000)
                    if random.random() < 0.3:
                        batch.delete(key, db=names[0])
                    else:
                        batch.put(key, bytes(random.choice((3, 90, 9_000))), db=names[random.randrange(2)])
    return path / "data.mdb"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return made(tmp_path)


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def spoil(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)


def newest_meta(file: Path) -> int:
    """Where the page begins that counts."""
    content = file.read_bytes()
    return max((0, PAGE_BYTES), key=lambda at: int.from_bytes(content[at + 144 : at + 152], "little"))


def root_of(file: Path, database: int) -> int:
    """The root page of the list of free pages (0) or of databases (1)."""
    at = newest_meta(file) + 40 + 48 * database + 40
    return int.from_bytes(file.read_bytes()[at : at + 8], "little")


@settings(deadline=None, max_examples=13)
@given(st.integers(0, 12))
def test_whatever_lmdb_has_written_is_sound(rounds: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as path:
        pages.check(made(Path(path), rounds))


def test_a_compact_copy_is_sound(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with lmdb.open(str(file.parent), max_dbs=3) as env:
        env.copy(str(copy), compact=True)
    pages.check(copy / "data.mdb")


def test_an_empty_file_is_for_others_to_judge(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").touch()
    pages.check(tmp_path / "data.mdb")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamageError, match=r"data\.mdb: the file cannot be read \(No such file"):
        pages.check(tmp_path / "data.mdb")


def test_a_file_that_ends_too_early_is_found(file: Path) -> None:
    size = file.stat().st_size
    os.truncate(file, size - 1)
    with pytest.raises(DamageError, match=f"has {size - 1} bytes where {size} were written"):
        pages.check(file)
    os.truncate(file, 100)
    with pytest.raises(DamageError, match="page 0 of the file is damaged: the file ends within it"):
        pages.check(file)


def test_a_file_that_is_something_else_is_found(file: Path) -> None:
    spoil(file, 16, b"AAAA")
    with pytest.raises(DamageError, match=r"page 0 .* not what an LMDB file begins with"):
        pages.check(file)


def test_pages_of_no_possible_size_are_found(file: Path) -> None:
    spoil(file, 40, (12345).to_bytes(4, "little"))
    with pytest.raises(DamageError, match="pages of 12345 bytes"):
        pages.check(file)


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        (0, b"\x01", "it says that it is page"),
        (10, b"\x04", "with flags 0x4"),
        (12, b"\xff\xff", "offsets end at 65535"),
        (12, b"\x11\x00", "offsets end at 17"),
        (16, b"\xf9\x0f", "a node lies outside"),
    ],
)
def test_a_spoilt_head_of_a_page_is_found(file: Path, offset: int, content: bytes, message: str) -> None:
    root = root_of(file, 1)
    spoil(file, root * PAGE_BYTES + offset, content)
    with pytest.raises(DamageError, match=f"page {root} of the file is damaged: .*{message}"):
        pages.check(file)


def test_a_value_that_reaches_outside_is_found(file: Path) -> None:
    root = root_of(file, 1)
    (offset,) = Struct("<H").unpack_from(file.read_bytes(), root * PAGE_BYTES + 16)
    spoil(file, root * PAGE_BYTES + offset, b"\xff\xff")
    with pytest.raises(DamageError, match="a value reaches outside"):
        pages.check(file)


def test_a_page_that_is_free_and_in_use_is_found(file: Path) -> None:
    """LMDB would write over it."""
    free, used = root_of(file, 0), root_of(file, 1)
    content = file.read_bytes()[free * PAGE_BYTES : (free + 1) * PAGE_BYTES]
    (offset,) = Struct("<H").unpack_from(content, 16)
    last_of_list = free * PAGE_BYTES + offset + 8 + 8 + 8  # behind the node's head, its key and the list's length
    spoil(file, last_of_list, used.to_bytes(8, "little"))
    with pytest.raises(DamageError, match=f"page {used} .* the list of free pages refers to it, and it is in use"):
        pages.check(file)


def test_counts_that_do_not_fit_are_found(file: Path) -> None:
    at = newest_meta(file) + 40 + 48 + 32
    spoil(file, at, (99).to_bytes(8, "little"))
    with pytest.raises(DamageError, match="the list of databases should have"):
        pages.check(file)


def test_a_page_that_cannot_be_read_is_named_with_the_reason(file: Path) -> None:
    failpoints.arm("environment.read=fail(EIO)@4+")
    with pytest.raises(DamageError, match=r"page \d+ of the file is damaged: it cannot be read \(Input/output error\)"):
        pages.check(file)


def test_no_single_bit_leads_to_anything_but_a_sentence(file: Path) -> None:
    """What is found here and what is not, LMDB must survive: `tools/damage_sweep.py` tries that."""
    random = Random(5)
    content = file.read_bytes()
    found = 0
    for _ in range(400):
        at = random.choice(
            (random.randrange(len(content)), random.randrange(len(content)) // PAGE_BYTES * PAGE_BYTES + 12)
        )
        spoil(file, at, bytes([content[at] ^ 1 << random.randrange(8)]))
        try:
            pages.check(file)
        except DamageError as error:
            assert str(file) in str(error)
            found += 1
        spoil(file, at, content[at : at + 1])
    assert found > 50
    pages.check(file)
