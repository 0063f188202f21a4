"""The data directory: made safely, recognised, and refused where it is not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from zkstore.errors import DamageError, DirectoryInUseError, DirectoryUnusableError, FormatTooNewError
from zkstore.storage import directory as directory_
from zkstore.storage.lock import DirectoryLock
from zkstore.storage.store import Store


def test_a_new_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "data"
    Store.open(root).close()
    for path in (root.parent, root, root / "log"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_store_knows_whether_it_is_new(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data")
    assert store.is_new
    store.close()
    store = Store.open(tmp_path / "data")
    assert not store.is_new
    store.close()


@pytest.mark.parametrize("name", [".gitignore", "lost+found", "samples", "myid"])
def test_harmless_files_do_not_make_a_directory_foreign(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1\n")
    Store.open(tmp_path).close()
    assert (tmp_path / name).read_bytes() == b"1\n"


def test_an_apache_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "version-2").mkdir()
    with pytest.raises(DirectoryUnusableError, match=r"Apache ZooKeeper.*zkstore import"):
        Store.open(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["version-2"]


def test_a_directory_with_foreign_files_is_refused_and_the_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "log").mkdir()
    with pytest.raises(DirectoryUnusableError, match=r"letter\.txt.*another|letter\.txt.*new directory"):
        Store.open(tmp_path)
    assert not (tmp_path / "lock").exists()


def test_a_foreign_log_directory_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "logs" / "version-2").mkdir(parents=True)
    with pytest.raises(DirectoryUnusableError, match="Apache"):
        Store.open(tmp_path / "data", log_directory=tmp_path / "logs")


def test_files_added_to_our_directory_later_do_no_harm(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    (tmp_path / "notes.txt").write_text("mine")
    Store.open(tmp_path).close()


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(DirectoryUnusableError, match="not a directory"):
        Store.open(tmp_path / "data")


def test_a_directory_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(DirectoryUnusableError, match="cannot be used"):
        Store.open(Path("/proc/zkstore"))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    file = tmp_path / "format"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": directory_.FORMAT_VERSION + 1}))
    with pytest.raises(FormatTooNewError, match="newer zkstore"):
        Store.open(tmp_path)


def test_a_spoilt_format_file_is_damage(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    (tmp_path / "format").write_text("{}")
    with pytest.raises(DamageError, match="format file"):
        Store.open(tmp_path)


def test_a_second_opener_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    script = f"from pathlib import Path\nfrom zkstore.storage.store import Store\nStore.open(Path({str(tmp_path)!r}))"
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    with pytest.raises(DirectoryInUseError, match=r"in use by pid \d+ on "):
        Store.open(tmp_path)
    store.close()
    assert "DirectoryInUseError" in second.stderr
    Store.open(tmp_path).close()


def test_a_log_directory_is_owned_as_well(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "one", log_directory=tmp_path / "logs")
    with pytest.raises(DirectoryInUseError):
        Store.open(tmp_path / "two", log_directory=tmp_path / "logs")
    store.close()


def test_an_ended_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()


def test_a_replaced_file_has_all_of_its_new_content(tmp_path: Path) -> None:
    file = tmp_path / "note"
    directory_.replace_file(file, b"old")
    directory_.replace_file(file, b"new")
    assert file.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["note"]
