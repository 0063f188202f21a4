"""The generation: a new key each time, durable, and never half of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.histories import flip
from zkstore.errors import DamageError
from zkstore.storage import generation
from zkstore.storage.generation import Generation, GenerationFile


def read(path: Path) -> Generation:
    file = GenerationFile(path, read_only=True)
    file.close()
    return file.current


@pytest.fixture
def path(tmp_path: Path) -> Path:
    generation.create(tmp_path / "generation")
    return tmp_path / "generation"


def test_each_generation_has_a_key_of_its_own_and_is_read_again(path: Path) -> None:
    assert read(path).is_closed
    keys = {read(path).key}
    file = GenerationFile(path)
    for number in range(1, 6):
        file.replace(is_closed=number == 5)
        keys.add(file.current.key)
        assert read(path) == file.current
        assert (file.current.number, file.current.is_closed) == (number, number == 5)
    file.close()
    file.close()
    assert len(keys) == 6
    assert path.stat().st_size == 8192


@pytest.mark.parametrize("replaced", [1, 2])
def test_a_slot_that_was_written_by_half_leaves_the_one_before(path: Path, replaced: int) -> None:
    file = GenerationFile(path)
    before = file.current
    for _ in range(replaced):
        before = file.current
        file.replace()
    at = path.read_bytes().index(file.current.key)
    path.write_bytes(flip(path.read_bytes(), at))
    assert read(path) == before
    file.close()


@pytest.mark.parametrize("content", [b"", b"zkG1", bytes(8192)])
def test_a_file_without_any_generation_is_damage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamageError, match="neither half"):
        GenerationFile(path)


def test_a_missing_file_is_damage(path: Path) -> None:
    path.unlink()
    with pytest.raises(DamageError, match="cannot be read"):
        GenerationFile(path)


def test_a_generation_ends_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "generation"
    generation.create(path)
    file = GenerationFile(path)
    with pytest.raises(OSError, match="No space"), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    file.replace()
    assert read(path) == file.current
    file.close()
