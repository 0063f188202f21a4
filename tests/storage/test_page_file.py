"""LMDB's file by pages: which state counts, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.test_tables import content, opened, write
from zkstore.errors import DamageError, StorageError
from zkstore.storage.page_file import PageFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two transactions: the newer one in one meta page, the older one in the other."""
    write(tmp_path, {b"a": b"old"})
    write(tmp_path, {b"a": b"new"})
    return tmp_path / "data.mdb"


def test_the_newer_meta_page_counts(file: Path) -> None:
    with PageFile(file) as found:
        assert content(opened(found)) == {b"a": b"new"}
        assert found.troubles == []


@pytest.mark.parametrize("page", [0, 1])
def test_one_meta_page_can_be_done_without(file: Path, page: int) -> None:
    whole = bytearray(file.read_bytes())
    with PageFile(file) as found:
        newest = found.newest().number
    whole[page * 4096 : page * 4096 + 4096] = bytes(4096)
    file.write_bytes(whole)
    with PageFile(file) as found:
        assert found.page_bytes == 4096
        assert len(found.troubles) == 1
        assert content(opened(found)) == {b"a": b"old" if page == newest else b"new"}


def test_without_any_meta_page_nothing_is_read(file: Path) -> None:
    file.write_bytes(bytes(8192) + file.read_bytes()[8192:])
    with pytest.raises(DamageError, match="neither meta page"):
        PageFile(file)


@pytest.mark.parametrize(
    ("content_", "words"),
    [(b"", "the file is empty"), (b"x", "no LMDB file"), (b"a text\n" * 1000, "no LMDB file")],
)
def test_another_file_is_none(tmp_path: Path, content_: bytes, words: str) -> None:
    file = tmp_path / "data.mdb"
    file.write_bytes(content_)
    with pytest.raises(DamageError, match=words):
        PageFile(file)


def test_another_version_of_lmdb_is_named(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[20] = whole[4096 + 20] = 2
    file.write_bytes(whole)
    with pytest.raises(DamageError, match="version 2; this zkstore reads version 1"):
        PageFile(file)


def test_a_file_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        PageFile(tmp_path / "data.mdb")


def test_a_page_behind_the_end_is_damage(file: Path) -> None:
    with PageFile(file) as found:
        root = opened(found).root
    file.write_bytes(file.read_bytes()[: root.page * 4096 + 100])
    with PageFile(file) as found, pytest.raises(DamageError, match="behind the end of the file"):
        content(opened(found))
