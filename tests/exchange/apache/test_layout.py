from __future__ import annotations

from pathlib import Path

import pytest

from tests.exchange.apache import written
from zkstore.errors import DamageError, DirectoryUnusableError
from zkstore.exchange.apache import layout


def test_only_names_that_a_server_gives_are_taken_in_the_order_of_zxids(tmp_path: Path) -> None:
    names = ["snapshot.9", "snapshot.10.gz", "snapshot.a.snappy", "log.1", "log.1f"]
    others = ["snapshot.9.tmp", "snapshot.9.bak", "log.1.fixed", "snapshot.xyz", "snapshot", "log.1F", "other"]
    files = layout.find(written.place(tmp_path, dict.fromkeys([*names, *others], b"")))
    assert [file.path.name for file in files.snapshots] == ["snapshot.9", "snapshot.a.snappy", "snapshot.10.gz"]
    assert [(file.zxid, file.path.name) for file in files.logs] == [(1, "log.1"), (0x1F, "log.1f")]
    assert (files.accepted_epoch, files.current_epoch, files.has_server_id) == (None, None, False)


def test_the_directory_itself_may_be_named_and_the_logs_may_lie_elsewhere(tmp_path: Path) -> None:
    written.place(tmp_path / "data", {"snapshot.0": b"", "currentEpoch": b"4", "acceptedEpoch": b"5\n"})
    written.place(tmp_path / "log", {"log.1": b""})
    (tmp_path / "data" / "myid").write_text("1")
    for root in (tmp_path / "data", tmp_path / "data" / "version-2"):
        files = layout.find(root, tmp_path / "log")
        assert (len(files.snapshots), len(files.logs)) == (1, 1)
        assert (files.accepted_epoch, files.current_epoch, files.has_server_id) == (5, 4, True)


def test_what_is_no_such_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(DirectoryUnusableError, match="there is no such directory"):
        layout.find(tmp_path / "none")
    with pytest.raises(DirectoryUnusableError, match=r"not the data directory of an Apache.*version-2/ in it"):
        layout.find(tmp_path)
    (tmp_path / "format").write_text("{}")
    with pytest.raises(DirectoryUnusableError, match="a data directory of zkstore already"):
        layout.find(tmp_path)
    written.place(tmp_path, {"log.1": b""})
    with pytest.raises(DirectoryUnusableError, match="there is no such directory"):
        layout.find(tmp_path, tmp_path / "none")


def test_another_version_of_the_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "version-3").mkdir()
    with pytest.raises(DirectoryUnusableError, match="the files are in version-3/; only version-2/ is known"):
        layout.find(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"\xff"])
def test_an_epoch_that_is_no_number_is_damage(tmp_path: Path, content: bytes) -> None:
    written.place(tmp_path, {"snapshot.0": b"", "currentEpoch": content})
    with pytest.raises(DamageError, match="currentEpoch: this should hold the number of an epoch"):
        layout.find(tmp_path)
